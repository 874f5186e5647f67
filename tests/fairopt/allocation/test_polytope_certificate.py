"""The certificate of points on a polytope: a bound for every point, sharp at the optimum."""

import numpy as np
import pytest
from scipy.optimize import linprog

from fairopt.allocation.polytope import certificate
from fairopt.allocation.polytope.certificate import Certificate, certify, certify_max_min, loss
from fairopt.allocation.polytope.problem import read
from proofs.fairness.planted_polytopes import planted

ALPHAS = (0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0)
ROUNDING = 1e-13  # of a logarithm of a float


def checked(problem):
    """The checked problem of a planted one."""
    names = ("T", "G", "h", "A", "b", "alpha", "weights", "priority")
    return read(*(problem.get(name) for name in names))


def feasible(rng, problem):
    """A vertex of the polytope in a box, drawn by its cost."""
    equal = {"A_eq": problem["A"], "b_eq": problem["b"]} if len(problem["b"]) else {}
    k = problem["T"].shape[1]
    found = linprog(
        rng.normal(size=k), A_ub=problem["G"], b_ub=problem["h"], bounds=(0, 9), **equal
    )
    return np.maximum(found.x, 0.0)


def broken_bounds(seed, alpha, *, signs=False):
    """How many certified intervals do not hold the exact utility, for mixed points and prices."""
    rng = np.random.default_rng(seed)
    case = planted(rng, alpha, signs=signs)
    problem, other, broken = checked(case.problem), feasible(rng, case.problem), 0
    for share in (0.0, 1e-12, 1e-8, 1e-4, 1e-2, 0.3):
        z = (1.0 - share) * case.z + share * other
        off = 1.0 + share * rng.uniform(-0.5, 0.5, size=len(case.prices))
        proof = certify(problem, z, case.prices * off, case.equality_prices)
        with np.errstate(divide="ignore", invalid="ignore"):  # x <= 0: the error is inf
            change = np.abs(np.log(problem.T @ z / case.x))
        broken += int((change > np.log1p(proof.error) + ROUNDING).sum())
    return broken


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_exact_utility_is_in_every_interval(alpha):
    assert not sum(broken_bounds(seed, alpha) for seed in range(8))
    assert not sum(broken_bounds(seed, alpha, signs=True) for seed in range(8, 16))


def test_a_gap_without_reduced_costs_is_caught(monkeypatch):
    def without(problem, z, q, lam, nu):
        slack = lam @ np.abs(problem.h - problem.G @ z)
        return float(slack + 1e-15 * (q @ (problem.T @ z))), 0.0

    monkeypatch.setattr(certificate, "_gap", without)
    assert sum(broken_bounds(seed, 1.0) for seed in range(8)) > 0


@pytest.mark.parametrize("alpha", ALPHAS)
def test_it_is_sharp_at_the_exact_point(alpha):
    for seed in range(20):
        case = planted(np.random.default_rng(seed), alpha)
        proof = certify(checked(case.problem), case.z, case.prices, case.equality_prices)
        assert proof.feasibility == 0.0
        assert proof.gap <= 1e-13
        assert proof.error.max() <= 1e-4  # sqrt(2e-14 * 40 / alpha)


def test_units_change_nothing():
    rng = np.random.default_rng(7)
    case = planted(rng, 2.0)
    P, k, n = case.problem, len(case.z), len(case.x)
    row, column, unit = (2.0 ** rng.integers(-30, 30, size=s) for s in (len(P["h"]), k, n))
    changed = P | {
        "T": P["T"] * unit[:, None] * column,
        "G": P["G"] * row[:, None] * column,
        "h": P["h"] * row,
        "A": P["A"] * column,
        "weights": unit,
    }
    z = case.z * 1.01
    one = certify(checked(P), z, case.prices, case.equality_prices)
    two = certify(checked(changed), z / column, case.prices / row, case.equality_prices)
    np.testing.assert_allclose(two.error, one.error, rtol=1e-12)
    assert two.residual == pytest.approx(one.residual, rel=1e-12)


def test_prices_in_a_unit_beyond_float64():
    case = planted(np.random.default_rng(3), 2.0)
    problem = checked(case.problem | {"priority": case.problem["priority"] * 1e300})
    high = certify(problem, case.z, case.prices, case.equality_prices, np.log(1e300))
    assert high.error.max() <= 1e-4


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 2.0, 50.0])
def test_the_interval_ends_where_the_loss_reaches_the_budget(alpha):
    budget = np.geomspace(1e-18, 1e3, 40)
    change = np.log1p(certificate._interval(budget, alpha))
    ends = np.isfinite(change)
    low, high = loss(-change[ends], alpha), loss(change[ends], alpha)
    exact = change[ends] > 1e-6  # below, expm1 differences lose the digits of phi
    assert (np.minimum(low, high) >= budget[ends] * (1.0 - 1e-9))[exact].all()
    assert (np.minimum(low, high) <= budget[ends] * 1.02)[exact].all()


def test_what_is_missing_or_negative_proves_nothing():
    case = planted(np.random.default_rng(0), 1.0)
    problem = checked(case.problem)
    for z, lam in ((-case.z, case.prices), (case.z, -case.prices), (case.z * np.nan, case.prices)):
        proof = certify(problem, z, lam, case.equality_prices)
        assert proof.residual == np.inf
        assert np.isposinf(proof.error).all()
    nothing = certify(problem, case.z, 0.0 * case.prices, 0.0 * case.equality_prices)
    assert np.isposinf(nothing.error).all() or nothing.error.min() > 0.1
    assert isinstance(nothing, Certificate)


def test_max_min_by_hand():
    """One unit for 1 and 2, and 3 more that only 2 can use: (1, 3) at levels 1 and 3."""
    problem = read(np.eye(2), [[1, 1], [1, 0]], [4, 1], None, None, np.inf, None, None)
    prices, q = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    none = np.zeros((2, 0))
    assert certify_max_min(problem, np.array([1.0, 3.0]), prices, none, q).error.max() < 1e-14
    less = certify_max_min(problem, np.array([1.0, 2.0]), prices, none, q)
    np.testing.assert_allclose(less.error, [0.0, 0.5], atol=1e-14)
    unfair = certify_max_min(problem, np.array([0.5, 3.5]), prices, none, q)
    assert unfair.error[0] == pytest.approx(1.0)
