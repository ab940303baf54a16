"""The folder of this package as a dataset, and what `datasets` remembers of a folder."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import toy
import yaml
from conftest import ROOT
from tiny_zoo import build_here, contents, write_spec

import mdbench
from mdbench import evaluate, files
from mdbench.cases.cases import load_cases
from mdbench.cases.splits import split
from mdbench.tables.dataset import bundled_zoos, dataset_path
from mdbench.tables.loading import find_zoo
from mdbench.tables.manifest import MANIFEST
from mdbench.tables.zoo import arrow_tables
from zoo_builder.publishing.benchmark import cases_table, splits_table
from zoo_builder.publishing.publication import publish

CARD = Path(dataset_path(), "README.md")
#: Loads what it is told to, and says what came of it: values of a column, or the error.
LOADING = """
import json, sys
from datasets import load_dataset

for name, config, column in json.loads(sys.argv[1]):
    try:
        found = load_dataset(name, config)
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
    else:
        print(json.dumps({split: part[column] if column else part.num_rows for split, part in found.items()}, default=list))
"""


@pytest.fixture(scope="module")
def card() -> dict:
    """The front matter of the dataset that comes with the package."""
    if not CARD.is_file():
        pytest.fail("the zoos of this package are not in it; `make zoos` makes them")
    return yaml.safe_load(CARD.read_text().split("\n---\n")[0])


def parts(card: dict) -> dict[tuple[str, str], Path]:
    """Return the files of the dataset: config and split → file."""
    return {
        (config["config_name"], file["split"]): Path(dataset_path(), file["path"])
        for config in card["configs"]
        for file in config["data_files"]
    }


def loaded(cache: Path, folder: Path, *wanted: tuple[str, str | None, str | None]) -> list:
    """Load tables in a process of its own, in a folder, without a network; return what it says of each."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", LOADING, json.dumps(wanted)]
    done = subprocess.run(command, check=True, cwd=folder, env=environment, capture_output=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


# The dataset of this package


def test_every_zoo_loads_by_its_name(card):
    names = sorted(path.parent.name for path in bundled_zoos().glob(f"*/{MANIFEST}"))
    assert sorted(split for config, split in parts(card) if config == "configurations") == [
        name.replace("-", "_") for name in names
    ]
    for name in names:
        assert find_zoo(name) == bundled_zoos() / name
        assert mdbench.load_zoo(name).name == name


def test_card_and_files_agree(card):
    said = json.loads(CARD.with_name("croissant.json").read_text())
    digests = {one["contentUrl"]: one["sha256"] for one in said["distribution"]}
    there = {path.relative_to(dataset_path()).as_posix(): path for path in bundled_zoos().rglob("*.parquet")}
    assert digests == {name: sha256(path.read_bytes()).hexdigest() for name, path in there.items()}
    assert set(parts(card).values()) == set(there.values())
    sizes = {
        one["config_name"]: {split["name"]: split["num_examples"] for split in one["splits"]}
        for one in card["dataset_info"]
    }
    for (config, name), path in parts(card).items():
        assert sizes[config][name] == pq.read_metadata(path).num_rows


def test_it_loads_without_a_network_from_the_checkout_and_from_its_path(card, tmp_path):
    configs = [config["config_name"] for config in card["configs"]]
    first = "configuration"
    *found, default, by_name = loaded(
        tmp_path,
        ROOT,
        *((dataset_path(), config, None) for config in configs),
        (dataset_path(), None, first),
        ("mdbench", None, first),
    )
    for config, said in zip(configs, found, strict=True):
        assert said == {
            name: pq.read_metadata(path).num_rows for (of, name), path in parts(card).items() if of == config
        }
    assert default == by_name
    for name, values in default.items():
        assert values == pd.read_parquet(parts(card)["configurations", name])[first].tolist()


def test_it_is_what_publishing_its_zoos_anew_gives(card, tmp_path):
    """When a case, a column or the card changes, the dataset is to be written anew."""
    zoos = [path.parent for (config, _), path in parts(card).items() if config == "configurations"]
    version = CARD.read_text().rpartition("\nVersion ")[2].split(". ")[0]
    publish(zoos, tmp_path / "anew", version=version, networks=False)
    for path, content in contents(tmp_path / "anew").items():
        if not path.startswith("figures/"):  # whose letters come with the library that draws them
            assert Path(dataset_path(), path).read_bytes() == content, f"{path}: mdbench zoo publish --to mdbench"


def test_it_is_small():
    assert sum(path.stat().st_size for path in bundled_zoos().rglob("*") if path.is_file()) < 16_000_000


def test_nothing_is_taken_for_a_script():
    """`datasets` refuses a folder with a module of its own name."""
    assert Path(dataset_path()).is_absolute()
    assert not Path(dataset_path(), f"{Path(dataset_path()).name}.py").exists()


# The benchmark is in its tables


def majority(tables: dict[str, pd.DataFrame], case: str, task: str) -> float:
    """Score the majority method from the tables alone: the share of right verdicts, averaged over seeds, in %."""
    scores = []
    rows = tables["splits"][tables["splits"]["case"] == case]
    classes = tables["cases"].set_index("case").loc[case, "classes"].tolist()
    for _, several in rows.groupby("seed"):  # a row for each zoo that is learned from
        labels = [tables[row.train_zoo].set_index("configuration")[task].loc[row.train] for row in several.itertuples()]
        row = next(several.itertuples())
        test = tables[row.test_zoo].set_index("configuration")[task]
        counts = pd.concat(labels).value_counts()
        most = sorted(label for label, count in counts.items() if count == counts.max())[0]
        assert most in classes
        scores.append((test.loc[row.test] == most).mean())
    return 100 * sum(scores) / len(scores)


def scored(case: str) -> float:
    result = evaluate("majority", case)
    assert not result.failures
    return result.scores[0].accuracy


@pytest.mark.parametrize("name", ["cifar10/optimizer/few-shot/8", "cifar10/width_vs_optimizer/few-shot/1"])
def test_accuracy_follows_from_the_tables(toy_home, tmp_path, name):
    zoos = {zoo.name: zoo for zoo in toy.both()}
    posed = [split(case, zoos[case.train], zoos[case.test]) for case in load_cases(name)]
    written = {zoo: arrow_tables(one)["configurations.parquet"] for zoo, one in zoos.items()}
    for table, content in {**written, "cases": cases_table(posed), "splits": splits_table(posed)}.items():
        (tmp_path / f"{table}.parquet").write_bytes(files.parquet(content))
    tables = {path.stem: pd.read_parquet(path) for path in tmp_path.glob("*.parquet")}
    assert majority(tables, name, posed[0].case.task) == pytest.approx(scored(name), abs=1e-9)


def test_accuracy_follows_from_the_tables_of_the_package(card):
    tables = {config: pd.read_parquet(path) for (config, name), path in parts(card).items() if name == "table"}
    tables |= {
        path.parent.name: pd.read_parquet(path)
        for (config, _), path in parts(card).items()
        if config == "configurations"
    }
    core = tables["cases"][tables["cases"]["core"]]
    assert len(core)
    for case in core.iloc[::5].itertuples():
        assert majority(tables, case.case, case.task) == pytest.approx(scored(case.case), abs=1e-9)


# What `datasets` remembers


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    home = tmp_path_factory.mktemp("builds")
    build_here(write_spec(home), home / "tiny")
    return home


def blind(card: str) -> str:
    """Return a card without versions and sizes."""
    front, rest = card.removeprefix("---\n").split("\n---\n", 1)
    said = yaml.safe_load(front)
    del said["dataset_info"]
    for config in said["configs"]:
        del config["version"]
    return f"---\n{yaml.safe_dump(said)}---\n{rest}"


def versions(card: str) -> set[str]:
    return {config["version"] for config in yaml.safe_load(card.split("\n---\n")[0])["configs"]}


def test_what_datasets_remembers_of_a_folder_is_never_taken_for_its_content(build, tmp_path):
    """It finds what it loaded before by what the card says. Without the version the files could change unseen."""
    from datasets import load_dataset

    write_spec(build, "other.toml", training="epochs = 2")
    build_here(build / "other.toml", tmp_path / "other")
    home, errors, cards = tmp_path / "mdbench", [], []

    def load(card: str) -> list[float]:
        (home / "README.md").write_text(card)
        return list(load_dataset(str(home), cache_dir=str(tmp_path / "cache"))["tiny"]["test_error"])

    for zoo in (build / "tiny", tmp_path / "other"):
        publish([zoo], home, networks=False)
        cards.append((home / "README.md").read_text())
        errors.append(pd.read_parquet(home / "data" / "tiny" / "configurations.parquet")["test_error"].tolist())
        assert load(cards[-1]) == errors[-1]
        assert load(blind(cards[0])) == errors[0]  # the second time a trap: these are not the folder's
    assert errors[0] != errors[1]
    assert not versions(cards[0]) & versions(cards[1])
    publish([build / "tiny"], home, networks=False)
    assert (home / "README.md").read_text() == cards[0]


def test_a_folder_that_is_gone(build, tmp_path):
    """A full path is an error. A name is one that was loaded before, and only several tables make it ask which."""
    home = tmp_path / "here" / "mdbench"
    publish([build / "tiny"], home, networks=False)
    elsewhere, cache = tmp_path / "elsewhere", tmp_path / "cache"
    elsewhere.mkdir()
    names = pd.read_parquet(home / "data" / "tiny" / "configurations.parquet")["configuration"].tolist()
    found = loaded(cache, home.parent, ("mdbench", None, "configuration"), (str(home), None, "configuration"))
    assert found == [{"tiny": names}] * 2
    by_name, cases = loaded(cache, elsewhere, ("mdbench", None, "configuration"), (str(home), "cases", "case"))
    assert by_name == {"tiny": names}
    assert cases["table"]
    shutil.rmtree(home)
    by_name, by_path, other = loaded(
        cache,
        elsewhere,
        ("mdbench", None, None),
        (str(home), None, None),
        ("mdbench", "configurations", "configuration"),
    )
    assert by_name.startswith("ValueError: There are multiple 'mdbench' configurations in the cache")
    assert by_path.startswith("FileNotFoundError: Couldn't find any data file at")
    assert other == {"tiny": names}
