"""Pruning against plain modules, exact counts and exhaustive search."""

import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mdbench.tables.schema import COLUMNS, Family
from zoo_builder.landscape import prunability, tails
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.matrices import find
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.objective import Own
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.specification.models import cnn1d, mlp

LENGTH, CLASSES = 20, 6
SEEDS = st.integers(0, 2**32 - 1)


def examples(n, seed=0):
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(CLASSES, 1, LENGTH))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    return Data.of((centres[labels] + rng.normal(size=(n, 1, LENGTH))).astype(np.float32), labels)


@pytest.fixture(scope="module")
def networks():
    """Networks that have learnt something, with normalization and biases."""
    made, data = [], examples(300)
    for seed in range(4):
        torch.manual_seed(seed)
        network = cnn1d((1, LENGTH), CLASSES, 8)
        descent = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for _ in range(15 * (seed + 1)):
            descent.zero_grad()
            nn.functional.cross_entropy(network(data.inputs), data.targets).backward()
            descent.step()
        made.append(network.eval())
    return made


def subject(nets, test=examples(200, 1), **more):
    return Subject(open_surface(nets, (1, LENGTH)), examples(50), test, **more)


def layers(network):
    return [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv1d)]


def error(network, data):
    with torch.no_grad():
        return 100 * float((network(data.inputs).argmax(1) != data.targets).double().mean())


def without(network, counts):
    """A copy of a network without the smallest weights: one count for all layers together, or one a layer. One by one."""
    pruned = copy.deepcopy(network)
    weights = [layer.weight.detach().flatten() for layer in layers(pruned)]
    groups = [list(range(len(weights)))] if isinstance(counts, int) else [[at] for at in range(len(weights))]
    for group, count in zip(groups, [counts] if isinstance(counts, int) else counts, strict=True):
        places = [(abs(float(weights[at][i])), at, i) for at in group for i in range(len(weights[at]))]
        for _, at, i in sorted(places)[:count]:
            weights[at][i] = 0
    return pruned


def pruning_of(surface):
    return prunability.Pruning(surface, find(surface.module).known)


def rounded(share):
    return round(Fraction(share))


# How many weights, and which.


@given(st.integers(1, 10**6), st.integers(0, 100))
def test_counts_are_shares(weights, sparsity):
    count = prunability.pruned_count(weights, sparsity)
    assert abs(count - Fraction(weights * sparsity, 100)) <= Fraction(1, 2)
    assert prunability.pruned_count(weights, 0) == 0
    assert prunability.pruned_count(weights, 100) == weights
    assert prunability.pruned_count(5, 50) == 2  # a half is rounded to even
    assert prunability.pruned_count(7, 50) == 4


@given(SEEDS, st.integers(1, 3), st.integers(1, 40))
def test_ranks_are_places_in_the_order_and_equals_are_in_order_of_position(seed, size, n):
    magnitudes = np.random.default_rng(seed).integers(0, 4, (size, n)).astype(float)
    found = prunability.ranks(torch.from_numpy(magnitudes)).numpy()
    for row in range(size):
        expected = sorted(range(n), key=lambda at: (magnitudes[row, at], at))
        assert [expected.index(at) for at in range(n)] == found[row].tolist()


def small(seeds, shapes=((3, 4), (4, 5), (5, 2))):
    """Networks of a few layers whose weights are whole numbers, so that many are equal."""
    made = []
    for seed in seeds:
        torch.manual_seed(seed % 2**31)
        network = nn.Sequential(nn.Flatten(), *(nn.Linear(*shape) for shape in shapes))
        with torch.no_grad():
            for layer in layers(network):
                layer.weight.copy_(torch.randint(1, 5, layer.weight.shape) * torch.randn(layer.weight.shape).sign())
        made.append(network)
    return made


@settings(max_examples=30)
@given(SEEDS, st.lists(st.integers(0, 100), min_size=1, max_size=3))
def test_exactly_as_many_weights_are_pruned_and_masks_are_nested(seed, sparsities):
    nets = small((seed, seed + 1))
    pruning = pruning_of(Stacked(nets, (3,)))
    sizes = [12, 20, 10]
    assert pruning.sizes == sizes
    whole = np.array([prunability.pruned_count(42, sparsity) for sparsity in sorted(sparsities)])
    each = np.array([[prunability.pruned_count(size, sparsity) for size in sizes] for sparsity in sorted(sparsities)])
    globally = pruning.globally(np.tile(whole, (2, 1)))
    layerwise = pruning.layerwise(np.tile(each, (2, 1, 1)))
    layout = pruning.surface.layout
    for points, counts in ((globally, whole), (layerwise, each)):
        for row in range(2):
            masks = [points[row, at] == 0 for at in range(len(counts))]
            for at, mask in enumerate(masks):
                assert int(mask.sum()) == counts[at].sum()
                expected = dict(without(nets[row], counts[at].tolist()).named_parameters())
                for name, value in layout.tensors(points[row, at]).items():
                    assert torch.equal(value, expected[name].detach())
                assert at == 0 or bool((mask | ~masks[at - 1]).all())
    # Networks are as they were.
    assert torch.equal(
        pruning.surface.points[0], torch.cat([value.detach().flatten() for value in nets[0].parameters()])
    )


