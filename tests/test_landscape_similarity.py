"""CKA against its definition by Gram matrices, disagreement by hand."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mdbench.tables.schema import COLUMNS
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.similarity import METRICS, disagreements, linear_cka, measure, pair_mean
from zoo_builder.specification.models import cnn1d, mlp


def by_gram_matrices(one, other):
    """CKA as the normalised Hilbert–Schmidt independence criterion of two n × n kernels."""
    n = len(one)
    centring = np.eye(n) - np.full((n, n), 1 / n)
    kernels = [centring @ (x @ x.T) @ centring for x in (np.asarray(one), np.asarray(other))]

    def hsic(k, m):
        return np.trace(k @ m) / (n - 1) ** 2

    return hsic(*kernels) / np.sqrt(hsic(kernels[0], kernels[0]) * hsic(kernels[1], kernels[1]))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(3, 20), st.integers(1, 8), st.integers(0, 2**32))
def test_cka_is_its_definition_by_gram_matrices(examples, width, seed):
    features = normal(3, examples, width, seed=seed) + 5
    found = linear_cka(features)
    for i, j in itertools.product(range(3), repeat=2):
        assert found[i, j] == pytest.approx(by_gram_matrices(features[i], features[j]), abs=1e-9)


@given(st.integers(1, 6), st.integers(0, 2**32), st.floats(0.01, 100), st.floats(-10, 10))
def test_rotations_scales_and_shifts_change_nothing(width, seed, scale, shift):
    features = normal(12, width, seed=seed)
    rotation, _ = torch.linalg.qr(normal(width, width, seed=seed + 1))
    found = linear_cka(torch.stack([features, scale * features @ rotation + shift]))
    assert found[0, 1] == pytest.approx(1, abs=1e-9)


def test_orthogonal_subspaces_are_not_alike():
    basis = torch.linalg.qr(torch.cat([torch.ones(9, 1).double(), normal(9, 6)], 1))[0][:, 1:]  # all of mean zero
    found = linear_cka(torch.stack([basis[:, :3] @ normal(3, 3, seed=1), basis[:, 3:] @ normal(3, 3, seed=2)]))
    assert found[0, 1] == pytest.approx(0, abs=1e-12)
    # Half of the directions in common, all of one length: 2 of 4 · 4 → 2 / √(4 · 4).
    both = torch.linalg.qr(torch.cat([torch.ones(9, 1).double(), normal(9, 6, seed=3)], 1))[0][:, 1:]
    found = linear_cka(torch.stack([both[:, :4], both[:, 2:]]))
    assert found[0, 1] == pytest.approx(2 / 4)


def test_what_does_not_vary_has_no_cka():
    flat = torch.full((1, 7, 3), 0.1)
    found = linear_cka(torch.cat([flat, normal(1, 7, 3).float()]))
    assert np.isnan(found[0]).all()
    assert found[1, 1] == pytest.approx(1)
    # A little is not nothing.
    assert np.isfinite(linear_cka(torch.cat([flat + 1e-4 * normal(1, 7, 3, seed=1).float()] * 2))).all()


def test_disagreement_by_hand():
    found = disagreements(np.array([[0, 1, 2, 0], [0, 1, 1, 1], [0, 0, 0, 0]]))
    np.testing.assert_array_equal(found, [[0, 50, 50], [50, 0, 75], [50, 75, 0]])
    assert pair_mean(found) == pytest.approx((50 + 50 + 75) / 3)
    assert np.isnan(pair_mean(np.ones((1, 1))))


def some_data(n, seed, shape=(1, 12)):
    rng = torch.Generator().manual_seed(seed)
    return Data(torch.randn(n, *shape, generator=rng, dtype=torch.float64), torch.randint(0, 4, (n,), generator=rng))


def networks(many, seed=0):
    torch.manual_seed(seed)
    return [cnn1d((1, 12), 4, 3).double().eval() for _ in range(many)]


def subject_of(made, loss=None, test=True, **kwargs):
    surface = open_surface(made, (1, 12), dtype=torch.float64, loss=loss)
    return Subject(surface, some_data(80, 1), some_data(60, 2) if test else None, **kwargs)


def test_the_family_is_a_mean_over_pairs():
    made = networks(5)
    groups = [[0, 3, 1], [2, 4]]
    subject = subject_of(made, groups=groups, settings=Settings(train_sample=50))
    found = measure(subject).configurations
    with torch.no_grad():
        out = [network(subject.train.inputs) for network in made]
        inner = [network[:-1](subject.train.inputs) for network in made]
        held = [network(subject.test.inputs).argmax(1) for network in made]
    for at, rows in enumerate(groups):
        pairs = list(itertools.permutations(rows, 2))
        expected = {
            "output_cka": [by_gram_matrices(out[i][:50], out[j][:50]) for i, j in pairs],
            "penultimate_cka": [by_gram_matrices(inner[i][:50], inner[j][:50]) for i, j in pairs],
            "train_disagreement": [
                100 * float((out[i].argmax(1) != out[j].argmax(1)).double().mean()) for i, j in pairs
            ],
            "test_disagreement": [100 * float((held[i] != held[j]).double().mean()) for i, j in pairs],
        }
        assert list(expected) == [metric.column for metric in METRICS]
        for column, values in expected.items():
            assert found[column][at] == pytest.approx(np.mean(values), rel=1e-9), column
            assert column in COLUMNS


def test_company_changes_nothing():
    made = networks(5)
    together = measure(subject_of(made, groups=[[0, 3, 1], [2, 4]])).configurations
    for at, rows in enumerate(([0, 3, 1], [2, 4])):
        alone = measure(subject_of([made[row] for row in rows])).configurations
        for column, values in together.items():
            assert alone[column][0] == pytest.approx(values[at], rel=1e-12), column


def test_equal_networks_are_alike():
    found = measure(subject_of(networks(1) * 3)).configurations
    values = [found[metric.column][0] for metric in METRICS]
    assert values == pytest.approx([1, 1, 0, 0], abs=1e-12)


def test_what_cannot_be_compared():
    found = measure(subject_of(networks(3), groups=[[0], [1, 2]], test=False))
    alone = "output_cka, penultimate_cka, train_disagreement, test_disagreement: there is one network"
    assert found.configuration_reasons[0].startswith(alone)
    assert found.configuration_reasons[1] == "test_disagreement: there are no test data"
    assert np.isnan([values[0] for values in found.configurations.values()]).all()
    assert np.isnan(found.configurations["test_disagreement"][1])
    assert np.isfinite([found.configurations[metric.column][1] for metric in METRICS[:3]]).all()


def test_without_a_linear_layer_there_is_no_penultimate_one():
    torch.manual_seed(0)
    made = [nn.Sequential(nn.Conv1d(1, 4, 12), nn.Flatten()).double() for _ in range(2)]
    found = measure(subject_of(made))
    assert found.configuration_reasons == {
        0: "penultimate_cka: the network has no linear layer, and so no penultimate one"
    }
    assert np.isnan(found.configurations["penultimate_cka"]).all()
    assert np.isfinite(found.configurations["output_cka"]).all()


def test_networks_that_answer_always_the_same():
    made = networks(2)
    made[1][-1].weight.data.zero_()
    found = measure(subject_of(made))
    assert found.configuration_reasons == {0: "output_cka: what a network computes is the same for all examples"}
    assert np.isfinite(found.configurations["penultimate_cka"]).all()
    made[1][-1].bias.data[0] = torch.inf
    reasons = measure(subject_of(made)).configuration_reasons
    assert reasons == {0: "output_cka, train_disagreement, test_disagreement: a network's outputs are not finite"}


def test_a_network_that_answers_always_the_same_is_in_no_pair():
    """One that learned nothing does not hide how alike the others are."""
    made = networks(4)
    made[1][-1].weight.data.zero_()
    found = measure(subject_of(made))
    others = measure(subject_of([made[row] for row in (0, 2, 3)]))
    assert found.configuration_reasons == {}
    assert found.configurations["output_cka"] == pytest.approx(others.configurations["output_cka"], rel=1e-12)
    # Its hidden layer is like any other's, and so are its predictions: they are compared.
    for column in ("penultimate_cka", "train_disagreement", "test_disagreement"):
        assert found.configurations[column] != pytest.approx(others.configurations[column], rel=1e-3), column


def test_a_loss_of_ones_own_has_outputs_but_no_predictions():
    torch.manual_seed(0)
    made = [mlp((1, 12), 4, 5).double().eval() for _ in range(2)]
    found = measure(subject_of(made, loss=lambda logits, targets: logits.square().mean()))
    assert np.isfinite(found.configurations["output_cka"]).all()
    assert np.isfinite(found.configurations["penultimate_cka"]).all()
    reason = "train_disagreement, test_disagreement: the loss is not the cross-entropy of classes"
    assert found.configuration_reasons == {0: reason}
