"""The Hessian against dense matrices, closed forms, planted spectra and another library."""

import copy
import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from mdbench.tables.schema import COLUMNS
from zoo_builder.landscape import hessian, krylov
from zoo_builder.landscape import vectors as long_vectors
from zoo_builder.landscape.blocks import block_starts, blockwise, lanczos_of_blocks
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.density import Density, density, masses
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.landscape.traces import traces
from zoo_builder.specification.models import cnn1d, mlp

SEEDS = st.integers(0, 2**32 - 1)


# Matrices.


def products_of(matrices):
    """Matrices (B, P, P) as they are known to the algorithms."""
    return lambda which, vectors: vectors @ matrices[which]


def generators(size, seed=0):
    return [np.random.default_rng([seed, at]) for at in range(size)]


def planted(values, seed=0):
    """A matrix with these eigenvalues, its eigenvectors random."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    return torch.as_tensor(turn * np.asarray(values) @ turn.T)


def network_like(size, seed=0):
    """A few large eigenvalues, many small ones of both signs."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [[20.0, 13.0, 8.0, 5.0, 4.0, 2.0], rng.exponential(0.3, size - 26), -rng.exponential(0.1, 20)]
    )


def run(matrices, tolerances=(1e-10,) * 5, seed=0, **options):
    size, length, _ = matrices.shape
    starts = torch.as_tensor(np.stack([g.normal(size=length) for g in generators(size, seed)])).to(matrices)
    options = {"most": length, "fewest": options.get("most", 1)} | options
    return krylov.lanczos(products_of(matrices), starts, tolerances, generators(size, seed + 1), **options)


def symmetric(size, seed):
    matrix = np.random.default_rng(seed).normal(size=(size, size))
    return torch.as_tensor(matrix + matrix.T)


@given(st.integers(1, 30), st.integers(1, 6), SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_largest_eigenvalues_are_those_of_the_dense_matrix(size, many, seed):
    matrices = torch.stack([symmetric(size, [seed, at]) for at in range(3)])
    found = run(matrices, (1e-8,) * many, seed)
    for at, matrix in enumerate(matrices):
        ritz, expected = found.ritz(at), np.linalg.eigvalsh(matrix)[::-1]
        assert len(ritz.values) == found.steps[at] <= size
        there = min(many, size)
        np.testing.assert_allclose(ritz.values[:there], expected[:there], rtol=1e-7, atol=1e-9)
        basis = found.basis[at, : found.steps[at]]
        torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)).double(), rtol=0, atol=1e-10)
        assert not found.basis[at, found.steps[at] :].any()


@given(st.integers(6, 30), st.integers(1, 6), SEEDS)
@settings(max_examples=20, deadline=None)
def test_residuals_are_residuals_and_what_is_known_is_known(size, steps, seed):
    matrix = symmetric(size, seed)
    found = run(matrix[None], (0.0,) * 7, seed, most=steps)
    matrix, ritz, basis = matrix.numpy(), found.ritz(0), found.basis[0].numpy()
    vectors = basis.T @ ritz.vectors
    residuals = np.linalg.norm(matrix @ vectors - vectors * ritz.values, axis=0)
    np.testing.assert_allclose(ritz.residuals, residuals, rtol=1e-6, atol=1e-9)
    expected = np.linalg.eigvalsh(matrix)
    assert all(
        np.abs(expected - value).min() <= residual + 1e-9
        for value, residual in zip(ritz.values, residuals, strict=True)
    )

    outside = np.eye(size) - basis.T @ basis
    long, small = (part[0].numpy() for part in found.known())
    np.testing.assert_allclose(long.T @ small @ long, matrix - outside @ matrix @ outside, atol=1e-9)


def test_no_eigenvalue_comes_twice_in_single_precision():
    # The classical failure: with an eigenvalue this large, orthogonality is lost after a few steps, and it comes again.
    values = np.concatenate([[1e4, 1e3], np.linspace(0.1, 10, 98)])
    found = run(planted(values).float()[None], (0.0,), most=60)
    ritz = found.ritz(0).values
    assert (ritz > 500).sum() == 2
    np.testing.assert_allclose(ritz[:2], [1e4, 1e3], rtol=1e-5)
    basis = found.basis[0].double()
    assert (basis @ basis.T - torch.eye(60)).abs().max() < 1e-5


def test_steps_stop_as_soon_as_the_wanted_eigenvalues_are_within_their_tolerances():
    matrix = planted(network_like(150))
    tolerances = (0.01, 0.05, 0.05)
    steps = int(run(matrix[None], tolerances).steps[0])
    for most in range(3, steps + 1):
        ritz = run(matrix[None], tolerances, fewest=1, most=most).ritz(0)
        assert ritz.within(tolerances).all() == (most == steps)
    assert run(matrix[None], tolerances, fewest=steps + 5).steps[0] == steps + 5


