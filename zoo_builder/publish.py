"""Zoos as a dataset: a folder that ``datasets`` reads as it is, and that the Hugging Face Hub shows.

    README.md                            the card
    data/ZOO/                            a zoo: zoo.json, its tables, spec.toml
    data/cases.parquet, splits.parquet   the benchmark on these zoos
    figures/ZOO.png                      which label stands where
    checkpoints/ZOO/                     the networks, see `zoo_builder.shards`

The card comes last: while there is none, or the old one, the folder is not the dataset that it says. Everything is a function
of the zoos, so that publishing the same again gives the same bytes.
"""

import io
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mdbench import files, plots
from mdbench.dataset import DATA
from mdbench.errors import MdbenchError, reason
from mdbench.tasks import TASKS
from mdbench.zoo import CHECKPOINTS, CONFIGURATIONS, LAYERS, MANIFEST, Zoo, find_zoo, load_zoo, sha256_of, write_tables
from zoo_builder import shards
from zoo_builder.benchmark import cases_of, cases_table, splits_table
from zoo_builder.build import Progress
from zoo_builder.card import Config, card, front_matter, is_card, split_name
from zoo_builder.store import SPEC
from zoo_builder.units import writing

CARD: Final = "README.md"
FIGURES: Final = "figures"
#: The one part of a table that is not cut by zoos.
TABLE: Final = "table"
_TABLES: Final = {
    "configurations": (CONFIGURATIONS, "a grid point: its labels, and means over its seeds of what was measured"),
    "checkpoints": (CHECKPOINTS, "a network: its grid point, its seed, and what was measured of it"),
    "layers": (LAYERS, "a layer of a network: the Hessian and the spectrum of its weights"),
}


@dataclass(frozen=True)
class Source:
    """A zoo to be published.

    Attributes
    ----------
    folder : where it is.
    zoo : its tables, whose networks are in shards.
    spec : the text of its specification.
    """

    folder: Path
    zoo: Zoo
    spec: bytes

    @property
    def networks(self) -> int:
        """How many networks it has."""
        assert self.zoo.checkpoints is not None
        return len(self.zoo.checkpoints)


