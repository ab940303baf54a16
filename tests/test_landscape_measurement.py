"""What anybody's models are measured on: examples that make sense, or a message that says what does not."""

import pytest
import torch
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.landscape import Data, measure
from zoo_builder.landscape.measurement import gate
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.specification.models import mlp

CLASSES = 3


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    return [mlp((4,), CLASSES, 5).eval() for _ in range(2)]


def examples(n=40, seed=1):
    torch.manual_seed(seed)
    return torch.randn(n, 4), torch.arange(n) % CLASSES


def changed(labels, to, at=7):
    labels = labels.clone()
    labels[at] = to
    return labels


def found(models, train, **more):
    return measure(models, "cross_entropy", train, families=["performance", "memorization"], **more)


@pytest.mark.parametrize("label", [-1, CLASSES, -100, 2**40])
@pytest.mark.parametrize("where", ["training targets", "test targets", "right labels"])
def test_a_label_that_is_no_class_is_refused(models, where, label):
    """The compiled loops find the logit of a label by its number: another one would be read from elsewhere."""
    inputs, labels = examples()
    wrong = changed(labels, label)
    train, test, truth = (
        {"training targets": wrong}.get(where, labels),
        {"test targets": wrong}.get(where, labels),
        {"right labels": wrong}.get(where, labels),
    )
    said = rf"of the {where}.*, example 7 has {label}, but the networks have 3 outputs, for classes 0 to 2"
    with pytest.raises(MdbenchError, match=said):
        found(models, (inputs, train), test=(inputs, test), truth=truth)
    subject = Subject(
        open_surface(models, (4,)), Data(inputs, train), Data(inputs, test), wrong=None, truth=truth.numpy()
    )
    with pytest.raises(MdbenchError, match=said):
        gate(subject)


@pytest.mark.parametrize(
    "make",
    [
        lambda labels: labels.float(),
        nn.functional.one_hot,
        lambda labels: labels[:, None],
        lambda labels: nn.functional.one_hot(labels).float(),
    ],
)
@pytest.mark.parametrize("where", ["training targets", "test targets", "right labels"])
def test_what_is_no_class_number_is_refused(models, where, make):
    inputs, labels = examples()
    train, test, truth = (
        make(labels) if where == here else labels for here in ("training targets", "test targets", "right labels")
    )
    with pytest.raises(MdbenchError, match=rf"the {where}.* are torch\..*integers of shape \(n,\)"):
        found(models, (inputs, train), test=(inputs, test), truth=truth)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16])
def test_integers_of_any_size_are_class_numbers(models, dtype):
    inputs, labels = examples()
    truth = changed(labels, 2)
    expected = found(models, (inputs, labels), test=(inputs, labels), truth=truth).models
    same = found(models, (inputs, labels.to(dtype)), test=(inputs, labels.to(dtype)), truth=truth.to(dtype)).models
    assert expected["train_loss"].notna().all()
    assert same.equals(expected)


def test_there_is_one_right_label_an_example(models):
    inputs, labels = examples()
    with pytest.raises(MdbenchError, match=r"39 right labels .* for 40 training examples"):
        found(models, (inputs, labels), truth=labels[:-1])


@pytest.mark.parametrize("where", ["training", "test"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda inputs: (inputs * 10).int(), r"inputs are torch.int32; they must be floating point"),
        (lambda inputs: changed(inputs, torch.nan), "inputs hold numbers that are not finite, first in example 7"),
        (lambda inputs: changed(inputs, torch.inf), "inputs hold numbers that are not finite, first in example 7"),
    ],
)
@pytest.mark.parametrize("loss", ["cross_entropy", nn.MSELoss()])
def test_inputs_are_finite_numbers(models, where, make, said, loss):
    inputs, labels = examples()
    train, test = (make(inputs) if where == here else inputs for here in ("training", "test"))
    targets = labels if loss == "cross_entropy" else torch.randn(len(inputs), CLASSES)
    with pytest.raises(MdbenchError, match=f"the {where} {said}"):
        measure(models, loss, (train, targets), test=(test, targets), families=["performance"])


def test_test_inputs_are_like_training_inputs(models):
    inputs, labels = examples()
    with pytest.raises(MdbenchError, match=r"the test inputs have shape \(5,\) each; they must be \(4,\)"):
        found(models, (inputs, labels), test=(torch.randn(8, 5), labels[:8]))


class Scalar(nn.Module):
    """One number an example, without an axis for it."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 1)

    def forward(self, x):
        return torch.tanh(self.last(x)).squeeze(1)


def test_outputs_of_a_classifier_are_a_number_a_class():
    torch.manual_seed(0)
    inputs, labels = examples()
    rows = nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Linear(2, CLASSES))
    for network, said in ((Scalar(), r"\(\)"), (rows, r"\(2, 3\)")):
        with pytest.raises(MdbenchError, match=f"outputs have shape {said} an example; cross-entropy wants a number a"):
            found([network], (inputs, labels))


def test_a_loss_of_ones_own_has_targets_of_its_own():
    torch.manual_seed(0)
    inputs, _ = examples()
    network, targets = Scalar(), torch.randn(len(inputs)) - 100
    loss = measure([network], nn.MSELoss(), (inputs, targets), truth=targets, families=["performance"]).models
    expected = nn.functional.mse_loss(network(inputs), targets).item()
    assert loss["train_loss"].tolist() == pytest.approx([expected], rel=1e-5)
