"""Conflict-averse directions, dual-cone projections and UPGrad."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import (
    InvalidInput,
    Status,
    conflict_averse,
    conflict_averse_residual,
    dual_cone_projection,
    dual_cone_residual,
    fairgrad,
    reference,
    upgrad,
)
from tests import laws
from tests.fairopt import problems

RADII = (0.0, 0.1, 0.4, 0.9, 1.0, 2.0)


@pytest.mark.parametrize("family", problems.SOLVABLE)
def test_every_family_has_a_certified_gap(family):
    rng = np.random.default_rng(0)
    for K in (1, 2, 3, 8, 40):
        A = laws.gram(problems.SOLVABLE[family](K, rng))
        for c in RADII:
            solution = conflict_averse(A, c)
            assert solution.ok
            residual = conflict_averse_residual(
                A, c, solution.weights, dual=solution.dual, gram_error=solution.gram_error
            )
            assert residual <= 1e-10 or solution.status == Status.ROUNDING_LIMITED
            assert solution.residual == pytest.approx(residual, abs=1e-11)
            assert conflict_averse_residual(A, c, solution.weights) <= 1e-8  # implied multipliers


@pytest.mark.parametrize("K", [2, 3, 8, 20])
def test_stationary_input_has_its_optimum_too(K):
    """One rule in all solvers: zero weights only where the ball holds zero, and not called ok."""
    rng = np.random.default_rng(K)
    for scales in (np.ones((K, 1)), 10.0 ** rng.uniform(-6, 6, size=(K, 1))):
        G = problems.stationary(K, rng) * scales
        A = laws.gram(G)
        for c in RADII[1:]:
            solution = conflict_averse(A, c)
            laws.certificate_is_valid(G, solution.certificate)
            if c >= 1.0:
                assert solution.status == Status.PARETO_STATIONARY
                np.testing.assert_array_equal(solution.weights, 0.0)
                laws.certificate_is_valid(G, solution.dual)
            else:
                assert solution.require().residual <= 1e-6


def test_a_zero_gradient_and_a_zero_reference():
    A = np.diag([1.0, 0.0, 4.0])
    A[0, 2] = A[2, 0] = -1.5
    for c in RADII:
        expected = (Status.OPTIMAL,) if c < 1.0 else (Status.PARETO_STATIONARY,)
        assert conflict_averse(A, c).status in expected
    np.testing.assert_array_equal(conflict_averse(A, 1.0).weights, 0.0)
    centred = problems.well(5, np.random.default_rng(1))
    centred -= centred.mean(axis=0)
    solution = conflict_averse(laws.gram(centred), 0.4)
    assert solution.status == Status.UNDECIDED  # the ball has the size of rounding
    np.testing.assert_array_equal(solution.weights, 0.2)
    laws.certificate_is_valid(centred, solution.certificate)
    assert conflict_averse(np.zeros((3, 3)), 0.4).ok


def test_ball_and_improvement_over_the_reference():
    rng = np.random.default_rng(2)
    for K in (2, 6):
        G = problems.conflicting(K, rng)
        A, r = laws.gram(G), rng.uniform(0.1, 1.0, size=K)
        for c in (0.2, 0.7):
            w = conflict_averse(A, c, reference=r).require().weights
            radius = np.linalg.norm((w - r) @ G)
            assert radius == pytest.approx(c * np.linalg.norm(r @ G), rel=1e-10)
            assert (A @ w).min() >= (A @ r).min()
    np.testing.assert_array_equal(conflict_averse(A, 0.0, reference=r).weights, r)


def test_two_orthogonal_tasks_in_closed_form():
    w = conflict_averse(np.eye(2), 0.5).require().weights
    np.testing.assert_allclose(w, 0.5 + 0.5 * np.sqrt(0.5) * np.sqrt(0.5), rtol=1e-12)


def test_laws_conflict_averse_claims():
    rng = np.random.default_rng(3)
    solve = lambda A: conflict_averse(A, 0.4)  # noqa: E731
    for K in (1, 2, 5, 12):
        G = problems.conflicting(K, rng)
        A = laws.gram(G)
        laws.permutation_equivariance(solve, A, rng.permutation(K))
        for factor in (1e-6, 1e6, 1e-70, 1e70):
            laws.scale_equivariance(solve, A, factor, 0.0)
        laws.input_is_untouched(solve, A)
    batch = np.array([laws.gram(problems.well(4, rng)) for _ in range(6)]).reshape(2, 3, 4, 4)
    laws.batch_agrees_with_loop(solve, batch)


@pytest.mark.parametrize("c", [0.3, 0.9])
def test_agrees_with_the_reference_implementation(c):
    rng = np.random.default_rng(4)
    for family in (problems.well, problems.conflicting):
        A = laws.gram(family(5, rng))
        ours = conflict_averse(A, c).require().weights @ A
        expected = reference.factor(A) @ reference.conflict_averse(A, c)
        np.testing.assert_allclose(expected, ours, rtol=1e-4, atol=1e-5)


def test_the_residual_rejects_wrong_points():
    A = laws.gram(problems.conflicting(4, np.random.default_rng(5)))
    good = conflict_averse(A, 0.4)
    assert conflict_averse_residual(A, 0.4, np.full(4, 0.25), dual=good.dual) > 1e-3
    assert conflict_averse_residual(A, 0.4, 1.1 * good.weights, dual=good.dual) > 1e-3
    assert conflict_averse_residual(A, 0.4, good.weights, dual=np.eye(4)[3]) > 1e-3
    assert conflict_averse_residual(A, 0.4, good.weights, dual=0.5 * good.dual) >= 0.5
    assert conflict_averse_residual(A, 0.4, good.weights * np.nan) == np.inf


def test_warm_start_and_step_limit():
    A = laws.gram(problems.conflicting(9, np.random.default_rng(6)))
    cold = conflict_averse(A, 0.4)
    warm = conflict_averse(A, 0.4, start=cold.weights)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.weights, cold.weights, rtol=1e-8)
    assert conflict_averse(A, 0.4, max_iterations=0).status == Status.STEP_LIMIT
    r = -np.ones(9)
    cold = dual_cone_projection(A, r)
    warm = dual_cone_projection(A, r, start=cold.weights)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.weights, cold.weights, atol=1e-9)
    assert dual_cone_projection(A, r, max_iterations=0).status == Status.STEP_LIMIT


@pytest.mark.parametrize("family", [*problems.SOLVABLE, "stationary"])
def test_projections_are_exact(family):
    rng = np.random.default_rng(7)
    make = problems.SOLVABLE.get(family, problems.stationary)
    for K in (1, 2, 3, 8, 40) if family != "stationary" else (2, 3, 8, 40):
        A = laws.gram(make(K, rng))
        for r in (np.ones(K), rng.normal(size=K), -np.ones(K), np.zeros(K)):
            solution = dual_cone_projection(A, r)
            assert solution.status == Status.OPTIMAL
            assert dual_cone_residual(A, r, solution.weights) <= 1e-12


def test_projection_laws_and_limits():
    rng = np.random.default_rng(8)
    G = problems.conflicting(6, rng)
    A = laws.gram(G)
    solve = lambda A: dual_cone_projection(A, np.ones(len(A)))  # noqa: E731
    laws.permutation_equivariance(solve, A, rng.permutation(6))
    for factor in (1e-6, 1e6, 1e-100, 1e100):
        laws.scale_equivariance(solve, A, factor, 0.0)
    laws.common_descent(solve, G, slack=1e-13)
    laws.input_is_untouched(solve, A)
    np.testing.assert_allclose(solve(A).weights, fairgrad(A, 0.0).weights, rtol=1e-9)
    expected = reference.dual_cone_projection(A, np.ones(6))
    np.testing.assert_allclose(solve(A).weights, expected, rtol=1e-3)
    aligned = np.eye(3) + 0.1
    np.testing.assert_array_equal(dual_cone_projection(aligned, [1.0, 2.0, 3.0]).weights, [1, 2, 3])


def test_projection_shapes():
    rng = np.random.default_rng(9)
    A = np.array([laws.gram(problems.well(3, rng)) for _ in range(4)])
    assert dual_cone_projection(A[0], np.ones((5, 3))).weights.shape == (5, 3)
    assert dual_cone_projection(A[0], np.ones((5, 3))).status.shape == (5,)
    assert dual_cone_projection(A, np.ones(3)).weights.shape == (4, 3)
    assert dual_cone_projection(A, np.ones((4, 3))).weights.shape == (4, 3)
    assert dual_cone_projection(A, np.ones((4, 7, 3))).weights.shape == (4, 7, 3)
    assert isinstance(dual_cone_projection(A[0], np.ones(3)).status, Status)
    stack = rng.normal(size=(4, 7, 3))
    found = dual_cone_projection(A, stack)
    alone = dual_cone_projection(A[2], stack[2, 5])
    np.testing.assert_array_equal(found.weights[2, 5], alone.weights)
    assert dual_cone_residual(A, stack, found.weights).shape == (4, 7)
    assert dual_cone_projection(np.zeros((0, 3, 3)), np.ones(3)).weights.shape == (0, 3)


def test_upgrad():
    rng = np.random.default_rng(10)
    G = problems.conflicting(5, rng)
    A = laws.gram(G)
    laws.common_descent(upgrad, G, slack=1e-13)
    laws.permutation_equivariance(upgrad, A, rng.permutation(5))
    laws.scale_equivariance(upgrad, A, 1e-6, 0.0)
    laws.scale_equivariance(upgrad, A, 1e6, 0.0)
    r = rng.uniform(size=5)
    by_hand = r @ np.array([dual_cone_projection(A, unit).weights for unit in np.eye(5)])
    np.testing.assert_allclose(upgrad(A, r).require().weights, by_hand, rtol=1e-12)
    np.testing.assert_allclose(upgrad(A).weights @ A, reference.upgrad(A) @ A, atol=1e-5)
    batch = np.array([A, np.eye(5)])
    assert upgrad(batch).weights.shape == (2, 5)
    assert upgrad(batch, r).ok
    np.testing.assert_array_equal(upgrad(batch, r).weights[0], upgrad(A, r).weights)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("c", lambda: conflict_averse(np.eye(2), -0.1)),
        ("c", lambda: conflict_averse(np.eye(2), np.inf)),
        ("c", lambda: conflict_averse(np.eye(2), "a")),
        ("reference", lambda: conflict_averse(np.eye(2), 0.1, reference=[1.0])),
        ("reference", lambda: conflict_averse(np.eye(2), 0.1, reference=[1.0, np.nan])),
        ("reference", lambda: dual_cone_projection(np.eye(2), [1.0, np.inf])),
        ("reference", lambda: dual_cone_projection(np.eye(2), 1.0)),
        ("start", lambda: dual_cone_projection(np.eye(2), [1.0, 1.0], start=[1.0])),
        ("reference", lambda: upgrad(np.eye(2), [1.0, 2.0, 3.0])),
        ("gram[0, 1]", lambda: upgrad([[1.0, np.nan], [0.0, 1.0]])),
        ("gram[0, 1]", lambda: conflict_averse([[1.0, np.nan], [0.0, 1.0]], 0.4)),
    ],
)
def test_refusals(argument, call):
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.argument == argument


@settings(max_examples=80)
@given(st.integers(0, 2**32), st.integers(1, 6), st.floats(-70, 70), st.floats(0, 10))
def test_fuzz_gradients_of_many_sizes(seed, K, centre, spread):
    rng = np.random.default_rng(seed)
    decades = centre + spread * rng.uniform(-1, 1, size=(K, 1))
    G = rng.normal(size=(K, rng.integers(1, 7))) * 10.0**decades
    A, r = laws.gram(G), rng.normal(size=K)
    projection = dual_cone_projection(A, r).require()
    assert dual_cone_residual(A, r, projection.weights) <= 1e-12
    c = float(rng.choice([0.0, 0.1, 0.5, 1.0, 3.0]))
    found = conflict_averse(A, c, reference=r)
    residual = conflict_averse_residual(A, c, found.weights, r, found.dual, found.gram_error)
    assert found.status not in (Status.STEP_LIMIT, Status.OUT_OF_RANGE)
    if found.ok:
        assert residual <= (1.1e-10 if found.status == Status.OPTIMAL else 1.1e-6)


@given(st.integers(0, 2**32), st.integers(1, 6), st.floats(-320, -12))
def test_a_ball_below_rounding_is_its_centre(seed: int, K: int, digits: float) -> None:
    G = np.random.default_rng(seed).normal(size=(K, K + 2)) + 0.2
    solution = conflict_averse(G @ G.T, 10.0**digits)
    assert solution.ok
    np.testing.assert_allclose(solution.weights, np.full(K, 1.0 / K), atol=1e-9)