# Guided by exponents.


@pytest.mark.parametrize("sparsity", prunability.SPARSITIES)
def test_tau_prunes_no_layer_whole(sparsity):
    tau = prunability.safe_tau(sparsity)
    # The worst case: one layer of hardly any weight has the largest exponent, all others the smallest.
    assert sparsity / 100 * (1 + tau) / (1 - tau) < 1
    assert sparsity / 100 * (1 + 2 * tau) / (1 - 2 * tau) == pytest.approx(1)
    shares = prunability.proportions(np.array([[9.0, 2.0, 2.0]]), tau)
    assert prunability.allotted([100, 10**6, 10**6], shares, 2 * 10**4 * sparsity)[0, 0] < 100


def test_proportions_are_linear_in_the_exponent():
    found = prunability.proportions(
        np.array([[2.0, 3, 6, 4], [5, 5, 5, 5], [2, np.nan, 6, np.nan], [np.nan, 3, np.nan, np.nan]]), 0.3
    )
    np.testing.assert_allclose(found[:3], [[0.7, 0.85, 1.3, 1.0], [1, 1, 1, 1], [0.7, 1, 1.3, 1]])
    assert np.isnan(found[3]).all()
    assert np.isnan(prunability.proportions(np.full((1, 3), np.nan), 0.3)).all()


@given(SEEDS, st.lists(st.integers(1, 500), min_size=1, max_size=6), st.sampled_from(prunability.SPARSITIES))
def test_guided_totals_are_exact_and_shares_are_as_near_as_whole_numbers_are(seed, sizes, sparsity):
    alphas = 1 + np.random.default_rng(seed).exponential(size=(3, len(sizes)))
    shares = np.nan_to_num(prunability.proportions(alphas, prunability.safe_tau(sparsity)), nan=1.0)
    total = prunability.pruned_count(sum(sizes), sparsity)
    counts = prunability.allotted(sizes, shares, total)
    assert (counts.sum(1) == total).all()
    assert (counts >= 0).all()
    assert (counts <= sizes).all()
    for row in range(3):
        weights = [Fraction(float(share)) * size for share, size in zip(shares[row], sizes, strict=True)]
        wanted = [float(total * weight / sum(weights)) for weight in weights]
        assert (np.abs(counts[row] - wanted) < 1 + 1e-6).all()


def test_equal_shares_and_too_unequal_ones():
    assert prunability.allotted([30, 10, 20], np.ones((1, 3)), 30).tolist() == [[15, 5, 10]]
    assert prunability.allotted([3, 3, 3], np.ones((1, 3)), 4).tolist() == [[2, 1, 1]]  # the earlier layer
    # No layer loses more weights than it has; the others share what is left: of 15, the second would lose 13.5, and of the
    # rest the first, whose share is a third of the third's.
    assert prunability.allotted([10, 10], np.array([[1.0, 9.0]]), 15).tolist() == [[5, 10]]
    assert prunability.allotted([10, 10, 10], np.array([[1.0, 30.0, 3.0]]), 18).tolist() == [[2, 10, 6]]
    assert prunability.allotted([4, 4, 40], np.array([[9.0, 8.0, 1.0]]), 48).tolist() == [[4, 4, 40]]
    with pytest.raises(ValueError, match="21 weights cannot be taken from 20"):
        prunability.allotted([10, 10], np.ones((1, 2)), 21)


# Networks.


