"""Arrows point one way: leaderboard → mdbench ← zoo_builder, baselines → mdbench; and mdbench never needs torch."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"mdbench", "baselines", "zoo_builder", "leaderboard"}
FORBIDDEN = {
    "mdbench": {"baselines", "zoo_builder", "leaderboard", "torch"},
    "baselines": {"zoo_builder", "leaderboard", "torch"},
    "zoo_builder": {"baselines", "leaderboard"},
    "leaderboard": {"zoo_builder", "baselines", "torch"},
}
ENTRIES = ROOT / "leaderboard" / "entries"  # what others wrote
SOURCES = [
    path for package in FORBIDDEN for path in sorted((ROOT / package).rglob("*.py")) if ENTRIES not in path.parents
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported = {name.split(".")[0] for name in names}
    assert not imported & FORBIDDEN[path.relative_to(ROOT).parts[0]]


def test_published_names_appear_in_the_importer_alone():
    names = re.compile(r"\b(bs_failure|width_vs_batch|data_vs_batch|hessian_[te]|para_amount|rfi_(inc|dec)_temp)\b")
    at = [path for path in SOURCES if names.search(path.read_text())]
    assert at == [ROOT / "mdbench" / "sources" / "modeldiagnosis.py"]


def test_nothing_is_unpickled():
    for path in SOURCES:
        assert not re.search(r"\bpickle\b|allow_pickle=True|joblib\.load", path.read_text()), path
