"""`mdbench diagnose`: what people have, what is refused in a line or two, and that it goes on where it stopped."""

import json
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file, save_model
from scipy import ndimage
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mdbench
from mdbench.diagnosing import Standing, experiment, headline
from mdbench.diagnosing.diagnosis import Diagnosis, Verdict, json_schema, load_diagnosis
from mdbench.errors import MdbenchError
from mdbench.paths import cache_home
from zoo_builder.examining import bringing, diagnosis, examination, extent
from zoo_builder.examining.basins import plane_of, profile
from zoo_builder.examining.between import ways_of
from zoo_builder.examining.drawing import BOTTOM, LEFT, RIGHT, TOP, densities
from zoo_builder.examining.extent import operations
from zoo_builder.examining.layers import experts_of, layers_of
from zoo_builder.examining.page import page
from zoo_builder.examining.shelf import shelf_of
from zoo_builder.landscape import Data, Interrupted, Settings, data_of, measure

MODULE = """
import torch
from torch import nn
def make():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
def fails():
    raise RuntimeError("no such layer")
def half(examples, seed):
    rng = torch.Generator().manual_seed(seed)
    targets = torch.arange(examples) % 3
    return torch.randn(examples, 6, generator=rng) + targets[:, None], targets
def data():
    return half(60, 0), half(30, 1)
def untested():
    return half(60, 0), None
def misshapen():
    inputs, targets = half(60, 0)
    return (inputs[:, :5], targets), (inputs[:, :5], targets)
def outside():
    inputs, targets = half(60, 0)
    return (inputs, targets + 1), half(30, 1)
def single():
    inputs, targets = half(60, 0)
    return (inputs, 0 * targets), half(30, 1)
def empty():
    inputs, targets = half(60, 0)
    return (inputs[:0], targets[:0]), half(30, 1)
def unheld():
    return half(60, 0), empty()[0]
def total(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="sum")
def between(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets) + outputs.std()
def cut_off(outputs, targets):
    return nn.functional.cross_entropy(outputs.detach(), targets)
def flat(outputs, targets):
    return nn.functional.cross_entropy(outputs.round(), targets)
def ignored():
    inputs, targets = half(60, 0)
    return (inputs, targets * 0 - 100), half(30, 1)
class Still(nn.Sequential):
    @torch.no_grad()
    def forward(self, inputs):
        return super().forward(inputs)
def still():
    return Still(*make())
def one_outside():
    train, test = data()
    train[1][41] = 3
    return train, test
def two_shapes():
    (inputs, targets), test = data()
    return (inputs[:, :5], targets), test
"""
#: No answer that means anything, and nothing that takes time.
ANSWER = Verdict.model_validate_json(
    json.dumps(
        {
            "task": "optimizer",
            "question": "Is it?",
            "probabilities": {"temperature_too_low": 0.8, "temperature_too_high": 0.2},
            "likeliest": "temperature_too_low",
            "answered": True,
            "why_not": None,
            "threshold": 0.7,
            "temperature": 1.0,
            "coordinates": ["log_loss"],
            "reliability": {
                "accuracy": {"value": 0.9, "low": 0.8, "high": 1.0, "count": 7},
                "answered": {"value": 0.9, "low": 0.8, "high": 1.0, "count": 7},
                "right": None,
                "bins": [],
                "zoos": [],
            },
        }
    )
)

