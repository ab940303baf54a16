"""Curves and barriers against closed forms, quadrature, plain PyTorch, and what may not change."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from mdbench.tables.schema import COLUMNS
from zoo_builder.landscape import connectivity
from zoo_builder.landscape.alignment import shuffled
from zoo_builder.landscape.connectivity import (
    INTERIOR,
    METRICS,
    Training,
    barrier,
    bezier,
    measure,
    pairs,
    train_curves,
)
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.surface import Layout
from zoo_builder.specification.models import mlp

SHORT = Training(steps=5, batch_size=16, learning_rate=0.2)
LOSSES = st.floats(0, 100)
ERRORS = st.integers(0, 1000).map(lambda wrong: wrong / 10)


def squared(outputs, targets):
    return (outputs - targets).square().mean() / 2


def blobs(n=300, seed=0):
    """Three classes in the plane that a straight line does not tell apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    angle = 2 * math.pi * labels / 3 + rng.normal(0, 0.6, n) + 2 * (radius := rng.uniform(0.5, 2, n))
    return Data.of(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), labels)


def trained(seed, norm, data, steps=60):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = mlp((2,), 3, 8, norm=norm).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(data.inputs), data.targets).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def data():
    return blobs()


@pytest.fixture(scope="module")
def networks(data):
    """Five trained networks with normalization, five without."""
    return {norm: [trained(seed, norm, data) for seed in range(5)] for norm in (True, False)}


def subject(networks, data, **options):
    return Subject(open_surface(networks, data.shape, dtype=torch.float64), data, **options)


# What is computed from values.


def test_pairs_go_around_the_ring():
    assert pairs([3, 4, 5, 7, 9]) == [(3, 4), (4, 5), (5, 7), (7, 9), (9, 3)]
    assert pairs([0, 1, 2]) == [(0, 1), (1, 2), (2, 0)]
    assert pairs([4, 6]) == [(4, 6)]
    assert pairs([4]) == []


@pytest.mark.parametrize(
    ("ends", "interior", "expected"),
    [
        ((2, 4), (3, 10, 5), -7),  # a barrier: below 0
        ((20, 22), (15, 3, 12), 18),  # better between than at the ends: above 0
        ((2, 4), (3, 3.5, 2.5), 1),  # nothing happens between: half the difference of the ends, at the first
        ((4, 2), (3, 3.5, 2.5), -1),
        ((10, 10), (8, 12, 10), 2),  # as far up as down: the first
        ((10, 10), (12, 8, 10), -2),
        ((0.1, 19.8), (0.1, 19.9, 0.0), -9.95),  # the same, but for rounding
        ((0, 0), (0, 0, 0), 0),
    ],
)
def test_mode_connectivity_told_by_hand(ends, interior, expected):
    assert connectivity.connectivity(np.array([ends], float), np.array([interior], float))[0] == pytest.approx(expected)


@given(st.lists(st.lists(ERRORS, min_size=5, max_size=5), min_size=1, max_size=4))
def test_mode_connectivity_is_its_definition(rows):
    rows = np.array(rows)
    found = connectivity.connectivity(rows[:, [0, 4]], rows[:, 1:4])
    for row, value in zip(rows, found, strict=True):
        deviations = [round((row[0] + row[4]) / 2 - e, 6) for e in row]
        assert value == pytest.approx(max(deviations, key=abs), abs=1e-9)


@given(LOSSES, LOSSES)
def test_the_deviations_at_the_ends_differ_by_their_sign_alone(one, other):
    flat = np.full((1, 3), (one + other) / 2)
    forth, back = (connectivity.connectivity(np.array([ends]), flat)[0] for ends in ((one, other), (other, one)))
    assert forth == -back == (other - one) / 2


@given(st.lists(st.lists(LOSSES, min_size=5, max_size=5), min_size=1, max_size=4))
def test_a_barrier_is_its_definition(rows):
    rows = np.array(rows)
    for row, value in zip(rows, barrier(rows[:, [0, 4]], rows[:, 1:4]), strict=True):
        above = [e - ((1 - t) * row[0] + t * row[4]) for t, e in zip((0, 0.25, 0.5, 0.75, 1), row, strict=True)]
        assert value == pytest.approx(max(above[1:4]), abs=1e-9)


