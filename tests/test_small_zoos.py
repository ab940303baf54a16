"""The quick specifications of docs/zoos.md: each is planned and built, and measured and reported along one of its axes."""

import re
from pathlib import Path

import pandas as pd
import pytest
from tiny_zoo import here

from mdbench.tables import COLUMNS
from zoo_builder.building.builder import build, forecast
from zoo_builder.building.measuring import measure
from zoo_builder.landscape import FAMILIES, Settings
from zoo_builder.reporting import write_report

PAGE = Path(__file__).parents[1] / "docs" / "zoos.md"
SPECS = {
    re.search(r'name = "(.*?)"', block)[1]: block  # type: ignore[index]
    for block in re.findall(r"```toml\n(name = \"small-.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
}
SMALL = Settings(train_sample=60, topology_sample=20)


#: What training says of every network.
TRAINED = ("train_error", "train_loss", "test_error", "test_loss", "generalization_gap")


def along_one_axis(text: str) -> str:
    """Return a specification with all values of its first axis, and the last one of each of the others."""
    before, first, *others = text.split("[[axes]]")
    return "[[axes]]".join(
        [before, first, *(re.sub(r"values = \[.*, (.*)\]", r"values = [\1]", one) for one in others)]
    )


#: Those that take a minute or so; the curves between networks of an equation take four.
QUICK = [name for name in SPECS if name != "small-convection"]


@pytest.mark.parametrize("name", QUICK)
def test_a_specification_of_the_page_becomes_a_zoo(name, tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPECS[name], encoding="utf-8")
    planned = forecast(path, "cpu", 1)
    whole = build(path, tmp_path / "whole", here)
    assert len(whole.checkpoints) == planned.models
    path.write_text(along_one_axis(SPECS[name]), encoding="utf-8")
    zoo = build(path, tmp_path / "zoo", here)
    assert 2 <= len(zoo.configurations) < len(whole.configurations)
    measured = measure(tmp_path / "zoo", here, settings=SMALL)
    pd.testing.assert_series_equal(measured.configurations["test_error"], zoo.configurations["test_error"])
    table = measured.checkpoints
    for family in (family for family in FAMILIES.values() if family.reason in table):
        reasons = table[family.reason]
        for column in family.columns("checkpoint"):
            missing = table[column].isna() if column in table else pd.Series(True, index=table.index)
            assert reasons[missing].notna().all(), (column, COLUMNS[column].needs)
            if column in TRAINED:
                assert not missing.any()
                assert not reasons.str.contains(rf"\b{column}\b").any()
    write_report(tmp_path / "zoo", tmp_path / "report")
    assert (tmp_path / "report" / "report.md").is_file()
