"""Calibration and margins against their definitions, and the family against plain PyTorch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from mdbench.tables.schema import COLUMNS
from zoo_builder.landscape import outputs
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.performance import METRICS, calibration_errors, measure
from zoo_builder.specification.models import mlp

ALL = [metric.column for metric in METRICS]


def some_data(n, seed, classes=4):
    rng = torch.Generator().manual_seed(seed)
    return Data(torch.randn(n, 6, generator=rng, dtype=torch.float64), torch.randint(0, classes, (n,), generator=rng))


def networks(many, seed=0, scale=4.0):
    torch.manual_seed(seed)
    made = [mlp((6,), 4, 7).double().eval() for _ in range(many)]
    for network in made:  # otherwise nobody is sure of anything
        network[-1].weight.data *= scale
    return made


def subject_of(made, **kwargs):
    surface = open_surface(made, (6,), dtype=torch.float64, loss=kwargs.pop("loss", None))
    return Subject(surface, kwargs.pop("train", some_data(90, 1)), kwargs.pop("test", some_data(130, 2)), **kwargs)


def test_calibration_error_by_hand():
    # Bins of width 1/2: (0, 0.5] holds 0.4 and 0.5, (0.5, 1] holds 0.6 and 1. The gaps are |1 − 0.9| and |1 − 1.6|.
    confidences = np.array([[0.4, 0.5, 0.6, 1.0]])
    right = np.array([[True, False, False, True]])
    assert calibration_errors(confidences, right, bins=2) == pytest.approx([100 * (0.1 + 0.6) / 4])
    assert calibration_errors(np.ones((1, 5)), np.ones((1, 5), bool)) == pytest.approx([0])
    assert calibration_errors(np.ones((1, 5)), np.zeros((1, 5), bool)) == pytest.approx([100])
    # Of a tenth each: on the whole as sure as right, but in no bin.
    assert calibration_errors(np.array([[0.25, 0.75]]), np.array([[True, False]])) == pytest.approx([75])


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32))
def test_calibration_error_is_the_sum_over_bins(examples, bins, seed):
    rng = np.random.default_rng(seed)
    confidences, right = rng.random((3, examples)), rng.random((3, examples)) < 0.6
    confidences[0] = np.arange(examples) % (bins + 1) / bins  # edges belong to the bin below them
    confidences[0, confidences[0] == 0] = 1
    found = calibration_errors(confidences, right, bins)
    for row in range(3):
        expected = 0.0
        for b in range(1, bins + 1):
            # The bin of an edge b / bins as the same float.
            inside = [i for i in range(examples) if math.ceil(confidences[row, i] * bins) == b]
            if inside:
                accuracy = sum(right[row, i] for i in inside) / len(inside)
                expected += (
                    len(inside) / examples * abs(accuracy - sum(confidences[row, i] for i in inside) / len(inside))
                )
        assert found[row] == pytest.approx(100 * expected, abs=1e-9)


def test_edges_of_bins_belong_to_the_bin_below():
    confidences, right = np.array([[0.2, 0.15]]), np.array([[True, False]])
    assert calibration_errors(confidences, right, 5) == pytest.approx([100 * abs(1 - 0.35) / 2])


def test_a_confidence_of_one_belongs_to_the_last_bin():
    # torchmetrics 1.9.0 gives it a bin of its own, and says 51.5.
    confidences, right = np.repeat([[1.0, 0.97]], 5, axis=1), np.repeat([[False, True]], 5, axis=1)
    assert calibration_errors(confidences, right) == pytest.approx([100 * abs(0.5 - 0.985)])


@given(st.integers(2, 6), st.integers(0, 2**32), st.sampled_from([0.1, 1.0, 300.0]))
def test_what_outputs_say_agrees_with_softmax(classes, seed, scale):
    rng = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, 5, classes, generator=rng, dtype=torch.float64)
    labels = torch.randint(0, classes, (5,), generator=rng)
    probabilities = logits.softmax(2)
    own = probabilities.gather(2, labels[None, :, None].expand(2, -1, -1))[..., 0]
    assert torch.allclose(outputs.confidences(logits), probabilities.amax(2), rtol=1e-10)
    expected = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(2), reduction="none").view(2, 5)
    assert torch.allclose(outputs.cross_entropies(logits, labels), expected, rtol=1e-9, atol=1e-12)
    unsure = (own > 1e-6) & (own < 1 - 1e-6)
    assert torch.allclose(outputs.log_odds(logits, labels)[unsure], torch.logit(own)[unsure], rtol=1e-7, atol=1e-8)
    for s in range(2):
        for i in range(5):
            others = [float(logits[s, i, k]) for k in range(classes) if k != labels[i]]
            assert outputs.margins(logits, labels)[s, i] == pytest.approx(float(logits[s, i, labels[i]]) - max(others))


def test_losses_of_the_very_sure_are_told_apart():
    logits = torch.tensor([[[50.0, 0.0], [60.0, 0.0], [800.0, 0.0]]])
    losses = outputs.cross_entropies(logits, torch.tensor([0, 0, 0]))[0]
    assert losses[:2].tolist() == pytest.approx([math.exp(-50), math.exp(-60)], rel=1e-12)
    assert losses[2] == 0
    assert outputs.cross_entropies(logits, torch.tensor([1, 1, 1]))[0].tolist() == pytest.approx([50, 60, 800])


def test_the_family_is_what_pytorch_says():
    made = networks(3)
    subject = subject_of(made)
    found = measure(subject).networks
    for row, network in enumerate(made):
        for part, data in (("train", subject.train), ("test", subject.test)):
            logits = network(data.inputs).detach()
            top, said = logits.softmax(1).max(1)
            right = said == data.targets
            assert found[f"{part}_error"][row] == pytest.approx(100 * float((~right).double().mean()))
            assert found[f"{part}_loss"][row] == pytest.approx(float(functional.cross_entropy(logits, data.targets)))
            assert found[f"{part}_confidence"][row] == pytest.approx(100 * float(top.mean()))
            gaps = [abs(float((right.double() - top)[(top > b / 15) & (top <= (b + 1) / 15)].sum())) for b in range(15)]
            assert found[f"{part}_ece"][row] == pytest.approx(100 * sum(gaps) / len(data))
        assert found["generalization_gap"][row] == pytest.approx(found["test_error"][row] - found["train_error"][row])
        logits = network(subject.train.inputs).detach()
        margins = [
            float(line[label] - max(v for k, v in enumerate(line) if k != label))
            for line, label in zip(logits, subject.train.targets, strict=True)
        ]
        assert found["train_margin"][row] == pytest.approx(np.mean(margins))
        # The 10th percentile of 90 numbers lies between the 9th and the 10th of them, at 0.9.
        low, high = sorted(margins)[8:10]
        assert found["train_margin_p10"][row] == pytest.approx(low + 0.9 * (high - low))


def test_company_changes_nothing():
    made = networks(3)
    together = measure(subject_of(made)).networks
    for row, network in enumerate(made):
        alone = measure(subject_of([network])).networks
        for column, values in together.items():
            assert alone[column][0] == pytest.approx(values[row], rel=1e-12), column


def test_without_test_data():
    found = measure(subject_of(networks(2), test=None))
    missing = {column for column, values in found.networks.items() if np.isnan(values).any()}
    assert missing == {"test_error", "test_loss", "test_ece", "test_confidence", "generalization_gap"}
    reason = "generalization_gap, test_error, test_loss, test_ece, test_confidence: there are no test data"
    assert found.network_reasons == {0: reason, 1: reason}


def test_a_loss_of_ones_own_has_losses_alone():
    def square(logits, targets):
        return ((logits[:, 0] - targets) ** 2).mean()

    made = networks(2)
    subject = subject_of(made, loss=square)
    found = measure(subject)
    expected = [square(network(subject.train.inputs), subject.train.targets).item() for network in made]
    assert found.networks["train_loss"] == pytest.approx(expected)
    assert all(np.isnan(values).all() for column, values in found.networks.items() if not column.endswith("_loss"))
    assert found.network_reasons[0].startswith("train_error, test_error, generalization_gap, train_ece")
    assert found.network_reasons[1].endswith("the loss is not the cross-entropy of classes")


def test_outputs_that_are_not_finite():
    good, bad = networks(2)
    bad[-1].bias.data[0] = torch.nan
    found = measure(subject_of([good, bad]))
    assert all(np.isfinite(values[0]) and np.isnan(values[1]) for values in found.networks.values())
    assert found.network_reasons == {1: f"{', '.join(ALL)}: outputs are not finite"}


def test_every_column_is_in_the_schema_and_within_its_bounds():
    found = measure(subject_of(networks(2))).networks
    assert list(found) == ALL
    assert set(ALL) <= set(COLUMNS)
    for metric in METRICS:
        values = found[metric.column]
        assert metric.low is None or (values >= metric.low).all()
        assert metric.high is None or (values <= metric.high).all()
