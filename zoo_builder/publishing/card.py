"""The card of a dataset of zoos: what its tables hold, for people and for ``datasets``.

The front matter names every table, its columns and its size. ``datasets`` keeps what it loaded under what the card says,
whatever the files hold; so the tables' version ends in a number that follows from their content. All have the same one: where
a folder is gone, ``datasets`` falls back on what it kept, and only several tables of one version make it ask which.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mdbench.showing import escape, table
from mdbench.tables import COLUMNS, NONE, QUANTILE, TASKS, Predicted, Zoo, sha256_of
from zoo_builder.publishing.licence import licence_of
from zoo_builder.reporting import label_balance, size_of, within_seed_noise

if TYPE_CHECKING:
    from datasets import DatasetInfo, Features

NAME: Final = "mdbench"
#: The card's file.
CARD: Final = "README.md"
TAGS: Final = (
    "model-diagnosis",
    "loss-landscape",
    "neural-network-zoo",
    "generalization",
    "hessian",
    "mode-connectivity",
)
TEMPLATE: Final = "card.md.jinja"
#: Where a dataset is on the Hub as long as nobody says it.
NOWHERE: Final = "ORG/NAME"
CITATION: Final = """\
@inproceedings{zhou2024mdtree,
  title     = {MD tree: a model-diagnostic tree grown on loss landscape},
  author    = {Zhou, Yefan and Chen, Jianlong and Cao, Qinxue and Sch{\\"u}rholt, Konstantin and Yang, Yaoqing},
  booktitle = {International Conference on Machine Learning},
  year      = {2024}
}"""
#: Columns of the table of cases → what they say.
CASES: Final = {
    "case": "its name: zoos, task, scenario, budget",
    "sweep": "the name without the budget: cases that differ in budget alone share it",
    "core": "whether it is of the selection `core`",
    "task": "the question's name, and the column of `configurations` that holds the true verdict",
    "question": "the question in words",
    "classes": "list of the verdicts",
    "train_zoos": "list of the zoos that are learned from",
    "test_zoo": "the zoo that is asked about",
    "scenario": "how learning and asking differ",
    "training_rows": "how the rows to learn from are drawn, in words",
    "budget": "how many are, in the unit that `training_rows` names",
    "seeds": "list of the seeds, one a training sample",
}
#: Columns of the table of splits → what they say.
SPLITS: Final = {
    "case": "the case's name",
    "seed": "which training sample",
    "train_zoo": "the zoo that is learned from; where there are several, each has a row",
    "test_zoo": "the zoo that is asked about",
    "train_split": "what `datasets` calls the first",
    "test_split": "what `datasets` calls the second",
    "train": "list of the configurations to learn from, names in `configurations` of `train_zoo`",
    "test": "list of the configurations to diagnose, names in `configurations` of `test_zoo`; the same for all seeds",
}
#: What tells a card of ours from any other README.
_MARKS: Final = (f"pretty_name: {NAME}", f"- {TAGS[0]}")
#: What a folder has for a card until it is a dataset; nothing in it can be loaded.
UNFINISHED: Final = f"""\
---
{_MARKS[0]}
tags:
{_MARKS[1]}
configs:
- config_name: unfinished
  data_files: unfinished
---

# Unfinished

This will be a dataset of zoos. `mdbench zoo publish` was stopped on the way; the same command goes on from there.
"""


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
    """Return the name of a zoo as ``datasets`` allows one for a split: letters, digits and underscores."""
    return re.sub(r"\W", "_", zoo)


def front_matter(folder: Path, zoos: Sequence[Zoo], configs: Sequence[Config], version: str) -> str:
    """Return the front matter of a dataset's card, after loading every table as its users will.

    Parameters
    ----------
    folder : the dataset's, with all files but its card.
    zoos : what it holds.
    configs : its tables, the first being the default.
    version : of the dataset, ``x.y.z``.

    Returns
    -------
    YAML, without its fences: licence, tags, sizes, and for each table its files, its columns and its numbers of rows.
    """
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    number = contents_version(folder, configs, version)
    rows = max(sum(pq.read_metadata(folder / file).num_rows for file in config.parts.values()) for config in configs)
    data = DatasetCardData(
        pretty_name=NAME,
        license=licence_of(zoos).hub,
        language=["en"],
        tags=list(TAGS),
        task_categories=["tabular-classification"],
        size_categories=[_size_category(rows)],
        configs=[
            {
                "config_name": config.name,
                **({"default": True} if at == 0 else {}),
                "version": number,
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


def contents_version(folder: Path, configs: Sequence[Config], version: str) -> str:
    """Return the version of a dataset's tables: the dataset's, ``x.y``, and a number that follows from their content."""
    said = hashlib.sha256()
    for config in configs:
        for part, file in config.parts.items():
            said.update(f"{config.name} {part} {file} {sha256_of(folder / file)}\n".encode())
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
    """Tell whether a README is a card of ours, finished or not."""
    head, _, _ = text.removeprefix("---\n").partition("\n---\n")
    return text.startswith("---\n") and set(_MARKS) <= set(head.splitlines())


def card(
    front: str,
    zoos: Sequence[Zoo],
    configs: Sequence[Config],
    version: str,
    *,
    networks: bool,
    figures: Sequence[str] = (),
    repo: str = NOWHERE,
) -> str:
    """Return the card.

    Parameters
    ----------
    front : from `front_matter`.
    zoos : what the dataset holds.
    configs : its tables.
    version : of the dataset.
    networks : whether the trained networks are part of it.
    figures : the zoos that there is a figure of.
    repo : where it will be on the Hub.
    """
    from jinja2 import Environment, StrictUndefined

    template = resources.files("zoo_builder.publishing").joinpath(TEMPLATE).read_text(encoding="utf-8")
    # Markdown for people and the Hub, which makes it safe: nothing here becomes HTML.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    rows = _columns(zoos)
    first = zoos[0].checkpoints
    return environment.from_string(template).render(
        front=front.strip(),
        zoos=_zoos(zoos),
        errors=_errors(zoos),
        figures=figures,
        repo=repo,
        first=split_name(zoos[0].name),
        tables=table(("config", "splits", "one row is"), [(f"`{c.name}`", _codes(c.parts), c.about) for c in configs]),
        asked=any(config.name == "splits" for config in configs),
        case_columns=columns_said(CASES),
        split_columns=columns_said(SPLITS),
        networks=networks,
        checkpoint=json.dumps("" if first is None else first.index[0], ensure_ascii=False),
        labels=_balance(zoos),
        column_count=len(rows),
        columns=table(("column", "unit", "family", "meaning"), rows),
        zoo=zoos[0].name,
        version=version,
        licence=_plain(licence_of(zoos).said),
        makers=[(zoo.name, _plain(zoo.provenance.made_by)) for zoo in zoos],
        citation=CITATION,
    )


def columns_said(columns: Mapping[str, str]) -> str:
    """Return what the columns of a table say, as Markdown."""
    return table(("column", "what it says"), [(f"`{name}`", said) for name, said in columns.items()])


def _zoos(zoos: Iterable[Zoo]) -> str:
    rows = []
    for zoo in zoos:
        size, errors = size_of(zoo), zoo.configurations["test_error"]
        count = "" if size.networks is None else f"{size.networks:,}"
        rows.append(
            (f"`{zoo.name}`", _plain(zoo.title), size.configurations, count, f"{errors.min():.1f} – {errors.max():.1f}")
        )
    return table(("zoo", "what it is", "configurations", "networks", "test error, %"), rows, "llrrr")


def _errors(zoos: Iterable[Zoo]) -> list[tuple[str, str]]:
    """Return what the test error of a zoo is, and its loss, where it is not of a class an example."""
    return [
        (zoo.name, f"{escape(zoo.predicted.error)}. Losses are {zoo.predicted.loss}")
        for zoo in zoos
        if zoo.predicted is not Predicted.CLASSES
    ]


def _balance(zoos: Iterable[Zoo]) -> str:
    rows = []
    for zoo in zoos:
        balance = label_balance(zoo)
        whole = balance[balance["label_noise"].isna()]
        noise = within_seed_noise(zoo)
        for name in dict.fromkeys(whole["task"]):
            counts = ", ".join(f"{row.verdict} {row.rows}" for row in whole[whole["task"] == name].itertuples())
            rows.append((f"`{zoo.name}`", f"`{name}`", counts, _decided(noise, str(name))))
    return table(("zoo", "task", "labels", "outside noise, % of rows"), rows, "lllr") if rows else ""


def _columns(zoos: Iterable[Zoo]) -> list[tuple[str, ...]]:
    """Return what the columns of the tables are, without spreads and quantiles, which are said once for all."""
    there: set[str] = set()
    for zoo in zoos:
        for part in (zoo.configurations, zoo.checkpoints, zoo.layers, zoo.trajectory):
            there |= set() if part is None else {*map(str, part.columns), str(part.index.name)}
    return [
        (f"`{column.name}`", column.unit, column.family.value, escape(column.meaning))
        for column in COLUMNS.values()
        if column.name in there and not column.name.endswith(("_std", QUANTILE))
    ]


def _plain(text: str) -> str:
    """Return a text that may say anything as one line in which nothing is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$!^])", r"\\\1", " ".join(text.split()))


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _decided(noise: pd.DataFrame, task: str) -> str:
    """Return the share of a task's rows whose label is outside noise, in %."""
    share = noise.loc[(noise["task"] == task) & noise["label_noise"].isna(), "share"]
    return f"{100 - share.iloc[0]:.0f}" if len(share) else ""
