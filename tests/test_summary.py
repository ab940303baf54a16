"""What a zoo's tables say, against counts made by hand and correlations computed otherwise."""

import itertools

import numpy as np
import pandas as pd
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mdbench.sources.modeldiagnosis import MOVES
from mdbench.tables.labels import Move
from mdbench.tables.manifest import Provenance
from mdbench.tables.zoo import Zoo
from zoo_builder.landscape.registry import FAMILIES
from zoo_builder.reporting import summary

ORIGIN = Provenance(source="a test", license="MIT", made_by="the tests")
TEMPERATURE = (Move("temperature_up", "batch_size", "down"), Move("temperature_down", "batch_size", "up"))
NAN = np.nan


def by_hand(errors, moves=TEMPERATURE, noise=None, **columns):
    """A zoo of one row of `errors` a data fraction (10, 20, …), one column a batch size (8, 16, …)."""
    table = pd.DataFrame(
        [
            {"data_fraction": 10.0 * (i + 1), "batch_size": 8.0 * 2**j, "test_error": error}
            for i, line in enumerate(errors)
            for j, error in enumerate(line)
        ]
    ).assign(**columns)
    if noise is not None:
        table["label_noise"] = np.repeat(noise, len(errors[0])).astype(float)
    return Zoo.from_table("hand", "by hand", table, moves, ORIGIN)


#: The best batch size lies inside, at the lower end, at the upper end, inside behind a row that diverged, and nowhere.
FIVE = [[30, 20, 25], [10, 20, 30], [30, 20, 10], [NAN, 20, 30], [NAN, NAN, NAN]]


def test_labels_are_counted():
    found = summary.label_balance(by_hand(FIVE)).set_index("verdict")
    # Too hot: 30 of the first line, 30 and 20 of the third. Too cold: 25, 20 and 30 of the second, 30 of the fourth.
    assert found["rows"].to_dict() == {"temperature_too_low": 4, "temperature_too_high": 3, "none": 4}
    assert found["share"].to_dict() == pytest.approx(
        {"temperature_too_low": 400 / 7, "temperature_too_high": 300 / 7, "none": NAN}, nan_ok=True
    )
    assert set(found["task"]) == {"optimizer"}  # the others ask about moves that the grid has not
    assert found["label_noise"].isna().all()


def test_labels_are_counted_apart_for_every_label_noise():
    zoo = by_hand(FIVE[:4], noise=[0, 0, 10, 10])
    counts = summary.label_balance(zoo).set_index(["label_noise", "verdict"])["rows"]
    assert counts[0.0].to_dict() == {"temperature_too_low": 3, "temperature_too_high": 1, "none": 2}
    assert counts[10.0].to_dict() == {"temperature_too_low": 1, "temperature_too_high": 2, "none": 2}
    optima = summary.optima(zoo).set_index("label_noise").loc[[0.0, 10.0], ["inside", "lower", "upper"]]
    assert optima.to_numpy().tolist() == [[1, 1, 0], [1, 0, 1]]


def test_a_zoo_without_moves_has_no_labels_and_no_optima():
    zoo = by_hand(FIVE, moves=())
    for found in (summary.label_balance(zoo), summary.optima(zoo), summary.growth(zoo), summary.within_seed_noise(zoo)):
        assert found.empty


@pytest.mark.parametrize(("cold", "rare"), [(49, False), (50, True)])
def test_a_verdict_below_two_percent_is_rare(cold, rare):
    falling = [[20 + i, 10] for i in range(cold)]  # 1 is too cold, of 50 in the first case, and of 51 in the second
    found = summary.rare_verdicts(summary.label_balance(by_hand([*falling, [10, 20]])))
    assert found["verdict"].tolist() == (["temperature_too_low"] if rare else [])


def test_a_verdict_that_never_occurs_is_rare_and_no_verdict_is_none():
    found = summary.rare_verdicts(summary.label_balance(by_hand([[20, 10]])))
    assert found["verdict"].tolist() == ["temperature_too_low"]
    assert summary.rare_verdicts(summary.label_balance(by_hand([[10, 10]]))).empty


def test_optima_lie_inside_or_at_an_end():
    (row,) = summary.optima(by_hand(FIVE)).to_dict("records")
    assert {key: row[key] for key in ("knob", "cells", "inside", "lower", "upper")} == {
        "knob": "batch_size",
        "cells": 4,
        "inside": 2,
        "lower": 1,
        "upper": 1,
    }


