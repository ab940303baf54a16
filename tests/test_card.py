"""The card: YAML that `datasets` finds true, and Markdown in which nothing that a zoo says is markup; the same in Croissant."""

import json
import re
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import mlcroissant
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from markdown_it import MarkdownIt
from tiny_zoo import build_here, write_spec

from mdbench.tables.loading import load_zoo
from mdbench.tables.schema import COLUMNS, QUANTILE
from mdbench.tables.zoo import write_tables
from zoo_builder.publishing.card import UNFINISHED, is_card, split_name
from zoo_builder.publishing.publication import publish

#: The library for Croissant is behind those that it is made of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning"),
]
#: Breaks out of a cell, of a line, of code, of a fence and of text, where it is let.
HOSTILE = "a | b\n\n# loud\r\n```\n<script>x</script> ![x](http://127.0.0.1/x) [y](z) **bold** `code` <!-- \\| &lt; $x$"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two zoos of different knobs, published, the second with a hostile title and maker; nobody may change it."""
    home = tmp_path_factory.mktemp("zoos")
    build_here(write_spec(home, head='licence = "CC BY 4.0"'), home / "one")
    noisy = {"data_fraction": [50, 100], "label_noise": [0, 20], "width": [2], "batch_size": [4, 8]}
    spec = write_spec(home, "two.toml", name="tiny-noisy", head='licence = "CC BY 4.0"', seeds="[0]", **noisy)
    build_here(spec, home / "built")
    zoo = load_zoo(home / "built")
    zoo = replace(zoo, title=HOSTILE, provenance=zoo.provenance.model_copy(update={"made_by": HOSTILE}))
    write_tables(zoo, home / "two")
    shutil.copy(home / "built" / "spec.toml", home / "two")
    publish([home / "one", home / "two"], home / "dataset", networks=False, version="2.3.4", repo="lab/zoo")
    return home / "dataset"


@pytest.fixture(scope="module")
def readme(dataset) -> str:
    return (dataset / "README.md").read_text()


@pytest.fixture(scope="module")
def front(readme) -> dict:
    return yaml.safe_load(readme.split("\n---\n")[0])


def test_the_front_matter_names_every_file_once(dataset, front):
    assert front["license"] == "cc-by-4.0"
    assert front["size_categories"] == ["n<1K"]
    configs = {config["config_name"]: config for config in front["configs"]}
    assert list(configs) == ["configurations", "checkpoints", "cases", "splits"]
    assert [name for name, config in configs.items() if config.get("default")] == ["configurations"]
    paths = [file["path"] for config in configs.values() for file in config["data_files"]]
    assert sorted(paths) == sorted(path.relative_to(dataset).as_posix() for path in dataset.rglob("*.parquet"))
    assert [file["split"] for file in configs["checkpoints"]["data_files"]] == ["tiny", "tiny_noisy"]
    assert len({config["version"] for config in configs.values()}) == 1
    assert re.fullmatch(r"2\.3\.\d+", configs["cases"]["version"])


def test_the_front_matter_is_what_loading_finds(dataset, front, tmp_path):
    """`datasets` checks sizes against the card; here it says them, and the columns, without one."""
    from datasets import DatasetInfo, load_dataset

    for said in front["dataset_info"]:
        info = DatasetInfo._from_yaml_dict(dict(said))
        config = next(one for one in front["configs"] if one["config_name"] == said["config_name"])
        files = {file["split"]: str(dataset / file["path"]) for file in config["data_files"]}
        for split, file in files.items():
            table = pq.read_table(file)
            assert info.splits[split].num_examples == len(table)
            assert set(table.column_names) <= set(info.features)
        assert set(info.features) == {name for file in files.values() for name in pq.read_schema(file).names}
        assert info.download_size == sum(Path(file).stat().st_size for file in files.values())
        found = load_dataset(str(dataset), said["config_name"], cache_dir=str(tmp_path))
        for split, part in found.items():
            assert part.features == info.features
            assert part.info.splits[split].num_bytes == info.splits[split].num_bytes
        assert info.dataset_size == sum(part.num_bytes for part in info.splits.values())


def test_every_column_is_described(dataset, readme):
    columns = readme.split("\n## Columns\n")[1]
    described = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| \w+ \| (.+) \|$", columns, re.MULTILINE))
    there = {name for path in dataset.glob("data/*/*.parquet") for name in pq.read_schema(path).names}
    alone = {name for name in there if not name.endswith(("_std", QUANTILE))}
    assert described.keys() == alone
    for name, meaning in described.items():
        assert meaning.replace("\\|", "|") == COLUMNS[name].meaning
    for rest in there - alone:
        assert rest.removesuffix("_std").removesuffix(QUANTILE) in alone
    assert f"<summary>{len(alone)} columns</summary>" in readme


def test_what_a_zoo_says_is_text(readme):
    """As a reader of Markdown has it: two rows of zoos, no heading, picture, link, code or HTML that is not the card's."""
    body = readme.split("\n---\n", 1)[1]
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    inline = [child for token in tokens for child in token.children or []]
    assert [token.content for token in tokens if token.type == "html_block" and "script" in token.content] == []
    assert {child.content for child in inline if child.type == "html_inline"} == set()
    assert {child.attrs["src"] for child in inline if child.type == "image"} == {
        "figures/tiny.png",
        "figures/tiny-noisy.png",
    }
    assert [child for child in inline if child.type in ("link_open", "strong_open") and child.map] == []
    assert not any(child.type == "link_open" for child in inline)
    headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert "loud" not in headings
    text = " ".join(HOSTILE.split())
    cells = ["".join(child.content for child in token.children) for token in tokens if token.type == "inline"]
    assert text in cells
    assert any(cell.endswith(f"tiny-noisy: {text}.") for cell in cells)


