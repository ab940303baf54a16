"""Zoos as a dataset: a folder that ``datasets`` reads as it is, and that the Hugging Face Hub shows.

    README.md                            the card
    croissant.json                       the same for machines, in the words of Croissant
    data/ZOO/                            a zoo: zoo.json, its tables, spec.toml
    data/cases.parquet, splits.parquet   the benchmark on these zoos
    figures/ZOO.png                      which label stands where
    checkpoints/ZOO/                     the networks, see `zoo_builder.publishing.shards`

The card comes last. Until then there is one that describes nothing, which says that the folder is not finished, and is ours
to go on with. Everything is a function of the zoos, so that publishing the same again gives the same bytes.
"""

import io
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import matplotlib.pyplot as plt

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.showing import plots
from mdbench.tables import (
    CHECKPOINTS,
    CONFIGURATIONS,
    DATA,
    LAYERS,
    MANIFEST,
    TRAJECTORY,
    Zoo,
    find_zoo,
    load_zoo,
    sha256_of,
    single_precision,
    write_tables,
)
from zoo_builder.building import SPEC, Built, Progress, alone, writing
from zoo_builder.publishing import shards
from zoo_builder.publishing.benchmark import cases_of, cases_table, splits_table
from zoo_builder.publishing.card import CARD, NOWHERE, UNFINISHED, Config, card, front_matter, is_card, split_name
from zoo_builder.publishing.croissant import croissant