def test_growing_is_counted_where_there_is_room_to_grow():
    # Along the data: 30 → 20 → 20 → 25 at one batch size, 10 → 9 → 8 → 7 at the other.
    errors = [[30, 10], [20, 9], [20, 8], [25, 7]]
    (row,) = summary.growth(by_hand(errors, moves=(Move("data", "data_fraction", "up"),))).to_dict("records")
    assert (row["move"], row["rows"], row["helps"]) == ("data", 6, 4)
    assert np.isnan(row["clearly"])


def test_growing_clearly_is_by_more_than_two_standard_errors():
    # Gains over seeds: 4 ± 1 (standard error of 3 and 5), and 1 ± 1: the first is clear, the second is not.
    by_seed = {(10, 8): (20, 22), (20, 8): (17, 17), (10, 16): (20, 20), (20, 16): (18, 20)}
    zoo = with_networks(by_seed, (Move("data", "data_fraction", "up"),))
    (row,) = summary.growth(zoo).to_dict("records")
    assert (row["rows"], row["helps"], row["clearly"]) == (2, 2, 1)


def with_networks(by_seed, moves, **columns):
    """A zoo from (data fraction, batch size) → test errors of its seeds; `columns` are those of the networks."""
    rows = [
        {"data_fraction": float(d), "batch_size": float(b), "seed": seed, "test_error": float(error)}
        for (d, b), errors in by_seed.items()
        for seed, error in enumerate(errors)
    ]
    one = pd.DataFrame(rows).assign(**columns)
    one["configuration"] = [f"{d:g}/{b:g}" for d, b in zip(one["data_fraction"], one["batch_size"], strict=True)]
    one["checkpoint"] = one["configuration"] + "/" + one["seed"].astype(str)
    means = one.drop(columns=["seed", "diverged"], errors="ignore").groupby("configuration", sort=False)
    means = means.mean(numeric_only=True).reset_index()
    return Zoo.from_table("n", "networks", means, moves, ORIGIN, one)


def test_labels_within_noise_are_those_below_students_quantile():
    # One batch size is better than the other by 42.9 ± 0.1 points, by 1 ± 1, and by 2 ± 1: of two seeds, 12.7 errors are asked.
    by_seed = {
        (10, 8): (60.001, 60),
        (10, 16): (17.001, 17.2),
        (20, 8): (20, 20),
        (20, 16): (18, 20),
        (30, 8): (9, 11),
        (30, 16): (8, 8),
    }
    (row,) = summary.within_seed_noise(with_networks(by_seed, TEMPERATURE)).to_dict("records")
    assert (row["task"], row["rows"], row["within"]) == (
        "optimizer",
        3,
        2,
    )  # the better points themselves have no verdict
    assert row["share"] == pytest.approx(200 / 3)
    assert (row["margin"], row["margin_se"]) == pytest.approx((2, 1))


def test_seed_noise_is_not_known_from_one_seed_or_from_means():
    alone = {point: errors[:1] for point, errors in {(10, 8): (20, 22), (10, 16): (17, 17)}.items()}
    assert summary.within_seed_noise(with_networks(alone, TEMPERATURE)).empty
    assert summary.within_seed_noise(toy.zoo()).empty


def test_sizes():
    networks = toy.own_zoo()
    assert summary.size_of(networks) == summary.Size(416, 1248, 1, (3, 3))
    assert summary.size_of(toy.zoo()) == summary.Size(1690, None, None, None)
    uneven = with_networks({(10, 8): (1, 2, 3), (10, 16): (1,)}, TEMPERATURE, diverged=[False, True, False, False])
    assert summary.size_of(uneven) == summary.Size(2, 4, 1, (1, 3))
    means = by_hand([[1, 2]], seeds=[3, 2], diverged_seeds=[0, 1])
    assert summary.size_of(means) == summary.Size(2, 6, 1, (3, 3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("diverged", {"train_ece": "diverged", "test_ece": "diverged"}),
        ("train_ece: too flat", {"train_ece": "too flat"}),
        ("train_ece, test_ece: why: because; so", {"train_ece": "why: because; so", "test_ece": "why: because; so"}),
        ("train_ece: one; test_ece: other", {"train_ece": "one", "test_ece": "other"}),
        ("Note: odd; test_ece: other", {"train_ece": "Note: odd", "test_ece": "other"}),
        ("2 of its networks: train_ece: one", {}),
        ("all gone; 3 of its networks: train_ece: one", {"train_ece": "all gone", "test_ece": "all gone"}),
        ("train_ece: one; 1 of its networks: diverged", {"train_ece": "one"}),
    ],
)
def test_reasons_are_read(text, expected):
    assert summary.reasons_in(text, ["train_ece", "test_ece"]) == expected