def test_errors_are_those_of_pruned_modules(networks):
    asked = subject(networks)
    found = prunability.measure(asked)
    assert not found.network_reasons
    sizes = [layer.weight.numel() for layer in layers(networks[0])]
    total = sum(sizes)
    for row, network in enumerate(networks):
        alphas = [
            float(tails.hill(np.linalg.svd(layer.weight.detach().flatten(1).double(), compute_uv=False)[::-1] ** 2))
            for layer in layers(network)
        ]
        places = [(alpha - min(alphas)) / (max(alphas) - min(alphas)) for alpha in alphas]
        for sparsity in prunability.SPARSITIES:
            count, share = rounded(Fraction(sparsity, 100) * total), sparsity / 100
            tau = (1 - share) / (1 + share) / 2
            weights = [(1 - tau + 2 * tau * place) * size for place, size in zip(places, sizes, strict=True)]
            wanted = [count * weight / sum(weights) for weight in weights]
            by_alpha = [int(of) for of in wanted]
            order = sorted(range(len(sizes)), key=lambda at: by_alpha[at] - wanted[at])
            for at in order[: count - sum(by_alpha)]:
                by_alpha[at] += 1
            pruned = {
                "global": without(network, count),
                "layerwise": without(network, [rounded(Fraction(sparsity, 100) * size) for size in sizes]),
                "alpha": without(network, by_alpha),
            }
            errors = {way: error(of, asked.test) for way, of in pruned.items()}
            for way, expected in errors.items():
                # One example in 200 may lie between two classes.
                assert found.networks[f"pruned_test_error_{way}_{sparsity}"][row] == pytest.approx(expected, abs=0.51)
            gain = found.networks[f"alpha_pruning_gain_{sparsity}"][row]
            assert gain == pytest.approx(errors["layerwise"] - errors["alpha"], abs=1.01)


def test_the_largest_share_is_that_of_exhaustive_search(networks):
    asked = subject(networks)
    found = prunability.measure(asked).networks["prunable_sparsity"]
    total = sum(layer.weight.numel() for layer in layers(networks[0]))
    for row, network in enumerate(networks):
        errors = [
            error(without(network, rounded(Fraction(share, 100) * total)), asked.test) for share in range(0, 100, 5)
        ]
        fits = [value <= errors[0] + 5 for value in errors]
        assert fits == sorted(fits, reverse=True), "the error is to rise with the share, or bisection has a choice"
        assert found[row] == 5 * (sum(fits) - 1)
    assert len(set(found)) > 1


class Scripted:
    """Stands for a surface whose error at a point is a given function of the share that is pruned."""

    def __init__(self, surface, curves):
        self.layout, self.module, self.points, self.curves = surface.layout, surface.module, surface.points, curves

    def part(self, rows):
        return Scripted(self, [self.curves[row] for row in rows])

    def scores(self, data, points):
        pruned = (points == 0).sum(2)
        errors = [
            [curve[round(20 * int(count) / 100)] for count in row]
            for curve, row in zip(self.curves, pruned, strict=True)
        ]
        return torch.tensor(errors), torch.tensor(errors, dtype=torch.float64)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 19), min_size=1, max_size=5), st.sets(st.integers(1, 19), max_size=6))
def test_bisection_finds_every_place_where_the_error_may_rise(lasts, known):
    # 100 weights and no biases: a share in % is a number of weights. The error has risen by 5 points up to `last`, and then by more.
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(10, 10, bias=False))
    curves = [[5.0 * (at > 0) if at <= last else 10.0 + at for at in range(20)] for last in lasts]
    surface = Scripted(Stacked([network] * len(lasts), (10,)), curves)
    errors = {5 * at: np.array([curve[at] for curve in curves]) for at in {0} | known}
    found = prunability.largest_share(pruning_of(surface), examples(3), errors)
    assert found.tolist() == [5.0 * last for last in lasts]