CROISSANT: Final = "croissant.json"
FIGURES: Final = "figures"
#: The one part of a table that is not cut by zoos.
TABLE: Final = "table"
_TABLES: Final = {
    "configurations": (CONFIGURATIONS, "a grid point: its labels, and means over its seeds of what was measured"),
    "checkpoints": (CHECKPOINTS, "a network: its grid point, its seed, and what was measured of it"),
    "layers": (LAYERS, "a layer of a network: the Hessian and the spectrum of its weights"),
    "trajectory": (TRAJECTORY, "a layer of a network at a step of its training: the spectrum of its weights there"),
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
    repo: str = NOWHERE,
    trust_code: bool = False,
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
    trust_code : whether to run the code that the specification names, see `zoo_builder.specification.check_trust`.
    progress : called after every shard.

    Returns
    -------
    Every file of the dataset.

    Raises
    ------
    MdbenchError
        A folder is no zoo, or one whose networks or specification are not there, or whose specification names code, and is
        not trusted; two zoos share a name; the folder cannot
        be written, holds something else, or is written by somebody else at this moment.
    """
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version, re.ASCII):
        raise MdbenchError(f"{version!r} is no version; one is three numbers, 1.0.0")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo, re.ASCII):
        raise MdbenchError(f"{repo!r} is no dataset on the Hub; one is ORG/NAME")
    sources = [_source(find_zoo(folder)) for folder in folders]
    cases = cases_of([source.zoo for source in sources])
    questions = {"cases": cases_table(cases), "splits": splits_table(cases)} if cases else {}
    _check(sources, to, networks=networks, trust_code=trust_code)
    with writing(to), alone(to, "publishing"):
        files.replace({to / CARD: UNFINISHED.encode()})
        _withdraw(to, {source.zoo.name for source in sources}, networks=networks)
        written = [path for source in sources for path in _write_zoo(source, to)]
        if networks:
            written += _write_networks(sources, to, progress, trust_code=trust_code)
        paths = {to / DATA / f"{name}.parquet": files.parquet(table) for name, table in questions.items()}
        files.replace(paths)
        configs = _configs(sources, list(questions))
        zoos = [source.zoo for source in sources]
        drawn = [zoo.name for zoo in zoos if to / FIGURES / f"{zoo.name}.png" in written]
        front = front_matter(to, zoos, configs, version)
        text = card(front, zoos, configs, version, networks=networks, figures=drawn, repo=repo)
        machines = croissant(to, zoos, configs, version, repo=repo)
        files.replace({to / CROISSANT: machines.encode(), to / CARD: text.encode()})
    return [*written, *paths, to / CROISSANT, to / CARD]


def preview(
    folders: Sequence[Path | str],
    to: Path,
    *,
    version: str = "1.0.0",
    networks: bool = True,
    repo: str = NOWHERE,
    trust_code: bool = False,
) -> dict[str, int]:
    """Return what `publish` would write, file → bytes. Nothing is left behind.

    The card, and what it is for machines, are about a dataset without networks: their sizes are a little smaller.

    Raises
    ------
    MdbenchError
        As `publish` does.
    """
    sources = [_source(find_zoo(folder)) for folder in folders]
    _check(sources, to, networks=networks, trust_code=trust_code)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "dataset")
        written = publish(folders, home, version=version, networks=False, repo=repo)
        sizes = {path.relative_to(home).as_posix(): path.stat().st_size for path in written}
    if networks:
        for source in sources:
            sizes |= shards.sizes(source.folder, source.zoo, trust_code=trust_code)
    return sizes


def _source(folder: Path) -> Source:
    zoo = load_zoo(folder)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,79}", zoo.name):
        raise MdbenchError(f"{folder}: {zoo.name!r} is no name for a zoo: lower-case letters, digits, '.', '_' and '-'")
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
    return Source(folder, replace(single_precision(zoo), checkpoints=shards.assigned(zoo)), spec)


def _check(sources: Sequence[Source], to: Path, *, networks: bool, trust_code: bool) -> None:
    """Make sure that the zoos can stand side by side, and that nothing else is lost by writing them."""
    names: dict[str, str] = {}
    for source in sources:
        name = source.zoo.name
        other = names.setdefault(split_name(name), name)
        if other == name and len(names) <= sources.index(source):
            raise MdbenchError(f"two of the zoos are called {name!r}; a dataset has one of each name")
        if other != name:
            raise MdbenchError(f"the zoos {other!r} and {name!r} are one to `datasets`; rename one of them")
    if not names:
        raise MdbenchError("no zoo to publish")
    path = to / CARD
    with writing(to):
        if path.is_file() and not is_card(path.read_text(encoding="utf-8", errors="replace")):
            raise MdbenchError(f"{path} is not the card of a dataset of zoos, and would be lost; give another folder")
        there = [to / name for name in (DATA, FIGURES, shards.FOLDER, CROISSANT) if (to / name).exists()]
    if there and not path.exists():
        raise MdbenchError(
            f"{there[0]} is there, but no card of a dataset of zoos; give another folder, or move it away"
        )
    if networks:
        for source in sources:
            Built.open(source.folder, trust_code=trust_code)  # its networks are there


def _withdraw(to: Path, staying: set[str], *, networks: bool) -> None:
    """Remove the zoos that are no longer part of a dataset, networks where none are to be part of it, and what is made anew.

    A zoo is known by its manifest or the index of its networks; the manifest goes last, so that all of it goes in the end.
    """
    for folder in (to, to / DATA, to / FIGURES):
        files.tidy(folder)
    for path in (to / CROISSANT, *(to / DATA / f"{name}.parquet" for name in ("cases", "splits"))):
        path.unlink(missing_ok=True)
    known = [*(to / DATA).glob(f"*/{MANIFEST}"), *(to / shards.FOLDER).glob(f"*/{shards.INDEX}")]
    for name in sorted({path.parent.name for path in known}):
        home, shelf = to / DATA / name, to / shards.FOLDER / name
        if name not in staying or not networks:
            _remove(shelf, [*shelf.glob("shard-*.safetensors"), shelf / shards.INDEX])
        if name not in staying:
            (to / FIGURES / f"{name}.png").unlink(missing_ok=True)
            _remove(home, [*(home / table for table, _ in _TABLES.values()), home / SPEC, home / MANIFEST])
    for folder in (to / FIGURES, to / shards.FOLDER):
        _remove(folder, [])


def _remove(folder: Path, ours: Sequence[Path]) -> None:
    """Remove files, and their folder where nothing else is in it."""
    files.tidy(folder)
    for path in ours:
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _write_zoo(source: Source, to: Path) -> list[Path]:
    zoo, home = source.zoo, to / DATA / source.zoo.name
    home.mkdir(parents=True, exist_ok=True)
    files.tidy(home)
    write_tables(zoo, home)
    files.replace({home / SPEC: source.spec})
    figure, drawn = to / FIGURES / f"{zoo.name}.png", _labels(zoo)
    if drawn:
        figure.parent.mkdir(exist_ok=True)
        files.replace({figure: drawn})
    else:
        figure.unlink(missing_ok=True)
    names = [MANIFEST, SPEC, *(name for name, _ in _TABLES.values())]
    return [path for path in (*(home / name for name in names), figure) if path.exists()]


def _labels(zoo: Zoo) -> bytes | None:
    """Draw the broadest question that a zoo has labels for; None where it has none, or no grid to draw them over."""
    known = list(zoo.tasks)
    if not known or not {"width", "batch_size"} <= set(zoo.knobs):
        return None
    drawn, title = io.BytesIO(), " ".join(zoo.title.split()).replace("$", r"\$")  # no formula, whatever it says
    figure = plots.phase(replace(zoo, title=title), known[-1])
    figure.savefig(drawn, format="png", metadata={"Software": None})
    plt.close(figure)
    return drawn.getvalue()


def _write_networks(
    sources: Sequence[Source], to: Path, progress: Callable[[Progress], None], *, trust_code: bool
) -> list[Path]:
    begun, every = time.monotonic(), sum(source.networks for source in sources)
    before, written = 0, []

    def report(done: int) -> None:
        there = before + done
        progress(Progress(every, there, 0, every, there, there, time.monotonic() - begun))

    for source in sources:
        written += shards.write(source.folder, source.zoo, to, trust_code=trust_code, progress=report)
        before += source.networks
    return written


def _configs(sources: Sequence[Source], questions: Sequence[str]) -> list[Config]:
    """Return the tables of the dataset: the zoos', and the benchmark's where there is one."""
    configs = []
    for name, (file, about) in _TABLES.items():
        parts = {
            split_name(source.zoo.name): f"{DATA}/{source.zoo.name}/{file}"
            for source in sources
            if {LAYERS: source.zoo.layers, TRAJECTORY: source.zoo.trajectory}.get(file, source.zoo) is not None
        }
        configs.append(Config(name, about, parts))
    abouts = {
        "cases": "a question asked of one zoo after learning from it or from others",
        "splits": "a case, a seed and a zoo: its configurations to learn from, and those to diagnose",
    }
    configs += [Config(name, abouts[name], {TABLE: f"{DATA}/{name}.parquet"}) for name in questions]
    return [config for config in configs if config.parts]
