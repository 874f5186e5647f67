"""Projections from gradients, and from matrices with more digits, against exact fractions."""

import math
import pickle
from fractions import Fraction

import numba
import numpy as np
import pytest

from benchmarks.problems import degenerate_gradients as degenerate
from benchmarks.problems import exact_directions as oracle
from fairopt import (
    InvalidInput,
    NotSolved,
    Status,
    dual_cone_from_gradients,
    dual_cone_projection,
    exact_projection,
    upgrad,
    upgrad_from_gradients,
)
from fairopt.dual_cone_double_gram import dual_cone_from_double_gram, upgrad_from_double_gram
from fairopt.kernels.gram.double_double_bound import least_eigenvalue
from fairopt.kernels.gram.double_double_cone import (
    cone_of,
    double_double_cone,
    positive,
    workspace,
)
from fairopt.kernels.gram.double_double_gram import (
    double_double_combination,
    double_double_gram,
    gram_error,
)

TIGHT = 1.0 + 1e-9  # bounds are attained; the oracle's own last root is rounded
THIN = np.array([[1.0, 0.0, 0.0], [-1.0, 1e-7, 0.0], [0.3, -1.0, 0.2]])
OPPOSITE = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.3, -1.0, 0.2]])


def rational(numbers):
    return [Fraction(float(x)) for x in numbers]


def combination(weights, G):
    """Sum w_k g_k as fractions."""
    columns = [rational(column) for column in np.asarray(G).T]
    return [sum((w * g for w, g in zip(weights, c, strict=True)), Fraction(0)) for c in columns]


def off(direction, exact, square):
    """|direction - exact| in units of the root of a fraction."""
    pairs = zip(rational(direction), exact, strict=True)
    total = sum(((a - b) ** 2 for a, b in pairs), Fraction(0))
    return oracle.root(total / square) if total else 0.0


def unit_of(A, reference):
    """|g0|^2, and the largest |g_k|^2 where it vanishes."""
    r = rational(reference)
    square = sum(
        a * x * y for row, x in zip(A, r, strict=True) for a, y in zip(row, r, strict=True)
    )
    return square or max(A[k][k] for k in range(len(A)))


def check_projection(G, reference, found, of_weights=2e-6):
    """The direction is as near to the exact one as it says; return it and |g0|^2."""
    A = oracle.exact_gram(G)
    weights = oracle.exact_projection(A, reference)
    square = unit_of(A, reference)
    distance = off(found.direction, combination(weights, G), square)
    assert distance <= found.direction_error * TIGHT or distance == 0.0
    parts = [found.weights] if found.low is None else [found.weights, found.low]
    assert oracle.distance(A, np.transpose(parts), weights, reference) <= of_weights
    return rational(found.direction), square


def draw(family, seed, largest):
    rng = np.random.default_rng(seed)
    K = int(rng.integers(2, largest + 1))
    G = degenerate.FAMILIES[family](K, rng)
    return G, degenerate.reference(len(G), rng), rng


@pytest.mark.parametrize("family", degenerate.FAMILIES)
def test_every_projection_is_decided_and_as_near_as_it_says(family):
    for seed in range(12):
        G, r, _ = draw(family, seed, 6)
        found = dual_cone_from_gradients(G, r)
        assert found.status == Status.OPTIMAL
        assert found.direction_error <= 1e-6
        check_projection(G, r, found)


@pytest.mark.parametrize("family", degenerate.FAMILIES)
def test_laws_of_projections(family):
    """|P| <= |g0|, <g0, P> = |P|^2 and <g_k, P> >= 0, to the accuracy."""
    for seed in range(100, 104):
        G, r, _ = draw(family, seed, 6)
        d, square = check_projection(G, r, dual_cone_from_gradients(G, r))
        g0 = combination(rational(r), G)
        length = sum(x * x for x in d)
        assert length <= square * Fraction(1 + 3e-6)
        assert abs(sum(a * b for a, b in zip(g0, d, strict=True)) - length) <= 3e-6 * square
        for g in G:
            slope = sum(a * b for a, b in zip(rational(g), d, strict=True))
            size = oracle.root(sum(x * x for x in rational(g))) * oracle.root(square)
            assert slope >= -2e-6 * size


