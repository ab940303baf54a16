"""Comparing a zoo's tables with those of some configurations that were built again.

On the same kind of machine a network is trained to the same bits. Then every value must be equal, at the precision of its
column; in double precision, numbers that differ in the last bits alone (`zoo_builder.building.pairs.LAST_BITS`) are counted
as equal, and told. On another kind of machine no network has the same tensors, and `zoo_builder.building.tolerance` judges.

Where some networks have the same tensors and others do not, there is no tolerance: a machine that rounds differently
changes all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from mdbench.tables import CHECKPOINTS, COLUMNS, CONFIGURATIONS, LAYERS, TRAJECTORY, Family
from zoo_builder.building.pairs import SINGLE, Difference, compared_columns, side_by_side
from zoo_builder.building.tolerance import by_tolerance

Verdict = Literal["equal", "within tolerance", "differs"]
_DIGEST: Final = "sha256"


@dataclass(frozen=True)
class Comparison:
    """What came of comparing tables.

    Attributes
    ----------
    verdict, said : in a word, and in a line.
    networks, digests_equal : networks, and how many of them have the same tensors.
    values : values compared to the last bit; on another kind of machine those that do not depend on rounding.
    values_equal, values_identical : how many are equal, and how many of these to the last bit.
    tests : comparisons by tolerance.
    largest : the largest difference between numbers, if there is any.
    differences : all that is too much, the worst first.
    """

    verdict: Verdict
    said: str
    networks: int
    digests_equal: int
    values: int
    values_equal: int
    values_identical: int
    tests: int
    largest: Difference | None
    differences: tuple[Difference, ...]


def compare(
    shipped: Mapping[str, pd.DataFrame],
    rebuilt: Mapping[str, pd.DataFrame],
    some: Sequence[str],
    families: Sequence[str],
) -> Comparison:
    """Compare a zoo's tables with those of some configurations that were rebuilt.

    Parameters
    ----------
    shipped, rebuilt : tables as from `zoo_builder.building.pairs.read_tables`.
    some : names of the configurations.
    families : what was measured of them.
    """
    own, rebuilt = _of(shipped, some), _of(rebuilt, some)
    before, after = own[CHECKPOINTS], rebuilt[CHECKPOINTS].reindex(own[CHECKPOINTS].index)
    alive = ~before["diverged"].astype(bool)
    same = before[_DIGEST] == after[_DIGEST]
    decisive = same[alive] if alive.any() else same  # what a network's tensors are once it has diverged may be anything
    elsewhere = not decisive.any()
    pairs = list(side_by_side(own, rebuilt, families))
    contradictions = _contradictions(shipped, families)
    fixed = [cell for pair in pairs if not elsewhere or pair.fixed for cell in pair.cells()]
    wrong = [cell.difference for cell in fixed if not cell.equal] + contradictions
    largest = max((cell.difference for cell in fixed if cell.difference.size), key=_size, default=None)
    tests: list[Difference] = []
    if elsewhere:
        tests = by_tolerance(pairs)
        largest = max(tests, key=_size, default=None)
        wrong += [test for test in tests if _size(test) > 1]
    wrong.sort(key=lambda one: (-_size(one), one.column != _DIGEST))
    counts = len(same), int(same.sum()), len(fixed), sum(cell.equal for cell in fixed)
    identical = sum(cell.identical for cell in fixed)
    verdict: Verdict = "differs" if wrong or (elsewhere and not tests) else "within tolerance" if elsewhere else "equal"
    said = _said(verdict, counts, identical, tests, largest, len(wrong), mixed=not elsewhere and not decisive.all())
    return Comparison(verdict, said, *counts, identical, len(tests), largest, tuple(wrong))


def _said(
    verdict: Verdict,
    counts: tuple[int, int, int, int],
    identical: int,
    tests: Sequence[Difference],
    largest: Difference | None,
    wrong: int,
    *,
    mixed: bool,
) -> str:
    networks, same, values, equal = counts
    if verdict == "equal":
        last = f", {equal - identical:,} of them in all but the last bits" if equal > identical else ", to the last bit"
        return f"equal: {networks:,} networks, {values:,} values{last}"
    if verdict == "within tolerance":
        assert largest is not None
        return (
            "within tolerance: no network has the same tensors, as on another kind of machine; of "
            f"{len(tests):,} comparisons the widest is {_size(largest):.2f} of what seed noise explains"
        )
    if mixed:
        return (
            f"differs: {same:,} of {networks:,} networks have the same tensors and {networks - same:,} have others: "
            "a machine that rounds differently changes all of them"
        )
    if same:
        return f"differs: the networks are the same, but {wrong:,} values are not"
    if not tests:
        return (
            "differs: no network has the same tensors, as on another kind of machine, and there are too few networks to "
            "judge them by"
        )
    return (
        "differs: no network has the same tensors, as on another kind of machine, and "
        f"{wrong:,} differences are more than seed noise explains"
    )


def _size(one: Difference) -> float:
    return np.inf if one.size is None else one.size


def _of(tables: Mapping[str, pd.DataFrame], some: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the rows of some configurations."""
    networks = tables[CHECKPOINTS]
    networks = networks[networks["configuration"].isin(some)]
    means = tables[CONFIGURATIONS]
    own = {CONFIGURATIONS: means[means.index.isin(some)], CHECKPOINTS: networks}
    own |= {
        name: tables[name][tables[name]["checkpoint"].isin(networks.index)]
        for name in (LAYERS, TRAJECTORY)
        if name in tables
    }
    return own


def _contradictions(shipped: Mapping[str, pd.DataFrame], families: Sequence[str]) -> list[Difference]:
    """Return the means and standard deviations of a zoo, of all configurations, that are not those of its own networks."""
    table, networks = shipped[CONFIGURATIONS], shipped[CHECKPOINTS]
    columns = [
        column
        for column in compared_columns(networks, families)
        if column in table and COLUMNS[column].family in (Family.LANDSCAPE, Family.VALIDATION)
    ]
    groups = networks[columns].astype(float).groupby(networks["configuration"])
    means, spreads = groups.mean().reindex(table.index), groups.std(ddof=1).reindex(table.index)
    scale = networks[columns].astype(float).abs().groupby(networks["configuration"]).max().reindex(table.index)
    found = []
    for name, wanted in (
        (name, some[column]) for column in columns for name, some in ((column, means), (f"{column}_std", spreads))
    ):
        if name not in table:
            continue
        said = table[name].astype(float)
        apart = (said - wanted).abs() / scale[name.removesuffix("_std")]
        wrong = (apart > SINGLE) | (said.isna() != wanted.isna())
        for row in table.index[wrong]:
            values = [None if pd.isna(one[row]) else float(one[row]) for one in (said, wanted, apart)]
            found.append(Difference(CONFIGURATIONS, str(row), name, values[0], values[1], values[2]))
    return found