def test_a_matrix_is_treated_alike_in_company_and_alone():
    kinds = [planted(network_like(60), 1), planted(np.linspace(-1, 1, 60), 2), torch.zeros(60, 60).double()]
    matrices = torch.stack([*kinds, planted([3.0] + 59 * [0.0], 3)])
    together = run(matrices, (1e-3,) * 3)
    assert len(set(together.steps)) == 3
    sums = traces(products_of(matrices), together, [slice(0, 60)], generators(4, 5), tolerance=0.02)
    for at in range(4):
        start = torch.as_tensor(generators(4)[at].normal(size=60))[None]
        alone = krylov.lanczos(products_of(matrices[at : at + 1]), start, (1e-3,) * 3, [generators(4, 1)[at]], most=60)
        assert alone.steps[0] == together.steps[at]
        np.testing.assert_allclose(alone.ritz(0).values, together.ritz(at).values, rtol=1e-9, atol=1e-9)
        one = traces(products_of(matrices[at : at + 1]), alone, [slice(0, 60)], [generators(4, 5)[at]], tolerance=0.02)
        assert one.probes[0] == sums.probes[at]
        np.testing.assert_allclose([one.whole[0], one.whole_se[0]], [sums.whole[at], sums.whole_se[at]], atol=1e-9)


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ([4.0], 1),
        ([4.0, -1.0, 2.0], 3),
        ([0.0] * 9, 5),  # nothing to be found, five times
        ([2.5] * 9, 5),
        ([7.0] + [0.0] * 29, 5),  # the second step ends it, then three vectors from outside
        ([7.0] * 4 + [1.0] * 26, 8),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_invariant_bases(values, steps, dtype):
    matrix = planted(values).to(dtype)
    found = run(matrix[None], (1e-3,) * 5)
    ritz = found.ritz(0)
    assert found.steps[0] <= steps
    expected = sorted(values, reverse=True)[: min(5, len(values))]
    if values.count(7.0) != 4:
        np.testing.assert_allclose(ritz.values[: len(expected)], expected, atol=1e-5)
    assert ritz.within((1e-3,) * 5).all()
    basis = found.basis[0, : found.steps[0]].double()
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)).double(), rtol=0, atol=1e-5)
    sums = traces(products_of(matrix[None]), found, [slice(0, len(values))], generators(1), tolerance=1e-3)
    assert abs(sums.whole[0] - sum(values)) <= 4 * sums.whole_se[0] + 1e-4


def test_products_that_are_not_finite_are_noted_and_do_no_harm():
    matrices = torch.stack([planted(network_like(40), at) for at in range(3)])
    matrices[1, 3, 4] = torch.inf
    found = run(matrices)
    assert found.finite.tolist() == [True, False, True]
    sums = traces(products_of(matrices), found, [slice(0, 10), slice(10, 40)], generators(3), tolerance=0.02)
    assert np.isnan(sums.whole).tolist() == [False, True, False]
    assert np.isnan(sums.blocks_se[1]).all()
    np.testing.assert_allclose(found.ritz(2).values[:5], sorted(network_like(40))[:-6:-1], rtol=1e-6)


# Traces.

BLOCKS = [slice(0, 15), slice(15, 20), slice(20, 60)]


@pytest.fixture(scope="module")
def many():
    """One matrix, 400 runs of 8 steps each, 8 probes."""
    matrix = planted(network_like(60), 4)
    matrices = matrix.expand(400, -1, -1)
    found = run(matrices, (0.0,), most=8)
    sums = traces(products_of(matrices), found, BLOCKS, generators(400, 7), tolerance=0, most=8)
    assert (sums.probes == 8).all()
    return matrix.numpy(), found, sums


def test_traces_are_unbiased_and_their_standard_errors_honest(many):
    matrix, _, sums = many
    whole = (sums.whole - np.trace(matrix)) / sums.whole_se
    blocks = (sums.blocks - [np.trace(matrix[block, block]) for block in BLOCKS]) / sums.blocks_se
    for z in (whole, *blocks.T):
        # The variance of 400 z has a standard deviation of 7 %, that of a mean is 0.05.
        assert abs(z.mean()) < 0.2
        assert 0.75 < z.var() < 1.3
        assert np.abs(z).max() < 4.5
    np.testing.assert_allclose(sums.blocks.sum(1), sums.whole)


def test_standard_errors_are_the_closed_form(many):
    matrix, found, sums = many
    for at in range(20):
        basis = found.basis[at].numpy()
        outside = np.eye(60) - basis.T @ basis
        left = (outside @ matrix @ outside) ** 2
        np.fill_diagonal(left, 0)
        assert sums.whole_se[at] == pytest.approx(math.sqrt(2 * left.sum() / 8), rel=0.35)
    # A pair of probes says little about a block, 400 runs much.
    for at, block in enumerate(BLOCKS):
        expected = []
        for basis in found.basis.numpy():
            outside = np.eye(60) - basis.T @ basis
            left = (outside @ matrix @ outside) ** 2
            np.fill_diagonal(left, 0)
            expected.append((left[block].sum() + left[block, block].sum()) / 8)
        assert (sums.blocks_se[:, at] ** 2).mean() == pytest.approx(np.mean(expected), rel=0.1)


def test_squares_are_the_frobenius_norm(many):
    matrix, _, sums = many
    expected = (matrix**2).sum()
    assert abs(sums.squares.mean() - expected) < 4 * sums.squares.std() / 20
    np.testing.assert_allclose(sums.squares, expected, rtol=0.1)


def test_probes_go_on_until_the_standard_error_is_small_enough():
    matrices = torch.stack([planted(network_like(200), 1), planted(np.linspace(0.1, 5, 200), 2)])
    found = run(matrices, (0.0,), most=10)
    for tolerance in (0.1, 0.02, 0.01):
        sums = traces(products_of(matrices), found, [slice(0, 200)], generators(2), tolerance=tolerance, most=4000)
        assert (sums.whole_se <= tolerance * sums.whole).all()
        assert len(set(sums.probes)) == 2 or tolerance == 0.1
        assert (np.abs(sums.whole - [np.trace(matrix) for matrix in matrices]) < 4 * sums.whole_se).all()
    assert traces(products_of(matrices), found, [slice(0, 200)], generators(2), tolerance=0, most=10).probes.max() == 8


def test_a_known_subspace_makes_the_standard_error_small_where_few_eigenvalues_are_large():
    matrix = planted(network_like(400), 3)
    blocks = [slice(0, 400)]
    few, some = (
        traces(
            products_of(matrix[None]), run(matrix[None], (0.0,), most=steps), blocks, generators(1), tolerance=0, most=8
        ).whole_se[0]
        for steps in (1, 16)
    )
    assert some < few / 4


# Blocks.


