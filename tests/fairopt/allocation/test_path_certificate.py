"""Certified errors of rates over several paths hold for any point; sharper ones would not."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from benchmarks.problems.high_precision import exact_path_rates
from benchmarks.split_flow_accuracy import UNDER, compared, problem
from fairopt import Status, alpha_fair_path_allocation
from fairopt.allocation.multipath import certificate
from fairopt.allocation.multipath.certificate import largest_change, phi, rate_errors

ALPHAS = (0.1, 0.5, 1.0, 2.0, 5.0, 20.0)


def exact_phi(rho, alpha):
    """The definition with 80 digits."""
    with mpmath.workdps(80):
        r, a = mpmath.mpf(float(rho)), mpmath.mpf(float(alpha))
        second = r if a == 1 else (mpmath.exp((1 - a) * r) - 1) / (1 - a)
        return float(mpmath.exp(r) - 1 - second)


@given(st.floats(1e-9, 5.0), st.sampled_from([-1.0, 1.0]), st.sampled_from(ALPHAS))
def test_what_a_rate_loses_is_exact(size, sign, alpha):
    rho = sign * size
    assert phi(np.array([rho]), alpha)[0] == pytest.approx(exact_phi(rho, alpha), rel=1e-12)


@given(st.floats(1e-15, 10.0), st.sampled_from([-1.0, 1.0]), st.sampled_from(ALPHAS))
def test_no_larger_change_loses_as_little(worth, sign, alpha):
    """Phi grows away from 0, so it is enough that it exceeds `worth` at the end."""
    end = float(largest_change(np.array([worth]), alpha, sign)[0])
    if np.isfinite(end):
        assert exact_phi(sign * end, alpha) >= worth * (1.0 - 1e-9)
        assert exact_phi(sign * end * 0.99, alpha) < worth
    else:
        assert sign < 0.0 or worth > 1e100
        assert exact_phi(sign * 100.0, alpha) <= worth


def random_points(seed):
    """The truth of a problem, and any rates and prices for it: near the optimum and far from it."""
    R, owner, c, w, alpha = problem(seed)
    found = alpha_fair_path_allocation(R, owner, c, alpha, priority=w)
    if found.status is not Status.OPTIMAL or not np.isfinite(c).all() or not c.all():
        return
    kept = np.flatnonzero(R.any(axis=1))
    exact = exact_path_rates(R, owner, c, alpha, found.path_rates, found.prices, w)
    if exact is None:
        return
    A, truth = sparse.csr_array(R[kept] / c[kept, None]), np.array([float(x) for x in exact])
    rng = np.random.default_rng(seed)
    for spread in (1e-9, 1e-3, 0.3):
        z = found.path_rates * np.exp(spread * rng.normal(size=len(owner)))
        prices = found.prices[kept] * np.exp(spread * rng.normal(size=len(kept))) * c[kept]
        yield A, owner, np.log(w), alpha, z, prices, truth


def test_the_optimum_is_inside_whatever_the_point_is():
    checked = 0
    for seed in range(100):
        for *args, z, prices, truth in random_points(seed):
            error = rate_errors(*args, z, prices)
            x = np.bincount(args[1], z)
            assert (np.abs(x / truth - 1.0) <= error).all(), seed
            checked += 1
    assert checked > 150


@pytest.mark.parametrize("part", ["slack", "extra", "lost"])
def test_a_gap_that_leaves_something_out_is_noticed(part, monkeypatch):
    """A negative control: without any one of its three parts intervals miss the truth."""

    def incomplete(A, owner, log_weight, alpha, z, prices):
        first = np.searchsorted(owner, np.arange(len(log_weight)))
        cost = A.T @ prices
        price = np.minimum.reduceat(cost, first)
        best = (log_weight - np.log(price)) / alpha
        off = np.log(np.add.reduceat(z, first)) - best
        parts = {
            "slack": float(prices @ np.maximum(1.0 - A @ z, 0.0)),
            "extra": float((z * (cost - price[owner])).sum()),
            "lost": float((price * np.exp(best) * phi(off, alpha)).sum()),
        }
        return price, sum(value for name, value in parts.items() if name != part)

    monkeypatch.setattr(certificate, "_price_and_gap", incomplete)
    missed = 0
    for seed in range(100):
        for *args, z, prices, truth in random_points(seed):
            x = np.bincount(args[1], z)
            missed += not (np.abs(x / truth - 1.0) <= rate_errors(*args, z, prices)).all()
    assert missed


def test_nothing_is_certified_without_prices_or_rates():
    A = sparse.csr_array(np.ones((1, 2)))
    one = np.arange(2), np.zeros(2), 1.0
    assert np.isinf(rate_errors(A, *one, np.array([0.5, 0.5]), np.array([0.0]))).all()
    assert np.isinf(rate_errors(A, *one, np.array([0.0, 1.0]), np.array([2.0]))).any()
    assert np.isinf(rate_errors(A, *one, np.array([0.5, 0.5]), np.array([np.nan]))).all()


@given(st.integers(0, 2**20))
@settings(max_examples=60, deadline=None)
def test_answers_are_within_their_certified_errors(seed):
    result = compared(seed)
    if not isinstance(result, str):
        error, certified = result
        assert (error <= certified + UNDER).all()
        assert error.max() <= 1e-9
