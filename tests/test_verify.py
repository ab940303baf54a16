"""Verifying a zoo: what was changed is found, what is the same is said to be, and what rounding explains is told apart."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_zoo import Here, build_here, contents, here, write_spec

from mdbench import files
from mdbench.cli import main
from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from mdbench.tables.manifest import CHECKPOINTS, CONFIGURATIONS, LAYERS, MANIFEST, TRAJECTORY, sha256_of
from zoo_builder.building import executors, measuring
from zoo_builder.building.builder import build
from zoo_builder.building.comparison import Comparison, compare
from zoo_builder.building.pairs import read_tables, side_by_side
from zoo_builder.building.store import SPEC
from zoo_builder.building.tolerance import by_tolerance
from zoo_builder.building.verification import Verification, verify
from zoo_builder.landscape.registry import FAMILIES

SHIPPED = (MANIFEST, CONFIGURATIONS, CHECKPOINTS, LAYERS, SPEC)
DIGESTS = {
    CONFIGURATIONS: "sha256",
    CHECKPOINTS: "checkpoints_sha256",
    LAYERS: "layers_sha256",
    TRAJECTORY: "trajectory_sha256",
}
SOME = "label_noise=25/width=3/batch_size=8"

STACKED = Path(__file__).parents[1] / "zoos" / "teacher-wide.toml"


@pytest.fixture(scope="module")
def whole(measured, tmp_path_factory) -> Path:
    """A zoo that was measured in full, of which the networks are not there."""
    folder = tmp_path_factory.mktemp("whole")
    for name in SHIPPED:
        shutil.copy(measured / name, folder / name)
    return folder


@pytest.fixture
def zoo(whole, tmp_path) -> Path:
    """The same, to be worked on."""
    shutil.copytree(whole, tmp_path / "zoo")
    return tmp_path / "zoo"


def rewrite(folder: Path, name: str, change) -> None:
    """Change a table, and what ``zoo.json`` says of it."""
    table = pq.ParquetFile(folder / name).read().to_pandas()
    changed = change(table)
    (folder / name).write_bytes(files.parquet(changed))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest[DIGESTS[name]] = sha256_of(folder / name)
    if name == CONFIGURATIONS:
        manifest["rows"] = len(changed)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def scaled(column: str, factor: float, *rows: str):
    """Return what multiplies a column, in the rows whose names begin so."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        own = table.iloc[:, 0].str.startswith(rows) if rows else np.ones(len(table), dtype=bool)
        return table.assign(**{column: table[column].where(~own, table[column] * factor)})

    return change


def shifted(column: str, by: float, *rows: str):
    def change(table: pd.DataFrame) -> pd.DataFrame:
        own = table.iloc[:, 0].str.startswith(rows)
        return table.assign(**{column: table[column].where(~own, table[column] + by)})

    return change


def run(folder: Path, **options) -> Verification:
    return verify(folder, here, **{"seed": 0, "configurations": 8, "families": [], **options})


@pytest.fixture
def again(whole, measured):
    """Compare with a rebuild of everything, which is there already."""

    rebuilt = read_tables(measured)
    names = list(load_zoo(whole).configurations.index)
    return lambda folder, families: compare(read_tables(folder), rebuilt, names, families)


def test_what_a_network_is_does_not_depend_on_what_is_rebuilt_beside_it(whole):
    """Some configurations alone, in all ten families, have the values that they have in the whole zoo."""
    result = run(whole, seed=1, configurations=2, families=None)
    assert len(result.configurations) == 2
    assert result.families == tuple(name for name, family in FAMILIES.items() if not family.of_tokens)
    assert result.comparison.verdict == "equal", result.comparison.differences[:3]
    assert (result.comparison.networks, result.comparison.digests_equal) == (6, 6)


def test_the_choice_is_the_seeds(whole):
    everything = tuple(load_zoo(whole).configurations.index)
    chosen = [run(whole, seed=seed, configurations=3).configurations for seed in (1, 1, 2, 3)]
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) == 3
    for some in chosen:
        assert len(set(some)) == 4  # two batch sizes are measured together, and drawn together
        assert list(some) == [name for name in everything if name in some]


