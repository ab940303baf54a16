"""Measuring a zoo: every number in its place, whatever is interrupted, missing or damaged on the way."""

import dataclasses
import errno
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import toy
from safetensors.torch import load_file, save_file
from tiny_zoo import Faults, Here, build_here, contents, everything, failing, here, write_spec

from mdbench.cli import main
from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from mdbench.tables.schema import COLUMNS, Family
from mdbench.tables.tasks import TASKS
from zoo_builder import landscape
from zoo_builder.building import measuring, status
from zoo_builder.building.built import Built, Source
from zoo_builder.building.measured import with_measurements
from zoo_builder.building.plan import LIMITS
from zoo_builder.building.portions import portion_of
from zoo_builder.building.store import SPEC
from zoo_builder.landscape import registry, similarity
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Settings
from zoo_builder.landscape.registry import FAMILIES, chosen
from zoo_builder.reporting import portrait as show
from zoo_builder.specification.material import Material
from zoo_builder.specification.models import mlp
from zoo_builder.specification.network import initialised, networks
from zoo_builder.specification.spec import read_spec

SOME = ["performance", "similarity"]
TABLES = ("zoo.json", "configurations.parquet", "checkpoints.parquet", "layers.parquet")


@pytest.fixture
def zoo(built, tmp_path) -> Path:
    """The zoo that is built, to be worked on."""
    shutil.copytree(built, tmp_path / "zoo")
    return tmp_path / "zoo"


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES if (folder / name).exists()}


def test_the_status_counts_what_is_measured(built, measured, zoo, monkeypatch, capsys):
    networks = len(load_zoo(built).checkpoints)
    assert status(built).measured == {}
    assert status(measured).measured == dict.fromkeys([family.name for family in chosen(None)], networks)
    measuring.measure(zoo, here, families=SOME)
    unit = next((zoo / "landscape" / "similarity").glob("[!.]*"))
    done = networks - len(pd.read_parquet(unit / "networks.parquet"))
    shutil.rmtree(unit)
    assert 0 < done < networks
    assert status(zoo).measured == {"performance": networks, "similarity": done}
    for folder, said in (
        (built, "nothing yet: `mdbench zoo measure` does"),
        (zoo, f"similarity: {done} of {networks} networks"),
    ):
        monkeypatch.setattr("sys.argv", ["mdbench", "zoo", "status", str(folder)])
        with pytest.raises(SystemExit):
            main()
        assert said in capsys.readouterr().out


def test_every_metric_is_a_column_with_unit_meaning_and_bounds(measured):
    zoo = load_zoo(measured)
    seen = {"checkpoint": zoo.checkpoints, "configuration": zoo.configurations, "layer": zoo.layers}
    for family in chosen(None):
        for metric in family.metrics:
            column = COLUMNS[metric.column]
            assert column.unit
            assert column.meaning
            assert column.family in (Family.LANDSCAPE, Family.VALIDATION, Family.ID)
            values = seen[metric.of][metric.column].dropna().to_numpy(dtype=float)
            assert np.isfinite(values).all()
            for bound, side in ((metric.low, values.min), (metric.high, values.max)):
                if bound is not None and len(values):
                    assert (side() >= bound - 1e-6) if bound == metric.low else (side() <= bound + 1e-6), metric.column
            if metric.of == "checkpoint":
                assert metric.column in zoo.configurations
                assert f"{metric.column}_std" in zoo.configurations


def test_every_column_of_the_schema_is_written_by_somebody(measured):
    zoo, other = load_zoo(measured), toy.own_zoo()
    written = {"configuration", "checkpoint", *other.configurations, *other.checkpoints}
    written.update(zoo.configurations, zoo.checkpoints, zoo.layers)
    later = {name for name in COLUMNS if COLUMNS[name].family is Family.KNOB} | {"step", "bulk_edge"}
    tokens = {metric.column for family in FAMILIES.values() if family.of_tokens for metric in family.metrics}
    later |= {f"{column}{end}" for column in tokens for end in ("", "_std", "_quantile")}
    later |= {family.reason for family in FAMILIES.values() if family.of_tokens}
    moves, tasks = ("longer", "regularization_up", "regularization_down"), TASKS.keys() - zoo.tasks.keys()
    later |= {f"rfi_{move}{end}" for move in moves for end in ("", "_se")}
    later |= {f"{task}{end}" for task in tasks for end in ("", "_margin", "_margin_se")}
    assert set(COLUMNS) - later <= written <= set(COLUMNS)