PLOT = Standing(
    "optimizer",
    "log_loss",
    "log_trace",
    np.array([[0.0, 1.0], [1.0, 0.0]]),
    ["temperature_too_low", "temperature_too_high"],
    np.array([0.5, 0.5]),
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a module, two seeds of weights, and answers that take no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diagnosis, "verdicts_of", lambda *_, **__: (ANSWER,))
    monkeypatch.setattr(diagnosis, "phase", lambda *_: PLOT)
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    (tmp_path / "my_module.py").write_text(MODULE)
    for seed in range(2):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
        torch.save(network.state_dict(), tmp_path / f"seed{seed}.pt")
        save_file(network.state_dict(), tmp_path / f"seed{seed}.safetensors")
    yield tmp_path
    sys.modules.pop("my_module", None)


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Run ``mdbench diagnose``; return exit code, output and errors."""
    from typer.main import get_command

    from zoo_builder.diagnose import app

    def command(*arguments):
        try:
            get_command(app).main([*arguments], standalone_mode=False, prog_name="mdbench diagnose")
            code = 0
        except MdbenchError as error:
            return 2, "", str(error)
        return (code, *capsys.readouterr())

    return command


def test_two_seeds_are_measured_and_reported(run, place):
    asked = ("my_module:make", "--weights", "seed0.pt", "seed1.safetensors", "--data", "my_module:data", "--quick")
    code, out, _ = run(*asked, "--known", "epochs=3,batch_size=20", "--out", "report")
    assert code == 0
    assert "temperature_too_low 80%" in out
    found = load_diagnosis((place / "report" / "diagnosis.json").read_bytes())
    assert (found.checkpoints, found.parameters) == (2, 6 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3)
    assert found.measured["recipe_steps_per_epoch"] == 3
    assert "output_cka" in found.measured
    assert (place / "report" / "report.md").read_text().startswith("# Diagnosis")


def test_numbers_are_those_of_the_compiled_loops_by_which_zoos_are_measured(place):
    models = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, test = bringing.data_of("my_module:data")
    found = diagnosed(models, train=train, test=test, extent="quick").diagnosis
    expected = measure(models, "cross_entropy", train, test=test, families=["performance", "hessian", "spectra"])
    assert "loops" in expected.way
    assert "loops" not in found.way
    for column in ("train_loss", "test_error", "hessian_trace", "stable_rank_mean"):
        assert found.measured[column] == pytest.approx(expected.models[column].iloc[0], rel=1e-5)
    assert found.measured["log_hessian_trace"] == pytest.approx(expected.together["log_hessian_trace"], rel=1e-5)
    assert found.measured["data_amount"] == 60


def diagnosed(models, loss="cross_entropy", **what):
    return diagnosis.diagnose(models, loss, **what)


def test_objects_loaders_and_functions_do(place):
    model = bringing.factory("my_module:make")().train()
    inputs, targets = torch.randn(40, 6), torch.arange(40) % 3
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=16)
    found = diagnosed(model, nn.CrossEntropyLoss(), train=loader, extent="quick").diagnosis
    assert any("training mode" in note for note in found.notes)
    assert model.training
    assert "no test data" in found.reasons["performance"]


def test_it_is_a_function_of_mdbench(place, monkeypatch):
    import importlib.metadata

    entry = importlib.metadata.EntryPoint("diagnose", "zoo_builder.examining:diagnose", "mdbench.functions")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [entry] if group == entry.group else [])
    model = bringing.factory("my_module:make")()
    train, test = bringing.data_of("my_module:data")
    found = mdbench.diagnose(model, train=train, test=test, extent="quick")
    assert found.verdicts["optimizer"].answered
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [])
    with pytest.raises(MdbenchError, match="not installed"):
        mdbench.diagnose(model, train=train)


def bad_weights(place):
    """Write weights that are wrong, each in its way."""
    good = torch.load(place / "seed0.pt", weights_only=True)
    torch.save({name: value for name, value in good.items() if name != "2.bias"}, place / "short.pt")
    torch.save({**good, "9.weight": good["0.weight"]}, place / "long.pt")
    torch.save({**good, "0.weight": good["0.weight"][:4]}, place / "narrow.pt")
    torch.save({**good, "4.bias": good["4.bias"] * np.nan}, place / "nan.pt")
    torch.save({name: value * 0 for name, value in good.items()}, place / "zero.pt")
    torch.save({name: value.to_sparse() for name, value in good.items()}, place / "sparse.pt")
    torch.save({name: value.to("meta") for name, value in good.items()}, place / "meta.pt")
    torch.save({name: value.int() for name, value in good.items()}, place / "rounded.pt")
    torch.save({**good, "4.bias": good["4.bias"] * 1j}, place / "complex.pt")
    torch.save(dict(enumerate(good.values())), place / "numbered.pt")
    torch.save(nn.Linear(2, 2), place / "code.pt")
    torch.save([1, 2], place / "list.pt")
    (place / "text.pt").write_text("no tensors")
    (place / "text.safetensors").write_text("no tensors")


def bad_arrays(place):
    """Write files of arrays that are wrong, each in its way."""
    inputs, targets = np.ones((60, 6), np.float32), np.arange(60) % 3
    with (place / "one.npz").open("wb") as file:
        np.save(file, inputs)
    np.savez(place / "good.npz", train_inputs=inputs, train_targets=targets)
    whole = (place / "good.npz").read_bytes()
    (place / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (place / "flipped.npz").write_bytes(whole[:300] + b"\xff" * 50 + whole[350:])
    (place / "empty.npz").write_bytes(b"")
    (place / "pickled.npz").write_bytes(pickle.dumps({"train_inputs": inputs}))
    np.savez(place / "objects.npz", train_inputs=np.array([inputs, None], dtype=object), train_targets=targets)


REFUSED = {
    "a state that lacks a tensor": (["--weights", "short.pt"], "short.pt does not fit the network: it lacks 2.bias"),
    "a state that has one more": (["--weights", "long.pt"], "it has besides 9.weight"),
    "a state of another width": (["--weights", "narrow.pt"], r"in another shape 0.weight \(4, 6\) for \(8, 6\)"),
    "weights that are no numbers": (["--weights", "nan.pt"], "4.bias holds numbers that are not finite"),
    "weights that are sparse": (["--weights", "sparse.pt"], "kind of numbers 0.weight, sparse or quantized for"),
    "weights without numbers": (["--weights", "meta.pt"], "no numbers .on the device 'meta'. for floating point"),
    "weights that are integers": (["--weights", "rounded.pt"], "0.weight, integers for floating point"),
    "weights that are complex": (["--weights", "complex.pt"], "4.bias, complex numbers for floating point"),
    "weights by number": (["--weights", "numbered.pt"], "tensors by number, not by name"),
    "a file with code": (["--weights", "code.pt"], "code.pt is damaged, or holds more than tensors, .*not read"),
    "a file without names": (["--weights", "list.pt"], "holds no tensors by name"),
    "a file of text": (["--weights", "text.pt"], "text.pt is damaged"),
    "a file of text, safetensors": (["--weights", "text.safetensors"], "text.safetensors cannot be read"),
    "no file": (["--weights", "gone.pt"], "gone.pt is not there"),
    "the same for everything": (["--weights", "zero.pt"], "puts out the same whatever it is given"),
    "data of the wrong shape": (["--data", "my_module:misshapen"], "fails on the training inputs"),
    "labels out of range": (["--data", "my_module:outside"], "has 3, but the networks have 3 outputs"),
    "one label out of range": (["--data", "my_module:one_outside"], "training targets, example 41 has 3"),
    "training data of the wrong shape alone": (["--data", "my_module:two_shapes"], "fails on the training inputs"),
    "a loss without a gradient": (["--loss", "my_module:cut_off"], "the loss has no gradient"),
    "a loss that is flat": (["--loss", "my_module:flat"], "the gradient of the loss is zero"),
    "no example that counts": (["--data", "my_module:ignored"], "are -100, which cross-entropy leaves out"),
    "a batch of more than all": (["--known", "batch_size=1000"], "and there are 60 training examples"),
    "a regression's loss on classes": (["--loss", "mse"], "the loss fails"),
    "no test data": (["--data", "my_module:untested"], "has no test data"),
    "one class": (["--data", "my_module:single"], "all training targets are 0"),
    "a loss that is no mean": (["--loss", "my_module:between"], "neither a mean nor a sum"),
    "a loss that is a sum": (["--loss", "my_module:total"], "a sum over examples, .* reduction='mean'"),
    "one seed twice": (
        ["--weights", "seed0.pt", "seed1.pt", "seed0.safetensors"],
        "networks 0 and 2 have the same weights",
    ),
    "no examples": (["--data", "my_module:empty"], "the training data: there are no examples"),
    "no test examples": (["--data", "my_module:unheld"], "the test data: there are no examples"),
    "a file as the report's folder": (["--out", "seed0.pt"], "seed0.pt is a file; give a folder as --out"),
    "memory that is none": (["--memory", "lots"], "lots"),
    "a loss that cannot be made": (["--loss", "torch.nn:Linear"], "cannot be made without arguments: TypeError"),
    "arrays that are not there": (["--data", "gone.npz"], "gone.npz is not there"),
    "an array without a name": (["--data", "one.npz"], "one.npz is damaged, or holds no arrays by name"),
    "arrays cut short": (["--data", "cut.npz"], "cut.npz is damaged"),
    "arrays of another sum": (["--data", "flipped.npz"], "flipped.npz cannot be read: Bad CRC-32"),
    "an empty file of arrays": (["--data", "empty.npz"], "empty.npz is damaged"),
    "arrays that are pickled": (["--data", "pickled.npz"], "pickled.npz is damaged"),
    "arrays of objects": (["--data", "objects.npz"], "Its arrays must be of numbers"),
    "no such loss": (["--loss", "cross_entrpy"], r"no loss 'cross_entrpy' \(nearest: cross_entropy\)"),
    "no such data": (["--data", "my_module:absent"], "has no attribute 'absent'"),
    "no such knowledge": (["--known", "batch=3"], "there is no 'batch'; there are epochs"),
    "a batch of none": (["--known", "batch_size=0"], "batch_size is 0.0; it must be a number, at least 1"),
    "knowledge that is no number": (["--known", "epochs=many"], "is not NAME=NUMBER"),
    "knowledge said twice": (["--known", "epochs=3", "--known", "epochs=4"], "--known has epochs twice"),
    "two extents": (["--quick", "--thorough"], "two extents"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_diagnosed_is_refused_in_a_sentence(run, place, changes, said):
    bad_weights(place)
    bad_arrays(place)
    asked = {"--weights": "seed0.pt", "--data": "my_module:data"}
    if changes[0] in asked:
        del asked[changes[0]]
    code, _, error = run(
        "my_module:make", *(word for pair in asked.items() for word in pair), "--out", "report", *changes
    )
    assert code == 2
    assert re.search(said, error), error
    assert error.count("\n") <= 1
    assert not (place / "report").exists()


def test_a_network_without_gradients_is_refused(run):
    code, _, error = run("my_module:still", "--weights", "seed0.pt", "--data", "my_module:data", "--quick")
    assert code == 2
    assert "no gradient" in error


def test_layers_are_listed_as_the_network_has_them():
    """Not as text is sorted: 10 before 2, and a last layer called `fc` first."""
    torch.manual_seed(0)
    network = nn.Sequential(*(layer for _ in range(6) for layer in (nn.Linear(5, 5), nn.Tanh())))
    network.append(nn.Linear(5, 3))
    data = torch.randn(20, 5), torch.arange(20) % 3
    found = measure(network, "cross_entropy", data, families=["hessian", "spectra"]).layers
    assert found["layer"].tolist() == ["0", "2", "4", "6", "8", "10", "12"]
    again = examination._joined(
        *(measure(network, "cross_entropy", data, families=[one]) for one in ("hessian", "spectra"))
    )
    pd.testing.assert_frame_equal(again.layers, found)


def test_a_factory_that_fails_says_where(run, place):
    code, _, error = run("my_module:fails", "--weights", "seed0.pt", "--data", "my_module:data")
    assert code == 2
    assert "RuntimeError: no such layer" in error
    assert "my_module.py" in error


@pytest.mark.parametrize(
    ("what", "given"), [("network", "leaves:make"), ("data", "leaves:data"), ("loss", "gone:loss")]
)
def test_code_that_leaves_is_refused_and_does_not_end_the_command_in_silence(run, place, monkeypatch, what, given):
    (place / "leaves.py").write_text("def make(): raise SystemExit(0)\ndata = make\n")
    (place / "gone.py").write_text("raise SystemExit(0)\n")
    asked = {"network": "my_module:make", "data": "my_module:data", "loss": "cross_entropy", what: given}
    code, _, error = run(
        asked["network"], "--weights", "seed0.pt", "--data", asked["data"], "--loss", asked["loss"], "--out", "report"
    )
    assert (code, "SystemExit: 0" in error) == (2, True)


WRAPPED = """
import torch
from torch import nn
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6, bias=False)
        self.norm = nn.BatchNorm1d(6)
        self.second = nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
    def forward(self, x):
        return self.second(self.norm(self.first(x)))