def test_networks_of_a_stack_keep_their_company(tmp_path):
    """Vectorized functions round the last numbers of a tensor otherwise: what a network is depends on its place in a stack."""
    text = STACKED.read_text(encoding="utf-8").replace("[50, 100, 200]", "[7, 9]")
    text = text.replace("train = 2000", "train = 150").replace("test = 1000", "test = 50")
    text = text.replace("dimension = 200", "dimension = 20").replace(
        "[3, 10, 30, 100, 200, 400]", "[0.3, 1, 3, 10, 30]"
    )
    (tmp_path / "spec.toml").write_text(text, encoding="utf-8")
    build_here(tmp_path / "spec.toml", tmp_path / "built")
    measuring.measure(tmp_path / "built", here, families=["performance"])
    for seed in (1, 2):
        compared = run(tmp_path / "built", seed=seed, configurations=3).comparison
        assert (compared.verdict, compared.networks) == ("equal", compared.digests_equal)


def test_a_part_of_a_grid_is_built_and_measured_as_part_of_the_whole(whole, tmp_path):
    names = list(load_zoo(whole).configurations.index)
    part = build(whole / SPEC, tmp_path / "part", here, only=names[1::3])
    assert list(part.configurations.index) == names[1::3]
    assert set(part.checkpoints["configuration"]) == set(names[1::3])
    measured = measuring.measure(tmp_path / "part", here, families=["performance"])
    assert list(measured.configurations.index) == names[1::3]
    with pytest.raises(MdbenchError, match="nothing was changed"):
        build(whole / SPEC, tmp_path / "part", here)


def test_values_in_single_precision_are_compared_in_single_precision(zoo, again):
    def single(table: pd.DataFrame) -> pd.DataFrame:
        keep = ("test_error", "label_noise", "width", "batch_size", "epochs")
        numbers = table.select_dtypes("float64").columns.difference(keep)
        return table.astype(dict.fromkeys(numbers, "float32"))

    for name in (CHECKPOINTS, LAYERS):
        rewrite(zoo, name, single)
    assert again(zoo, list(FAMILIES)).verdict == "equal"
    rewrite(zoo, CHECKPOINTS, lambda table: table.assign(test_loss=table["test_loss"] * np.float32(1 + 1e-6)))
    assert again(zoo, []).verdict == "differs"


def test_a_test_error_that_was_changed_is_found(zoo, again):
    """Even where it was changed everywhere, so that the zoo does not contradict itself."""
    for name in (CHECKPOINTS, CONFIGURATIONS):
        rewrite(zoo, name, shifted("test_error", 3.0, SOME))
    result = again(zoo, [])
    assert result.verdict == "differs"
    assert result.digests_equal == result.networks == 24
    assert {(one.table, one.column) for one in result.differences} == {
        (CHECKPOINTS, "test_error"),
        (CONFIGURATIONS, "test_error"),
    }
    assert len(result.differences) == 4
    assert all(one.row.startswith(SOME) for one in result.differences)
    assert result.values - result.values_equal == 4
    for one in result.differences:
        assert one.shipped - one.rebuilt == pytest.approx(3)
    for one in result.differences:
        # A mean is as large as the largest number that it is of.
        largest = max(some.shipped for some in result.differences)
        assert one.size == pytest.approx(3 / (one.shipped if one.table == CHECKPOINTS else largest))
    sizes = [one.size for one in result.differences]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("table", "column", "families"),
    [
        (CHECKPOINTS, "train_ece", ["performance"]),
        (CONFIGURATIONS, "output_cka", ["similarity"]),
        (LAYERS, "log_frobenius_norm", ["spectra"]),
    ],
)
def test_a_metric_that_was_changed_is_found(zoo, again, table, column, families):
    rewrite(zoo, table, scaled(column, 1.5, SOME))
    result = again(zoo, families)
    assert result.verdict == "differs"
    rebuilt = [one for one in result.differences if one.table == table]
    assert rebuilt
    assert {one.column for one in rebuilt} == {column}
    assert all(one.size == pytest.approx(1 / 3) for one in rebuilt)
    assert again(zoo, ["connectivity"]).verdict == "equal"