def publish(
    folders: Sequence[Path | str],
    to: Path,
    *,
    version: str = "1.0.0",
    networks: bool = True,
    repo: str = "ORG/NAME",
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Path]:
    """Write zoos as a dataset.

    Parameters
    ----------
    folders : names or folders of zoos; those of builds where the networks are to be part of it.
    to : the dataset's folder: a new or empty one, or one that holds a dataset of zoos already, which it takes the place of.
    version : of the dataset, ``x.y.z``.
    networks : whether to write the networks too.
    repo : where the dataset will be on the Hub, for its card.
    progress : called after every shard.

    Returns
    -------
    Every file of the dataset.

    Raises
    ------
    MdbenchError
        A folder is no zoo, or one whose networks or specification are not there; two zoos share a name; the folder cannot
        be written, or holds something else.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise MdbenchError(f"{version!r} is no version; one is three numbers, 1.0.0")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise MdbenchError(f"{repo!r} is no dataset on the Hub; one is ORG/NAME")
    sources = [_source(find_zoo(folder)) for folder in folders]
    _check(sources, to)
    with writing(to):
        to.mkdir(parents=True, exist_ok=True)
        if (to / CARD).exists():
            _withdraw(to, {source.zoo.name for source in sources}, networks=networks)
        written = [path for source in sources for path in _write_zoo(source, to)]
        if networks:
            written += _write_networks(sources, to, progress)
        cases = cases_of([source.zoo for source in sources])
        questions = {"cases": cases_table(cases), "splits": splits_table(cases)} if cases else {}
        paths = {to / DATA / f"{name}.parquet": files.parquet(table) for name, table in questions.items()}
        files.replace(paths)
        configs = _configs(sources, list(questions))
        zoos = [source.zoo for source in sources]
        text = card(front_matter(to, configs, version), zoos, configs, version, networks=networks, repo=repo)
        files.replace({to / CARD: text.encode()})
    return [*written, *paths, to / CARD]


def preview(folders: Sequence[Path | str], *, version: str = "1.0.0", networks: bool = True) -> dict[str, int]:
    """Return what `publish` would write, file → bytes; those of shards are estimates. Nothing is left behind.

    Raises
    ------
    MdbenchError
        As `publish` does.
    """
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "dataset")
        written = publish(folders, home, version=version, networks=False)
        sizes = {path.relative_to(home).as_posix(): path.stat().st_size for path in written}
    if networks:
        for source in (_source(find_zoo(folder)) for folder in folders):
            assert source.zoo.checkpoints is not None
            parameters = source.zoo.checkpoints.groupby("shard")["parameter_count"].sum()
            sizes |= {str(shard): int(4 * count) for shard, count in parameters.items()}
    return sizes


def _source(folder: Path) -> Source:
    zoo = load_zoo(folder)
    if zoo.checkpoints is None or "sha256" not in zoo.checkpoints:
        raise MdbenchError(
            f"{folder}: only means are known of zoo {zoo.name}; what is published are zoos with their networks"
        )
    path = folder / SPEC
    known = {one.path: one.sha256 for one in zoo.provenance.inputs}
    try:
        if known.get(SPEC) != sha256_of(path):
            raise MdbenchError(f"{path} is not the specification that zoo {zoo.name} was built from")
        spec = path.read_bytes()
    except OSError as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
    return Source(folder, replace(zoo, checkpoints=shards.assigned(zoo)), spec)


def _check(sources: Sequence[Source], to: Path) -> None:
    """Make sure that the zoos can stand side by side, and that nothing else is lost by writing them."""
    names = [source.zoo.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise MdbenchError(f"two of the zoos are called {twice!r}; a dataset has one of each name")
    if not names:
        raise MdbenchError("no zoo to publish")
    path = to / CARD
    if path.is_file() and not is_card(path.read_text(encoding="utf-8", errors="replace")):
        raise MdbenchError(f"{path} is not the card of a dataset of zoos, and would be lost; give another folder")
    if not path.exists() and (to / DATA).exists():
        raise MdbenchError(
            f"{to / DATA} is there, but no card of a dataset of zoos; give another folder, or move it away"
        )


def _withdraw(to: Path, staying: set[str], *, networks: bool) -> None:
    """Remove the zoos that are no longer part of a dataset, and the networks where none are to be part of it."""
    for manifest in (to / DATA).glob(f"*/{MANIFEST}"):
        name = manifest.parent.name
        if name not in staying:
            (to / CARD).unlink(missing_ok=True)  # from here on it is not the dataset that its card describes
            shutil.rmtree(manifest.parent)
            (to / FIGURES / f"{name}.png").unlink(missing_ok=True)
        if name not in staying or not networks:
            shutil.rmtree(to / shards.FOLDER / name, ignore_errors=True)
    for name in ("cases", "splits"):
        (to / DATA / f"{name}.parquet").unlink(missing_ok=True)


def _write_zoo(source: Source, to: Path) -> list[Path]:
    zoo, home = source.zoo, to / DATA / source.zoo.name
    home.mkdir(parents=True, exist_ok=True)
    files.tidy(home)
    (to / FIGURES).mkdir(exist_ok=True)
    write_tables(zoo, home)
    figure = to / FIGURES / f"{zoo.name}.png"
    files.replace({home / SPEC: source.spec, **({figure: drawn} if (drawn := _labels(zoo)) else {})})
    names = [MANIFEST, SPEC, *(name for name, _ in _TABLES.values())]
    return [path for path in (*(home / name for name in names), figure) if path.exists()]


def _labels(zoo: Zoo) -> bytes | None:
    """Draw the broadest question that a zoo has labels for; None where it has none, or no grid to draw them over."""
    known = [name for name in TASKS if name in zoo.configurations]
    if not known or not {"width", "batch_size"} <= set(zoo.knobs):
        return None
    drawn = io.BytesIO()
    plots.phase(zoo, known[-1]).savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def _write_networks(sources: Sequence[Source], to: Path, progress: Callable[[Progress], None]) -> list[Path]:
    begun, every = time.monotonic(), sum(source.networks for source in sources)
    before, written = 0, []

    def report(done: int) -> None:
        there = before + done
        progress(Progress(every, there, 0, every, there, there, time.monotonic() - begun))

    for source in sources:
        written += shards.write(source.folder, source.zoo, to, progress=report)
        before += source.networks
    return written


def _configs(sources: Sequence[Source], questions: Sequence[str]) -> list[Config]:
    """Return the tables of the dataset: the zoos', and the benchmark's where there is one."""
    configs = []
    for name, (file, about) in _TABLES.items():
        parts = {
            split_name(source.zoo.name): f"{DATA}/{source.zoo.name}/{file}"
            for source in sources
            if file != LAYERS or source.zoo.layers is not None
        }
        configs.append(Config(name, about, parts))
    abouts = {
        "cases": "a question asked of one zoo after learning from another",
        "splits": "a case and a seed: the configurations to learn from, and those to diagnose",
    }
    configs += [Config(name, abouts[name], {TABLE: f"{DATA}/{name}.parquet"}) for name in questions]
    return [config for config in configs if config.parts]