def compiled():
    return torch.compile(Tied())
"""


def test_weights_come_as_people_keep_them(place):
    (place / "wrapped.py").write_text(WRAPPED)
    torch.manual_seed(0)
    network = bringing.factory("wrapped:Tied")().eval()
    state = network.state_dict()
    save_model(network, place / "tied.safetensors")  # which keeps one tensor once
    within = {f"_orig_mod.module.{name}": value for name, value in state.items()}
    torch.save({"state_dict": within, "epoch": 3}, place / "within.pt")
    torch.save({name: value.half() for name, value in state.items()}, place / "half.pt")
    torch.save({name: value for name, value in state.items() if "num_batches" not in name}, place / "older.pt")
    inputs = torch.randn(5, 6)
    for made in ("wrapped:Tied", "wrapped:compiled"):
        for name in ("tied.safetensors", "within.pt", "half.pt", "older.pt"):
            (found,) = bringing.checkpoints(bringing.factory(made), [place / name])
            torch.testing.assert_close(found(inputs), network(inputs), rtol=0.01, atol=0.01)
    torch.save({name: value for name, value in state.items() if "weight" not in name}, place / "none.pt")
    with pytest.raises(MdbenchError, match=r"lacks first.weight, norm.weight, second.weight"):
        bringing.checkpoints(bringing.factory("wrapped:Tied"), [place / "none.pt"])


def test_arrays_of_the_other_byte_order_are_numbers_too(place):
    inputs, targets = np.arange(12.0).reshape(6, 2), np.arange(6) % 3
    np.savez(
        place / "big.npz", train_inputs=inputs.astype(">f4"), train_labels=targets.astype(">i4"), more=np.array([None])
    )
    (seen, labels), test = bringing.data_of(str(place / "big.npz"))
    found, _ = data_of((seen, labels), "training")
    assert test is None
    assert found.tensor.tolist() == inputs.tolist()
    assert found.targets.tolist() == targets.tolist()


def test_what_is_known_is_a_mapping():
    with pytest.raises(MdbenchError, match="the configuration is a str; it must map names to numbers"):
        examination.known("epochs=30", 60)


def test_without_test_data_where_that_is_said(run, place):
    asked = ("my_module:make", "--weights", "seed0.pt", "--data", "my_module:untested", "--no-test", "--quick")
    assert run(*asked)[0] == 0
    found = load_diagnosis((place / "report" / "diagnosis.json").read_bytes())
    assert found.measured["test_error"] is None


def test_the_folder_is_tried_before_anything_is_measured(run, place, monkeypatch):
    monkeypatch.setattr(diagnosis, "examine", lambda *_, **__: pytest.fail("measured first"))
    asked = ("my_module:make", "--weights", "seed0.pt", "--data", "my_module:data", "--out")
    code, _, error = run(*asked, "seed0.pt/report")
    assert (code, "seed0.pt is a file" in error) == (2, True)


def test_how_many_test_examples_there_are_is_asked_with(place, monkeypatch):
    told = []
    monkeypatch.setattr(diagnosis, "verdicts_of", lambda *_, **what: told.append(what["tested"]) or (ANSWER,))
    model = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, test = bringing.data_of("my_module:data")
    diagnosed(model, train=train, test=test, extent="quick")
    diagnosed(model, train=train, extent="quick")
    assert told == [30, None]


def test_outputs_that_are_shares_already_are_noted(place):
    model = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, test = bringing.data_of("my_module:data")
    plain = diagnosed(model, train=train, test=test, extent="quick").diagnosis
    soft = diagnosed([nn.Sequential(*model, nn.Softmax(1)).eval()], train=train, test=test, extent="quick").diagnosis
    assert not any("softmax" in note for note in plain.notes)
    assert any("the outputs add up to 1, as after a softmax" in note for note in soft.notes)


def test_kept_numbers_do_not_hide_what_is_wrong_with_memory(run, place):
    asked = ("my_module:make", "--weights", "seed0.pt", "--data", "my_module:data", "--quick")
    assert run(*asked)[0] == 0
    code, _, error = run(*asked, "--memory", "lots")
    assert (code, "lots" in error) == (2, True)


@pytest.mark.parametrize("content", ["{}", '{"together": 1, "way": "x", "notes": []}', "[]", "nothing"])
def test_kept_numbers_that_are_damaged_are_measured_anew(run, place, content):
    asked = ("my_module:make", "--weights", "seed0.pt", "--data", "my_module:data", "--quick")
    assert run(*asked)[0] == 0
    first = (place / "report" / "diagnosis.json").read_bytes()
    (kept,) = (cache_home() / "examined").glob("*/together.json")
    kept.write_text(content)
    assert run(*asked)[0] == 0
    assert load_diagnosis((place / "report" / "diagnosis.json").read_bytes()) == load_diagnosis(first)


def test_the_second_run_says_what_the_first_said(run, place):
    asked = ("my_module:make", "--weights", "seed0.pt", "--data", "my_module:data", "--quick")
    assert run(*asked)[0] == 0
    first = load_diagnosis((place / "report" / "diagnosis.json").read_bytes()).measured
    assert run(*asked)[0] == 0
    assert load_diagnosis((place / "report" / "diagnosis.json").read_bytes()).measured == first


def test_interrupted_it_goes_on(place, monkeypatch):
    model = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, test = bringing.data_of("my_module:data")
    asked = []

    def stopped(*given, families, **what):
        asked.append(families)
        if len(asked) == 1:
            raise Interrupted(measure(*given, families=families[:1], **what))
        return measure(*given, families=families, **what)

    monkeypatch.setattr(examination, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        diagnosed(model, train=train, test=test, extent="quick")
    found = diagnosed(model, train=train, test=test, extent="quick").diagnosis
    assert asked == [["performance", "hessian", "spectra"], ["hessian", "spectra"]]
    diagnosed(model, train=train, test=test, extent="quick")
    assert len(asked) == 2  # all of it was kept
    whole = measure(model, "cross_entropy", train, test=test, families=["performance", "hessian", "spectra"])
    assert found.measured["hessian_trace"] == pytest.approx(whole.models["hessian_trace"].iloc[0])


class Bent(nn.Module):
    """A network whose activation shows neither in its weights nor in its text."""

    def __init__(self, bend):
        super().__init__()
        self.into, self.out = nn.Linear(6, 8), nn.Linear(8, 3)
        self.bend = bend

    def forward(self, x):
        return self.out(self.bend(self.into(x)))


def scaled(by):
    """Return a loss that holds a number."""
    return lambda outputs, targets: by * nn.functional.cross_entropy(outputs, targets)


#: Two losses that a text of theirs does not tell apart.
LOSSES = {
    "class weights": [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.1]))],
    "smoothing": [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.2)],
    "what is called": [
        lambda outputs, targets: nn.functional.mse_loss(outputs, nn.functional.one_hot(targets, 3).float()),
        lambda outputs, targets: nn.functional.l1_loss(outputs, nn.functional.one_hot(targets, 3).float()),
    ],
    "what is held": [scaled(1), scaled(2)],
}


@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES)
def test_a_loss_does_not_get_the_numbers_of_another(place, losses):
    model = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, _ = bringing.data_of("my_module:data")
    for loss in losses:
        found = diagnosed(model, loss, train=train, extent="quick").diagnosis
        with torch.no_grad():
            assert found.measured["train_loss"] == pytest.approx(float(loss(model[0](train[0]), train[1])), rel=1e-5)


def test_a_network_does_not_get_the_numbers_of_another_with_its_weights(place):
    model = Bent(torch.relu).eval()
    train, _ = bringing.data_of("my_module:data")
    for bend in (torch.relu, torch.tanh):
        model.bend = bend
        found = diagnosed(model, train=train, extent="quick").diagnosis
        with torch.no_grad():
            expected = float(nn.functional.cross_entropy(model(train[0]), train[1]))
        assert found.measured["train_loss"] == pytest.approx(expected, rel=1e-5)
    before = found.measured["hessian_trace"]
    model.into.requires_grad_(False)
    found = diagnosed(model, train=train, extent="quick").diagnosis
    assert found.measured["hessian_trace"] < before  # over fewer parameters, each of which had a share
    assert any("do not require gradients" in note for note in found.notes)


class Gated(nn.Module):
    """A network of which a part may be cut off from its gradient, unseen by its outputs and its text."""

    def __init__(self, cut):
        super().__init__()
        torch.manual_seed(0)
        self.into, self.gate, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.cut = cut

    def forward(self, x):
        return self.out(torch.tanh(self.into(x)) * self.cut(torch.sigmoid(self.gate(x))))


def test_a_network_that_was_mended_is_measured_anew(place):
    """By the reason for what is missing, a person finds the ``detach``, and asks again."""
    train, _ = bringing.data_of("my_module:data")
    shelves = [
        shelf_of(
            [model],
            Data(*train),
            None,
            "cross_entropy",
            Settings(),
            examination.check([model], "cross_entropy", Data(*train), None),
        )
        for model in (Gated(torch.detach), Gated(torch.clone), Gated(torch.clone))
    ]
    assert shelves[0] != shelves[1] == shelves[2]
    found = diagnosed(Gated(torch.detach).eval(), train=train, extent="quick").diagnosis
    assert found.measured["hessian_trace"] is None
    found = diagnosed(Gated(torch.clone).eval(), train=train, extent="quick").diagnosis
    assert found.measured["hessian_trace"] is not None


def test_what_a_gradient_is_counts_where_code_says_nothing(place):
    """Of compiled code and of code in packages nothing is read."""
    train = Data(*bringing.data_of("my_module:data")[0])
    computed = [examination.check([Gated(cut)], "cross_entropy", train, None) for cut in (torch.detach, torch.clone)]
    assert torch.equal(computed[0][0], computed[1][0])
    assert not torch.equal(computed[0][-1], computed[1][-1])


SAME = """
import torch
from functools import partial
from torch.nn import functional
scale = torch.tensor([1.0, 2.0, 3.0])
def loss(outputs, targets, sides=(1, 2)):
    return sum(functional.cross_entropy(outputs * side, targets) for side in [float(one) for one in sides])