def test_what_is_not_there_has_a_reason(measured):
    zoo = load_zoo(measured)
    for table, of in ((zoo.checkpoints, ("checkpoint",)), (zoo.configurations, ("checkpoint", "configuration"))):
        for family in chosen(None):
            columns = [name for name in family.columns(*of) if name in table]
            missing = table[columns].isna()
            assert (table[family.reason].notna() == missing.any(axis=1)).all(), family.name
            for name in columns:
                for reason in table.loc[missing[name], family.reason]:
                    assert name in reason


def test_means_are_over_seeds(measured):
    zoo = load_zoo(measured)
    for column in ("train_ece", "hessian_trace", "sharpness_average"):
        groups = zoo.checkpoints[column].groupby(zoo.checkpoints["configuration"])
        pd.testing.assert_series_equal(
            zoo.configurations[column], groups.mean().reindex(zoo.configurations.index), check_names=False
        )
        pd.testing.assert_series_equal(
            zoo.configurations[f"{column}_std"],
            groups.std(ddof=1).reindex(zoo.configurations.index),
            check_names=False,
        )
    means = zoo.checkpoints["hessian_trace"].groupby(zoo.checkpoints["configuration"]).mean()
    logs = zoo.configurations["log_hessian_trace"].dropna()
    assert len(logs)
    np.testing.assert_allclose(logs, np.log(means[logs.index]))


def test_a_zoo_is_measured_as_anybody_measures_its_networks(measured):
    """The tables hold what the library says of the modules in the store, loaded by hand."""
    zoo = load_zoo(measured)
    spec = read_spec(measured / SPEC)
    material = Material.of_spec(spec)
    dataset, subsets = material.first
    every = networks(spec, material)
    some = [one for one in every if one.configuration == every[-1].configuration]
    modules = []
    for one in some:
        module = initialised(spec, dataset, one)
        tensors = load_file(measured / zoo.checkpoints.loc[one.name, "shard"])
        module.load_state_dict({name: tensors[f"{one.name}/{name}"] for name in module.state_dict()})
        modules.append(module.eval())
    rows = subsets.examples(some[0].data_fraction).astype(np.int64)
    inputs = torch.from_numpy(dataset.train_inputs[rows])
    labels = torch.from_numpy(subsets.labels(dataset.train_targets, some[0].label_noise)[rows])
    found = landscape.measure(
        modules,
        "cross_entropy",
        (inputs, labels),
        families=["performance", "similarity", "spectra", "memorization"],
        test=Data.of(dataset.test_inputs, dataset.test_targets),
        truth=torch.from_numpy(dataset.train_targets[rows]),
    )
    assert found.models["memorized_share"].notna().all()
    for at, one in enumerate(some):
        for column in found.models.columns:
            stored = zoo.checkpoints.loc[one.name, column]
            value = found.models.loc[at, column]
            if pd.isna(value) or isinstance(value, str):
                assert stored == value or (pd.isna(stored) and pd.isna(value)), column
            else:
                assert stored == pytest.approx(value, rel=1e-5, abs=1e-6), column
    row = zoo.configurations.loc[some[0].configuration]
    for column in ("output_cka", "penultimate_cka", "train_disagreement"):
        assert row[column] == pytest.approx(found.together[column], rel=1e-5)
    assert set(found.layers["layer"]) < set(zoo.layers["layer"])  # normalizations have curvature, and no weight matrix


def test_measuring_again_changes_nothing_and_does_nothing(measured, monkeypatch):
    before = everything(measured)
    monkeypatch.setattr(measuring, "do", lambda order: pytest.fail("nothing was left to do"))
    measuring.measure(measured, here)
    assert contents(measured) == {name: content for name, (_, _, content) in before.items()}


def test_building_again_keeps_what_was_measured(built, measured, tmp_path):
    folder = tmp_path / "zoo"
    shutil.copytree(measured, folder)
    before = tables(folder)
    build_here(built.parent / "spec.toml", folder)
    assert tables(folder) == before


