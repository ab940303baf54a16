"""Krylov spaces, traces, blocks and densities of matrices: against dense ones, closed forms and planted spectra."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_builder.landscape import krylov
from zoo_builder.landscape import vectors as long_vectors
from zoo_builder.landscape.blocks import block_starts, blockwise, lanczos_of_blocks
from zoo_builder.landscape.density import Density, density, masses
from zoo_builder.landscape.traces import traces

SEEDS = st.integers(0, 2**32 - 1)


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