def test_blocks_are_matrices_of_their_own():
    matrices = torch.stack([symmetric(60, at) for at in range(3)])
    asked = []

    def products(which, vectors):
        asked.append((which.tolist(), vectors.shape[1]))
        return products_of(matrices)(which, vectors)

    whose = [[0, 2], [0, 1], [0, 2]]  # all of the first, one of the second, two of the third
    vectors = [
        torch.as_tensor(np.random.default_rng(at).normal(size=(2, 1, len(range(60)[block]))))
        for at, block in enumerate(BLOCKS)
    ]
    found = blockwise(products, BLOCKS, 60)(list(zip(map(np.array, whose), vectors, strict=True)))
    for owners, block, asked_of, images in zip(whose, BLOCKS, vectors, found, strict=True):
        for owner, one, image in zip(owners, asked_of, images, strict=True):
            torch.testing.assert_close(image[0], matrices[owner][block, block] @ one[0])
    assert sorted(asked) == [([0], 3), ([1], 1), ([2], 2)]


def test_nobody_is_asked_for_blocks_that_are_done():
    asked = []

    def products(which, vectors):
        asked.append((which.tolist(), vectors.shape[1]))
        return vectors

    nothing = (np.zeros(0, dtype=np.int64), torch.zeros(0, 1, 15))
    vectors = torch.ones(1, 1, 5)
    found = blockwise(products, BLOCKS, 60)([nothing, (np.array([4]), vectors), (nothing[0], torch.zeros(0, 1, 40))])
    assert [image.shape for image in found] == [(0, 1, 15), (1, 1, 5), (0, 1, 40)]
    assert asked == [([4], 1)]
    torch.testing.assert_close(found[1], vectors)


def test_blocks_are_searched_side_by_side_as_they_are_one_by_one():
    matrices = torch.stack([symmetric(60, at) for at in range(3)])
    starts = [
        torch.as_tensor(np.random.default_rng(at).normal(size=(3, len(range(60)[b])))) for at, b in enumerate(BLOCKS)
    ]
    products = blockwise(products_of(matrices), BLOCKS, 60)
    found = lanczos_of_blocks(products, starts, (1e-6,), generators(3), most=40)
    for block, start, run_ in zip(BLOCKS, starts, found, strict=True):
        alone = krylov.lanczos(products_of(matrices[:, block, block]), start, (1e-6,), generators(3), most=40)
        assert run_.steps.tolist() == alone.steps.tolist()
        for row, matrix in enumerate(matrices):
            assert run_.ritz(row).values[0] == pytest.approx(np.linalg.eigvalsh(matrix[block, block])[-1], rel=1e-5)


def test_where_everything_is_known_the_starts_are_the_blocks_eigenvectors():
    matrices = torch.stack([symmetric(60, 1), symmetric(60, 2)])
    matrices[1][:, BLOCKS[1]] = matrices[1][BLOCKS[1]] = 0  # a dead layer
    found = run(matrices, (0.0,))
    assert found.steps[0] == 60
    starts = block_starts(found, BLOCKS, generators(2))
    for row, matrix in enumerate(matrices):
        for at, block in enumerate(BLOCKS):
            start = starts[at][row]
            assert start.norm() > 0
            value, vector = (part[..., -1] for part in torch.linalg.eigh(matrix[block, block]))
            if value > 0:
                assert abs(float(start @ vector)) == pytest.approx(float(start.norm()), rel=1e-6)


# Little room.


@given(st.integers(30, 60), st.integers(8, 14), SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_run_with_little_room_finds_the_same_and_is_a_krylov_space_still(size, room, seed):
    matrix = symmetric(size, seed)
    found = run(matrix[None], (1e-6,) * 3, seed, fewest=1, most=2000, room=room)
    assert found.vectors.shape[1] <= room + 1
    expected = np.linalg.eigvalsh(matrix)[::-1]
    np.testing.assert_allclose(found.ritz(0).values[:3], expected[:3], rtol=1e-6, atol=1e-8)
    assert found.spent[0] >= found.steps[0]

    matrix, ritz, basis = matrix.numpy(), found.ritz(0), found.basis[0].numpy()
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-9)
    vectors = basis.T @ ritz.vectors
    residuals = np.linalg.norm(matrix @ vectors - vectors * ritz.values, axis=0)
    np.testing.assert_allclose(ritz.residuals, residuals, rtol=1e-5, atol=1e-8)
    outside = np.eye(size) - basis.T @ basis
    long, small = (part[0].numpy() for part in found.known())
    np.testing.assert_allclose(long.T @ small @ long, matrix - outside @ matrix @ outside, atol=1e-8)


def test_a_run_that_began_anew_has_the_density_and_the_trace_of_its_matrix():
    matrix = planted(network_like(200), 2)
    short, long = (run(matrix[None], (1e-9,) * 3, fewest=1, most=most, room=12) for most in (12, 60))
    assert long.spent[0] > 12
    ours, expected = density(long, 0, 0.05), density(short, 0, 0.05)
    np.testing.assert_allclose(ours.nodes, expected.nodes, rtol=1e-9)
    np.testing.assert_allclose(ours.weights, expected.weights, rtol=1e-9)
    sums = traces(products_of(matrix[None]), long, [slice(0, 200)], generators(1), tolerance=0.005, most=4000)
    assert abs(sums.whole[0] - np.trace(matrix)) < 4 * sums.whole_se[0]
    assert sums.squares[0] == pytest.approx(float((matrix**2).sum()), rel=0.02)


def test_matrices_that_are_done_wait_while_others_begin_anew():
    matrices = torch.stack([planted([9.0, 5.0, 2.0] + 57 * [0.0], 3), planted(np.linspace(-1, 1, 60), 2)])
    matrices = torch.cat([matrices, torch.full((1, 60, 60), torch.nan).double()])
    found = run(matrices, (1e-8,) * 3, fewest=1, most=500, room=10)
    assert found.finite.tolist() == [True, True, False]
    assert found.spent[0] < found.spent[1]
    for at in range(2):
        np.testing.assert_allclose(found.ritz(at).values[:3], np.linalg.eigvalsh(matrices[at])[:-4:-1], rtol=1e-6)
        basis = found.basis[at, : found.steps[at]]
        torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)).double(), rtol=0, atol=1e-10)
        assert not found.basis[at, found.steps[at] :].any()