def test_families_come_one_after_the_other_in_any_order(built, tmp_path):
    folders = [tmp_path / name for name in ("forth", "back", "together")]
    for folder, orders in zip(
        folders, ([["performance"], ["similarity"]], [["similarity"], ["performance"]], [SOME]), strict=True
    ):
        shutil.copytree(built, folder)
        for families in orders:
            measuring.measure(folder, here, families=families)
    assert tables(folders[0]) == tables(folders[1]) == tables(folders[2])


class _Stopping(Here):
    """Stops after some orders."""

    def __init__(self, orders: int) -> None:
        self.left = orders

    def submit(self, function, /, *arguments, **options):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().submit(function, *arguments, **options)


def test_measuring_goes_on_where_it_was_interrupted(built, tmp_path, monkeypatch):
    monkeypatch.setitem(LIMITS["cpu"], "stack", 3)  # a configuration each
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        shutil.copytree(built, folder)
    measuring.measure(whole, here, families=SOME)

    @contextmanager
    def stopping():
        yield _Stopping(3)

    with pytest.raises(KeyboardInterrupt):
        measuring.measure(broken, stopping, families=SOME)
    # Before the end, the tables say nothing of what was measured, and are a zoo as before.
    assert tables(broken) == tables(built)
    with monkeypatch.context() as patch:
        patch.setitem(LIMITS["cpu"], "stack", 16)
        build_here(built.parent / "spec.toml", broken)
    assert tables(broken) == tables(built)
    kept = everything(broken / "landscape")
    reports = []
    measuring.measure(broken, here, families=SOME, progress=reports.append)
    assert reports[0].models_done == reports[0].found == 9
    assert reports[-1].models_done == reports[-1].models == 24
    assert reports[-1].work_done == pytest.approx(reports[-1].work)
    after = everything(broken / "landscape")
    assert {name: after[name] for name in kept if "/" in name} == {
        name: said for name, said in kept.items() if "/" in name
    }
    assert tables(broken) == tables(whole)


def test_how_work_is_cut_changes_nothing(built, measured, tmp_path, monkeypatch):
    assert LIMITS["cpu"]["stack"] == 16
    shutil.copytree(built, tmp_path / "small")
    monkeypatch.setitem(LIMITS["cpu"], "stack", 1)
    measuring.measure(tmp_path / "small", here)
    one, other = load_zoo(measured), load_zoo(tmp_path / "small")
    for a, b in (
        (one.configurations, other.configurations),
        (one.checkpoints, other.checkpoints),
        (one.layers, other.layers),
    ):
        pd.testing.assert_frame_equal(a, b, rtol=1e-4, atol=1e-6)


FRAGILE = """
import torch
from zoo_builder.models import mlp

def fragile(shape, classes, width):
    network = mlp(shape, classes, width, 1)
    if width == 3 or (width == 4 and torch.rand(()) < 0.5):
        network[-1].bias.data.fill_(float("nan"))
    return network
"""


