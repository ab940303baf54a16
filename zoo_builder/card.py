"""The card of a dataset of zoos: what its tables hold, for people and for ``datasets``.

The front matter names every table, its columns and its size. ``datasets`` keeps what it loaded under a table's name and
version alone, whatever the files hold; so a version ends in a number that follows from their content.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mdbench.markdown import escape, table
from mdbench.schema import COLUMNS, QUANTILE
from mdbench.tasks import NONE, TASKS
from mdbench.zoo import Zoo
from zoo_builder.summary import label_balance, size_of, within_seed_noise

if TYPE_CHECKING:
    from datasets import DatasetInfo, Features

#: What tells a card of ours from any other README.
TAG: Final = "model-diagnosis"
TAGS: Final = (TAG, "loss-landscape", "neural-network-zoo", "generalization", "hessian", "mode-connectivity")
TEMPLATE: Final = "card.md.jinja"


@dataclass(frozen=True)
class Config:
    """A table of the dataset, in parts.

    Attributes
    ----------
    name : the table's name.
    about : one line for people.
    parts : name of a part, a ``split`` in the words of ``datasets`` → file, relative to the dataset's folder.
    """

    name: str
    about: str
    parts: Mapping[str, str]


def split_name(zoo: str) -> str:
    """Return the name of a zoo as ``datasets`` allows one for a split: letters, digits, dots and underscores."""
    return zoo.replace("-", "_")


def front_matter(folder: Path, configs: Sequence[Config], version: str) -> str:
    """Return the front matter of a dataset's card, after loading every table as its users will.

    Parameters
    ----------
    folder : the dataset's, with all files but its card.
    configs : its tables, the first being the default.
    version : of the dataset, ``x.y.z``.

    Returns
    -------
    YAML, without its fences: licence, tags, sizes, and for each table its files, its columns and its numbers of rows.
    """
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    rows = max(sum(pq.read_metadata(folder / file).num_rows for file in config.parts.values()) for config in configs)
    data = DatasetCardData(
        pretty_name="mdbench",
        license="cc-by-4.0",
        language=["en"],
        tags=list(TAGS),
        task_categories=["tabular-classification"],
        size_categories=[_size_category(rows)],
        configs=[
            {
                "config_name": config.name,
                **({"default": True} if at == 0 else {}),
                "version": _version(folder, config, version),
                "data_files": [{"split": part, "path": file} for part, file in config.parts.items()],
            }
            for at, config in enumerate(configs)
        ],
    )
    DatasetInfosDict({config.name: _loaded(folder, config) for config in configs}).to_dataset_card_data(data)
    return str(data.to_yaml(line_break="\n"))


def _size_category(rows: int) -> str:
    for most, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if rows < most:
            return name
    return "1M<n<10M"


def _version(folder: Path, config: Config, version: str) -> str:
    said = hashlib.sha256()
    for part, file in config.parts.items():
        said.update(f"{part} {file} {hashlib.sha256((folder / file).read_bytes()).hexdigest()}\n".encode())
    major, minor, _ = version.split(".")
    return f"{major}.{minor}.{int(said.hexdigest()[:7], 16)}"


def features(folder: Path, config: Config) -> "Features":
    """Return the columns of a table as ``datasets`` describes them: those of all its parts, labels with their verdicts."""
    from datasets import ClassLabel, Features

    schemas = [pq.read_schema(folder / file) for file in config.parts.values()]
    merged = pa.unify_schemas(schemas)
    if set(merged.names) <= set(COLUMNS):
        merged = pa.schema([merged.field(name) for name in COLUMNS if name in merged.names])
    found = Features.from_arrow_schema(merged)
    for task in TASKS.values():
        if task.name in found:
            found[task.name] = ClassLabel(names=[*task.classes, NONE])
    return found


def _loaded(folder: Path, config: Config) -> "DatasetInfo":
    """Load a table from its files into nowhere, and return what ``datasets`` says of it."""
    from datasets import DatasetInfo, load_dataset
    from datasets.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with tempfile.TemporaryDirectory() as cache:
            found = load_dataset(
                "parquet",
                data_files={part: str(folder / file) for part, file in config.parts.items()},
                features=features(folder, config),
                cache_dir=cache,
            )
            info = next(iter(found.values())).info
            return DatasetInfo(
                features=info.features,
                splits=info.splits,
                download_size=sum((folder / file).stat().st_size for file in config.parts.values()),
                dataset_size=info.dataset_size,
            )
    finally:
        if bars:
            logging.enable_progress_bar()


def is_card(text: str) -> bool:
    """Tell whether a README is a card of ours."""
    head, _, _ = text.removeprefix("---\n").partition("\n---\n")
    return text.startswith("---\n") and f"- {TAG}" in head.splitlines()


def card(
    front: str, zoos: Sequence[Zoo], configs: Sequence[Config], version: str, *, networks: bool, repo: str = "ORG/NAME"
) -> str:
    """Return the card.

    Parameters
    ----------
    front : from `front_matter`.
    zoos : what the dataset holds.
    configs : its tables.
    version : of the dataset.
    networks : whether the trained networks are part of it.
    repo : where it will be on the Hub.
    """
    from jinja2 import Environment, StrictUndefined

    template = resources.files("zoo_builder").joinpath(TEMPLATE).read_text(encoding="utf-8")
    # Markdown for people and the Hub, which makes it safe: nothing here becomes HTML.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    rows = _columns(zoos)
    first = zoos[0].checkpoints
    return environment.from_string(template).render(
        front=front.strip(),
        zoos=_zoos(zoos),
        figures=[zoo.name for zoo in zoos],
        repo=repo,
        first=split_name(zoos[0].name),
        tables=table(("config", "splits", "one row is"), [(f"`{c.name}`", _codes(c.parts), c.about) for c in configs]),
        asked=any(config.name == "splits" for config in configs),
        networks=networks,
        checkpoint=first.index[0] if first is not None else "",
        labels=_balance(zoos),
        column_count=len(rows),
        columns=table(("column", "unit", "family", "meaning"), rows),
        version=version,
        makers=[(zoo.name, zoo.provenance.made_by) for zoo in zoos],
    )


def _zoos(zoos: Iterable[Zoo]) -> str:
    rows = []
    for zoo in zoos:
        size, errors = size_of(zoo), zoo.configurations["test_error"]
        count = "" if size.networks is None else f"{size.networks:,}"
        rows.append(
            (f"`{zoo.name}`", escape(zoo.title), size.configurations, count, f"{errors.min():.1f} – {errors.max():.1f}")
        )
    return table(("zoo", "what it is", "configurations", "networks", "test error, %"), rows, "llrrr")


def _balance(zoos: Iterable[Zoo]) -> str:
    rows = []
    for zoo in zoos:
        balance = label_balance(zoo)
        whole = balance[balance["label_noise"].isna()]
        noise = within_seed_noise(zoo)
        for name in dict.fromkeys(whole["task"]):
            counts = ", ".join(f"{row.verdict} {row.rows}" for row in whole[whole["task"] == name].itertuples())
            rows.append((f"`{zoo.name}`", f"`{name}`", counts, _decided(noise, str(name))))
    return table(("zoo", "task", "labels", "margin above two standard errors, % of rows"), rows, "lllr") if rows else ""


def _columns(zoos: Iterable[Zoo]) -> list[tuple[str, ...]]:
    """Return what the columns of the tables are, without spreads and quantiles, which are said once for all."""
    there: set[str] = set()
    for zoo in zoos:
        for part in (zoo.configurations, zoo.checkpoints, zoo.layers):
            there |= set() if part is None else {*map(str, part.columns), str(part.index.name)}
    return [
        (f"`{column.name}`", column.unit, column.family.value, escape(column.meaning))
        for column in COLUMNS.values()
        if column.name in there and not column.name.endswith(("_std", QUANTILE))
    ]


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _decided(noise: pd.DataFrame, task: str) -> str:
    """Return the share of a task's rows whose margin is above two standard errors, in %."""
    share = noise.loc[(noise["task"] == task) & noise["label_noise"].isna(), "share"]
    return f"{100 - share.iloc[0]:.0f}" if len(share) else ""