def test_a_curve_begins_and_ends_at_its_networks_and_leaves_towards_its_middle_point():
    start, middle, end = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(bezier(start, middle, end, 0), start)
    torch.testing.assert_close(bezier(start, middle, end, 1), end)
    torch.testing.assert_close(bezier(start, (start + end) / 2, end, 0.3), torch.lerp(start, end, 0.3))
    # De Casteljau: linear interpolations, interpolated linearly.
    t = torch.tensor([[0.2], [0.7]]).double()
    expected = torch.lerp(torch.lerp(start, middle, t), torch.lerp(middle, end, t), t)
    torch.testing.assert_close(bezier(start, middle, end, t), expected)


# Training.


def test_on_a_quadratic_loss_the_middle_point_is_the_minimiser():
    """Of each of many curves between the same ends up to the noise of its descent, and so of their mean."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    y = x @ [1, -2, 0.5] + 0.3 + rng.normal(0, 0.3, 40)
    data, curves = Data.of(x, y[:, None]), 100
    surface = open_surface([nn.Linear(3, 1).double()], (3,), loss=squared, dtype=torch.float64).part([0] * curves)
    start, end = rng.normal(size=(2, 4))
    found = train_curves(
        surface,
        data,
        *(torch.from_numpy(point).expand(curves, -1) for point in (start, end)),
        [np.random.default_rng(at) for at in range(curves)],
        Training(steps=700, learning_rate=0.2),
    ).numpy()
    # E_t |A φ(t) − y|² / 2n is quadratic in the middle point: its normal equations, by Gauss and Legendre's quadrature.
    a = np.column_stack([x, np.ones(40)])
    nodes, weights = np.polynomial.legendre.leggauss(5)
    matrix, right = np.zeros((4, 4)), np.zeros(4)
    for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        share, rest = 2 * t * (1 - t), (1 - t) ** 2 * start + t**2 * end
        matrix += weight * share**2 * a.T @ a
        right += weight * share * a.T @ (y - a @ rest)
    best = np.linalg.solve(matrix, right)
    way = np.linalg.norm((start + end) / 2 - best)
    assert np.linalg.norm(found.mean(0) - best) < 0.005 * way
    assert (np.linalg.norm(found - best, axis=1) < 0.1 * way).all()


class Ring(nn.Module):
    """Computes |w|² x: with x = y = 1, the loss is (|w|² − 1)² / 2, and its minima are a circle."""

    def __init__(self, angle):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([math.cos(angle), math.sin(angle)]).double())

    def forward(self, x):
        return self.w.square().sum() * x


def test_minima_on_a_circle_are_connected_by_a_curve_and_not_by_a_line():
    data = Data(torch.ones(4, 1).double(), torch.ones(4, 1).double())
    surface = open_surface([Ring(0), Ring(math.pi / 2)], (1,), loss=squared, dtype=torch.float64)
    measured = measure(Subject(surface, data), Training(steps=500, learning_rate=0.5))
    found = {column: values[0] for column, values in measured.configurations.items()}
    assert found["linear_barrier_loss"] == pytest.approx(0.5 * 0.5**2, abs=1e-12)  # |w|² is 1/2 in the middle

    nodes, weights = np.polynomial.legendre.leggauss(20)

    def loss(t, middle):
        w = (1 - t) ** 2 * np.array([1, 0]) + 2 * t * (1 - t) * middle + t**2 * np.array([0, 1])
        return ((w @ w) - 1) ** 2 / 2

    def expected(middle):
        return sum(w / 2 * loss((t + 1) / 2, middle) for t, w in zip(nodes, weights, strict=True))

    best = minimize(expected, np.array([0.5, 0.5]), tol=1e-12).x
    assert found["mode_connectivity_loss"] == pytest.approx(-max(loss(t, best) for t in INTERIOR), abs=2e-4)
    assert abs(found["mode_connectivity_loss"]) < 2e-3
    # Its loss is of its own, and its layers are not known.
    nan = {column for column in found if not column.endswith("_loss") or "aligned" in column or "log" in column}
    assert {column for column, value in found.items() if np.isnan(value)} == nan
    (reason,) = measured.configuration_reasons.values()
    assert reason == (
        "mode_connectivity, mode_connectivity_peak, linear_barrier: the loss is not the cross-entropy of classes; "
        "mode_connectivity_log_loss, linear_barrier_log_loss: the loss is not finite and above zero all the way; "
        "aligned_barrier, aligned_barrier_loss, aligned_barrier_log_loss: the network has layers whose hidden units are not "
        "known"
    )


def test_statistics_are_means_over_batches_as_update_bn_takes_them():
    """Of examples sorted by class that leaves out what lies between the batches: here 4 % of the variance."""
    rng = torch.Generator().manual_seed(0)
    within = torch.randn(4, 256, generator=rng).double()
    within = (within - within.mean(1, keepdim=True)) / within.std(1, keepdim=True)
    between = torch.tensor([[1.0], [-1], [1], [-1]]).double()
    x = (0.96**0.5 * within + 0.04**0.5 * between).reshape(-1, 1)
    network = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 2)).double()
    expected = copy.deepcopy(network)
    update_bn(list(x.split(256)), expected)
    data = Data(x, torch.arange(1024) % 2)
    surface = open_surface([network], (1,), dtype=torch.float64)
    found = surface.renormalized(data, surface.points).network(0)[0].running_var
    torch.testing.assert_close(found, expected[0].running_var)
    assert float(found / x.var()) == pytest.approx(0.96, abs=0.005)


def at_point(network, point):
    """Return a copy of a network at a point, in training mode."""
    other = copy.deepcopy(network).train()
    nn.utils.vector_to_parameters(point, other.parameters())
    return other


def scores_at(network, point, sample):
    """Return loss and error in % of a network at a point, normalization's statistics taken anew by PyTorch."""
    other = at_point(network, point)
    batches = list(sample.inputs.split(256))
    update_bn(batches[:1] if len(batches) == 1 else [batch for batch in batches if len(batch) == 256], other)
    other.eval()
    with torch.no_grad():
        logits = other(sample.inputs)
    return functional.cross_entropy(logits, sample.targets).item(), 100 * (
        logits.argmax(1) != sample.targets
    ).double().mean().item()