@pytest.mark.parametrize("family", degenerate.FAMILIES)
def test_upgrad_is_decided_and_as_near_as_it_says(family):
    for seed in range(200, 203):
        G, _, rng = draw(family, seed, 6)
        r = rng.normal(size=len(G))
        found = upgrad_from_gradients(G, r)
        assert found.status == Status.OPTIMAL
        A = oracle.exact_gram(G)
        exact = combination(oracle.exact_upgrad(A, r), G)
        unit = sum(abs(x) * oracle.root(A[k][k]) for k, x in enumerate(r))
        distance = off(found.direction, exact, Fraction(unit) ** 2)
        assert distance <= found.direction_error * TIGHT
        assert found.direction_error <= 1e-6


@pytest.mark.parametrize("family", ["anti", "opposite", "thin", "stationary_face", "f32rank"])
def test_more_tasks_in_more_dimensions(family):
    rng = np.random.default_rng(3)
    G = degenerate.FAMILIES[family](14, rng)
    G = G @ rng.normal(size=(G.shape[1], 40))
    r = np.full(14, 1.0 / 14.0)
    found = dual_cone_from_gradients(G, r).require()
    check_projection(G, r, found)


@pytest.mark.parametrize("margin", [1e-7, 3e-8, 1e-10, 1e-12, 1e-13, 1e-16, 1e-30])
def test_margins_that_a_gram_matrix_cannot_show(margin):
    G = THIN.copy()
    G[1, 1] = margin
    r = np.array([0.0, 0.0, 1.0])
    found = dual_cone_from_gradients(G, r).require()
    # weights are 1 / margin large: one float each moves the direction by 2^-53 / margin, two by
    check_projection(G, r, found, 2e-6 + 2.0**-106 / margin)
    assert (found.low is not None) == (margin <= 1e-10)


def test_twenty_gradients_of_rank_ten_project_to_nothing():
    rng = np.random.default_rng(5)
    G = rng.normal(size=(20, 10))
    found = dual_cone_from_gradients(G).require()
    assert np.linalg.norm(found.direction) <= 1e-8 * np.linalg.norm(G.mean(axis=0))
    order = rng.permutation(20)
    assert np.linalg.norm(dual_cone_from_gradients(G[order]).require().direction) <= 1e-8


def test_the_stages_and_what_they_assume():
    rng = np.random.default_rng(0)
    G = rng.normal(size=(4, 6))
    assert 1e-16 < dual_cone_from_gradients(G).require().gram_error < 1e-12
    near = G.copy()
    near[1] = -G[0] + 1e-10 * G[1]
    found = dual_cone_from_gradients(near, np.eye(4)[2]).require()
    assert 0.0 < found.gram_error < 1e-29
    opposite = G.copy()
    opposite[1] = -G[0]
    r = np.eye(4)[2]
    found = dual_cone_from_gradients(opposite, r).require()
    assert found.gram_error == 0.0
    assert found.direction_error < 1.2e-16
    wide = np.hstack([opposite, np.zeros((4, exact_projection.LARGEST_ENTRIES))])
    found = dual_cone_from_gradients(wide, r)
    assert found.status == Status.UNDECIDED
    assert found.direction.shape == (wide.shape[1],)
    with pytest.raises(NotSolved):
        found.require()


def test_a_looser_accuracy_needs_fewer_stages():
    G = THIN.copy()
    G[1, 1] = 1e-12
    assert dual_cone_from_gradients(G, [0, 0, 1]).gram_error == 0.0
    found = dual_cone_from_gradients(G, [0, 0, 1], accuracy=1e-3).require()
    assert found.gram_error > 0.0
    check_projection(G, [0, 0, 1], found, 1e-3)