@pytest.mark.parametrize("lost", ["a number", "a reason", "a row", "a column"])
def test_what_was_left_out_or_added_is_found(zoo, again, lost):
    def change(table: pd.DataFrame) -> pd.DataFrame:
        if lost == "a number":
            return table.assign(log_frobenius_norm=table["log_frobenius_norm"].where(table.index != 3))
        if lost == "a reason":
            return table.assign(spectra_reason="it rained")
        return table.drop(index=3) if lost == "a row" else table.assign(memorized_share=1.0)

    rewrite(zoo, LAYERS, change)
    result = again(zoo, ["spectra", "memorization"])
    assert result.verdict == "differs"
    assert {one.table for one in result.differences} == {LAYERS}
    assert all(one.size is None for one in result.differences)


def test_a_configuration_that_is_not_the_mean_of_its_networks_is_found_without_rebuilding_it(zoo):
    rewrite(zoo, CONFIGURATIONS, scaled("train_ece", 1.01))
    result = run(zoo, configurations=1, families=["performance"]).comparison
    assert result.verdict == "differs"
    assert len({one.row for one in result.differences}) == 8
    assert run(zoo, configurations=1).comparison.verdict == "equal"


def test_some_digests_that_differ_are_no_rounding(zoo, again):
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(sha256=table["sha256"].where(table.index != 5, "0" * 64))

    rewrite(zoo, CHECKPOINTS, change)
    result = again(zoo, [])
    assert (result.verdict, result.digests_equal) == ("differs", 23)
    assert [(one.column, one.shipped) for one in result.differences] == [("sha256", "0" * 64)]
    assert "23 of 24 networks have the same tensors and 1 have others" in result.said


def tables(seed: int, configurations: int = 20, seeds: int = 5, **changes) -> dict[str, pd.DataFrame]:
    """Return the tables of a zoo as some machine would have built it: the same distribution, other numbers."""
    rng = np.random.default_rng(seed)
    names = [f"width={at}" for at in range(configurations)]
    rows = [(name, number) for name in names for number in range(seeds)]
    level = np.repeat(np.linspace(10, 60, configurations), seeds)
    spread = np.repeat(np.geomspace(0.2, 5, configurations), seeds)
    networks = pd.DataFrame(
        {
            "checkpoint": [f"{name}/seed={number}" for name, number in rows],
            "configuration": [name for name, _ in rows],
            "seed": [number for _, number in rows],
            "width": np.repeat(np.arange(configurations, dtype=float), seeds),
            "sha256": [f"{value:064x}" for value in rng.integers(0, 2**62, len(rows))],
            "diverged": False,
            "test_error": level + spread * rng.standard_normal(len(rows)),
            "train_ece": np.exp(rng.standard_normal(len(rows)) / 2),
            "train_margin": rng.standard_cauchy(len(rows)),
            "performance_reason": None,
        }
    )
    for column, change in changes.items():
        networks[column] = change(networks)
    numbers = networks[["test_error", "train_ece", "train_margin"]].groupby(networks["configuration"], sort=False)
    table = numbers.mean().reset_index()
    table["output_cka"] = rng.uniform(0.5, 1, configurations)
    if "output_cka" in changes:
        table["output_cka"] *= 1.5
    for one, keys in ((networks, networks["checkpoint"]), (table, table["configuration"])):
        one.index = pd.Index(keys)
    return {CONFIGURATIONS: table, CHECKPOINTS: networks}