def test_long_vectors_are_treated_as_short_ones(monkeypatch):
    matrices = torch.stack([planted(network_like(200), at) for at in range(2)])
    found = []
    for chunk, together in ((long_vectors.CHUNK, long_vectors._TOGETHER), (7, 0)):
        monkeypatch.setattr(long_vectors, "CHUNK", chunk)
        monkeypatch.setattr(long_vectors, "_LONG", chunk)
        monkeypatch.setattr(long_vectors, "_TOGETHER", together)
        ours = run(matrices, (1e-6,) * 5)
        blocks = [slice(0, 3), slice(3, 150), slice(150, 200)]
        sums = traces(products_of(matrices), ours, blocks, generators(2), tolerance=0.05)
        found.append([ours.ritz(0).values[:5], sums.whole, sums.whole_se, sums.blocks, sums.blocks_se, sums.squares])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


# Densities.


def test_moments_of_the_density_are_those_that_the_start_sees():
    matrix = planted(network_like(60), 2)
    found = run(matrix[None], (0.0,), most=6)
    seen = density(found, 0, tolerance=0)
    start = found.basis[0, 0]
    assert len(seen.nodes) == 11
    power = start
    for degree in range(12):  # of the average of 5 and 6 nodes; Gauss's quadrature with 5 is exact up to 9
        assert seen.weights @ seen.nodes**degree == pytest.approx(float(start @ power), rel=1e-9), degree
        power = matrix @ power


def test_moments_are_those_of_the_spectrum_on_average(many):
    matrix, found, _ = many
    for tolerance in (0, 0.05):
        densities = [density(found, at, tolerance) for at in range(400)]
        for degree in (0, 1, 2):
            moments = np.array([seen.weights @ seen.nodes**degree for seen in densities])
            expected = np.trace(np.linalg.matrix_power(matrix, degree)) / 60
            # Weights that share what the converged ones leave have a bias, of the order of 1 / P.
            allowed = 4 * moments.std() / 20 + 1e-9 + (0.05 * expected if tolerance and degree else 0)
            assert abs(moments.mean() - expected) < allowed


def test_converged_eigenvalues_count_once():
    matrix = planted(network_like(200), 2)
    found = run(matrix[None], (0.0,), most=16)
    deviations = {}
    for tolerance in (0, 0.05):
        runs = run(matrix.expand(50, -1, -1), (0.0,), most=16)
        rank = []
        for at in range(50):
            seen = density(runs, at, tolerance)
            assert seen.weights.sum() == pytest.approx(1)
            assert (seen.weights >= 0).all()
            rank.append(seen.weights @ seen.nodes**2)
        deviations[tolerance] = np.std(rank) / np.mean(rank)
    assert deviations[0.05] < deviations[0] / 4
    top = density(found, 0, 0.05)
    assert top.weights[np.abs(top.nodes - 20) < 0.01].sum() == pytest.approx(1 / 200)


def test_where_the_basis_is_the_whole_space_the_density_is_exact():
    values = np.sort(network_like(40))
    seen = density(run(planted(values)[None], most=40), 0, 0.05)
    np.testing.assert_allclose(np.sort(seen.nodes), values, atol=1e-9)
    np.testing.assert_array_equal(seen.weights, 1 / 40)
    negative, positive = masses(values.sum(), seen, 40)
    assert negative == pytest.approx(-values[values < 0].sum())
    assert positive == pytest.approx(values[values > 0].sum())
    mirrored = Density(-seen.nodes, seen.weights)
    assert masses(-values.sum(), mirrored, 40) == pytest.approx((positive, negative))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_the_negative_mass_of_planted_spectra(share):
    rng = np.random.default_rng(1)
    positive = np.concatenate([[20, 12, 8, 5, 4], rng.exponential(0.2, 150)])
    negative = rng.exponential(1, 50)
    values = np.concatenate([positive, -negative / negative.sum() * positive.sum() * share / (1 - share)])
    runs = run(planted(values).expand(60, -1, -1), (0.0,), most=16)
    found = np.array([masses(values.sum(), density(runs, at, 0.05), 205)[0] for at in range(60)])
    assert found.mean() == pytest.approx(-values[values < 0].sum(), rel=0.25)


def test_a_constant_spectrum_is_one_mass():
    for values in ([2.0] * 8, [0.0] * 8):
        seen = density(run(planted(values)[None], (1e-3,) * 5), 0, 0.05)
        assert seen.weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(seen.nodes[seen.weights > 1e-6], values[0], atol=1e-12)


def test_smoothed_densities_are_densities():
    seen = Density(np.array([-1.0, 0.0, 3.0]), np.array([0.2, 0.5, 0.3]))
    at = np.linspace(-6, 8, 4001)
    values = seen.smoothed(at, 0.4)
    step = at[1] - at[0]
    assert values.sum() * step == pytest.approx(1)
    assert (values * at).sum() * step == pytest.approx(0.7)
    assert (values * at**2).sum() * step == pytest.approx(2.9 + 0.16)


# Networks.