@pytest.mark.parametrize("budget", [0, 1, 2, 3])
def test_few_steps_are_never_called_more_than_they_are(budget):
    ok = 0
    for seed in range(40):
        G, r, _ = draw("anti" if seed % 2 else "random", seed, 6)
        found = dual_cone_from_gradients(G, r, max_iterations=budget)
        assert found.status in (Status.OPTIMAL, Status.STEP_LIMIT)
        ok += found.ok
        if found.ok:
            check_projection(G, r, found)
    assert ok < 40 or budget == 3


def test_units_do_not_matter():
    rng = np.random.default_rng(7)
    G = rng.normal(size=(3, 5))
    G[1] = -G[0] + 1e-9 * G[1]
    plain = dual_cone_from_gradients(G, [0.2, 0.0, 1.0]).require()
    for factor in (2.0**-1000, 2.0**1000):  # rounding of other factors would be another problem
        found = dual_cone_from_gradients(G * factor, [0.2, 0.0, 1.0]).require()
        np.testing.assert_array_equal(found.direction, plain.direction * factor)
        np.testing.assert_array_equal(found.weights, plain.weights)
    scales = np.array([2.0**300, 1.0, 2.0**-300])
    found = dual_cone_from_gradients(G * scales[:, None], np.array([0.2, 0.0, 1.0]) / scales)
    np.testing.assert_array_equal(found.direction, plain.direction)


def test_what_floats_cannot_hold_is_out_of_range():
    G = np.array([[1.0, 1e-250], [-1.0, 1e-250], [0.5, -1.0]])
    assert dual_cone_from_gradients(G, [0.0, 0.0, 1e200]).status == Status.OUT_OF_RANGE
    tiny = np.array([[3e-323, 0.0], [-1e-323, 2e-323]])
    assert dual_cone_from_gradients(tiny, [0.3, 0.0]).status == Status.OUT_OF_RANGE
    assert dual_cone_from_gradients(np.eye(2) * 1e308, [1e3, 0.0]).status == Status.OUT_OF_RANGE


@pytest.mark.parametrize("solve", [dual_cone_from_gradients, upgrad_from_gradients])
def test_zeros(solve):
    found = solve(np.zeros((3, 2))).require()
    assert found.direction.tolist() == [0.0, 0.0]
    found = solve([[1.0, 2.0], [0.0, 0.0]], [2.0, 3.0]).require()
    assert found.direction.tolist() == [2.0, 4.0]
    assert found.weights.tolist() == [2.0, 3.0]
    found = solve([[1.0, 2.0], [3.0, 1.0]], [0.0, 0.0]).require()
    assert found.weights.tolist() == [0.0, 0.0]
    assert solve([[5.0]]).require().direction.tolist() == [5.0]


def test_a_reference_that_cancels():
    for rest in (0.0, 1e-16, 1e-40):
        G = [[1.0, rest], [-1.0, 0.0], [0.0, 1.0]]
        found = dual_cone_from_gradients(G, [1.0, 1.0, 0.0]).require()
        np.testing.assert_allclose(found.direction, [0.0, rest], rtol=1e-6, atol=0.0)


def test_float32_gradients_are_exact():
    G = degenerate.FAMILIES["f32rank"](5, np.random.default_rng(2))
    assert dual_cone_from_gradients(G.astype(np.float32)) == dual_cone_from_gradients(G)


def test_the_record_pickles_with_its_new_fields():
    found = dual_cone_from_gradients(OPPOSITE, [0.0, 0.0, 1.0])
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    np.testing.assert_array_equal(again.direction, found.direction)


