"""Conflict-averse directions from gradients, against exact fractions and sixty digits."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.problems import degenerate_gradients as degenerate
from benchmarks.problems import exact_directions as oracle
from fairopt import (
    InvalidInput,
    Status,
    conflict_averse,
    conflict_averse_from_gradients,
    exact_level,
    exact_projection,
)
from fairopt.kernels.gram.double_double_progress import double_double_progress_gap
from tests import laws

RADII = (0.1, 0.4, 0.9, 1.0, 2.0, 1e3)
NOISE = 1e-28  # of the oracle: a root of what 60 digits leave of zero
TIGHT = 1.0 + 1e-9
OPPOSITE = np.array([[1.0, 2.0, 0.0], [-2.0, -4.0, 0.0], [0.3, -1.0, 0.2]])


def rational(numbers):
    return [Fraction(float(x)) for x in numbers]


def draw(family, seed, largest=4):
    rng = np.random.default_rng(seed)
    G = degenerate.FAMILIES[family](int(rng.integers(2, largest + 1)), rng)
    r = np.full(len(G), 1.0 / len(G)) if seed % 2 else rng.normal(size=len(G))
    return G, r, rng


def misses(G, c, reference, found, digits=60):
    """Gap and overshoot in all of the weights with their second floats, and of the direction."""
    A, n = oracle.exact_gram(np.vstack([G, found.direction])), len(reference)
    low = np.zeros(n) if found.low is None else found.low
    weights = [a + b for a, b in zip(rational(found.weights), rational(low), strict=True)]
    return [
        max(gap, 0.0) + outside
        for gap, outside in (
            oracle.progress_shortfall(A, c, reference, [*weights, 0], digits),
            oracle.progress_shortfall(A, c, reference, [0] * n + [1], digits),
        )
    ]


def check(G, c, reference, found, digits=60):
    """What is returned misses no more than it says."""
    assert max(misses(G, c, reference, found, digits)) <= found.residual * TIGHT + NOISE


@pytest.mark.parametrize("family", degenerate.FAMILIES)
def test_everything_is_decided_and_misses_no_more_than_it_says(family):
    for seed in range(8):
        G, r, rng = draw(family, seed)
        c = RADII[int(rng.integers(len(RADII)))]
        found = conflict_averse_from_gradients(G, c, reference=r)
        if found.status == Status.PARETO_STATIONARY:
            assert c >= 1.0
            assert not found.weights.any()
            assert not found.direction.any()
            laws.certificate_is_valid(G, found.certificate)
        elif family == "centred" and seed % 2:
            assert found.ok or found.status == Status.OUT_OF_RANGE  # g0 is what rounding left
        else:
            assert found.ok
        if found.ok:
            check(G, c, r, found)
            assert found.residual <= 1e-6
            assert found.dual.min() >= 0.0
            assert found.dual.sum() == pytest.approx(1.0, abs=1e-14)
            assert (found.residual <= 1e-10) == (found.status == Status.OPTIMAL)


@pytest.mark.parametrize("margin", [1e-3, 1e-7, 1e-9, 1e-13, 1e-15, 1e-20, 1e-150])
def test_margins_that_a_gram_matrix_cannot_show(margin):
    """The best of two tasks with progress +-x + margin y is along y."""
    for c in (0.5, 1.0, 2.0):
        G = [[1.0, margin], [-1.0, margin]]
        found = conflict_averse_from_gradients(G, c).require()
        check(G, c, [0.5, 0.5], found, 60 - 4 * round(math.log10(margin)))
        assert found.direction[1] == pytest.approx((1.0 + c) * margin, rel=1e-6, abs=0.0)
        assert found.certificate is None or (c < 1.0 and found.gram_error > 1e-20)


def test_stationary_gradients_are_told_from_others():
    for c in (1.0, 3.0):
        found = conflict_averse_from_gradients(OPPOSITE, c)
        assert found.status == Status.PARETO_STATIONARY
        np.testing.assert_array_equal(found.certificate, [2.0 / 3.0, 1.0 / 3.0, 0.0])
        np.testing.assert_array_equal(found.dual, found.certificate)
        assert found.residual == found.gram_error == 0.0
        near = OPPOSITE.copy()
        near[1, 0] = np.nextafter(-2.0, -3.0)
        assert conflict_averse(near @ near.T, c).certificate is not None
        found = conflict_averse_from_gradients(near, c).require()
        assert found.certificate is None
        check(near, c, np.full(3, 1.0 / 3.0), found)
    found = conflict_averse_from_gradients(OPPOSITE, 0.5).require()
    laws.certificate_is_valid(OPPOSITE, found.certificate)
    check(OPPOSITE, 0.5, np.full(3, 1.0 / 3.0), found)


def test_the_stages_and_what_they_assume():
    rng = np.random.default_rng(0)
    G = rng.normal(size=(3, 6))
    r = np.array([0.3, 0.2, 1.0])
    easy = conflict_averse_from_gradients(G, 0.4, reference=r)
    assert 1e-16 < easy.gram_error < 1e-12
    near = G.copy()
    near[1] = -G[0] + 1e-9 * G[1]
    found = conflict_averse_from_gradients(near, 1.0, reference=r)
    assert 0.0 < found.gram_error < 1e-29
    assert found.ok
    thin = degenerate.FAMILIES["thin"](2, np.random.default_rng(1))
    thin[:, 0] = 1e-11
    found = conflict_averse_from_gradients(thin, 1e5, accuracy=1e-7)
    assert found.gram_error == 0.0


def test_a_stricter_accuracy_needs_more_stages():
    rng = np.random.default_rng(5)
    G = rng.normal(size=(3, 4))
    loose = conflict_averse_from_gradients(G, 0.4)
    strict = conflict_averse_from_gradients(G, 0.4, accuracy=1e-14)
    assert loose.gram_error > 1e-20 > strict.gram_error
    assert strict.require().residual <= 1e-14
    for found in (loose, strict):
        check(G, 0.4, np.full(3, 1.0 / 3.0), found)
    limited = conflict_averse_from_gradients(G, 0.4, tol=1e-15)
    assert limited.status == Status.ROUNDING_LIMITED
    assert limited.residual == loose.residual


def test_weights_whose_terms_cancel_have_a_second_float():
    """In thin cones the mean gradient, and the direction, are much shorter than the gradients."""
    lost = []
    for seed in range(1, 60, 2):
        G, r, _ = draw("thin", seed)
        found = conflict_averse_from_gradients(G, 1.0, reference=r).require()
        if found.low is not None:
            check(G, 1.0, r, found)
            one = oracle.progress_shortfall(oracle.exact_gram(G), 1.0, r, found.weights)
            lost.append(abs(one[0]) + one[1])
    assert len(lost) >= 10
    assert np.median(lost) > 1e-6


def test_agrees_with_the_gram_matrix_where_that_decides():
    rng = np.random.default_rng(3)
    for c in (0.0, 0.3, 0.8, 2.0):
        G = rng.normal(size=(5, 9)) + 0.5
        r = rng.uniform(size=5)
        found = conflict_averse_from_gradients(G, c, reference=r).require()
        expected = conflict_averse(G @ G.T, c, reference=r).require()
        np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.direction, found.weights @ G, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found.dual, expected.dual, atol=1e-6)
    found = conflict_averse_from_gradients(G, 0.0, reference=r).require()
    np.testing.assert_array_equal(found.weights, r)


def test_balls_that_are_points():
    mixed = [[1.0, 0.0], [1.0, 0.0]]
    for c in (0.5, 2.0):
        found = conflict_averse_from_gradients(mixed, c, reference=[1.0, -1.0]).require()
        assert found.direction.tolist() == [0.0, 0.0]
        assert found.weights.tolist() == [1.0, -1.0]
        assert found.residual == 0.0
        found = conflict_averse_from_gradients(np.eye(2), c, reference=[0.0, 0.0]).require()
        assert found.direction.tolist() == [0.0, 0.0]
    opposite = [[1.0, 0.0], [-1.0, 0.0]]
    assert conflict_averse_from_gradients(opposite, 0.5).require().residual == 0.0
    assert conflict_averse_from_gradients(opposite, 1.0).status == Status.PARETO_STATIONARY


def test_zero_gradients():
    G = [[1.0, 2.0], [0.0, 0.0], [-3.0, 1.0]]
    found = conflict_averse_from_gradients(G, 0.5).require()
    np.testing.assert_array_equal(found.certificate, [0.0, 1.0, 0.0])
    check(G, 0.5, np.full(3, 1.0 / 3.0), found)
    assert conflict_averse_from_gradients(G, 1.0).status == Status.PARETO_STATIONARY
    for c in (0.0, 0.5):
        found = conflict_averse_from_gradients(np.zeros((3, 2)), c).require()
        assert found.direction.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("c", [0.0, 1e-300, 1e-17, 1e-10, 3.0, 1e8, 1e20, 1e160, 1e300])
def test_any_radius(c):
    assert conflict_averse_from_gradients([[3.0, 4.0]], c).require().residual < 1e-11
    for G in (np.array([[3.0, 4.0], [-1.0, 1.0]]), np.array([[1.0, 1e-3], [-1.0, 2e-3]])):
        found = conflict_averse_from_gradients(G, c).require()
        check(G, c, [0.5, 0.5], found)


def test_units_do_not_matter():
    rng = np.random.default_rng(7)
    G = rng.normal(size=(3, 5))
    G[1] = -G[0] + 1e-9 * G[1]
    for c in (0.7, 1.0):
        plain = conflict_averse_from_gradients(G, c).require()
        for factor in (2.0**-900, 2.0**900):  # rounding of other factors would be another problem
            found = conflict_averse_from_gradients(G * factor, c).require()
            np.testing.assert_array_equal(found.direction, plain.direction * factor)
            np.testing.assert_array_equal(found.weights, plain.weights)
            assert found.residual == plain.residual


@pytest.mark.parametrize("spread", [30, 300, 440, 500])
def test_lengths_over_many_decades(spread):
    G = np.random.default_rng(8).normal(size=(3, 5)) * np.ldexp(1.0, [[spread], [0], [-spread]])
    found = conflict_averse_from_gradients(G, 0.7).require()
    check(G, 0.7, np.full(3, 1.0 / 3.0), found, 60 + spread)


def test_what_floats_cannot_hold_is_out_of_range():
    long = np.array([[1.0, 1.0, 0.0], [-1e30, 1e30, 0.0], [0.3, -0.5, 1.0]])
    found = conflict_averse_from_gradients(long, 0.7, reference=[1.0, 0.0, 1.0])
    assert found.status == Status.OUT_OF_RANGE  # half an ulp costs 1e14 times the best progress
    tiny = np.array([[3e-323, 0.0], [-1e-323, 2e-323]])
    assert conflict_averse_from_gradients(tiny, 0.7).status == Status.OUT_OF_RANGE
    huge = conflict_averse_from_gradients(np.eye(2) * 1e308, 0.5, reference=[1e3, 0.0])
    assert huge.status == Status.OUT_OF_RANGE


def test_more_gradients_than_integers_take():
    rng = np.random.default_rng(9)
    G = np.hstack([OPPOSITE, np.zeros((3, exact_projection.LARGEST_ENTRIES))])
    found = conflict_averse_from_gradients(G, 2.0).require()
    small = conflict_averse_from_gradients(OPPOSITE, 2.0)
    np.testing.assert_allclose(found.certificate, small.certificate, atol=1e-15)
    assert (OPPOSITE @ found.direction[:3]).min() >= -1e-14
    G = rng.normal(size=(40, 60))
    G[1] = -3.0 * G[0]
    for c in (0.5, 1.0):
        found = conflict_averse_from_gradients(G, c).require()
        assert (G @ found.direction).min() >= -1e-12
        laws.certificate_is_valid(G, found.certificate)
    centred = degenerate.FAMILIES["centred"](20, rng)
    assert conflict_averse_from_gradients(centred, 1.0).status == Status.UNDECIDED


def test_float32_gradients_are_exact_and_the_record_pickles():
    G = degenerate.FAMILIES["f32rank"](4, np.random.default_rng(2)).astype(np.float32)
    found = conflict_averse_from_gradients(G, 0.9)
    assert conflict_averse_from_gradients(G.astype(np.float64), 0.9) == found
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("argument", "gradients", "options"),
    [
        ("gradients", [[1.0, math.nan]], {}),
        ("gradients", [[1.0, math.inf]], {}),
        ("gradients", [[1.0, 2.0], [1.0]], {}),
        ("gradients", [1.0, 2.0], {}),
        ("gradients", np.zeros((2, 2, 2)), {}),
        ("gradients", np.zeros((0, 3)), {}),
        ("gradients", np.zeros((3, 0)), {}),
        ("gradients", [["1"]], {}),
        ("gradients", [[1j]], {}),
        ("c", np.eye(2), {"c": -0.1}),
        ("c", np.eye(2), {"c": math.inf}),
        ("c", np.eye(2), {"c": math.nan}),
        ("c", np.eye(2), {"c": [0.1, 0.2]}),
        ("c", np.eye(2), {"c": "1"}),
        ("reference", np.eye(2), {"reference": [1.0]}),
        ("reference", np.eye(2), {"reference": [[1.0, 1.0]]}),
        ("reference", np.eye(2), {"reference": [1.0, math.nan]}),
        ("tol", np.eye(2), {"tol": 0.0}),
        ("tol", np.eye(2), {"tol": [1e-6, 1e-6]}),
        ("accuracy", np.eye(2), {"accuracy": 1.0}),
        ("accuracy", np.eye(2), {"accuracy": math.nan}),
        ("accuracy", np.eye(2), {"accuracy": [1e-6, 1e-6]}),
    ],
)
def test_bad_input_is_refused_by_name(argument, gradients, options):
    with pytest.raises(InvalidInput) as caught:
        conflict_averse_from_gradients(gradients, options.pop("c", 0.5), **options)
    assert caught.value.argument == argument


# The gap in twice the digits


def scaled(family, seed):
    """Gradients of lengths in [1/2, 1] times powers of two, those powers, and a reference."""
    G, r, rng = draw(family, seed)
    f = np.frexp(np.linalg.norm(G, axis=1))[1]
    return G / np.exp2(f)[:, None], f, r, rng


def doubled(A, bits):
    """A matrix of fractions, to `bits` binary places, as two floats."""
    near = [[Fraction(round(x * 2**bits), 2**bits) for x in row] for row in A]
    high = np.array([[float(x) for x in row] for row in near])
    low = [
        [float(x - Fraction(h)) for x, h in zip(row, top, strict=True)]
        for row, top in zip(near, high.tolist(), strict=True)
    ]
    return high, np.array(low)


@pytest.mark.parametrize("family", degenerate.FAMILIES)
@pytest.mark.parametrize("bits", [60, 90])
def test_the_gap_holds_for_every_direction_and_every_error_of_the_matrix(family, bits):
    """Near the optimum and away from it; beyond 1 a gap is none, and relative to what it is not."""
    small = 0
    for seed in range(300, 304):
        H, f, r, rng = scaled(family, seed)
        G, K = H * np.exp2(f)[:, None], len(H)
        c = float(rng.choice(RADII))
        A, (high, low) = oracle.exact_gram(G), doubled(oracle.exact_gram(H), bits)
        best = conflict_averse_from_gradients(G, c, reference=r)
        noise = 10.0 ** rng.uniform(-16, -1, size=2)
        v = (best.weights + noise[0] * rng.normal(size=K)) * np.exp2(f)
        x = (best.dual + noise[1] * rng.uniform(size=(2, K))) * np.exp2(f)
        rest = v * 2.0**-60
        with np.errstate(divide="ignore"):  # |g0| may be unknown
            gap, _ = double_double_progress_gap(
                high, low, 8.0 * 2.0**-bits, r * np.exp2(f), np.exp2(-f), c, (0.0, np.inf),
                v, rest, 0.0, x, 0.0 * x, np.inf, 1.0,
            )  # fmt: skip
        both = zip(rational(v * np.exp2(-f)), rational(rest * np.exp2(-f)), strict=True)
        missed, outside = oracle.progress_shortfall(A, c, r, [a + b for a, b in both])
        if gap < 1.0:
            small += 1
            assert max(missed, 0.0) + outside <= gap * TIGHT
    assert small > 0 or family in ("centred", "thin")


@pytest.mark.parametrize("size", [2.0**-10, 2.0**-20, 2.0**-28])
def test_errors_of_the_matrix_that_matter_are_charged(size):
    """Gradients whose matrix, to an error, has a better direction or hides a worse one."""
    zero, both = np.zeros(2), np.ones((1, 2))
    thin = np.array([[1.0, size], [-1.0, size]])  # not stationary, unlike its rounded matrix
    turned = np.array([[1.0, 0.0, -size], [0.0, 1.0, size], [0.0, 0.0, 1.0]])
    level = 0.5 / math.sqrt(2.0)
    v, x = np.array([level, level, 1.0]), np.array([[1.0, 1.0, 0.0]])
    for G, S, error, c, y, weights, duals in (
        (thin, [[1.0, -1.0], [-1.0, 1.0]], 2.0 * size**2, 2.0, [1.0, 0.0], zero, both),
        (turned, np.eye(3), 2.0 * size, 0.5, [0.0, 0.0, 1.0], v, x),
    ):
        missed, outside = oracle.progress_shortfall(oracle.exact_gram(G), c, y, weights)
        gaps = [
            double_double_progress_gap(
                S, 0.0 * np.asarray(S), e, y, np.ones(len(y)), c, (0.0, np.inf),
                weights, 0.0 * weights, 0.0, duals, 0.0 * duals, np.inf, 1.0,
            )[0]
            for e in (error, 1e-30)
        ]  # fmt: skip
        assert gaps[1] < max(missed, 0.0) + outside <= gaps[0]


def test_what_is_not_a_number_is_no_proof():
    A, y, one = np.eye(2), np.array([0.5, 0.5]), np.ones((1, 2))
    given = [A, 0.0 * A, 1e-30, y, np.ones(2), 1.0, (0.0, np.inf), y, 0.0 * y, 0.0, one, 0.0 * one]
    assert np.isfinite(double_double_progress_gap(*given, np.inf, 1.0)[0])
    with np.errstate(all="ignore"):
        for place in (0, 3, 4, 5, 7, 9):
            for bad in (np.nan, np.inf):
                broken = list(given)
                broken[place] = given[place] * bad if place != 9 else bad
                gap, _ = double_double_progress_gap(*broken, np.inf, 1.0)
                assert not np.isfinite(gap)


# The level in exact integers


@pytest.mark.parametrize("family", degenerate.FAMILIES)
def test_integers_find_the_optimum(family):
    for seed in range(400, 403):
        G, r, rng = draw(family, seed)
        c = RADII[int(rng.integers(len(RADII)))]
        exact = exact_projection.exact_gram(G)
        shares = exact_projection.vanishing_combination(exact, [], 1000)
        if shares is not None:
            assert sum(shares) == 1
            assert oracle.square_of(oracle.exact_gram(G), shares) == 0
            if c >= 1.0:
                continue
        ball = exact_level.exact_ball(exact, r, c)
        guess = np.flatnonzero(rng.integers(0, 2, size=len(G))).tolist()
        u, _ = exact_level.best_in_ball(ball, guess, shares is not None, 1000)
        weights = [Fraction(float(a)) + x * b for a, x, b in zip(r, u, ball.b, strict=True)]
        gap, outside = oracle.progress_shortfall(oracle.exact_gram(G), c, r, weights)
        assert outside == 0.0
        assert -NOISE <= gap <= 1e-12
        upper = exact_level.reachable(
            ball, u if any(u) else exact_level.least_task(ball), shares is not None
        )
        assert gap <= exact_level.gap_of_weights(ball, weights, upper) * TIGHT + NOISE


def test_no_combination_of_others_vanishes():
    for seed in range(20):
        G = np.random.default_rng(seed).normal(size=(4, 6))
        exact = exact_projection.exact_gram(G)
        assert exact_projection.vanishing_combination(exact, [0, 1, 2, 3], 1000) is None
