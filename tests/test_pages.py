"""The pages' examples run, and what they say of tables and of output is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mdbench.scoring.evaluation import evaluate
from mdbench.tables.dataset import dataset_path
from zoo_builder.publishing.card import CASES, SPLITS, columns_said

ROOT = Path(__file__).resolve().parent.parent
TABLES = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
CARD = Path(dataset_path(), "README.md").read_text(encoding="utf-8")
CASE = "mnist1d-cnn/optimizer/cross-noise/20"


def blocks(page: str) -> list[str]:
    """Return the Python examples of a page."""
    return re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def ran(code: str, cache: Path) -> str:
    """Run code in a process of its own, in the checkout, without a network; return what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_md_tree_from_the_tables_alone_is_that_of_evaluate(tmp_path):
    said = ran(blocks(TABLES)[0], tmp_path).strip()
    assert f"It prints {said}, the accuracy in %" in TABLES
    assert said == f"{evaluate('md_tree', CASE).score('md_tree', CASE).accuracy:.2f}"


@pytest.mark.parametrize("page", [TABLES, CARD], ids=["page", "card"])
def test_the_two_lines_make_what_a_data_loader_takes(page, tmp_path):
    code = [block for block in blocks(page) if "load_dataset" in block or "DataLoader" in block]
    name = re.search(
        r'zoo = .*\["(\w+)"\]$',
        code[-1].replace("  # in a checkout; elsewhere load_dataset(mdbench.dataset_path())", ""),
        re.MULTILINE,
    )[1]
    after = (
        "batches = [*loader]\n"
        "assert set(batches[0]) == set(whole) and 100 < len(whole) < len(zoo.column_names)\n"
        "assert batches[0]['test_error'].shape == (32,)\n"
        "print(sum(float(batch['test_error'].sum()) for batch in batches), zoo.features['optimizer'].names)\n"
        "try: next(iter(DataLoader(zoo, batch_size=32)))\n"
        "except TypeError as error: print('NoneType' in str(error))\n"
    )
    total, names, dies = re.fullmatch(r"(\S+) (\[.*\])\n(.*)\n", ran("\n".join([*code, after]), tmp_path)).groups()
    table = pd.read_parquet(Path(dataset_path(), "data", name.replace("_", "-"), "configurations.parquet"))
    assert float(total) == pytest.approx(table["test_error"].sum())
    assert set(table["optimizer"]) <= set(eval(names))
    assert dies == "True"


@pytest.mark.parametrize(("name", "columns"), [("cases", CASES), ("splits", SPLITS)])
def test_every_column_of_the_benchmarks_tables_is_described(name, columns):
    assert list(pd.read_parquet(Path(dataset_path(), "data", f"{name}.parquet"))) == list(columns)
    for page in (CARD, (ROOT / "docs" / "zoos.md").read_text(encoding="utf-8")):
        assert f"The columns of `{name}`:\n\n{columns_said(columns)}\n" in page