@pytest.mark.parametrize("solve", [dual_cone_from_gradients, upgrad_from_gradients])
@pytest.mark.parametrize(
    ("gradients", "options"),
    [
        ([[1.0, math.nan]], {}),
        ([[1.0, math.inf]], {}),
        ([[1.0, 2.0], [1.0]], {}),
        ([1.0, 2.0], {}),
        (np.zeros((2, 2, 2)), {}),
        (np.zeros((0, 3)), {}),
        (np.zeros((3, 0)), {}),
        ([["1"]], {}),
        ([[1j]], {}),
        (np.eye(2), {"reference": [1.0]}),
        (np.eye(2), {"reference": [[1.0, 1.0]]}),
        (np.eye(2), {"reference": [1.0, math.nan]}),
        (np.eye(2), {"accuracy": 0.0}),
        (np.eye(2), {"accuracy": 1.0}),
        (np.eye(2), {"accuracy": -1.0}),
        (np.eye(2), {"accuracy": math.nan}),
        (np.eye(2), {"accuracy": [1e-6, 1e-6]}),
    ],
)
def test_bad_input_is_refused(solve, gradients, options):
    with pytest.raises(InvalidInput):
        solve(gradients, **options)


def test_bad_step_limits_are_refused():
    for bad in (-1, 2.5, True):
        with pytest.raises(InvalidInput):
            dual_cone_from_gradients(np.eye(2), max_iterations=bad)


# The matrix in twice the digits, and the projections of its kernel


@pytest.mark.parametrize("D", [1, 2, 3, 63, 64, 65, 700, 2048, 5000])
def test_the_gram_matrix_errs_by_less_than_it_says(D):
    rng = np.random.default_rng(D)
    G = rng.normal(size=(3, D)) * 10.0 ** rng.uniform(-20, 0, size=(3, D))
    G[2] = -G[0] + 1e-12 * G[1]
    G /= np.abs(G).max(axis=1, keepdims=True)
    high, low = double_double_gram(G)
    exact = oracle.exact_gram(G)
    for i in range(3):
        for j in range(3):
            error = abs(Fraction(high[i, j]) + Fraction(low[i, j]) - exact[i][j])
            assert error <= gram_error(D) * oracle.root(exact[i][i] * exact[j][j]) * TIGHT
    v = rng.normal(size=3)
    d, rest = double_double_combination(G, v, v * 2.0**-60)
    weights = [a + b for a, b in zip(rational(v), rational(v * 2.0**-60), strict=True)]
    for a, b, x, column in zip(d, rest, combination(weights, G), G.T, strict=True):
        size = float(np.abs(v) @ np.abs(column))
        assert abs(Fraction(a) + Fraction(b) - x) <= 5.0 * 2.0**-103 * size


def doubled(A, bits):
    """A matrix of fractions of unit diagonal size, to `bits` binary places."""
    near = [[Fraction(round(x * 2**bits), 2**bits) for x in row] for row in A]
    high = np.array([[float(x) for x in row] for row in near])
    low = np.array(
        [
            [float(x - Fraction(h)) for x, h in zip(row, top, strict=True)]
            for row, top in zip(near, high.tolist(), strict=True)
        ]
    )
    return high, low


@pytest.mark.parametrize("family", degenerate.FAMILIES)
@pytest.mark.parametrize("bits", [60, 80])
def test_bounds_hold_for_every_point_and_every_error_of_the_matrix(family, bits):
    """After any number of steps, from a matrix that is only known to some digits."""
    for seed in range(300, 303):
        G, r, _ = draw(family, seed, 5)
        G = G / np.exp2(np.ceil(np.log2(np.linalg.norm(G, axis=1, keepdims=True)) + 1e-9))
        A = oracle.exact_gram(G)
        high, low = doubled(A, bits)
        exact = oracle.exact_projection(A, r)
        for budget in (0, 1, 2, 500):
            v, rest, _, code, _, bound, _ = double_double_cone(
                high, low, 4.0 * 2.0**-bits, r[None], np.zeros((1, len(r))), [0.0], 1e-6, budget
            )
            assert code[0] in (0, 2)
            square = oracle.length(
                A, [x - e for x, e in zip(rational_sum(v[0], rest[0]), exact, strict=True)]
            )
            assert square <= bound[0] * TIGHT