def compared(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> Comparison:
    return compare(one, other, list(one[CONFIGURATIONS].index), ["performance", "similarity"])


def test_another_machine_is_within_tolerance():
    """By the same procedure, at most one in a hundred rebuilds is called different."""
    found = [compared(tables(2 * seed), tables(2 * seed + 1)) for seed in range(12)]
    assert [one.verdict for one in found].count("within tolerance") >= 11
    assert {one.digests_equal for one in found} == {0}
    # 3 columns × (20 configurations + all of them, numbers and numbers missing), and one of configurations alone.
    assert {one.tests for one in found} == {3 * 22 + 2}


def test_tolerances_are_those_of_students_t():
    """Against SciPy's test of two samples, and one by hand."""
    from scipy import stats

    one, other = tables(0), tables(1)
    tests = {(t.row, t.column): t for t in by_tolerance(list(side_by_side(one, other, ["performance"])))}
    for name in ("width=0", "width=7"):
        values = [
            some[CHECKPOINTS].loc[some[CHECKPOINTS]["configuration"] == name, "test_error"] for some in (other, one)
        ]
        expected = stats.ttest_ind(*values)
        found = tests[name, "test_error"]
        assert found.t == pytest.approx(expected.statistic)
        assert (found.shipped, found.rebuilt) == pytest.approx((values[1].mean(), values[0].mean()))
        # 22 comparisons are of what training measures, and share half of the false alarms.
        assert found.size == pytest.approx(abs(expected.statistic) / stats.t.ppf(1 - 0.01 / 2 / 22 / 2, 8))
    each = [tests[f"width={at}", "test_error"].t for at in range(20)]
    assert tests["all configurations", "test_error"].t == pytest.approx(stats.ttest_1samp(each, 0).statistic)


@pytest.mark.parametrize(
    ("column", "change", "row"),
    [
        ("test_error", lambda t: t["test_error"] + 3 * (t["configuration"] == "width=0"), "width=0"),
        ("test_error", lambda t: t["test_error"] * 0.9 - 1, "all configurations"),
        ("train_ece", lambda t: t["train_ece"] * 1.5, "all configurations"),
        ("train_ece", lambda t: t["train_ece"].where(t["seed"] > 0), "all configurations"),
        ("output_cka", lambda t: 1.0, "all configurations"),
        ("width", lambda t: t["width"] + 1, "width=0/seed=0"),
    ],
)
def test_what_seed_noise_does_not_explain_is_found_on_another_machine(column, change, row):
    changed = tables(1, **{column: change})
    changed[CHECKPOINTS] = changed[CHECKPOINTS].drop(columns="output_cka", errors="ignore")
    result = compared(tables(0), changed)
    assert result.verdict == "differs"
    assert row in {one.row for one in result.differences}
    assert {one.column.removesuffix(" is missing") for one in result.differences} == {column}


def test_without_seeds_nothing_can_be_said_of_one_configuration_on_another_machine():
    result = compared(tables(0, configurations=1, seeds=1), tables(1, configurations=1, seeds=1))
    assert (result.verdict, result.tests) == ("differs", 0)
    assert "too few networks" in result.said


def test_networks_that_diverged_do_not_say_what_machine_it_was():
    def lost(table: pd.DataFrame) -> pd.Series:
        return table["seed"] == 0

    one, other = (tables(seed, diverged=lost) for seed in (0, 1))
    first = one[CHECKPOINTS]["seed"] == 0
    other[CHECKPOINTS].loc[first, "sha256"] = one[CHECKPOINTS].loc[first, "sha256"]
    result = compared(one, other)
    assert (result.verdict, result.digests_equal) == ("within tolerance", 20)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda zoo: (zoo / SPEC).unlink(), "nobody can say how to build"),
        (lambda zoo: (zoo / SPEC).write_text((zoo / SPEC).read_text() + "\n# mine\n"), "SHA-256 differs"),
        (lambda zoo: (zoo / CHECKPOINTS).write_bytes(b"PAR1"), "SHA-256 differs"),
        (lambda zoo: rewrite(zoo, LAYERS, lambda t: t.iloc[:0]), "no rows"),
        (lambda zoo: rewrite(zoo, CONFIGURATIONS, lambda t: t[t["configuration"] != SOME]), SOME),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(zoo, damage, said):
    damage(zoo)
    with pytest.raises(MdbenchError, match=said):
        run(zoo)


def test_a_grid_with_a_point_left_out_is_no_zoo_of_its_specification(zoo):
    rewrite(zoo, CHECKPOINTS, lambda table: table[table["seed"] != 2])
    with pytest.raises(MdbenchError, match=r"contradict|mean|not in both"):
        run(zoo)