def test_what_diverged_is_null_and_says_so(tmp_path, monkeypatch):
    (tmp_path / "fragile_measured.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(tmp_path)
    architecture = 'name = "fragile_measured:fragile"'
    spec = write_spec(tmp_path, architecture=architecture, seeds="[0, 1, 2, 3, 4, 5]", width=[2, 3, 4], batch_size=[8])
    build_here(spec, tmp_path / "zoo")
    zoo = measuring.measure(tmp_path / "zoo", here, families=SOME, trust_code=True)
    lost = zoo.checkpoints["diverged"].astype(bool)
    assert (zoo.checkpoints.loc[lost, "similarity_reason"] == "diverged").all()
    assert zoo.checkpoints.loc[lost, "train_ece"].isna().all()
    assert zoo.checkpoints.loc[~lost, "train_ece"].notna().all()
    whole, dead, some = (zoo.configurations.loc[f"width={width}/batch_size=8"] for width in (2, 3, 4))
    assert (whole["diverged_seeds"], dead["diverged_seeds"]) == (0, 6)
    assert 0 < some["diverged_seeds"] < 5
    assert np.isfinite(whole["train_disagreement"])
    assert pd.isna(whole["similarity_reason"])
    assert np.isnan(dead["train_disagreement"])
    assert dead["similarity_reason"] == "all networks diverged; 6 of its networks: diverged"
    assert np.isfinite(some["train_disagreement"])  # of those that are left
    assert some["similarity_reason"] == f"{some['diverged_seeds']} of its networks: diverged"


ATTENTIVE = """
from torch import nn
from torch.nn import functional

class Attentive(nn.Module):
    def __init__(self, inputs, classes, width):
        super().__init__()
        self.inputs, self.out = nn.Linear(1, 3 * width), nn.Linear(width, classes)

    def forward(self, x):
        q, k, v = self.inputs(x.flatten(1)[:, :, None]).chunk(3, -1)
        return self.out(functional.scaled_dot_product_attention(q, k, v).mean(1))

def attentive(shape, classes, width):
    return Attentive(shape, classes, width)
"""


def test_a_zoo_with_attention_is_measured(tmp_path, monkeypatch):
    (tmp_path / "attentive_measured.py").write_text(ATTENTIVE)
    monkeypatch.syspath_prepend(tmp_path)
    architecture = 'name = "attentive_measured:attentive"'
    spec = write_spec(tmp_path, architecture=architecture, seeds="[0, 1]", width=[2], batch_size=[8])
    build_here(spec, tmp_path / "zoo")
    zoo = measuring.measure(tmp_path / "zoo", here, families=["performance", "hessian", "sharpness"], trust_code=True)
    for column in ("train_ece", "hessian_top_eigenvalue", "hessian_trace", "sharpness_worst"):
        assert zoo.checkpoints[column].notna().all(), zoo.checkpoints["hessian_reason"].iloc[0]


def test_a_new_edition_of_a_family_is_measured_anew(zoo, monkeypatch):
    measuring.measure(zoo, here, families=SOME)
    before = load_zoo(zoo)
    other = registry.Family(
        "similarity", similarity.METRICS, similarity.measure, edition=FAMILIES["similarity"].edition + 1
    )
    monkeypatch.setitem(FAMILIES, "similarity", other)
    # Until it is measured, the old numbers are not shown as the new ones.
    assert "output_cka" not in with_measurements(before, zoo).configurations
    measuring.measure(zoo, here, families=["similarity"])
    assert load_zoo(zoo).configurations["output_cka"].equals(before.configurations["output_cka"])


def test_networks_that_are_not_those_of_the_table_are_refused(built, zoo):
    shard = next(zoo.glob("units/*/checkpoints.safetensors"))
    tensors = load_file(shard)
    tensors = {name: value + 1 for name, value in tensors.items()}
    save_file(tensors, shard)
    with pytest.raises(MdbenchError, match=r"checkpoints\.safetensors is damaged"):
        measuring.measure(zoo, here, families=SOME)
    # Changed since the command began:
    opened = Built.open(built)
    for name in opened.zoo.checkpoints.index:
        row = opened.zoo.checkpoints.loc[name]
        if row["shard"].split("/")[1] == shard.parent.name and name in next(iter(tensors)):
            break
    one = next(one for one in networks(opened.spec, opened.material) if one.name == name)
    source = dataclasses.replace(Source.of(opened), folder=str(zoo))
    with pytest.raises(MdbenchError, match="are not those that the zoo's tables describe"):
        source.load(one, row["shard"], row["sha256"])
    shard.unlink()
    with pytest.raises(MdbenchError, match=r"checkpoints\.safetensors cannot be read"):
        source.load(one, row["shard"], row["sha256"])


def test_other_data_are_refused(tmp_path):
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    build_here(spec, folder)
    arrays = dict(np.load(tmp_path / "data.npz"))
    arrays["test_labels"] = arrays["test_labels"][::-1]
    np.savez(tmp_path / "data.npz", **arrays)
    for work in (lambda: measuring.measure(folder, here, families=SOME), lambda: show.show(folder, "any")):
        with pytest.raises(MdbenchError, match="holds other data than the networks"):
            work()


def test_another_specification_is_refused(zoo):
    """The networks never saw these labels: what would be measured of them would be of others."""
    text = (zoo / SPEC).read_text()
    (zoo / SPEC).write_text(text.replace("epochs = 1", "epochs = 1\nmomentum = 0.5"))
    for work in (lambda: measuring.measure(zoo, here, families=SOME), lambda: show.show(zoo, "any")):
        with pytest.raises(MdbenchError, match="is not the specification that the networks were built from"):
            work()
    (zoo / SPEC).write_text("# a comment changes nothing\n" + text)
    measuring.measure(zoo, here, families=["performance"])


def test_what_was_measured_of_other_networks_is_not_joined(tmp_path, monkeypatch):
    """A zoo of the same specification, trained anew with another result, as another kind of machine gives."""
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    build_here(spec, folder)
    before = measuring.measure(folder, here, families=SOME)
    shutil.rmtree(folder / "units")
    (folder / "units").mkdir()
    monkeypatch.setattr("zoo_builder.specification.network.initialisation_seed", lambda seed: seed + 1000)
    after = build_here(spec, folder)
    assert (after.checkpoints["sha256"] != before.checkpoints["sha256"]).all()
    assert "train_ece" not in after.checkpoints
    assert "output_cka" not in after.configurations
    again = measuring.measure(folder, here, families=["similarity"])
    assert "train_ece" not in again.checkpoints
    assert again.configurations["output_cka"].notna().any()
    assert len(list((folder / "landscape" / "similarity").iterdir())) == len(
        json.loads((folder / "landscape" / "similarity.json").read_text())["units"]
    )


def test_measuring_in_another_way_leaves_what_there_is_until_its_end(zoo):
    before = measuring.measure(zoo, here, families=SOME)

    @contextmanager
    def stopping():
        yield _Stopping(1)

    with pytest.raises(KeyboardInterrupt):
        measuring.measure(zoo, stopping, families=SOME, settings=Settings(train_sample=20))
    pd.testing.assert_frame_equal(with_measurements(before, zoo).configurations, before.configurations)
    measuring.measure(zoo, here, families=SOME, settings=Settings(train_sample=20))
    units = json.loads((zoo / "landscape" / "similarity.json").read_text())["units"]
    assert sorted(path.name for path in (zoo / "landscape" / "similarity").iterdir()) == sorted(units)
    assert not load_zoo(zoo).configurations["output_cka"].equals(before.configurations["output_cka"])


def test_whatever_fails_on_the_way_the_same_command_ends_well(built, tmp_path):
    """A disk that fails at one call after the other, and kills that leave tables which contradict each other."""
    clean = tmp_path / "clean"
    shutil.copytree(built, clean)
    with Faults(clean, failing(errno.EIO)).watching() as counted:
        measuring.measure(clean, here, families=["performance"])
    calls = len(counted.calls)
    assert calls > 20
    for at in {2, calls // 3, calls // 2, calls - 12, calls - 6, calls - 3, calls - 1}:
        folder = tmp_path / f"fails-at-{at}"
        shutil.copytree(built, folder)
        with Faults(folder, failing(errno.EIO), at).watching(), pytest.raises(MdbenchError):
            measuring.measure(folder, here, families=["performance"])
        measuring.measure(folder, here, families=["performance"])
        assert tables(folder) == tables(clean), at
        assert not [path for path in folder.rglob(".*") if path.name != ".lock"]
    (clean / "zoo.json").write_bytes((built / "zoo.json").read_bytes())
    with pytest.raises(MdbenchError, match="SHA-256 differs"):
        load_zoo(clean)
    (clean / "landscape" / ".performance.json.4711").write_text("half")
    measuring.measure(clean, here, families=["performance"])
    assert tables(clean) == tables(folder)
    assert not list((clean / "landscape").glob(".*"))


@pytest.mark.parametrize(("flips", "refused"), [(2, False), (3, True)])
def test_a_near_tie_may_fall_the_other_way(built, monkeypatch, flips, refused):
    """On another kind of machine; of 30 test examples, two are 6.7 points."""
    opened = Built.open(built)
    portion = portion_of(opened, opened.zoo.configurations.index[0])
    errors = tuple(error + 100 * flips / 30 for error in portion.test_errors)
    portion = dataclasses.replace(portion, test_errors=errors)
    if refused:
        with pytest.raises(MdbenchError, match=r"has a test error of .* but had .* after its training"):
            measuring.open_subject(Source.of(opened), portion, Settings())
    else:
        measuring.open_subject(Source.of(opened), portion, Settings())


def test_units_that_are_damaged_are_named(zoo):
    measuring.measure(zoo, here, families=["performance"])
    unit = next(zoo.glob("landscape/performance/*/networks.parquet"))
    unit.write_bytes(unit.read_bytes()[:-8])
    with pytest.raises(MdbenchError, match=r"networks\.parquet is damaged .* measures these networks again"):
        measuring.measure(zoo, here, families=["performance"])
    shutil.rmtree(unit.parent)
    measuring.measure(zoo, here, families=["performance"])
    manifest = zoo / "landscape" / "performance.json"
    manifest.write_text("{}")
    with pytest.raises(MdbenchError, match=r"performance\.json cannot be read"):
        with_measurements(load_zoo(zoo), zoo)


def test_an_unfinished_build_is_not_measured(zoo, tmp_path):
    shutil.rmtree(next((zoo / "units").iterdir()))
    for work in (lambda: measuring.measure(zoo, here), lambda: show.show(zoo, "any")):
        with pytest.raises(
            MdbenchError, match=r"not built to its end: 1 of \d+ units are missing; `mdbench zoo build`"
        ):
            work()
    with pytest.raises(MdbenchError, match="not the folder of a build"):
        measuring.measure(tmp_path, here)


def test_families_have_names(zoo):
    with pytest.raises(MdbenchError, match="there is no family 'hessians'; there are: performance, hessian"):
        measuring.measure(zoo, here, families=["hessians"])
    assert [family.name for family in chosen(["similarity", "performance"])] == SOME
    assert not (zoo / "landscape").exists()


def test_networks_that_draw_random_numbers_are_refused():
    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.last = torch.nn.Linear(4, 3)

        def forward(self, x):
            return self.last(x) + torch.tanh(x.sum(1, keepdim=True)) * 0 + next(noise)

    noise = iter(torch.arange(100.0))
    data = torch.randn(8, 4), torch.arange(8) % 3
    with pytest.raises(MdbenchError, match="gives other outputs when asked twice"):
        landscape.measure([Noisy()], "cross_entropy", data, families=["performance"])


def test_networks_without_finite_outputs_are_refused():
    network = mlp((4,), 3, 2)
    torch.nn.init.constant_(network[-1].bias, torch.nan)
    with pytest.raises(MdbenchError, match="network 0 has outputs that are not finite"):
        landscape.measure([network], "cross_entropy", (torch.randn(8, 4), torch.arange(8) % 3))


def test_anybodys_networks_are_measured_with_their_own_loss():
    torch.manual_seed(0)
    nets = [
        torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.GELU(), torch.nn.LayerNorm(5), torch.nn.Linear(5, 2))
        for _ in range(2)
    ]
    before = [value.clone() for net in nets for value in net.parameters()]
    found = landscape.measure(nets, torch.nn.MSELoss(), (torch.randn(40, 4), torch.randn(40, 2)))
    assert found.models["hessian_top_eigenvalue"].notna().all()
    assert found.models["sharpness_average"].notna().all()
    assert found.models["alpha_hill_mean"].shape == (2,)
    assert found.models["train_error"].isna().all()
    assert "train_error" in found.models["performance_reason"][0]
    assert found.together["output_cka"] <= 1
    assert all(
        torch.equal(a, b) for a, b in zip(before, (value for net in nets for value in net.parameters()), strict=True)
    )
    with pytest.raises(MdbenchError, match="no models"):
        landscape.measure([], "cross_entropy", (torch.randn(4, 2), torch.arange(4)))
    with pytest.raises(MdbenchError, match="same names and shapes"):
        landscape.measure([mlp((4,), 3, 2), mlp((4,), 3, 3)], "cross_entropy", (torch.randn(4, 4), torch.arange(4) % 3))


def test_a_report_of_progress_is_json_too(zoo, capsys):
    from zoo_builder import report

    measuring.measure(zoo, here, families=["performance"], progress=report.print_progress)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["event"] == "progress"
    assert lines[-1]["models_done"] == 24