def measured_zoo():
    """Four networks of two configurations. One diverged; memorization and similarity are measured, the latter of no pair."""
    return with_networks(
        {(10, 8): (20, 22), (10, 16): (17, NAN)},
        TEMPERATURE,
        diverged=[False, False, False, True],
        memorized_share=[1.0, NAN, NAN, NAN],
        train_loss_p99=[0.1, 0.2, 0.3, NAN],
        memorization_reason=[
            None,
            "memorized_share: only 3 of 20 labels",
            "memorized_share: only 5 of 20 labels",
            "diverged",
        ],
    )


def test_numbers_and_nulls_are_counted_by_family():
    found = summary.families_of(measured_zoo())
    assert list(found) == [name for name, family in FAMILIES.items() if not family.of_tokens]
    # Of 4 networks × 2 metrics, 4 numbers are there.
    assert {name: said for name, said in found.items() if said} == {"memorization": {"columns": 2, "present": 4 / 8}}
    assert not any(summary.families_of(toy.zoo()).values())
    assert summary.nulls(toy.zoo()).empty


def test_missing_numbers_are_counted_by_reason():
    found = summary.nulls(measured_zoo()).to_dict("records")
    assert found == [
        {
            "family": "memorization",
            "of": "checkpoint",
            "reason": "only … of … labels",
            "rows": 2,
            "numbers": 2,
            "columns": "memorized_share",
        },
        {
            "family": "memorization",
            "of": "checkpoint",
            "reason": "diverged",
            "rows": 1,
            "numbers": 2,
            "columns": "memorized_share, train_loss_p99",
        },
    ]


def test_a_reason_that_occurs_once_keeps_its_numbers_and_configurations_count_their_own():
    zoo = by_hand(
        [[30, 20, 25]],
        output_cka=[0.5, NAN, NAN],
        similarity_reason=[None, "output_cka: fewer than 2 seeds; 1 of its networks: diverged", None],
    )
    found = summary.nulls(zoo).set_index("reason")
    assert found["rows"].to_dict() == {"fewer than 2 seeds": 1, summary.UNSAID: 1}
    assert set(found["of"]) == {"configuration"}


def reference(table, column, by):
    """Mean, smallest and largest Spearman correlation over groups, by SciPy."""
    values = []
    for _, rows in table.groupby(by):
        part = rows[[column, "test_error"]].dropna()
        if len(part) >= summary.LEAST and part.nunique().min() > 1:
            values.append(stats.spearmanr(part[column], part["test_error"]).statistic)
    return np.mean(values), min(values), max(values), len(values)


def test_correlations_are_scipys_within_levels():
    zoo = toy.own_zoo()
    rng = np.random.default_rng(3)
    table = zoo.configurations.assign(output_cka=lambda t: t["output_cka"].where(rng.random(len(t)) < 0.7))
    table["mode_connectivity"] = table["mode_connectivity"].round(-1)  # many ties
    zoo = Zoo(zoo.name, zoo.title, table, zoo.moves, zoo.provenance, zoo.checkpoints)
    found = summary.correlations(zoo)
    for column in ("train_error", "output_cka", "mode_connectivity", "log_hessian_trace", "batch_size"):
        for fixed, by in (("data", ["data_fraction", "label_noise"]), ("width", ["width", "label_noise"])):
            row = found.loc[column]
            got = [row[f"{fixed}_{what}"] for what in ("mean", "low", "high", "levels")]
            assert got == pytest.approx(reference(table, column, by), abs=1e-12)
    assert found.loc["output_cka", "data_rows"] == table["output_cka"].notna().sum()
    assert summary.held(zoo) == {"data": ["data_fraction", "label_noise"], "width": ["width", "label_noise"]}
    assert found["strength"].dropna().is_monotonic_decreasing