@pytest.mark.parametrize("norm", [True, False])
def test_everything_is_what_plain_pytorch_finds(networks, data, norm):
    """One pair, step by step with PyTorch's own optimizer, schedule and normalization."""
    one, other = networks[norm][:2]
    asked = subject([one, other], data, settings=Settings(train_sample=280))
    measured = measure(asked, SHORT)
    found = {column: values[0] for column, values in measured.configurations.items()}
    start, end = (nn.utils.parameters_to_vector(network.parameters()).detach() for network in (one, other))
    rng = asked.pair_rng((0, 1), "mode connectivity")
    times, chosen = rng.random(SHORT.steps), rng.integers(0, len(data), (SHORT.steps, SHORT.batch_size))
    middle = ((start + end) / 2).requires_grad_()
    optimizer = torch.optim.SGD([middle], lr=SHORT.learning_rate, momentum=SHORT.momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, SHORT.steps)
    layout = Layout(one)
    for t, batch in zip(times, chosen, strict=True):
        point = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        logits = torch.func.functional_call(copy.deepcopy(one).train(), layout.tensors(point), (data.inputs[batch],))
        optimizer.zero_grad()
        functional.cross_entropy(logits, data.targets[batch]).backward()
        optimizer.step()
        schedule.step()
    middle = middle.detach()

    sample = data.first(280)
    losses, errors = zip(*(scores_at(one, point, sample) for point in (start, end)), strict=True)
    curve = [scores_at(one, (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end, sample) for t in INTERIOR]
    line = [scores_at(one, (1 - t) * start + t * end, sample) for t in INTERIOR]
    for kind, ends, of_curve, of_line in (
        ("_log_loss", np.log(losses), *([math.log(loss) for loss, _ in way] for way in (curve, line))),
        ("_loss", losses, *([loss for loss, _ in way] for way in (curve, line))),
        ("", errors, *([error for _, error in way] for way in (curve, line))),
    ):
        deviations = [sum(ends) / 2 - value for value in (ends[0], *of_curve, ends[1])]
        assert found[f"mode_connectivity{kind}"] == pytest.approx(max(deviations, key=abs), abs=1e-9)
        above = [value - (1 - t) * ends[0] - t * ends[1] for t, value in zip(INTERIOR, of_line, strict=True)]
        assert found[f"linear_barrier{kind}"] == pytest.approx(max(above), abs=1e-9)
    assert found["mode_connectivity_peak"] == pytest.approx(-max(error for _, error in curve), abs=1e-9)
    assert found["mode_connectivity_peak_loss"] == pytest.approx(-max(loss for loss, _ in curve), abs=1e-9)
    assert max(deviations, key=abs) < -1  # this pair tells something


# Learning rates.


def regressions(scale=1.0, seeds=(0, 1), factor=1.0):
    """Two networks that were fitted to a function of inputs of some scale, and the loss that they were fitted by."""
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(200, 2, generator=rng) * 4 - 2).double()
    data = Data(scale * x, torch.sin(2 * x[:, :1]) + x[:, 1:].square() / 2)
    made = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = nn.Sequential(
                nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)
            ).double()
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        for _ in range(300):
            optimizer.zero_grad()
            squared(network(data.inputs), data.targets).backward()
            optimizer.step()
        made.append(network.eval())
    surface = open_surface(made, (2,), loss=lambda out, y: factor * squared(out, y), dtype=torch.float64)
    return Subject(surface, data, names=[f"seed {seed}" for seed in seeds])


