"""Whatever is called ok is confirmed by its residual, over degenerate gradients of any scale."""

from __future__ import annotations

import numpy as np
import pytest

from fairopt import (
    Status,
    conflict_averse,
    conflict_averse_residual,
    dual_cone_projection,
    dual_cone_residual,
    fairgrad,
    fairgrad_residual,
    min_norm,
    min_norm_residual,
)
from fairopt.solution import GOOD
from tests import laws
from tests.fairopt.fuzzing import ALPHAS, gram_batch

TASKS = (1, 2, 2, 3, 4, 5, 6, 8, 12, 20, 30)
BATCH = 200


def check_fairgrad(A, rng):
    count, K = A.shape[:2]
    alpha = np.where(
        rng.random(count) < 0.3, 10.0 ** rng.uniform(-3, 2.3, count), rng.choice(ALPHAS, count)
    )
    p = None if rng.random() < 0.6 else 10.0 ** rng.uniform(-4.0, 4.0, size=(count, K))
    start = None if rng.random() < 0.8 else 10.0 ** rng.uniform(-10.0, 10.0, size=(count, K))
    solution = fairgrad(A, alpha, priority=p, start=start)
    residual = fairgrad_residual(A, alpha, solution.weights, p)
    laws.ok_is_confirmed(solution, residual, 1e-10, laws.explained(A, solution))


def check_min_norm(A, rng):
    solution = min_norm(A)
    residual = min_norm_residual(A, solution.weights)
    laws.ok_is_confirmed(solution, residual, 1e-12, 1e-14 * A.shape[-1])


def check_conflict_averse(A, rng):
    c = rng.choice([0.0, 0.1, 0.4, 0.9, 1.0, 2.0], size=len(A))
    solution = conflict_averse(A, c)
    residual = conflict_averse_residual(
        A, c, solution.weights, dual=solution.dual, gram_error=solution.gram_error
    )
    given = np.full(len(A), 1.1e-6)  # the largest certified gap of an answer
    undecided = solution.residual > 1e-6  # weights are then those of the matrix as given
    laws.ok_is_confirmed(solution, residual, 1e-10, np.where(undecided, np.inf, given))


def check_dual_cone(A, rng):
    reference = rng.normal(size=A.shape[:2])
    solution = dual_cone_projection(A, reference)
    residual = dual_cone_residual(A, reference, solution.weights)
    laws.ok_is_confirmed(solution, residual, 1e-12, np.sqrt(solution.gram_error))


CHECKS = [check_fairgrad, check_min_norm, check_conflict_averse, check_dual_cone]


def fuzz(check, count, seed):
    rng = np.random.default_rng(seed)
    done = 0
    while done < count:
        A = gram_batch(int(rng.choice(TASKS)), BATCH, rng)
        if len(A):
            check(A, rng)
            done += len(A)


@pytest.mark.parametrize("check", CHECKS)
def test_ok_is_confirmed_by_the_residual(check):
    fuzz(check, 6000, 0)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_ok_is_confirmed_by_the_residual_100_000_times(check):
    fuzz(check, 100_000, 1)


@pytest.mark.parametrize("K", [3, 5, 12, 30])
def test_the_level_of_worst_progress_is_found_over_300_decades(K):
    rng = np.random.default_rng(K)
    G = rng.normal(size=(500, K, K + 2)) * 10.0 ** rng.uniform(-145.0, 145.0, size=(500, K, 1))
    solution = conflict_averse(G @ np.swapaxes(G, 1, 2), rng.choice([0.1, 0.4, 0.9, 2.0], 500))
    assert not np.isin(solution.status, (Status.STEP_LIMIT, Status.OUT_OF_RANGE)).any()


def test_the_law_rejects_a_solver_that_calls_everything_ok():
    A = gram_batch(6, 50, np.random.default_rng(3))
    unsolved = fairgrad(A, 2.0, max_iterations=0)
    residual = fairgrad_residual(A, 2.0, unsolved.weights)
    object.__setattr__(unsolved, "status", np.zeros(len(A), dtype=np.int64))
    with pytest.raises(AssertionError):
        laws.ok_is_confirmed(unsolved, residual, 1e-10, 0.0)


@pytest.mark.parametrize("alpha", [1e-20, 1e-16, 1e-9, 1e-5, 1e-3, 0.01, 0.3, 17.0])
def test_ok_never_comes_with_an_infinite_residual(alpha):
    """Where floats cannot show a small residual it is counted in half ulps, as `floor` = 1 says."""
    rng = np.random.default_rng(4)
    coarse = 0
    for K in (2, 5):
        A = gram_batch(K, BATCH, rng)
        for decades in (0.0, 1.0, 300.0):
            p = 10.0 ** rng.uniform(-decades, decades, size=(len(A), K))
            solution = fairgrad(A, alpha, priority=p)
            ok = np.isin(solution.status, GOOD)
            residual = fairgrad_residual(A, alpha, solution.weights, p)
            slack = laws.explained(A, solution)
            assert np.isfinite(solution.residual[ok]).all()
            assert (solution.floor <= 1.0).all()
            laws.ok_is_confirmed(solution, residual, 1e-10, slack)
            half_ulps = ok & (solution.floor == 1.0)
            assert (solution.status[half_ulps] == Status.ROUNDING_LIMITED).all()
            coarse += half_ulps.sum()
    assert coarse > 20 or alpha > 0.01


def test_half_ulps_hide_no_wrong_weights():
    """Where s is rounding, weights that leave it so and are wrong for another task are refused."""
    A, p = np.array([[5.0, -7.0], [-7.0, 17.0]]), np.array([1.0, 1e-3])
    right = fairgrad(A, 1e-3, priority=p).weights
    for factor in ([1.01, 1.01], [1.0, 1.01], [0.99, 1.0], [1e3, 1e3], [0.0, 1.0]):
        assert fairgrad_residual(A, 1e-3, factor * right, p) > 1e4


def test_a_longer_combination_near_a_stationary_point_is_not_called_optimal():
    rng = np.random.default_rng(5)
    for margin in (1e-4, 1e-6, 1e-7):
        G = rng.normal(size=(4, 9))
        G -= G.mean(axis=0)
        normal = rng.normal(size=9)
        normal -= np.linalg.lstsq(G, G @ normal, rcond=None)[0]
        G += margin * normal / np.linalg.norm(normal)
        A = G @ G.T
        best = min_norm(A)
        assert best.status == Status.OPTIMAL
        longer = best.weights + 10.0 * margin * np.array([1.0, -1.0, 0.0, 0.0])
        assert np.linalg.norm(longer @ G) > 5.0 * margin
        assert min_norm_residual(A, longer) > 0.1 * margin