class Smooth(nn.Module):
    """Layer normalization and tanh, which stacks map as a whole."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm, self.outer = nn.Linear(6, 7), nn.LayerNorm(7), nn.Linear(7, 3)

    def forward(self, x):
        return self.outer(torch.tanh(self.norm(self.inner(x))))


def squared(outputs, targets):
    return (outputs - functional.one_hot(targets, 3)).square().mean()


MAKERS = {
    "mlp": (lambda: mlp((6,), 3, 7), (6,), None),
    "cnn1d": (lambda: cnn1d((1, 16), 3, 4), (1, 16), None),
    "layer norm": (Smooth, (6,), squared),
}


def trained(name, count=3, steps=40):
    make, shape, loss = MAKERS[name]
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (120,), generator=generator)
    inputs = torch.randn(120, *shape, generator=generator).double() + labels.view(-1, *[1] * len(shape))
    networks = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = make().double()
        optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
        for _ in range(steps):
            optimizer.zero_grad()
            (loss or functional.cross_entropy)(network(inputs), labels).backward()
            optimizer.step()
        networks.append(network.eval())
    return networks, Data(inputs, labels), shape, loss


def subject(name, dtype=torch.float64, kind=open_surface, **options):
    networks, data, shape, loss = trained(name)
    surface = kind(networks, shape, **({"loss": loss} if loss else {}), dtype=dtype)
    return Subject(surface, Data(data.inputs.to(dtype), data.targets), **options)


def dense(network, data, loss=None):
    """The Hessian, of an ordinary module."""
    network = copy.deepcopy(network).double()
    shapes = {name: value.shape for name, value in network.named_parameters()}
    sizes, inputs, targets = [shape.numel() for shape in shapes.values()], data.inputs.double(), data.targets

    def value(point):
        parts = {name: part.view(shapes[name]) for name, part in zip(shapes, point.split(sizes), strict=True)}
        return (loss or functional.cross_entropy)(torch.func.functional_call(network, parts, (inputs,)), targets)

    point = torch.cat([value.detach().flatten() for value in network.parameters()])
    return torch.func.jacrev(torch.func.grad(value))(point).numpy()


@pytest.fixture(scope="module", params=MAKERS)
def case(request):
    networks, data, _, loss = trained(request.param)
    return request.param, [dense(network, data, loss) for network in networks]


def test_products_are_those_of_the_dense_hessian(case):
    name, matrices = case
    one = subject(name)
    length = one.surface.layout.size
    found = hessian.Hessians(one)(np.arange(3), torch.eye(length).double().expand(3, -1, -1))
    some = hessian.Hessians(one)(np.array([2]), torch.eye(length).double()[None])
    for row, matrix in enumerate(matrices):
        assert np.linalg.norm(found[row].numpy() - matrix) <= 1e-6 * np.linalg.norm(matrix)
    assert np.linalg.norm(some[0].numpy() - matrices[2]) <= 1e-6 * np.linalg.norm(matrices[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_are_those_of_the_dense_hessian(case, dtype, monkeypatch):
    name, matrices = case
    monkeypatch.setattr(hessian, "TRACE_TOLERANCE", 0.0025)
    monkeypatch.setattr(hessian, "PROBES", (40, 40000))
    one = subject(name, dtype)
    found = hessian.measure(one)
    assert not found.network_reasons
    assert not found.configuration_reasons
    for row, matrix in enumerate(matrices):
        values = np.linalg.eigvalsh(matrix)[::-1]
        ours = {column: numbers[row] for column, numbers in found.networks.items()}
        eigenvalues = ("hessian_top_eigenvalue", *(f"hessian_eigenvalue_{at}" for at in range(2, 6)))
        assert [ours[column] for column in eigenvalues] == pytest.approx(values[:5], rel=0.01)
        assert ours["hessian_top_eigenvalue_residual"] <= 0.01
        assert ours["hessian_trace"] == pytest.approx(np.trace(matrix), rel=0.01)
        assert abs(ours["hessian_trace"] - np.trace(matrix)) <= 4 * ours["hessian_trace_se"] + 1e-5
        assert values[-1] - 1e-5 <= ours["hessian_bottom_eigenvalue"] < values[-1] + 0.05 * values[0]
        absolute = np.abs(values)
        rank, mass = absolute.sum() ** 2 / (values**2).sum(), -values[values < 0].sum() / absolute.sum()
        # From start to start the rank of these networks varies by 7 to 14 %.
        assert ours["hessian_effective_rank"] == pytest.approx(rank, rel=0.4)
        assert ours["hessian_negative_mass"] == pytest.approx(mass, rel=0.5, abs=0.03)
        layers = [layer for layer in found.layers if layer["network"] == row]
        assert [layer["layer"] for layer in layers] == [layer.name for layer in one.surface.layout.layers]
        for layer, place in zip(layers, one.surface.layout.layers, strict=True):
            part = matrix[place.block, place.block]
            assert layer["hessian_trace"] == pytest.approx(
                np.trace(part), rel=0.01, abs=4 * layer["hessian_trace_se"] + 1e-5
            )
            assert layer["hessian_top_eigenvalue"] == pytest.approx(np.linalg.eigvalsh(part)[-1], rel=0.01, abs=1e-5)
            assert layer["hessian_reason"] is None
        assert sum(layer["hessian_trace"] for layer in layers) == pytest.approx(ours["hessian_trace"])
    for group, column in (
        ("log_hessian_trace", "hessian_trace"),
        ("log_hessian_top_eigenvalue", "hessian_top_eigenvalue"),
    ):
        assert math.exp(found.configurations[group][0]) == pytest.approx(found.networks[column].mean())


def test_where_the_basis_is_the_whole_space_everything_is_exact(case, monkeypatch):
    name, matrices = case
    monkeypatch.setattr(hessian, "STEPS", (10**6, 10**6))
    found = hessian.measure(subject(name))
    for row, matrix in enumerate(matrices):
        values = np.linalg.eigvalsh(matrix)
        absolute, ours = np.abs(values), {column: numbers[row] for column, numbers in found.networks.items()}
        assert ours["hessian_trace"] == pytest.approx(np.trace(matrix), rel=1e-8)
        assert ours["hessian_trace_se"] == 0
        assert ours["hessian_bottom_eigenvalue"] == pytest.approx(values[0], rel=1e-6)
        assert ours["hessian_effective_rank"] == pytest.approx(absolute.sum() ** 2 / (values**2).sum(), rel=1e-8)
        assert ours["hessian_negative_mass"] == pytest.approx(-values[values < 0].sum() / absolute.sum(), rel=1e-6)


def test_traces_of_networks_lie_within_their_standard_errors():
    networks, data, shape, _ = trained("cnn1d", 1)
    expected = np.trace(dense(networks[0], data))
    surface = open_surface(networks * 40, shape, dtype=torch.float64)
    found = hessian.measure(Subject(surface, data)).networks
    z = (found["hessian_trace"] - expected) / found["hessian_trace_se"]
    assert np.abs(z).max() < 4
    assert 0.5 < z.var() < 1.7  # of 40: a standard deviation of 23 %
    assert (found["hessian_trace_se"] <= 0.02 * found["hessian_trace"]).all()


def test_eigenvectors_are_eigenvectors_and_computed_once(case):
    name, matrices = case
    one = subject(name)
    found = hessian.spectrum(one)
    assert hessian.spectrum(one) is found
    for row, matrix in enumerate(matrices):
        vectors = found.vectors[row].numpy()
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(5), atol=1e-9)
        residuals = np.linalg.norm(matrix @ vectors.T - vectors.T * found.values[row], axis=0) / found.values[row]
        np.testing.assert_allclose(residuals, found.residuals[row], rtol=1e-4, atol=1e-9)
        assert (residuals <= hessian.TOLERANCES).all()


@pytest.mark.parametrize("kind", [open_surface, Stacked])
def test_a_network_is_measured_alike_in_company_and_alone(kind):
    networks, data, shape, _ = trained("cnn1d")
    together = hessian.measure(Subject(kind(networks, shape, dtype=torch.float64), data, names=["a", "b", "c"]))
    for row, name in enumerate("abc"):
        alone = hessian.measure(Subject(kind(networks[row : row + 1], shape, dtype=torch.float64), data, names=[name]))
        for column, values in alone.networks.items():
            assert values[0] == pytest.approx(together.networks[column][row], rel=1e-7, abs=1e-9), column
        mine = [layer for layer in together.layers if layer["network"] == row]
        for layer, same in zip(alone.layers, mine, strict=True):
            assert layer["layer"] == same["layer"]
            assert layer["hessian_trace"] == pytest.approx(same["hessian_trace"], rel=1e-7, abs=1e-9)
            assert layer["hessian_top_eigenvalue"] == pytest.approx(same["hessian_top_eigenvalue"], rel=1e-7, abs=1e-9)


def same(found, expected, rel):
    for column, values in found.networks.items():
        assert values == pytest.approx(expected.networks[column], rel=rel, abs=1e-9), column
    for layer, other in zip(found.layers, expected.layers, strict=True):
        assert (layer["network"], layer["layer"]) == (other["network"], other["layer"])
        for column in ("hessian_trace", "hessian_trace_se", "hessian_top_eigenvalue"):
            assert layer[column] == pytest.approx(other[column], rel=rel, abs=1e-9), column


@pytest.mark.parametrize("kind", [open_surface, Stacked])
def test_networks_are_measured_alike_one_after_the_other_and_layer_after_layer(kind, monkeypatch):
    expected = hessian.measure(subject("cnn1d", kind=kind))
    monkeypatch.setattr(hessian, "_TOGETHER", 0)
    one_by_one = subject("cnn1d", kind=kind)
    one_by_one.memory = 120 * 8 * one_by_one.surface.layout.size
    assert [len(rows) for rows in hessian._portions(one_by_one)] == [1, 1, 1]
    same(hessian.measure(one_by_one), expected, 1e-7)
    vectors = hessian.spectrum(one_by_one).vectors
    again = subject("cnn1d", kind=kind)
    again.memory = one_by_one.memory
    torch.testing.assert_close(hessian.spectrum(again).vectors, vectors)


def test_a_surface_that_knows_blocks_is_asked_for_blocks(monkeypatch):
    one = subject("cnn1d")
    expected = hessian.measure(one)
    monkeypatch.setattr(hessian, "_TOGETHER", 0)
    asked = []
    curvature = type(one.surface).curvature

    class Knowing:
        def __init__(self, surface, data):
            self.products, self.size = curvature(surface, data), surface.layout.size

        def __call__(self, vectors, rows=None):
            return self.products(vectors, rows)

        def within(self, vectors, rows, block):
            asked.append((len(rows), vectors.shape[1], block))
            whole = torch.zeros(*vectors.shape[:2], self.size).double()
            whole[:, :, block] = vectors
            return self.products(whole, rows)[:, :, block]

    monkeypatch.setattr(type(one.surface), "curvature", lambda surface, data: Knowing(surface, data))  # noqa: PLW0108
    found = hessian.measure(subject("cnn1d"))
    same(found, expected, 1e-7)
    assert {block.start for _, _, block in asked} == {layer.block.start for layer in one.surface.layout.layers}


def test_with_little_memory_numbers_are_those_of_the_dense_hessian(case, monkeypatch):
    name, matrices = case
    monkeypatch.setattr(hessian, "PROBES", (40, 400))
    one = subject(name, memory=0)
    found = hessian.measure(one)
    assert not found.network_reasons
    for row, matrix in enumerate(matrices):
        values = np.linalg.eigvalsh(matrix)[::-1]
        ours = {column: numbers[row] for column, numbers in found.networks.items()}
        eigenvalues = ("hessian_top_eigenvalue", *(f"hessian_eigenvalue_{at}" for at in range(2, 6)))
        assert [ours[column] for column in eigenvalues] == pytest.approx(values[:5], rel=0.01)
        assert abs(ours["hessian_trace"] - np.trace(matrix)) <= 4 * ours["hessian_trace_se"] + 1e-5
    for layer in found.layers:
        place = {layer.name: layer.block for layer in one.surface.layout.layers}[layer["layer"]]
        part = matrices[layer["network"]][place, place]
        assert layer["hessian_top_eigenvalue"] == pytest.approx(np.linalg.eigvalsh(part)[-1], rel=0.05, abs=1e-5)


MEMORY = """
import sys
import numpy as np, torch
from torch import nn
from zoo_builder.landscape import hessian
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.surface import Layout