@given(st.integers(2, 50), st.integers(1, 2000))
def test_an_error_has_room_below_chance(classes, examples):
    for wrong in {0, examples // 2, examples}:
        exact = Fraction(100 * wrong, examples) + 5 < 100 - Fraction(100, classes)
        assert prunability.room(np.array([100 * (wrong / examples)]), classes).tolist() == [exact]


def test_where_the_error_has_no_room_to_rise_no_share_is_said(networks):
    """A network that knows nothing loses nothing by being pruned: that is not a virtue."""
    lost = copy.deepcopy(networks[0])
    with torch.no_grad():
        lost[-1].weight.zero_()
    found = prunability.measure(subject([networks[3], lost]))
    assert np.isnan(found.networks["prunable_sparsity"]).tolist() == [False, True]
    assert np.isfinite(found.networks["pruned_test_error_global_90"]).all()
    why, *others = found.network_reasons[1].split("; ")
    assert why == "prunable_sparsity: the error has no room to rise: 5 points more are those of chance"
    assert not any("prunable_sparsity" in other for other in others)
    assert 0 not in found.network_reasons


# As AlphaPruning publishes it.


def peak_exponent(weight):
    """The exponent of a layer by AlphaPruning's rule, value by value; its bins are those of `torch.histc`."""
    values = np.sort(np.linalg.svd(weight.detach().flatten(1).double().numpy(), compute_uv=False) ** 2)
    logs = torch.from_numpy(np.log10(values))
    counts = torch.histc(logs, 100, float(logs.min()), float(logs.max()))
    peak = 10 ** float(torch.linspace(float(logs.min()), float(logs.max()), 101, dtype=torch.float64)[counts.argmax()])
    found = []
    for at, start in enumerate(values[:-1]):
        if 0.95 * peak <= start <= 1.5 * peak:
            tail = values[at:]
            alpha = 1 + len(tail) / np.log(tail / start).sum()
            law = 1 - (tail / start) ** (1 - alpha)
            found.append((np.abs(law - np.arange(len(tail)) / len(tail)).max(), alpha))
    return min(found)[1]


class Unit(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.third = nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.third(torch.relu(self.second(torch.relu(self.first(x)))))


class Residual(nn.Module):
    """Three blocks between a first and a last layer; the last one is defined first."""

    def __init__(self):
        super().__init__()
        self.head, self.start = nn.Linear(10, CLASSES), nn.Linear(LENGTH, 10)
        self.units = nn.ModuleList(Unit(10) for _ in range(3))

    def forward(self, x):
        x = torch.relu(self.start(x.flatten(1)))
        for unit in self.units:
            x = unit(x)
        return self.head(x)


def test_the_published_rule_is_that_of_alphapruning():
    """Against the rule written out: exponents at the peak, means of blocks, shares linear in them, no share above one."""
    nets, data, test = [], examples(300), examples(200, 1)
    for seed in range(3):
        torch.manual_seed(seed)
        network = Residual()
        descent = torch.optim.Adam(network.parameters(), lr=0.003)
        for _ in range(60):
            descent.zero_grad()
            nn.functional.cross_entropy(network(data.inputs), data.targets).backward()
            descent.step()
        nets.append(network.eval())
    found = prunability.measure(subject(nets, test)).networks
    for row, network in enumerate(nets):
        body = [network.start, *(layer for unit in network.units for layer in (unit.first, unit.second, unit.third))]
        alphas = [peak_exponent(layer.weight) for layer in body]
        means = [alphas[0], *np.repeat(np.mean(np.reshape(alphas[1:], (3, 3)), axis=1), 3)]
        sizes = [layer.weight.numel() for layer in body]
        for sparsity in prunability.PUBLISHED:
            share = [0.7 + 0.6 * (mean - min(means)) / (max(means) - min(means)) for mean in means]
            total = round(Fraction(sparsity * sum(sizes), 100))
            factor = total / np.dot(share, sizes)
            while np.dot(np.minimum(factor * np.array(share), 1), sizes) < total - 1e-6:  # until no share is above one
                factor += 1e-5
            counts = [min(1, factor * of) * size for of, size in zip(share, sizes, strict=True)]
            by_rule, uniform = copy.deepcopy(network), copy.deepcopy(network)
            for pruned, wanted in (
                (by_rule, counts),
                (uniform, [rounded(Fraction(sparsity * size, 100)) for size in sizes]),
            ):
                layers = [pruned.start, *(of for unit in pruned.units for of in (unit.first, unit.second, unit.third))]
                for layer, count in zip(layers, wanted, strict=True):
                    flat = layer.weight.detach().flatten()
                    flat[flat.abs().argsort(stable=True)[: round(count)]] = 0
            # Counts are whole numbers, which differ by one weight where they are rounded in another order.
            expected = error(by_rule, test)
            assert found[f"pruned_test_error_published_{sparsity}"][row] == pytest.approx(expected, abs=1.51)
            gain = error(uniform, test) - expected
            assert found[f"published_pruning_gain_{sparsity}"][row] == pytest.approx(gain, abs=2.01)


def test_block_means():
    alphas = np.array([[2.0, 4, np.nan, 3, np.nan], [np.nan, np.nan, 1, 5, 7]])
    found = prunability.block_means(alphas, ["a", "a", "b", "a", "c"])
    np.testing.assert_array_equal(found, [[3, 3, np.nan, 3, np.nan], [5, 5, 1, 5, 7]])


def test_the_last_layer_is_left_whole_and_no_layer_loses_more_than_all(networks, monkeypatch):
    seen = []
    layerwise = prunability.Pruning.layerwise

    def watch(self, counts):
        seen.append(counts)
        return layerwise(self, counts)

    monkeypatch.setattr(prunability.Pruning, "layerwise", watch)
    prunability.measure(subject(networks))
    counts = seen[-1]
    sizes = [layer.weight.numel() for layer in layers(networks[0])]
    assert (counts[..., -1] == 0).all()
    assert (counts <= sizes).all()
    totals = [rounded(Fraction(sparsity * sum(sizes[:-1]), 100)) for sparsity in prunability.PUBLISHED]
    assert (counts[:, len(totals) :].sum(2) == totals).all()


def test_a_network_alone_is_measured_as_in_a_stack(networks):
    together = prunability.measure(subject(networks))
    for row, network in enumerate(networks):
        alone = prunability.measure(subject([network]))
        for column, values in together.networks.items():
            np.testing.assert_array_equal(alone.networks[column][0], values[row])


def test_normalization_and_biases_stay(networks):
    surface = open_surface(networks[:1], (1, LENGTH))
    points = pruning_of(surface).layerwise(np.array([[[layer.weight.numel() for layer in layers(networks[0])]]]))
    for name, value in surface.layout.tensors(points[0, 0]).items():
        module = networks[0].get_submodule(name.rpartition(".")[0])
        weight = name.endswith("weight") and not isinstance(module, nn.BatchNorm1d)
        assert torch.equal(value, torch.zeros_like(value) if weight else networks[0].get_parameter(name).detach())


def test_only_so_many_test_examples_are_tried(networks):
    test = examples(200, 1)
    few = prunability.measure(subject(networks, test, settings=Settings(test_sample=40)))
    same = prunability.measure(subject(networks, Data(test.inputs[:40], test.targets[:40])))
    for column, values in few.networks.items():
        np.testing.assert_array_equal(same.networks[column], values)


def test_columns_are_known(networks):
    found = prunability.measure(subject(networks[:2])).networks
    assert list(found) == [metric.column for metric in prunability.METRICS]
    for metric in prunability.METRICS:
        column = COLUMNS[metric.column]
        assert column.family is Family.VALIDATION
        assert f"{metric.column}_std" in COLUMNS
        assert column.reveals_label == ("pruning_gain" not in metric.column)
        assert (found[metric.column] >= metric.low).all()
        assert (found[metric.column] <= metric.high).all()


def check_unmeasured(asked, why, rows, left=()):
    found = prunability.measure(asked)
    for row in range(len(asked.surface)):
        missing = {column for column, values in found.networks.items() if np.isnan(values[row])}
        if row not in rows:
            assert not missing
            assert row not in found.network_reasons
            continue
        columns, _, reason = found.network_reasons[row].partition(": ")
        assert set(columns.split(", ")) == missing == set(found.networks) - set(left)
        assert why in reason


def test_what_cannot_be_measured_says_so(networks):
    check_unmeasured(subject(networks[:2], None), "no test data", {0, 1})

    broken = copy.deepcopy(networks[:2])
    with torch.no_grad():
        broken[1][3].weight[0, 0, 0] = torch.nan
    check_unmeasured(subject(broken), "weights are not finite", {1})
    check_unmeasured(subject(broken[1:]), "weights are not finite", {0})

    torch.manual_seed(0)
    regression = Stacked(
        [mlp((1, LENGTH), CLASSES, 8)], (1, LENGTH), objective=Own(nn.functional.cross_entropy, "mean")
    )
    check_unmeasured(Subject(regression, examples(20), examples(20)), "not the cross-entropy of classes", {0})

    # A single layer has nothing to be guided by; everything else is measured.
    single = nn.Sequential(nn.Flatten(), nn.Linear(LENGTH, CLASSES)).eval()
    unguided = [
        f"pruned_test_error_{way}_{sparsity}" for way in ("global", "layerwise") for sparsity in prunability.SPARSITIES
    ]
    with torch.no_grad():
        right = Data(inputs := examples(200, 1).inputs, single(inputs).argmax(1))
    found = prunability.measure(subject([single], right))
    missing = {column for column, values in found.networks.items() if np.isnan(values[0])}
    assert missing == set(found.networks) - {*unguided, "prunable_sparsity"}
    one, other = found.network_reasons[0].split("; ")
    assert one.endswith(": fewer than two layers have an alpha_hill to be guided by")
    assert other.endswith(
        ": fewer than two blocks of layers, embeddings and the last layer left out, have an alpha_peak to be guided by"
    )
    assert set(other.split(": ")[0].split(", ")) == {column for column in missing if "published" in column}

    bare = nn.Sequential(nn.BatchNorm1d(1), nn.Flatten()).eval()
    check_unmeasured(
        Subject(Stacked([bare], (1, LENGTH)), examples(20), examples(20)), "there is no layer with a matrix", {0}
    )