def rational_sum(high, low):
    return [a + b for a, b in zip(rational(high), rational(low), strict=True)]


@numba.njit
def least_eigenvalue_of(high, low, error):
    cone, work = cone_of(high, low, error), workspace(len(high))
    if not positive(cone, work.first):
        return np.inf
    return least_eigenvalue(cone, work.first, len(high), np.empty((4, len(high))))


@pytest.mark.parametrize("error", [1e-12, 1e-8, 1e-4])
def test_the_least_eigenvalue_holds_for_every_matrix_within_the_error(error):
    """Nearly opposite pairs, whose error can take 2 E from it: it is zero or below just then."""
    for share in (1.5, 1.9, 2.5, 10.0, 1e3):
        S = np.array([[1.0, share * error - 1.0], [share * error - 1.0, 1.0]])
        worst = (share - 2.0) * error  # of S - E [[1, 1], [1, 1]]
        bound = least_eigenvalue_of(S, 0.0 * S, error)
        assert bound <= worst + 1e-15
        assert bound >= worst - 0.01 * error - 10.0 * (share * error) ** 2 - 1e-15


def test_a_matrix_of_two_floats_is_enough_for_thin_cones():
    high, low = double_double_gram(THIN)
    A = oracle.exact_gram(THIN)
    r = np.array([0.0, 0.0, 1.0])
    found = dual_cone_from_double_gram(high, low, gram_error(3), r).require()
    assert oracle.distance(A, found.weights, oracle.exact_projection(A, r), r) <= 1e-8
    both = upgrad_from_double_gram(high, low, gram_error(3)).require()
    plain = upgrad_from_gradients(THIN).require()
    np.testing.assert_allclose(both.weights @ THIN, plain.direction, atol=1e-8)
    G = THIN.copy()
    G[1, 1] = 1e-11
    high, low = double_double_gram(G)
    found = dual_cone_from_double_gram(high, low, gram_error(3), r, accuracy=1e-6).require()
    parts = np.transpose([found.weights, found.low])
    exact = oracle.exact_projection(oracle.exact_gram(G), r)
    assert oracle.distance(oracle.exact_gram(G), parts, exact, r) <= found.direction_error


def test_a_matrix_that_is_no_gram_matrix_is_refused():
    A = np.array([[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0 - 1e-12]])
    with pytest.raises(InvalidInput, match="indefinite"):
        dual_cone_from_double_gram(A, 0.0 * A, 2.0**-100, np.ones(3))


# Matrices that are declared exact


def psd(rng, K):
    """A singular Gram matrix of small whole numbers, exact in float64."""
    G = rng.integers(-3, 4, size=(K, int(rng.integers(1, K + 1)))).astype(float)
    if K > 2:
        G[1] = -G[0]
    return G @ G.T


def test_exact_matrices_are_decided():
    rng = np.random.default_rng(11)
    for _ in range(60):
        A = psd(rng, int(rng.integers(2, 7)))
        r = degenerate.reference(len(A), rng)
        exact = [rational(row) for row in A]
        found = dual_cone_projection(A, r, gram_error=0).require()
        assert found.gram_error == 0.0
        weights = oracle.exact_projection(exact, r)
        assert oracle.distance(exact, found.weights, weights, r) <= found.direction_error * TIGHT
        both = upgrad(A, gram_error=0).require()
        weights = oracle.exact_upgrad(exact, np.full(len(A), 1.0 / len(A)))
        size = np.sqrt(np.diagonal(A)).mean() or 1.0
        rest = [Fraction(float(w)) - e for w, e in zip(both.weights, weights, strict=True)]
        assert oracle.length(exact, rest) <= both.direction_error * size * TIGHT