losses = [loss, partial(functional.cross_entropy, label_smoothing=0.1), lambda outputs, targets: loss(outputs, targets)]
"""


def test_a_loss_made_anew_finds_its_numbers(place):
    """Where it is in memory does not matter: another process goes on."""
    model = bringing.factory("my_module:make")().eval()
    data, *made = Data(torch.zeros(2, 6), torch.zeros(2).long()), {}, {}
    for names in made:
        exec(SAME, names)
    for one, again in zip(made[0]["losses"], made[1]["losses"], strict=True):
        assert shelf_of([model], data, None, one, Settings(), ()) == shelf_of(
            [model], data, None, again, Settings(), ()
        )


def test_the_command_is_there():
    found = subprocess.run(
        [sys.executable, "-c", "from zoo_builder.diagnose import app; app(['--help'])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--thorough" in found.stdout


@pytest.mark.parametrize(
    ("likely", "helps"),
    [
        (("data", "temperature_too_low"), "a higher temperature of training"),
        (("temperature_too_high", "data"), "a lower temperature of training"),
        (("width", "data"), "a wider network"),
        (("width", "temperature_too_low"), "a wider network"),
        (("temperature_too_low", "temperature_too_high"), "which way"),
    ],
)
def test_the_experiment_is_a_sentence(likely, helps):
    shares = dict(zip(likely, (0.6, 0.4), strict=True))
    said = experiment([ANSWER.model_copy(update={"task": "failure_source", "probabilities": shares})])
    assert helps in said
    assert "_" not in said
    assert said.endswith(".")


def test_the_experiment_asks_nothing_that_was_answered():
    """Which way the temperature is off was; whether it is that, and not the data, is open."""
    shares = {"temperature_too_low": 0.5, "temperature_too_high": 0.3, "data": 0.15, "width": 0.05}
    source = ANSWER.model_copy(update={"task": "failure_source", "probabilities": shares})
    assert "which way" in experiment([source])
    assert "half of the data" in experiment([ANSWER, source])
    assert "which way" in experiment([ANSWER.model_copy(update={"answered": False}), source])


@pytest.mark.parametrize(
    ("task", "threshold", "said"),
    [
        ("optimizer", 0.7, "No answer: it lies beyond. As a hint, the temperature of training is too low"),
        ("optimizer", 0.9, "No answer: nothing is as sure as answers were"),
        ("optimizer", None, "No answer: nothing is as sure as answers were"),
        ("width_vs_optimizer", 0.7, "No answer: nothing is as sure as answers were"),  # a hint, however sure
    ],
)
def test_why_there_is_no_answer_is_said_first(task, threshold, said):
    """Of a network unlike all that were learned from, verdicts may be as sure as answers were."""
    verdict = ANSWER.model_copy(
        update={"task": task, "answered": False, "why_not": "it lies beyond", "threshold": threshold}
    )
    if task == "width_vs_optimizer":
        verdict = verdict.model_copy(update={"probabilities": {"width": 0.8, "optimizer": 0.2}, "likeliest": "width"})
    found = Diagnosis(checkpoints=1, parameters=5, extent="quick", verdicts=(verdict,), measured={}, reasons={})
    assert headline(found).startswith(said)


def test_the_page_asks_for_nothing_and_escapes_everything(place):
    hostile = "<script>alert(1)</script>"
    models = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, test = bringing.data_of("my_module:data")
    found = diagnosed(models, train=train, test=test, extent="quick")
    marked = found.diagnosis.model_copy(
        update={"notes": (hostile,), "command": hostile, "reasons": {hostile: hostile}, "way": hostile}
    )
    text = page(marked, found.standing)
    assert hostile not in text
    assert text.count("&lt;script&gt;") == 4
    assert not re.search(r"<script|https?:|@import|url\(|<link", text)
    assert "default-src 'none'" in text
    assert "this one" in text


def test_layers_follow_the_rules_of_their_publications():
    """TempBalance: rates go linearly from 0.5 at the smallest exponent to 1.5; AlphaPruning takes half of the weights in all."""
    table = pd.DataFrame(
        {
            "model": 0,
            "layer": ["a", "b", "c"],
            "matrix_rows": [100, 100, 10],
            "matrix_columns": [100, 100, 100],
            "alpha_hill": [2.5, 4.5, 3.5],
            "alpha_hill_minus_fresh": [-2.0, -0.1, -2.0],
        }
    )
    found = layers_of(table)
    assert [one.rate for one in found] == pytest.approx([0.5, 1.5, 1.0])
    sizes = np.array([10_000, 10_000, 1_000])
    assert (np.array([one.pruned for one in found]) * sizes).sum() == pytest.approx(10_500)
    assert found[0].pruned < found[2].pruned < found[1].pruned
    assert [one.trained for one in found] == ["well", "under", None]  # ten eigenvalues are too few for a word
    assert layers_of(pd.DataFrame({"model": []})) == ()


@pytest.mark.parametrize("several", [False, True])
def test_what_it_takes_is_said_before_it_begins(place, several):
    """The processor's time, for others use the machine too."""
    inputs, targets = torch.randn(1500, 200), torch.arange(1500) % 5
    inputs[torch.arange(1500), targets] += 3
    models = []
    for seed in range(1 + several):
        torch.manual_seed(seed)
        models.append(nn.Sequential(nn.Linear(200, 300), nn.Tanh(), nn.Linear(300, 5)))
        optimizer = torch.optim.SGD(models[-1].parameters(), 0.1)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(models[-1](inputs), targets).backward()
            optimizer.step()
    heard = []

    def said(text):
        heard.append((text, time.process_time()))

    found = examination.examine(models, "cross_entropy", train=(inputs, targets), extent="quick", said=said)
    took = time.process_time() - heard[1][1]
    expected = found.forecast
    assert heard[1][0] == str(expected)
    assert re.match(r"measuring takes about .*hessian.* GB of memory", heard[1][0])
    assert set(expected.seconds) == {"performance", "hessian", "spectra"} | ({"similarity"} if several else set())
    assert all(seconds >= 0 for seconds in expected.seconds.values())
    assert 1 / 4 < expected.processor / took < 4
    assert expected.bytes > 2 * sum(value.nbytes for model in models for value in model.state_dict().values())