def rates_of(asked, steps=200):
    every = pairs(range(len(asked.surface)))
    start, end = (asked.surface.points[list(rows)] for rows in zip(*every, strict=True))
    rngs = [asked.pair_rng(pair, "mode connectivity") for pair in every]
    draws = connectivity.Draws.of(rngs, Training(steps=steps), len(asked.train), start)
    return connectivity.learning_rates(asked.surface.part([0] * len(every)), asked.train, start, end, draws, 0.9)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_regression_is_trained_at_a_rate_that_fits_its_loss(scale):
    """Nearly as well as at the best of all rates, where at the one of classes it diverges or ends in a constant."""
    asked = regressions(scale)
    found = measure(asked, Training(steps=400)).configurations
    fixed = {
        4.0**power: measure(asked, Training(steps=400, learning_rate=0.2 * 4.0**power)).configurations
        for power in range(-8, 2)
    }
    peaks = {factor: -values["mode_connectivity_peak_loss"][0] for factor, values in fixed.items()}
    (peak,) = -found["mode_connectivity_peak_loss"]
    if scale > 1:
        assert not peaks[1] < 3 * peak
    assert peak < 2.5 * np.nanmin(list(peaks.values()))
    assert found["mode_connectivity_log_loss"][0] > -found["linear_barrier_log_loss"][0]
    # The straight line is as it was, whatever the rate.
    assert found["linear_barrier_loss"] == fixed[1.0]["linear_barrier_loss"]


def test_rates_follow_the_scale_of_the_loss_and_logarithms_do_not_see_it():
    plain, larger, smaller = (regressions(factor=factor) for factor in (1, 4.0**4, 4.0**-4))
    rates = rates_of(plain)
    assert rates_of(larger).tolist() == (rates / 4**4).tolist()
    assert rates_of(smaller).tolist() == (rates * 4**4).tolist()
    found, other = (measure(asked, Training(steps=100)).configurations for asked in (plain, smaller))
    for column in ("mode_connectivity", "linear_barrier", "aligned_barrier"):
        assert other[f"{column}_log_loss"] == pytest.approx(found[f"{column}_log_loss"], abs=1e-6)
        assert other[f"{column}_loss"] == pytest.approx(found[f"{column}_loss"] / 4**4, rel=1e-6)


def test_a_rate_is_found_alike_in_any_company():
    together = rates_of(regressions(30.0, seeds=(0, 1, 2)))
    assert together[0] == rates_of(regressions(30.0))[0]


def test_rates_that_are_given_are_taken(networks, data):
    """By the settings, or by what classes are trained with where nothing is said."""
    some = networks[False][:2]
    left, given, other = (
        measure(subject(some, data, settings=Settings(curve_learning_rate=rate))).configurations[
            "mode_connectivity_loss"
        ]
        for rate in (None, connectivity.OF_CLASSES, 0.01)
    )
    assert left == given
    assert other != given
    said = measure(subject(some, data), Training(learning_rate=0.01)).configurations["mode_connectivity_loss"]
    assert other == said


# What may not change.


