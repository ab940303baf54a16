"""CKA against its definition by Gram matrices, disagreement by hand."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mdbench.tables.schema import COLUMNS
from zoo_builder.landscape import diversity
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.similarity import METRICS, disagreements, linear_cka, measure, mixed, pair_mean
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.specification.models import cnn1d, mlp


def by_gram_matrices(one, other):
    """CKA as the normalised Hilbert–Schmidt independence criterion of two n × n kernels."""
    n = len(one)
    centring = np.eye(n) - np.full((n, n), 1 / n)
    kernels = [centring @ (x @ x.T) @ centring for x in (np.asarray(one), np.asarray(other))]

    def hsic(k, m):
        return np.trace(k @ m) / (n - 1) ** 2

    return hsic(*kernels) / np.sqrt(hsic(kernels[0], kernels[0]) * hsic(kernels[1], kernels[1]))


def by_unbiased_criteria(one, other):
    """CKA of unbiased estimates of the criterion, by n × n kernels without their diagonals: Song et al. (2012), equation 5."""
    n = len(one)

    def hsic(k, m):
        k, m = (matrix - np.diag(np.diag(matrix)) for matrix in (k, m))
        ones = np.ones(n)
        pairs = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return (np.trace(k @ m) + pairs - 2 * (ones @ k @ m @ ones) / (n - 2)) / (n * (n - 3))

    k, m = (np.asarray(x) @ np.asarray(x).T for x in (one, other))
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(3, 20), st.integers(1, 8), st.integers(0, 2**32))
def test_cka_is_its_definition_by_gram_matrices(examples, width, seed):
    features = normal(3, examples, width, seed=seed) + 5
    found, _ = linear_cka(features)
    for i, j in itertools.product(range(3), repeat=2):
        assert found[i, j] == pytest.approx(by_gram_matrices(features[i], features[j]), abs=1e-9)


@given(st.integers(5, 20), st.integers(2, 30), st.integers(0, 2**32))
def test_the_debiased_estimate_is_its_definition_by_gram_matrices(examples, width, seed):
    features = normal(3, examples, width, seed=seed) + 5
    features[2] += 0.5 * features[1]
    found = linear_cka(features)[1]
    for i, j in itertools.product(range(3), repeat=2):
        assert found[i, j] == pytest.approx(by_unbiased_criteria(features[i], features[j]), abs=1e-9)


@pytest.mark.parametrize(("examples", "width"), [(10, 5), (40, 5), (30, 60), (400, 20)])
def test_of_independent_features_the_debiased_estimate_is_zero_on_average_and_the_other_is_not(examples, width):
    plain, debiased = (
        np.array(values)
        for values in zip(*(linear_cka(normal(2, examples, width, seed=at)) for at in range(400)), strict=True)
    )
    plain, debiased = plain[:, 0, 1], debiased[:, 0, 1]
    assert debiased.mean() == pytest.approx(0, abs=4 * debiased.std() / np.sqrt(400))
    assert debiased.std() < 0.6  # or nothing would have been shown
    assert plain.mean() == pytest.approx(width / (examples + width), rel=0.15)


def test_the_debiased_estimate_does_not_depend_on_how_many_examples_there_are():
    """Of networks that are alike to some degree, and which the plain one calls the more alike the fewer examples it sees."""
    rng = np.random.default_rng(0)
    both = rng.standard_normal((2000, 20))
    made = torch.from_numpy(np.stack([both + rng.standard_normal((2000, 20)) for _ in range(2)]))
    means = {}
    for examples in (10, 100, 1000):
        parts = [linear_cka(made[:, at : at + examples]) for at in range(0, 2000, examples)]
        means[examples] = [np.mean([values[at][0, 1] for values in parts]) for at in (0, 1)]
    plain, debiased = np.array(list(means.values())).T
    assert plain[0] > plain[1] + 0.05 > plain[2] + 0.1
    assert debiased == pytest.approx(np.full(3, debiased[2]), abs=0.03)


def test_where_examples_are_too_few_there_is_no_debiased_estimate():
    assert np.isnan(linear_cka(normal(2, 3, 4))[1]).all()
    assert np.isfinite(linear_cka(normal(2, 4, 4))[1]).all()
    apart = torch.eye(6).double()[None].repeat(2, 1, 1)  # no two examples have anything in common
    plain, debiased = linear_cka(apart)
    assert plain[0, 1] == pytest.approx(1)
    assert np.isnan(debiased).all()


@given(st.integers(1, 6), st.integers(0, 2**32), st.floats(0.01, 100), st.floats(-10, 10))
def test_rotations_scales_and_shifts_change_nothing(width, seed, scale, shift):
    features = normal(12, width, seed=seed)
    rotation, _ = torch.linalg.qr(normal(width, width, seed=seed + 1))
    found, _ = linear_cka(torch.stack([features, scale * features @ rotation + shift]))
    assert found[0, 1] == pytest.approx(1, abs=1e-9)


def test_orthogonal_subspaces_are_not_alike():
    basis = torch.linalg.qr(torch.cat([torch.ones(9, 1).double(), normal(9, 6)], 1))[0][:, 1:]  # all of mean zero
    found, _ = linear_cka(torch.stack([basis[:, :3] @ normal(3, 3, seed=1), basis[:, 3:] @ normal(3, 3, seed=2)]))
    assert found[0, 1] == pytest.approx(0, abs=1e-12)
    # Half of the directions in common, all of one length: 2 of 4 · 4 → 2 / √(4 · 4).
    both = torch.linalg.qr(torch.cat([torch.ones(9, 1).double(), normal(9, 6, seed=3)], 1))[0][:, 1:]
    found, _ = linear_cka(torch.stack([both[:, :4], both[:, 2:]]))
    assert found[0, 1] == pytest.approx(2 / 4)


def test_what_does_not_vary_has_no_cka():
    flat = torch.full((1, 7, 3), 0.1)
    found, _ = linear_cka(torch.cat([flat, normal(1, 7, 3).float()]))
    assert np.isnan(found[0]).all()
    assert found[1, 1] == pytest.approx(1)
    # A little is not nothing.
    assert np.isfinite(linear_cka(torch.cat([flat + 1e-4 * normal(1, 7, 3, seed=1).float()] * 2))[0]).all()


@pytest.mark.parametrize("share", [1e-8, 1e-7, 4e-7, 2e-6, 2e-5, 1e-3])
def test_what_varies_hardly_more_than_rounding_has_no_cka_and_the_rest_the_right_one(share):
    """Outputs of a deep network in single precision, off by an ε of their size."""
    exact = 1 + share * normal(2, 24, 5)
    expected = float(linear_cka(exact)[0][0, 1])
    found = float(linear_cka((exact * (1 + 1.2e-7 * normal(2, 24, 5, seed=1))).float())[0][0, 1])
    assert np.isnan(found) == (share < 1e-5)
    assert np.isnan(found) or found == pytest.approx(expected, rel=0.01)


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
        examples = mixed(subject.sample, subject.pair_rng(rows, "mixup")).inputs
        with torch.no_grad():
            said = {row: made[row](examples).softmax(1) for row in rows}
        expected = {
            "output_cka": [by_gram_matrices(out[i][:50], out[j][:50]) for i, j in pairs],
            "output_cka_debiased": [by_unbiased_criteria(out[i][:50], out[j][:50]) for i, j in pairs],
            "penultimate_cka": [by_gram_matrices(inner[i][:50], inner[j][:50]) for i, j in pairs],
            "penultimate_cka_debiased": [by_unbiased_criteria(inner[i][:50], inner[j][:50]) for i, j in pairs],
            "mixup_cka": [by_gram_matrices(said[i], said[j]) for i, j in pairs],
            "train_disagreement": [
                100 * float((out[i].argmax(1) != out[j].argmax(1)).double().mean()) for i, j in pairs
            ],
            "test_disagreement": [100 * float((held[i] != held[j]).double().mean()) for i, j in pairs],
        }
        assert list(expected) == [metric.column for metric in METRICS]
        for column, values in expected.items():
            assert found[column][at] == pytest.approx(np.mean(values), rel=1e-9, abs=1e-10), column
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
    assert values == pytest.approx([1, 1, 1, 1, 1, 0, 0], abs=1e-12)


def test_what_cannot_be_compared():
    found = measure(subject_of(networks(3), groups=[[0], [1, 2]], test=False))
    alone = f"{', '.join(metric.column for metric in METRICS)}: there is one network"
    assert found.configuration_reasons[0].startswith(alone)
    assert found.configuration_reasons[1] == "test_disagreement: there are no test data"
    assert np.isnan([values[0] for values in found.configurations.values()]).all()
    assert np.isnan(found.configurations["test_disagreement"][1])
    assert np.isfinite([found.configurations[metric.column][1] for metric in METRICS[:-1]]).all()


def test_without_a_linear_layer_there_is_no_penultimate_one():
    torch.manual_seed(0)
    made = [nn.Sequential(nn.Conv1d(1, 4, 12), nn.Flatten()).double() for _ in range(2)]
    found = measure(subject_of(made))
    assert found.configuration_reasons == {
        0: "penultimate_cka, penultimate_cka_debiased: the network has no linear layer, and so no penultimate one"
    }
    assert np.isnan(found.configurations["penultimate_cka"]).all()
    assert np.isfinite(found.configurations["output_cka"]).all()


def test_networks_that_answer_always_the_same():
    made = networks(2)
    made[1][-1].weight.data.zero_()
    found = measure(subject_of(made))
    assert found.configuration_reasons == {
        0: "output_cka, output_cka_debiased, mixup_cka: what a network computes is the same for all examples"
    }
    assert np.isfinite(found.configurations["penultimate_cka"]).all()
    made[1][-1].bias.data[0] = torch.inf
    reasons = measure(subject_of(made)).configuration_reasons
    columns = "output_cka, output_cka_debiased, mixup_cka, train_disagreement, test_disagreement"
    assert reasons == {0: f"{columns}: a network's outputs are not finite"}


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
    reason = "mixup_cka, train_disagreement, test_disagreement: the loss is not the cross-entropy of classes"
    assert found.configuration_reasons == {0: reason}


def test_mixed_examples_by_hand():
    data = some_data(200, 3)
    found = mixed(data, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    for batch in (slice(0, 128), slice(128, 200)):
        share, order = rng.beta(16, 16), rng.permutation(batch.stop - batch.start)
        examples = data.inputs[batch].numpy()
        expected = share * examples + (1 - share) * examples[order]
        np.testing.assert_allclose(found.inputs[batch].numpy(), expected, rtol=1e-12)
    assert found.targets is data.targets
    assert data.inputs.equal(some_data(200, 3).inputs)  # they are not changed


# Outputs of every position.


def of_positions(many, classes=3):
    """Networks that give (K, 12) outputs an example."""
    torch.manual_seed(0)
    return [
        nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv1d(4, classes, 1)).double().eval()
        for _ in range(many)
    ]


@pytest.mark.parametrize("examples", [80, 20])
def test_outputs_of_any_shape_are_one_vector_an_example(examples):
    made = of_positions(3)
    surface = open_surface(made, (1, 12), dtype=torch.float64, loss=lambda out, y: out.square().mean())
    data = some_data(examples, 1)
    found = measure(Subject(surface, data, data))
    with torch.no_grad():
        out = [network(data.inputs).flatten(1) for network in made]
    pairs = list(itertools.combinations(out, 2))
    assert found.configurations["output_cka"][0] == pytest.approx(np.mean([by_gram_matrices(*pair) for pair in pairs]))
    expected = np.mean([by_unbiased_criteria(*pair) for pair in pairs])
    assert found.configurations["output_cka_debiased"][0] == pytest.approx(expected)
    assert set(found.configuration_reasons) == {0}
    assert "disagreement: the loss is not the cross-entropy of classes" in found.configuration_reasons[0]
    assert np.isnan(diversity.measure(Subject(surface, data, data))[0]["ensemble_gain"]).all()


def test_a_class_of_every_position_is_compared_position_by_position():
    made = of_positions(3)
    rng = torch.Generator().manual_seed(4)
    train, test = (Data(some_data(30, seed).inputs, torch.randint(0, 3, (30, 12), generator=rng)) for seed in (1, 2))
    test.targets[:, -2:] = -100  # padding: no class
    subject = Subject(Stacked(made, (1, 12), dtype=torch.float64), train, test)
    found = measure(subject).configurations
    ensemble = diversity.measure(subject)[0]
    with torch.no_grad():
        on_train, on_test = ([network(data.inputs) for network in made] for data in (train, test))
        on_test = [out[:, :, :-2] for out in on_test]
    labels = test.targets[:, :-2]
    for column, outs in (("train_disagreement", on_train), ("test_disagreement", on_test)):
        said = [out.argmax(1) for out in outs]
        expected = [100 * float((a != b).double().mean()) for a, b in itertools.combinations(said, 2)]
        assert found[column][0] == pytest.approx(np.mean(expected))
    mean = sum(out.softmax(1) for out in on_test) / 3
    together = 100 * float((mean.argmax(1) != labels).double().mean())
    alone = np.mean([100 * float((out.argmax(1) != labels).double().mean()) for out in on_test])
    assert ensemble["ensemble_test_error"][0] == pytest.approx(together)
    assert ensemble["ensemble_gain"][0] == pytest.approx(alone - together)
    variance = torch.stack([out.softmax(1) for out in on_test]).var(0).sum(1).mean()
    assert ensemble["ensemble_variance"][0] == pytest.approx(float(variance))
    assert np.isfinite(found["mixup_cka"]).all()


def test_inputs_that_are_no_numbers_are_not_mixed():
    subject = subject_of(networks(2))
    subject.train = Data(subject.train.inputs, subject.train.targets)
    whole = Data(torch.ones_like(subject.train.inputs, dtype=torch.int64), subject.train.targets)
    subject.__dict__["sample"] = whole
    found = measure(subject)
    assert np.isnan(found.configurations["mixup_cka"]).all()
    assert "mixup_cka: inputs that are no numbers cannot be mixed" in found.configuration_reasons[0]
