"""Identities and worked numbers of the published methods, for the solvers as a whole."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from fairopt import (
    Status,
    conflict_averse,
    cross_attention_weights,
    dual_cone_projection,
    fairgrad,
    fairgrad_residual,
    min_norm,
    multiplicative_weights,
    upgrad,
)
from tests import laws
from tests.fairopt import problems


@pytest.mark.parametrize("K", [1, 2, 3, 11, 40])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0, 10.0, 50.0])
def test_fairgrad_identities_at_every_scale(alpha, K):
    G = problems.conflicting(K, np.random.default_rng(K))
    unscaled = fairgrad(laws.gram(G), alpha).require().weights
    for scale in (1e-12, 1e-4, 1.0, 1e4, 1e12):
        A = scale * laws.gram(G)
        w = fairgrad(A, alpha).require().weights
        assert fairgrad_residual(A, alpha, w) <= 1e-8
        assert (A @ w > 0.0).all()
        assert w @ A @ w == pytest.approx((w ** (1.0 - 1.0 / alpha)).sum(), rel=1e-8)
        np.testing.assert_allclose(w, unscaled * scale ** (-alpha / (alpha + 1.0)), rtol=1e-8)


def test_alpha_300_is_the_direction_of_min_norm():
    rng = np.random.default_rng(1)
    for K in (2, 5, 11):
        G = problems.well(K, rng)
        A = laws.gram(G)
        near, limit = (w @ G for w in (fairgrad(A, 300.0).weights, min_norm(A).weights))
        assert laws.unit(near) @ laws.unit(limit) > 0.9999


def test_priorities_at_alpha_zero_weigh_the_sum_that_is_projected():
    A, p = laws.gram(problems.conflicting(5, np.random.default_rng(2))), [3.0, 0.2, 1.0, 5.0, 0.7]
    found = fairgrad(A, 0.0, priority=p).require().weights
    np.testing.assert_allclose(found, dual_cone_projection(A, p).weights, rtol=1e-9)


def test_a_weight_below_the_smallest_float_is_zero_and_satisfied():
    solution = fairgrad([[1.0, 100.0], [100.0, 4e4]], 200.0)
    assert solution.status == Status.OPTIMAL
    assert solution.weights[1] == 0.0


def test_conflict_averse_of_two_tasks_is_a_problem_in_one_number():
    rng = np.random.default_rng(3)
    for c in (0.2, 0.4, 0.9):
        A = laws.gram(problems.conflicting(2, rng) * [[1.0], [3.0]])
        b = A.mean(axis=1)
        radius = c * np.sqrt(A.mean())

        def value(x, A=A, b=b, radius=radius):
            v = np.array([x, 1.0 - x])
            return v @ b + radius * np.sqrt(v @ A @ v)

        inside = minimize_scalar(value, bounds=(0.0, 1.0), options={"xatol": 1e-12}).fun
        best = min(inside, value(0.0), value(1.0))
        w = conflict_averse(A, c).require().weights
        assert (A @ w).min() == pytest.approx(best, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_conflict_averse_does_not_depend_on_the_unit(scale):
    A = laws.gram(problems.conflicting(6, np.random.default_rng(4)))
    laws.scale_equivariance(lambda A: conflict_averse(A, 0.4), A, scale, 0.0)


def test_without_a_ball_the_dual_is_the_first_task_of_least_progress():
    np.testing.assert_array_equal(conflict_averse(np.eye(3), 0.0).dual, [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(conflict_averse(np.diag([4.0, 1, 1]), 0.0).dual, [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(conflict_averse(np.zeros((2, 2)), 0.4).dual, [1.0, 0.0])


def test_one_task():
    A = [[9.0]]
    assert conflict_averse(A, 0.4).weights[0] == pytest.approx(1.4)
    assert min_norm(A).weights[0] == upgrad(A).weights[0] == 1.0
    assert dual_cone_projection(A, [2.0]).weights[0] == 2.0
    assert dual_cone_projection(A, [-2.0]).weights[0] == 0.0
    assert cross_attention_weights(A, 5)[0, 0] == 1.0
    assert multiplicative_weights([1.0], [3.0], 0.1)[0] == 1.0


def test_cross_attention_mixes_equal_and_tiny_updates_to_their_mean():
    rng = np.random.default_rng(5)
    equal = np.tile(rng.normal(size=12), (4, 1))
    np.testing.assert_allclose(cross_attention_weights(equal @ equal.T, 12) @ equal, equal)
    tiny = 1e-5 * rng.normal(size=(4, 12))
    mixed = cross_attention_weights(tiny @ tiny.T, 12) @ tiny
    np.testing.assert_allclose(mixed, np.tile(tiny.mean(axis=0), (4, 1)), rtol=1e-6, atol=1e-14)


def test_clients_that_are_here_share_the_aggregate():
    here = np.array([True, True, False, True])
    for absent in ("frozen", "renormalise"):
        w = multiplicative_weights(
            [0.4, 0.3, 0.2, 0.1], [-0.6, -0.1, np.nan, 0.2], 0.1, present=here, absent=absent
        )
        shares = w[here] / w[here].sum()
        np.testing.assert_allclose(shares, [0.485608, 0.382879, 0.131513], atol=5e-7)
        assert shares @ [1.0, -2.0, 4.0] == pytest.approx(0.245902, abs=5e-6)