def test_code_for_people_is_code(readme):
    for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        compile(block, "card", "exec")


def test_what_is_a_card_of_ours(readme):
    assert is_card(readme)
    assert is_card(UNFINISHED)
    for other in (
        "",
        "# Zoos\n",
        readme.removeprefix("---\n"),
        readme.replace("- model-diagnosis\n", ""),
        "---\ntags:\n- model-diagnosis\n---\n",
        f"---\nlicense: mit\n---\n\n{readme}",
    ):
        assert not is_card(other)


def test_splits_have_names_that_datasets_allows():
    from datasets import NamedSplit

    for zoo in ("mnist1d-cnn", "a.b", "a..b", "0", "a-", "a_b"):
        assert str(NamedSplit(split_name(zoo))) == split_name(zoo)


# In the words of Croissant


@pytest.fixture(scope="module")
def croissant(dataset):
    """The description, as the library of the specification's authors reads it; it raises where something is wrong."""
    return mlcroissant.Dataset(str(dataset / "croissant.json"))


@pytest.mark.parametrize(
    ("licences", "hub", "address", "said"),
    [
        (["CC BY 4.0", "CC BY 4.0"], "cc-by-4.0", "https://creativecommons.org/licenses/by/4.0/", "under CC BY 4.0"),
        (["CC0 1.0", "CC0 1.0"], "cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/", "under CC0 1.0"),
        (["Mine *alone*", "Mine *alone*"], "other", "Mine *alone*", r"under Mine \*alone\*"),
        (["", ""], "unknown", "not stated", "licence of the data is not stated"),
        (["  ", ""], "unknown", "not stated", "licence of the data is not stated"),
        (
            ["cc-by-4.0", "CC-BY 4.0"],
            "cc-by-4.0",
            "https://creativecommons.org/licenses/by/4.0/",
            "are under CC BY 4.0",
        ),
        (["apache-2.0", "Apache 2.0"], "apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "under Apache 2.0"),
        (
            ["MIT", ""],
            "other",
            "tiny: MIT, tiny-noisy: not stated",
            "under several licences (tiny: MIT, tiny-noisy: not stated)",
        ),
    ],
)
def test_the_licence_is_what_the_zoos_say(dataset, tmp_path, licences, hub, address, said):
    for name, licence in zip(("one", "two"), licences, strict=True):
        zoo = load_zoo(dataset.parent / name)
        shutil.copytree(dataset.parent / name, tmp_path / name)
        write_tables(replace(zoo, provenance=zoo.provenance.model_copy(update={"license": licence})), tmp_path / name)
    publish([tmp_path / "one", tmp_path / "two"], tmp_path / "dataset", networks=False)
    card = (tmp_path / "dataset" / "README.md").read_text()
    assert yaml.safe_load(card.split("\n---\n")[0])["license"] == hub
    assert said in card
    assert json.loads((tmp_path / "dataset" / "croissant.json").read_text())["license"] == address


def test_the_specifications_library_finds_it_valid(croissant):
    context = croissant.metadata.ctx
    assert not context.issues.errors
    assert [one for one in context.issues.warnings if "datePublished" not in one] == []
    metadata = croissant.metadata
    assert metadata.name == "mdbench"
    assert metadata.url == "https://huggingface.co/datasets/lab/zoo"
    assert metadata.cite_as.startswith("@inproceedings{zhou2024mdtree")
    assert 'Sch{\\"u}rholt' in metadata.cite_as
    assert [str(one) for one in metadata.license] == ["https://creativecommons.org/licenses/by/4.0/"]


def test_the_files_are_those(dataset, croissant, front):
    files = {one.content_url: one for one in croissant.metadata.distribution}
    assert files.keys() == {path.relative_to(dataset).as_posix() for path in dataset.rglob("*.parquet")}
    for path, one in files.items():
        content = (dataset / path).read_bytes()
        assert one.sha256 == sha256(content).hexdigest()
        assert one.content_size == f"{len(content)} B"
    assert croissant.metadata.version == front["configs"][0]["version"]


def test_records_come_back(dataset, croissant):
    read = 0
    for records in croissant.metadata.record_sets:
        path = {field.source.file_object for field in records.fields}
        assert len(path) == 1
        table = pd.read_parquet(dataset / path.pop())
        assert [field.name for field in records.fields] == list(table)
        for row, (_, expected) in zip(croissant.records(records.uuid), table.head(2).iterrows(), strict=False):
            read += 1
            for column, value in expected.items():
                found = row[f"{records.uuid}/{column}"]
                if isinstance(value, np.ndarray):
                    assert [one.decode() if isinstance(one, bytes) else one for one in found] == value.tolist()
                elif isinstance(value, str):
                    assert found.decode() == value
                else:
                    assert (pd.isna(found) and pd.isna(value)) or found == value
    assert read == 12


def test_it_is_no_larger_than_it_has_to_be(dataset):
    text = (dataset / "croissant.json").read_text()
    fields = sum(len(records["field"]) for records in json.loads(text)["recordSet"])
    assert len(text) < 500 * fields