def test_a_network_has_no_barrier_with_itself_whatever_statistics_it_kept(networks, data):
    """Those of a network's training, which interior points do not have, are nobody's at the ends either."""
    network = copy.deepcopy(networks[True][0])
    rng = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean += torch.randn(module.running_mean.shape, generator=rng).double()
            module.running_var *= torch.rand(module.running_var.shape, generator=rng).double() + 0.2
    kept = open_surface([network], data.shape, dtype=torch.float64)
    loss, _ = kept.scores(data, kept.points[:, None])
    renewed, _ = scores_at(network, kept.points[0], data)
    assert float(loss) > renewed + 0.1  # or nothing would have been shown
    found = measure(subject([network, network], data), SHORT).configurations
    for column in ("linear_barrier", "aligned_barrier"):
        assert found[column][0] == 0
        assert found[f"{column}_loss"][0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("norm", [True, False])
def test_no_barrier_is_left_between_a_network_and_itself_permuted(networks, data, norm):
    network = networks[norm][0]
    other = shuffled(network, data.shape, np.random.default_rng(0))
    found = measure(subject([network, other], data), SHORT).configurations
    assert found["aligned_barrier"][0] == 0
    assert found["aligned_barrier_loss"][0] == pytest.approx(0, abs=1e-12)
    assert found["linear_barrier"][0] > 5
    assert found["linear_barrier_loss"][0] > 0.1


@pytest.mark.parametrize("norm", [True, False])
def test_aligned_barriers_do_not_depend_on_the_order_of_units(networks, data, norm):
    one, other = networks[norm][:2]
    rng = np.random.default_rng(0)
    expected = measure(subject([one, other], data), SHORT).configurations
    for changed in ([shuffled(one, data.shape, rng), other], [one, shuffled(other, data.shape, rng)]):
        found = measure(subject(changed, data), SHORT).configurations
        assert found["aligned_barrier"] == pytest.approx(expected["aligned_barrier"], abs=1e-9)
        assert found["aligned_barrier_loss"] == pytest.approx(expected["aligned_barrier_loss"], abs=1e-9)
        assert abs(found["linear_barrier_loss"] - expected["linear_barrier_loss"])[0] > 1e-3


@pytest.mark.parametrize("norm", [True, False])
def test_a_group_in_company_is_measured_as_alone_and_pairs_are_averaged(networks, data, norm):
    names = [f"seed {seed}" for seed in range(5)]
    both = measure(subject(networks[norm], data, groups=[(0, 1, 2), (3, 4)], names=names), SHORT)
    assert not both.configuration_reasons
    for at, rows in enumerate([(0, 1, 2), (3, 4)]):
        alone = measure(subject([networks[norm][row] for row in rows], data, names=[names[row] for row in rows]), SHORT)
        for column, values in both.configurations.items():
            assert values[at] == pytest.approx(alone.configurations[column][0], rel=1e-9, abs=1e-9)
    single = [
        measure(subject([networks[norm][a], networks[norm][b]], data, names=[names[a], names[b]]), SHORT)
        for a, b in ((0, 1), (1, 2), (2, 0))
    ]
    for column, values in both.configurations.items():
        mean = np.mean([found.configurations[column][0] for found in single])
        assert values[0] == pytest.approx(mean, rel=1e-9, abs=1e-9)


def test_longer_training_finds_better_curves(networks, data):
    short, long = (
        measure(subject(networks[True], data), Training(steps=steps)).configurations["mode_connectivity_loss"][0]
        for steps in (1, 400)
    )
    assert short < long


# What cannot be measured.


def test_what_cannot_be_measured_is_nan_with_a_reason(networks, data):
    broken = copy.deepcopy(networks[False][0])
    nn.init.constant_(broken[1].weight, math.inf)
    some = [*networks[False][:3], broken]
    measured = measure(subject(some, data, groups=[(0, 1), (2,), (1, 3)]), SHORT)
    columns = [metric.column for metric in METRICS]
    assert list(measured.configurations) == columns
    for values in measured.configurations.values():
        assert np.isfinite(values).tolist() == [True, False, False]
    every = ", ".join(columns)
    assert measured.configuration_reasons == {
        1: f"{every}: there is one network, and no other to compare it with",
        2: f"{every}: a network's parameters are not finite",
    }
    only = measure(subject(some[:1], data))
    assert all(np.isnan(values).all() for values in only.configurations.values())


def test_a_curve_that_diverged_is_nan_and_the_lines_are_not(networks, data):
    measured = measure(subject(networks[False][:2], data), Training(steps=20, learning_rate=1e30))
    finite = {column for column, values in measured.configurations.items() if np.isfinite(values).all()}
    assert finite == {metric.column for metric in METRICS if "barrier" in metric.column}
    columns = "mode_connectivity, mode_connectivity_peak, mode_connectivity_loss, mode_connectivity_peak_loss"
    assert measured.configuration_reasons == {
        0: f"{columns}: the loss is not finite all the way; "
        "mode_connectivity_log_loss: the loss is not finite and above zero all the way"
    }


def test_every_column_is_known():
    assert all(metric.column in COLUMNS and metric.of == "configuration" for metric in METRICS)