def test_operations_are_those_of_products_of_matrices():
    """Two for each weight and place: 3 · 4 · 3 · 3 at 6 × 6 places, then 4 · 36 times 5. An idle table counts its numbers."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).train()
    data = Data(torch.randn(8, 3, 6, 6), torch.arange(8) % 5)
    assert operations(network, data) == 2 * (3 * 4 * 9 * 36 + 144 * 5)
    assert network.training
    table = nn.Sequential(nn.Embedding(1000, 4), nn.Flatten())
    assert operations(table, Data(torch.arange(8)[:, None], torch.arange(8))) == 2 * 4000


def test_a_quick_extent_is_shorter_where_it_would_take_long(place, monkeypatch):
    """Layers are left out first, then examples, which is said; what a wider extent measures is of all of them."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    inputs, targets = torch.randn(600, 6), torch.arange(600) % 3
    inputs[torch.arange(600), targets] += 1
    each = operations(network, Data(inputs, targets))
    assert each == 2 * (6 * 8 + 8 + 8 * 3 + 3)
    monkeypatch.setattr(extent, "_QUICK", each * 600 * 26)
    assert extent.settings_of("quick", [network], Data(inputs, targets)) == (Settings(), None)
    monkeypatch.setattr(extent, "_QUICK", each * 600 * 24)
    settings, note = extent.settings_of("quick", [network], Data(inputs, targets))
    assert settings == Settings(layer_eigenvalues=False)
    assert note.startswith("no eigenvalues of single layers")
    monkeypatch.setattr(extent, "_QUICK", each * 200 * 24)
    heard = []
    quick = examination.examine(
        network, "cross_entropy", train=(inputs, targets), extent="quick", mixed=True, said=heard.append
    )
    assert any("over 200 training examples, not 600" in note for note in quick.notes)
    assert [text for text in heard if "over 200" in text] == [text for text in quick.notes if "over 200" in text]
    expected = measure([network], "cross_entropy", (inputs[:200], targets[:200]), families=["hessian"])
    for column in ("hessian_trace", "hessian_top_eigenvalue"):
        assert quick.found.models[column][0] == pytest.approx(expected.models[column][0], rel=1e-5)
    whole = measure([network], "cross_entropy", (inputs, targets), families=["performance", "hessian"])
    assert quick.found.models["train_loss"][0] == pytest.approx(whole.models["train_loss"][0], rel=1e-6)
    default = examination.examine(network, "cross_entropy", train=(inputs, targets), extent="default", mixed=True)
    assert default.found.models["hessian_trace"][0] == pytest.approx(whole.models["hessian_trace"][0], rel=1e-6)
    assert not default.notes
    monkeypatch.setattr(extent, "_QUICK", 1)
    assert extent.settings_of("quick", [network], Data(inputs, targets))[0].curvature_sample == extent.FEWEST


