"""Ascent, demand and Newton's method against direct implementations of their formulas."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.problems import networks
from fairopt.allocation.finite_alpha import NEWTON_STEPS
from fairopt.allocation.methods import newton
from fairopt.allocation.methods.demand import (
    demand_at,
    largest_log_part,
    log_price_bounds,
    violation,
)
from fairopt.allocation.methods.dual_ascent import ascend
from fairopt.allocation.methods.newton_system import cholesky, cholesky_solve
from fairopt.allocation.presolve.scaling import scale
from fairopt.allocation.problem import read

ALPHAS = (0.2, 0.5, 1.0, 1.5, 2.0, 5.0, 50.0)


def scaled_network(name, alpha, seed=0, capped=True):
    """A network in the form that the methods take, a third of its flows capped."""
    R, c, w = networks.problem(name, seed=seed)
    rng = np.random.default_rng(seed)
    cap = np.where(rng.random(len(w)) < 1.0 / 3.0, rng.uniform(0.01, 0.5, len(w)), np.inf)
    return scale(read(R, c, alpha, w, cap if capped else None)).scaled


def reference_demand(scaled, prices):
    """Flow prices, rates, loads and largest shares, written as their definitions."""
    A, v = scaled.by_link.toarray(), np.exp(scaled.log_weight)
    bound = np.where(scaled.bounded, 1.0, np.e)
    q = A.T @ prices
    with np.errstate(divide="ignore", over="ignore"):
        wanted = (v / q) ** (1.0 / scaled.alpha)
    y = np.minimum(wanted, bound)
    cost = np.where(scaled.bounded & (wanted >= bound), v, q)
    part = np.divide(A, cost, out=np.zeros_like(A), where=cost > 0.0)
    return q, y, A @ y, prices * part.max(axis=1)


def reference_ascent(scaled, theta, steps, *, momentum_off=False):
    """The accelerated multiplicative step of `fairopt.allocation.methods.dual_ascent`, in NumPy."""
    A, alpha, share = scaled.by_link.toarray(), scaled.alpha, np.ones(scaled.links)
    v, before, t = np.exp(scaled.log_weight), theta, 1.0
    for k in range(steps):
        prices = np.exp(theta)
        q, y, load, _ = reference_demand(scaled, prices)
        if k % 5 == 1:
            held = scaled.bounded & (y >= 1.0)
            mean = prices * (A**2 @ (y / np.where(held, v, q))) / load
            share = np.where(load < 1.0, mean, 1.0)
            factor = 0.3 * alpha * np.log(np.maximum(load, 1.0)) / mean
            if (factor > 2.0).any():
                before = theta = theta + np.log(np.where(factor > 2.0, factor, 1.0))
                t = 1.0
                continue
        change = alpha * np.log(load)
        change = np.where(change < 0.0, change / np.clip(share, 0.1, 1.0), change)
        new = np.maximum(theta + np.maximum(change, -20.0), -690.0)
        t = t if (prices * load * np.maximum(change, -20.0)) @ (new - before) >= 0.0 else 1.0
        following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * t * t))
        ahead = 0.0 if momentum_off else (t - 1.0) / following
        theta = np.maximum(new + ahead * (new - before), -690.0)
        before, t = new, following
    return theta


@pytest.mark.parametrize("alpha", ALPHAS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(networks.NAMES))
def test_demand_is_its_definition(alpha, seed, name):
    scaled = scaled_network(name, alpha, seed % 5)
    rng = np.random.default_rng(seed)
    prices = np.exp(rng.normal(0.0, 2.0, scaled.links)) * (rng.random(scaled.links) < 0.8)
    found = demand_at(scaled, prices)
    q, y, load, share = reference_demand(scaled, prices)
    for mine, expected in ((found.flow_price, q), (found.rates, y), (found.load, load)):
        np.testing.assert_allclose(mine, expected, rtol=1e-12)
    np.testing.assert_allclose(found.share, share, rtol=1e-12)
    assert (found.free == (y < np.where(scaled.bounded, 1.0, np.e))).all()


def test_prices_that_are_no_numbers_reach_the_violation():
    """A demand that hides them would look optimal."""
    scaled = scaled_network("grid", 1.0)
    prices = np.ones(scaled.links)
    prices[3] = np.nan
    assert violation(demand_at(scaled, prices)) == np.inf


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", networks.NAMES)
def test_price_that_fills_a_link_on_its_own(name, alpha):
    """At it alone the users of the link would fill it; and the largest part of a price."""
    scaled = scaled_network(name, alpha)
    A, alone = scaled.by_link.toarray(), log_price_bounds(scaled)
    wanted = (scaled.log_weight - np.log(np.where(A > 0.0, A, 1.0)) - alone[:, None]) / alpha
    np.testing.assert_allclose((A * np.exp(wanted)).sum(axis=1), 1.0, rtol=1e-10)
    part = np.where(A > 0.0, np.log(np.where(A > 0.0, A, 1.0)) + alone[:, None], -np.inf)
    largest = np.maximum(part.max(axis=0), scaled.log_weight)
    np.testing.assert_allclose(largest_log_part(scaled, alone), largest, rtol=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_strides_change_nothing(alpha):
    """The kernels read contiguous memory; who calls them must see to it."""
    scaled = scaled_network("karate", alpha)
    theta = np.linspace(-1.0, 1.0, 2 * scaled.links)[::2]
    plain = demand_at(scaled, np.exp(theta))
    wide = np.repeat(np.exp(theta), 2)[::2]
    assert wide.strides != plain.prices.strides
    np.testing.assert_array_equal(demand_at(scaled, wide).load, plain.load)
    np.testing.assert_array_equal(
        ascend(scaled, theta, 7, 0.0)[0], ascend(scaled, theta.copy(), 7, 0.0)[0]
    )


@pytest.mark.parametrize("name", ["regular", "line", "miserables"])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_ascent_is_its_recipe(name, alpha):
    scaled = scaled_network(name, alpha)
    start = log_price_bounds(scaled)
    for steps in (1, 2, 8, 20):
        theta, used = ascend(scaled, start, steps, 0.0)
        assert used == steps
        np.testing.assert_allclose(
            theta, reference_ascent(scaled, start, steps), rtol=1e-6, atol=1e-6
        )
    wrong = reference_ascent(scaled, start, 20, momentum_off=True)
    assert not np.allclose(theta, wrong, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", networks.NAMES)
def test_newton_finishes_from_where_ascent_is_roughly_right(name, alpha):
    """Also where a link must take over from another: both prices move, one to zero."""
    for seed, capped in ((0, False), (1, True)):
        scaled = scaled_network(name, alpha, seed, capped)
        theta, _ = ascend(scaled, log_price_bounds(scaled), 2000, 0.01)
        _, left, _ = newton.polish(scaled, np.exp(theta), 1e-12, NEWTON_STEPS)
        assert left <= 1e-12


def other_rows_hold(H, target, prices, step):
    """Whether every price either falls exactly to zero or has its row of the system satisfied."""
    others = ~np.isclose(step, -prices, rtol=1e-6, atol=0.0)
    return np.allclose((H @ step)[others], target[others], rtol=0.0, atol=1e-7)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 12))
@example(seed=26374, size=4)  # all prices fall to zero, one of them only because the others do
def test_prices_held_at_zero_satisfy_the_other_rows(seed, size):
    """Rows of prices that stay above zero hold exactly; clipping the first solution breaks them."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size + 2))
    H, target = root @ root.T + 0.1 * np.eye(size), rng.normal(size=size)
    prices = rng.uniform(0.01, 1.0, size)
    factor = cholesky(np.tril(H))
    first = cholesky_solve(factor, target)
    solved = newton._hold_at_zero(factor, first, prices)
    assert other_rows_hold(H, target, prices, solved)
    if (first >= -prices).all():
        np.testing.assert_array_equal(solved, first)
    if (first < -1.5 * prices).any() and (first > -0.9 * prices).any():
        assert not other_rows_hold(H, target, prices, np.maximum(first, -prices))