def test_the_thin_cone_of_an_exact_matrix():
    A = THIN @ THIN.T
    A[1, 1] = 1.0 + 2.0**-46
    r = np.array([0.0, 0.0, 1.0])
    assert dual_cone_projection(A, r).status == Status.UNDECIDED
    found = dual_cone_projection(A, r, gram_error=0).require()
    exact = [rational(row) for row in A]
    distance = oracle.distance(exact, found.weights, oracle.exact_projection(exact, r), r)
    assert distance <= found.direction_error <= 1e-8


def test_a_matrix_that_cannot_be_exact_is_not_taken_as_exact():
    rng = np.random.default_rng(1)
    G = rng.normal(size=(9, 4))
    A = G @ G.T
    A = 0.5 * (A + A.T)
    assert np.linalg.eigvalsh(A)[0] < 0.0
    r = np.full(9, 1.0 / 9.0)
    found = dual_cone_projection(A, r, gram_error=0, accuracy=1e-5)
    assert found.gram_error > 0.0
    assert found == dual_cone_projection(A, r, gram_error=found.gram_error, accuracy=1e-5)
    A[0, 1] *= 1.0 + 1e-12
    assert dual_cone_projection(A, r, gram_error=0).gram_error >= 1e-13
    with pytest.raises(InvalidInput):
        dual_cone_projection([[1.0, -1.0], [-1.0, 0.5]], [1.0, 1.0], gram_error=0)


def test_exact_matrices_in_batches_agree_with_a_loop():
    rng = np.random.default_rng(12)
    A = np.array([psd(rng, 4) for _ in range(6)])
    A[3] = (lambda G: G @ G.T)(rng.normal(size=(4, 2)))
    r = rng.normal(size=(6, 4))
    error = np.array([0.0, 0.0, 1e-15, 0.0, 0.0, 0.0])
    together = dual_cone_projection(A, r, gram_error=error)
    for k in range(6):
        alone = dual_cone_projection(A[k], r[k], gram_error=error[k])
        np.testing.assert_array_equal(together.weights[k], alone.weights)
        assert together.status[k] == alone.status
        assert together.direction_error[k] == alone.direction_error
        assert together.gram_error[k] == alone.gram_error
    stack = dual_cone_projection(A, np.broadcast_to(np.eye(4), A.shape), gram_error=0)
    assert stack.weights.shape == (6, 4, 4)
    assert upgrad(A, gram_error=0).weights.shape == (6, 4)


# Exact integers


@pytest.mark.parametrize("family", degenerate.FAMILIES)
def test_integers_agree_with_fractions(family):
    for seed in range(400, 403):
        G, r, rng = draw(family, seed, 6)
        A = oracle.exact_gram(G)
        exact = exact_projection.exact_gram(G)
        support = np.flatnonzero(rng.integers(0, 2, size=len(G))).tolist()
        weights, _ = exact_projection.project(exact, r, support, 1000)
        difference = [a - b for a, b in zip(weights, oracle.exact_projection(A, r), strict=True)]
        assert oracle.length(A, difference) == 0.0  # weights are not unique, the direction is
        square = exact_projection.length(exact, weights)
        root, exponent = exact_projection.square_root(square)
        assert math.ldexp(root, exponent) == pytest.approx(oracle.length(A, weights), rel=1e-14)
        np.testing.assert_array_equal(
            exact_projection.combination(exact, weights),
            [float(x) for x in combination(weights, G)],
        )


def test_integers_refuse_what_is_no_gram_matrix():
    for A in ([[1.0, 2.0], [2.0, 3.0]], [[0.0, 1.0], [1.0, 1.0]]):
        with pytest.raises(exact_projection.Indefinite):
            exact_projection.exact_gram_of_matrix(np.array(A), [0, 0])
    exact = exact_projection.exact_gram(THIN)
    with pytest.raises(exact_projection.OutOfSteps):
        exact_projection.project(exact, np.array([0.0, 0.0, 1.0]), [], 1)