def test_samples_are_of_all_classes_however_examples_lie(place):
    """3,000 examples class by class: the first 1,000 are all of one class, of which the network knows another loss."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    inputs, targets = torch.randn(3000, 6), torch.arange(3000) // 1000
    inputs += targets[:, None]
    found = examination.examine(network, "cross_entropy", train=(inputs, targets), extent="quick").found
    every = Settings(train_sample=3000)
    whole, first = (
        measure([network], "cross_entropy", (inputs, targets), families=["hessian"], settings=settings)
        for settings in (every, Settings())
    )
    right = whole.models["hessian_trace"][0]
    assert found.models["hessian_trace"][0] == pytest.approx(right, rel=0.1)
    assert first.models["hessian_trace"][0] != pytest.approx(right, rel=0.2)


def test_what_was_measured_before_takes_nothing(place):
    models = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, test = bringing.data_of("my_module:data")
    first = diagnosed(models, train=train, test=test, extent="quick").examined
    assert 0 < sum(first.forecast.seconds.values()) < 60
    assert diagnosed(models, train=train, test=test, extent="quick").examined.forecast is None


def test_adapters_go_where_tails_are_light():
    """Exponents 1, 4 and 4: 1 : 32 : 32, as 4^2.5 = 32. Of 65, as many; of 13, 0.2 : 6.4 : 6.4, where the earlier is first."""
    assert experts_of([1.0, 4.0, 4.0], 65) == [1, 32, 32]
    assert experts_of([1.0, 4.0, 4.0], 13) == [0, 7, 6]
    assert experts_of([2.0, 2.0, 2.0, 2.0], 20) == [5, 5, 5, 5]
    table = pd.DataFrame(
        {
            "model": 0,
            "layer": ["a", "b", "c"],
            "matrix_rows": [100, 100, 4],
            "matrix_columns": 100,
            "alpha_hill": [1.0, 4.0, np.nan],
            "alpha_hill_minus_fresh": -2.0,
        }
    )
    assert [one.experts for one in layers_of(table, 33)] == [1, 32, None]
    assert [one.experts for one in layers_of(table)] == [0, 10, None]  # 10 · 1 / 33 and 10 · 32 / 33


def test_the_schema_is_the_published_one(place):
    models = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, test = bringing.data_of("my_module:data")
    where = diagnosed(models, train=train, test=test, extent="quick").report(place / "report")
    schema = json.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((where / "diagnosis.json").read_text()), schema)
    docs = Path(__file__).parent.parent / "docs" / "diagnosis.schema.json"
    assert json.loads(docs.read_text()) == schema, (
        "run: python -m mdbench.diagnosing.diagnosis > docs/diagnosis.schema.json"
    )


def test_densities_are_drawn_where_eigenvalues_are():
    """Heights are the logarithms of the densities, but for a scale; bars go from the smallest eigenvalue to the largest."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(80, 60), nn.ReLU(), nn.Linear(60, 1))
    (found,) = densities(network)  # a single row has one eigenvalue
    values = torch.linalg.svdvals(network[0].weight.detach().double()).square().numpy()
    assert found.layer == "0"
    assert (found.low, found.high) == pytest.approx((values.min(), values.max()))
    x, y, width, height = np.array(found.bars).T
    assert y + height == pytest.approx(np.full(len(y), BOTTOM))
    assert (x[0], x[-1] + width[-1]) == pytest.approx((LEFT, RIGHT))
    assert y.min() > TOP
    assert y.max() < BOTTOM
    bins = np.exp(np.linspace(np.log(values.min()) - 1e-8, np.log(values.max()) + 1e-8, 17))  # 2 √60 bins
    density = np.histogram(values, bins)[0] / np.diff(bins)
    assert np.corrcoef(height, np.log(density[density > 0]))[0, 1] > 0.9999
    assert found.bulk
    assert found.exponent > 1