def test_what_is_fixed_matters():
    """The error falls with data and with width; a metric that rises with data and falls with width has opposite signs."""
    grid = pd.DataFrame(
        itertools.product([1, 2, 3, 4, 5, 6], [10, 20, 40, 60, 80, 100]), columns=["width", "data_fraction"]
    )
    grid = grid.assign(test_error=90 - 5 * grid["width"] - grid["data_fraction"] / 10)
    grid["train_loss"] = 1 + grid["data_fraction"] / 100 - grid["width"] / 10
    found = summary.correlations(Zoo.from_table("n", "n", grid.astype(float), MOVES[2:], ORIGIN)).loc["train_loss"]
    assert (found["data_mean"], found["data_levels"], found["data_rows"]) == (pytest.approx(1), 6, 36)
    assert (found["width_mean"], found["width_levels"], found["width_rows"]) == (pytest.approx(-1), 6, 36)


def test_without_numbers_there_is_no_correlation():
    nothing, flat = [NAN] * 6, [1.0] * 6
    four = [1.0, 2.0, 3.0, 4.0, NAN, NAN]
    errors = [[10, 20, 30, 25, 15, 5]]
    zoo = by_hand(errors, train_loss=nothing, train_error=flat, test_loss=four, output_cka=[1, 2, 3, 4, 5, NAN])
    found = summary.correlations(zoo)
    for column in ("train_loss", "train_error", "test_loss"):
        assert found.loc[column, ["data_levels", "data_rows", "width_levels"]].tolist() == [0, 0, 0]
        assert found.loc[column, ["strength", "data_mean", "data_low", "width_high"]].isna().all()
    # One level: its own number is the mean, the smallest and the largest.
    expected = stats.spearmanr([1, 2, 3, 4, 5], [10, 20, 30, 25, 15]).statistic
    assert found.loc["output_cka", ["data_mean", "data_low", "data_high"]].tolist() == pytest.approx([expected] * 3)
    assert found.loc["output_cka", ["data_levels", "data_rows"]].tolist() == [1, 5]
    assert found.index[0] in ("output_cka", "batch_size")
    assert found["strength"].isna().tolist() == sorted(found["strength"].isna())


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=12))
def test_spearman_is_scipys(pairs):
    one, other = (np.array([pair[at] for pair in pairs], dtype=float) for at in (0, 1))
    found = summary.spearman(one, other)
    if len(pairs) < summary.LEAST or len(set(one)) < 2 or len(set(other)) < 2:
        assert found is None
    else:
        assert found == (pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12), len(pairs))


def test_metrics_belong_to_the_family_that_measures_them():
    found = summary.metric_families(toy.zoo())
    families = {
        "performance": {"train_error", "train_loss", "test_loss", "generalization_gap"},
        "hessian": {"log_hessian_trace", "log_hessian_top_eigenvalue"},
        "connectivity": {"mode_connectivity", "mode_connectivity_peak"},
        "similarity": {"output_cka", "mixup_cka"},
    }
    assert found == {metric: family for family, metrics in families.items() for metric in metrics}
    assert list(dict.fromkeys(found.values())) == list(families)  # in the order of the families
    assert not [metric for metric in summary.metric_families(toy.own_zoo()) if metric.endswith("_std")]


def test_the_strongest_of_each_family():
    found = pd.DataFrame(
        {
            "family": ["performance", "hessian", "performance", "hessian", "hessian", "knob", "similarity", "topology"],
            "strength": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, NAN],
            "reveals_label": [True, False, False, False, False, False, True, False],
        },
        index=list("abcdefgh"),
    )
    assert summary.strongest(found, 2).index.tolist() == ["f", "a", "c", "b", "d", "g"]
    assert summary.strongest(found, 1, revealing=False).index.tolist() == ["f", "c", "b", "g"]


def test_training_time():
    found = summary.training_time(pd.DataFrame({"seconds": [1.0, 2.0, 3.0, 10.0, NAN]}))
    assert found == pytest.approx({"networks": 4, "total": 16, "median": 2.5, "p95": 8.95, "most": 10})
    assert summary.training_time(pd.DataFrame({"seconds": [NAN]})) == {"networks": 0}


def test_every_task_is_counted_where_the_grid_has_its_moves():
    zoo = toy.own_zoo()
    found = summary.label_balance(zoo)
    assert list(found["task"].unique()) == list(toy.TASKS)
    for (task, noise, verdict), part in found.groupby(["task", "label_noise", "verdict"], dropna=False):
        table = zoo.configurations if np.isnan(noise) else zoo.configurations.query("label_noise == @noise")
        assert part["rows"].item() == (table[task] == verdict).sum()
    assert set(found["label_noise"].dropna()) == {0, 20}