class Planted:
    "A surface whose Hessian is diagonal."
    classifies, objective = False, None
    def __init__(self, module):
        self.module, self.layout = module, Layout(module)
        self.points = torch.zeros(1, self.layout.size)
        self.values = torch.linspace(0, 1, self.layout.size) ** 400  # a surface's own, which is not part of what is said
        self.values[:: self.layout.size // 7] += torch.arange(7, 15)[: len(self.values[:: self.layout.size // 7])]
    def __len__(self):
        return 1
    def curvature(self, data):
        return lambda vectors, rows=None: vectors * self.values

def most():
    with open('/proc/self/status') as file:
        return int(next(line for line in file if line.startswith('VmHWM')).split()[1])

width = int(sys.argv[1])
subject = Subject(Planted(nn.Sequential(*[nn.Linear(width, width) for _ in range(40)])), Data(torch.zeros(1, 1), torch.zeros(1)), memory=int(sys.argv[2]))
before = most()  # unlike ru_maxrss, which is never less than the parent's
found = hessian.measure(subject)
assert not found.network_reasons, found.network_reasons
assert np.isfinite([layer["hessian_top_eigenvalue"] for layer in found.layers]).all()
taken = 1024 * (most() - before)
print(taken, hessian.bytes_needed(1, subject.surface.layout.size, 4, int(sys.argv[2])))
"""


def test_memory_is_what_was_said_before():
    # 40 layers of 4.2 million parameters: vectors of the whole length for each would take 2.7 GB for every step.
    taken, said = {}, {}
    for memory in (2**28, 2**29):
        command = [sys.executable, "-c", MEMORY, "324", str(memory)]
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1048576"}  # what is freed is given back at once
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        taken[memory], said[memory] = map(int, printed.split())
        assert said[memory] / 2 < taken[memory] < said[memory]
    assert said[2**29] < 2**30


def test_products_are_counted(monkeypatch):
    one, asked = subject("cnn1d"), np.zeros(1)
    curvature = type(one.surface).curvature

    def counting(surface, data):
        products = curvature(surface, data)

        def counted(vectors, rows=None):
            asked[0] += vectors.shape[0] * vectors.shape[1]
            return products(vectors, rows)

        return counted

    monkeypatch.setattr(type(one.surface), "curvature", counting)
    spent = hessian.measure(one).networks["hessian_products"]
    assert spent.sum() == asked[0]


def test_every_column_is_measured_and_known():
    found = hessian.measure(subject("mlp", groups=[[0, 2], [1]]))
    columns = {
        of: {metric.column for metric in hessian.METRICS if metric.of == of}
        for of in ("checkpoint", "configuration", "layer")
    }
    assert set(found.networks) == columns["checkpoint"]
    assert set(found.configurations) == columns["configuration"]
    assert all(set(layer) == columns["layer"] | {"network", "layer", "hessian_reason"} for layer in found.layers)
    assert {
        *columns["checkpoint"],
        *columns["configuration"],
        *(f"{name}_std" for name in columns["checkpoint"]),
    } <= set(COLUMNS)
    assert all(values.shape == (3,) for values in found.networks.values())
    expected = np.log([found.networks["hessian_trace"][[0, 2]].mean(), found.networks["hessian_trace"][1]])
    np.testing.assert_allclose(found.configurations["log_hessian_trace"], expected)


def test_what_does_not_converge_is_missing_with_a_reason(monkeypatch):
    monkeypatch.setattr(hessian, "STEPS", (5, 5))
    monkeypatch.setattr(hessian, "TOLERANCES", (1e-9, 0.9, 0.9, 1e-9, 1e-9))
    monkeypatch.setattr(hessian, "LAYER_TOLERANCE", 1e-12)
    monkeypatch.setattr(hessian, "LAYER_STEPS", 1)
    one = subject("cnn1d")
    found = hessian.measure(one)
    for row in range(3):
        missing = {column for column, values in found.networks.items() if np.isnan(values[row])}
        assert {"hessian_top_eigenvalue", "hessian_top_eigenvalue_residual", "hessian_eigenvalue_5"} <= missing
        assert found.network_reasons[row].startswith(
            "hessian_top_eigenvalue, hessian_top_eigenvalue_residual: Lanczos did not reach 1e-07 % in 5 steps ("
        )
        assert all(column in found.network_reasons[row] for column in missing)
        assert hessian.spectrum(one).vectors[row, 0].isnan().all()
    assert np.isnan(found.configurations["log_hessian_top_eigenvalue"][0])
    assert found.configuration_reasons == {
        0: "log_hessian_top_eigenvalue: hessian_top_eigenvalue was measured of none of the networks"
    }
    assert np.isfinite(found.networks["hessian_trace"]).all()
    late = [layer for layer in found.layers if np.isnan(layer["hessian_top_eigenvalue"])]
    assert late
    for layer in late:
        assert layer["hessian_reason"].startswith("hessian_top_eigenvalue: Lanczos did not reach 1e-10 % in 1 steps (")


def test_a_network_that_diverged_has_no_hessian_and_does_no_harm():
    networks, data, shape, _ = trained("cnn1d")
    before = hessian.measure(Subject(open_surface(networks, shape, dtype=torch.float64), data))
    with torch.no_grad():
        next(networks[1].parameters()).fill_(torch.nan)
    found = hessian.measure(Subject(open_surface(networks, shape, dtype=torch.float64), data))
    assert list(found.network_reasons) == [1]
    assert found.network_reasons[1].endswith("the Hessian is not finite")
    for column, values in found.networks.items():
        assert np.isnan(values[1]) == (column != "hessian_products")
        assert values[[0, 2]] == pytest.approx(before.networks[column][[0, 2]], rel=1e-7, abs=1e-9)
    reasons = {layer["hessian_reason"] for layer in found.layers if layer["network"] == 1}
    assert reasons == {"hessian_trace, hessian_trace_se, hessian_top_eigenvalue: the Hessian is not finite"}
    alone = hessian.measure(Subject(open_surface(networks[1:2], shape, dtype=torch.float64), data))
    assert set(alone.configuration_reasons) == {0}
    assert all(np.isnan(values[0]) for values in alone.configurations.values())


def test_a_loss_that_does_not_bend():
    networks, data, shape, _ = trained("mlp", 2)
    surface = open_surface(networks, shape, loss=lambda outputs, targets: (0 * outputs).sum(), dtype=torch.float64)
    found = hessian.measure(Subject(surface, data))
    assert (found.networks["hessian_trace"] == 0).all()
    assert (found.networks["hessian_top_eigenvalue"] == 0).all()
    assert (found.networks["hessian_top_eigenvalue_residual"] == 0).all()
    assert found.network_reasons[0] == "hessian_effective_rank, hessian_negative_mass: the Hessian is zero"
    assert found.configuration_reasons[0] == (
        "log_hessian_trace: the mean of hessian_trace is 0; "
        "log_hessian_top_eigenvalue: the mean of hessian_top_eigenvalue is 0"
    )
    assert all(layer["hessian_top_eigenvalue"] == 0 for layer in found.layers)


def test_a_network_of_two_parameters_has_two_eigenvalues():
    network = nn.Linear(1, 2, bias=False).double()
    data = Data(torch.linspace(-1, 1, 30)[:, None].double(), torch.arange(30) % 2)
    found = hessian.measure(Subject(open_surface([network], (1,), dtype=torch.float64), data))
    values = np.linalg.eigvalsh(dense(network, data))
    assert found.networks["hessian_top_eigenvalue"][0] == pytest.approx(values[1])
    assert found.networks["hessian_eigenvalue_2"][0] == pytest.approx(values[0], abs=1e-12)
    assert found.networks["hessian_trace"][0] == pytest.approx(values.sum())
    assert found.networks["hessian_effective_rank"][0] == pytest.approx(1)
    assert found.network_reasons == {
        0: "hessian_eigenvalue_3, hessian_eigenvalue_4, hessian_eigenvalue_5: there are fewer parameters"
    }


def test_pyhessian_finds_the_same():
    theirs = pytest.importorskip("pyhessian")
    networks, data, shape, _ = trained("cnn1d", 1)
    network = networks[0].float()
    data = Data(data.inputs.float(), data.targets)
    found = hessian.measure(Subject(open_surface([network], shape), data)).networks
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = theirs.hessian(network, nn.CrossEntropyLoss(), data=(data.inputs, data.targets), cuda=False)
        values, _ = other.eigenvalues(maxIter=500, tol=1e-4, top_n=2)
        trace = other.trace(maxIter=150, tol=1e-9)
    assert found["hessian_top_eigenvalue"][0] == pytest.approx(values[0], rel=0.01)
    assert found["hessian_eigenvalue_2"][0] == pytest.approx(values[1], rel=0.01)
    error = math.hypot(np.std(trace, ddof=1) / math.sqrt(len(trace)), found["hessian_trace_se"][0])
    assert abs(found["hessian_trace"][0] - np.mean(trace)) < 4 * error
    assert error < 0.1 * np.mean(trace)


class Quadratic(nn.Module):
    """θᵀ A θ / 2, whatever is put in."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix, self.theta = matrix, nn.Parameter(torch.zeros(len(matrix)).to(matrix))

    def forward(self, x):
        return (self.theta @ self.matrix @ self.theta / 2).expand(len(x), 1)


def test_a_trace_goes_on_where_the_first_probes_are_negative():
    # PyHessian 0.1 stops where its running mean is negative.
    theirs = pytest.importorskip("pyhessian")
    values = np.concatenate([np.linspace(-3, 3, 118), [4.0, 4.0]])
    matrix = planted(values, 1).float()
    network, data = Quadratic(matrix), Data(torch.zeros(4, 1), torch.zeros(4))
    ended = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(40):
            torch.manual_seed(seed)
            other = theirs.hessian(
                network, lambda outputs, _: outputs.mean(), data=(data.inputs, data.targets), cuda=False
            )
            ended.append(np.mean(other.trace(maxIter=200, tol=1e-3)))
            network.theta.grad = None
    assert np.mean(np.array(ended) < 0) > 0.15
    names = [f"{seed}" for seed in range(40)]
    networks = [copy.deepcopy(network) for _ in names]
    surface = open_surface(networks, (1,), loss=lambda outputs, _: outputs.mean())
    found = hessian.measure(Subject(surface, data, names=names)).networks
    z = (found["hessian_trace"] - 8) / found["hessian_trace_se"]
    assert np.abs(z).max() < 4
    assert (found["hessian_trace"] > 0).all()


def test_the_mean_over_outputs_is_the_losses_own():
    # curvlinops 3.0.1 multiplies its empirical Fisher by the number of outputs, of which the loss is a mean.
    network, rng = nn.Linear(4, 3, bias=False).double(), np.random.default_rng(0)
    data = Data(torch.as_tensor(rng.normal(size=(30, 4))), torch.as_tensor(rng.normal(size=(30, 3))))
    surface = open_surface([network], (4,), loss=functional.mse_loss, dtype=torch.float64)
    found = hessian.measure(Subject(surface, data)).networks
    # ∂²/∂W² of Σ (W x − y)² / 3 is 2/3 x xᵀ for each of three rows.
    assert found["hessian_trace"][0] == pytest.approx(2 * float(data.inputs.square().sum()) / 30)
    assert found["hessian_top_eigenvalue"][0] == pytest.approx(
        2 / 3 * float(torch.linalg.eigvalsh(data.inputs.T @ data.inputs / 30)[-1]), rel=0.01
    )