def test_the_page_draws_densities(place):
    models = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, test = bringing.data_of("my_module:data")
    found = diagnosed(models, train=train, test=test, extent="quick")
    text = (found.report(place / "report") / "report.html").read_text()
    assert "Spectral densities" in text
    assert text.count('class="bin" x=') >= 6
    assert not re.search(r"<script|https?:|@import|url\(|<link", text)


@pytest.mark.parametrize("shape", [(9, 9), (6, 7), (4, 3, 5)])
def test_basins_lie_in_each_other_at_every_level(shape):
    """However deep it is cut, pieces of the profile are as many and as large as connected components of the grid (SciPy's)."""
    losses = np.random.default_rng(0).standard_normal(shape)
    heights, widths = profile(losses)
    assert np.sort(heights[widths == 1]) == pytest.approx(np.sort(losses.ravel()))
    for level in losses.ravel():
        labels, many = ndimage.label(losses <= level, np.ones((3,) * len(shape)))
        pieces, found = ndimage.label(heights <= level)
        assert found == many
        assert np.sort(np.bincount(pieces, widths)[1:]).tolist() == np.sort(np.bincount(labels.ravel())[1:]).tolist()


def test_the_loss_around_a_network_is_drawn(place):
    models = bringing.checkpoints(bringing.factory("my_module:make"), [place / "seed0.pt"])
    train, test = bringing.data_of("my_module:data")
    found = diagnosed(models, train=train, test=test, extent="quick")
    plane = plane_of(found.examined.networks[0], "cross_entropy", found.examined.train)
    middle = plane.cells[4][4]
    loss = found.diagnosis.measured["train_loss"]
    log = np.log([plane.low, loss, plane.high])
    assert middle == pytest.approx((log[1] - log[0]) / (log[2] - log[0]), abs=2e-3)
    text = page(found.diagnosis, found.standing, plane=plane)
    assert text.count('class="cell"') == 81
    assert "The loss around it" in text