def test_code_that_a_zoo_names_is_run_for_those_who_trust_it_alone(tmp_path, monkeypatch):
    (tmp_path / "their_net.py").write_text(
        "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nfrom zoo_builder.specification.models import mlp\n"
        "def net(shape, classes, width):\n    return mlp(shape, classes, width, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    build_here(write_spec(tmp_path, architecture='name = "their_net:net"'), tmp_path / "build")
    monkeypatch.delitem(sys.modules, "their_net", raising=False)
    (tmp_path / "their_net.ran").unlink()
    with pytest.raises(MdbenchError, match=r"their_net:net; .* pass trust_code=True \(--trust-code\)"):
        run(tmp_path / "build", configurations=1)
    assert not (tmp_path / "their_net.ran").exists()
    assert run(tmp_path / "build", configurations=1, trust_code=True).comparison.verdict == "equal"
    assert (tmp_path / "their_net.ran").exists()


@pytest.fixture
def mdbench(monkeypatch, capsys):
    """Run ``mdbench zoo`` in this process, workers included; return exit code, output and errors."""
    monkeypatch.setattr(executors, "local", lambda *_: here)

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mdbench", "zoo", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return command


def test_the_command_says_what_it_found(mdbench, zoo, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    before = contents(zoo)
    options = ("--configurations", 2, "--families", "performance")
    code, out, error = mdbench("verify", zoo, *options)
    assert (code, error) == (0, "")
    assert f"verifying {zoo}, seed " in out
    assert out.splitlines()[-1].startswith("equal: 6 networks, ")
    assert contents(zoo) == before
    assert not list((tmp_path / "scratch").iterdir())

    rewrite(zoo, CHECKPOINTS, scaled("train_ece", 1.5))
    code, out, _ = mdbench("verify", zoo, *options, "--seed", 3, "--json", "--keep", tmp_path / "kept")
    assert code == 1
    *_, said = map(json.loads, out.splitlines())
    assert (said["event"], said["seed"], said["comparison"]["verdict"]) == ("verified", 3, "differs")
    assert said["comparison"]["values_equal"] == said["comparison"]["values"] - 6
    assert len(load_zoo(tmp_path / "kept" / "zoo").configurations) == 2


def test_ctrl_c_leaves_nothing_behind(mdbench, zoo, tmp_path, monkeypatch):
    class Stopping(Here):
        def submit(self, function, /, *arguments, **options):
            super().submit(function, *arguments, **options)
            raise KeyboardInterrupt

    monkeypatch.setattr(executors, "local", lambda *_: Stopping)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    code, _, error = mdbench("verify", zoo)
    assert (code, error) == (130, "stopped; nothing is left behind\n")
    assert not list((tmp_path / "scratch").iterdir())


def test_a_way_that_was_kept_is_compared_with_its_family_and_not_without_it(tmp_path):
    spec = write_spec(tmp_path, training="epochs = 1\nkeep = [0, 3]", width=[2, 3], batch_size=[8])
    build_here(spec, tmp_path / "zoo")
    measuring.measure(tmp_path / "zoo", here, families=["performance", "spectra"])
    networks, steps = 4, len(read_tables(tmp_path / "zoo")[TRAJECTORY])
    assert steps == networks * 2 * 2
    for families in (["performance"], ["performance", "spectra"]):
        result = run(tmp_path / "zoo", configurations=2, families=families)
        assert result.comparison.verdict == "equal", result.comparison.differences[:3]
    rewrite(tmp_path / "zoo", TRAJECTORY, scaled("log_frobenius_norm", 2))
    assert run(tmp_path / "zoo", configurations=2, families=["performance"]).comparison.verdict == "equal"
    result = run(tmp_path / "zoo", configurations=2, families=["spectra"])
    assert {(one.table, one.column) for one in result.comparison.differences} == {(TRAJECTORY, "log_frobenius_norm")}


@pytest.mark.parametrize(
    ("column", "nudge", "equal"),
    [
        ("train_loss", 0, True),
        ("train_loss", 1e-6, False),
        ("test_error", 0, False),
    ],
)
def test_published_means_are_compared_in_their_own_precision(column, nudge, equal):
    """A mean that was rounded is the one that was not; one that moved is another, and test errors are never rounded."""
    whole = pd.DataFrame({"configuration": ["a", "b"], column: [1 / 3, 2 / 3]}, index=["a", "b"])
    published = whole.assign(**{column: whole[column].astype(np.float32).astype(float)})
    rebuilt = whole.assign(**{column: whole[column] * (1 + nudge)})
    networks = pd.DataFrame({"configuration": ["a", "b"]}, index=["0", "1"])
    own, again = ({CONFIGURATIONS: table, CHECKPOINTS: networks} for table in (published, rebuilt))
    (pair,) = (pair for pair in side_by_side(own, again, ["performance"]) if pair.column == column)
    assert [cell.equal for cell in pair.cells()] == [equal, equal]