def test_the_loss_between_two_seeds_is_drawn(place):
    """Its ends are the networks' own losses, at whatever scale; the trained curve lies beneath the line in the mean."""
    models = bringing.checkpoints(bringing.factory("my_module:make"), [place / f"seed{seed}.pt" for seed in range(2)])
    (inputs, targets), _ = bringing.data_of("my_module:data")
    ways = ways_of(models, "cross_entropy", Data(inputs, targets))
    own = [nn.functional.cross_entropy(model(inputs), targets).item() for model in models]
    assert [name for name, _ in ways.lines] == ["trained curve", "straight line", "line, units aligned"]
    losses = {}
    for name, points in ways.lines:
        height = (128 - np.array([float(point.split(",")[1]) for point in points.split()])) / 120
        losses[name] = ways.low * (ways.high / ways.low) ** height
        assert losses[name][[0, -1]] == pytest.approx(own, rel=2e-3)
    assert losses["trained curve"].mean() < losses["straight line"].mean()
    assert ways_of(models[:1], "cross_entropy", Data(inputs, targets)) is None
    found = diagnosed(models[:1], train=(inputs, targets), extent="quick")
    text = page(found.diagnosis, found.standing, ways=ways)
    assert text.count('<polyline class="way') == 3
    assert "From one seed to another" not in page(found.diagnosis, found.standing)
