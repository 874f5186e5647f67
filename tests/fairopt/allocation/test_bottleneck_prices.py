"""Prices at alpha = inf have one meaning, over one path and over several; so have the residuals."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.problems import networks
from fairopt import (
    allocation_residual,
    alpha_fair_allocation,
    alpha_fair_path_allocation,
    path_allocation_residual,
)
from tests.fairopt.allocation.test_multipath import tied
from tests.fairopt.allocation.test_network import split_problem

SEEDS = st.integers(0, 2**20)
LEVEL = 1e-7  # relative: levels are fixed one after the other, each to 1e-10


def one_path_each(seed, *, whole):
    """A random network; with whole capacities links are full at the same level, and repeat."""
    rng = np.random.default_rng(seed)
    links, flows = int(rng.integers(1, 7)), int(rng.integers(1, 10))
    R = (rng.random((links, flows)) < 0.5) * (1.0 if whole else rng.uniform(0.5, 2.0))
    R[rng.integers(links, size=flows), np.arange(flows)] = 1.0
    capacity = rng.integers(1, 4, links) * 1.0 if whole else rng.uniform(1.0, 10.0, links)
    if whole and seed % 2:
        R, capacity = np.vstack([R, 2.0 * R[:1]]), np.append(capacity, 2.0 * capacity[0])
    return R, capacity


def by_definition(R, capacity, rates):
    """1 / rate of the flows whose bottleneck a link is: it is full, and none on it has more."""
    full = R @ rates >= capacity * (1.0 - 1e-9)
    largest = np.max(np.where(R > 0.0, rates, 0.0), axis=1)
    return np.divide(1.0, largest, out=np.zeros_like(largest), where=full & (largest > 0.0))


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.booleans())
@example(0, True)
def test_a_price_is_one_over_the_rate_of_the_flows_whose_bottleneck_a_link_is(seed, whole):
    R, capacity = one_path_each(seed, whole=whole)
    one = alpha_fair_allocation(R, capacity, np.inf).require()
    expected = by_definition(R, capacity, one.rates)
    np.testing.assert_allclose(one.prices, expected, rtol=1e-9)
    several = alpha_fair_path_allocation(R, np.arange(R.shape[1]), capacity, np.inf).require()
    np.testing.assert_allclose(several.rates, one.rates, rtol=LEVEL)
    np.testing.assert_allclose(several.prices, expected, rtol=LEVEL)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, np.inf])
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_one_path_per_flow_is_the_same_either_way(alpha, seed):
    """Rates, prices, and either residual of either answer."""
    R, capacity = one_path_each(seed, whole=False)
    owner = np.arange(R.shape[1])
    one = alpha_fair_allocation(R, capacity, alpha).require()
    several = alpha_fair_path_allocation(R, owner, capacity, alpha).require()
    np.testing.assert_allclose(several.rates, one.rates, rtol=1e-6)
    np.testing.assert_allclose(several.prices, one.prices, rtol=1e-5, atol=1e-6 * one.prices.max())
    if alpha == np.inf:  # for finite alpha one residual is the root of what the other measures
        parts = (several.rates, several.prices)
        assert allocation_residual(R, capacity, alpha, *parts) <= LEVEL
    judged = path_allocation_residual(R, owner, capacity, alpha, one.rates, one.prices)
    assert judged <= 1e-6


@pytest.mark.parametrize("name", networks.NAMES)
def test_networks_have_the_same_prices_either_way(name):
    R, capacity, _ = networks.problem(name, 40)
    one = alpha_fair_allocation(R, capacity, np.inf).require()
    several = alpha_fair_path_allocation(R, np.arange(40), capacity, np.inf).require()
    np.testing.assert_allclose(several.prices, one.prices, rtol=LEVEL)


def test_one_path_and_two_agree():
    """A link of two flows with half of it each: 2, whether or not another path is closed to one."""
    one = alpha_fair_allocation([[1, 1], [0, 1]], [1, 1], np.inf)
    two = alpha_fair_path_allocation([[1, 1, 0], [0, 1, 1]], [0, 1, 1], [1, 0], np.inf)
    np.testing.assert_allclose(one.prices, [2.0, 0.0])
    apart = alpha_fair_path_allocation([[1, 1], [0, 1]], [0, 1], [1, 1], np.inf)
    np.testing.assert_allclose(apart.prices, [2.0, 0.0])
    np.testing.assert_allclose(two.rates, [1.0, 0.0])
    np.testing.assert_allclose(two.prices, [1.0, np.inf])


def test_bounds_are_bottlenecks_too():
    """At its upper bound on a full link on which it has most: both are its bottleneck."""
    found = alpha_fair_allocation([[1, 1]], [1.0], np.inf, upper=[0.5, np.inf]).require()
    np.testing.assert_allclose(found.rates, [0.5, 0.5])
    np.testing.assert_allclose(found.prices, [2.0])
    np.testing.assert_allclose(found.upper_prices, [2.0, 0.0])
    low = alpha_fair_allocation([[1, 1]], [1.0], np.inf, upper=[0.2, np.inf]).require()
    np.testing.assert_allclose(low.prices, [1.25])
    np.testing.assert_allclose(low.upper_prices, [5.0, 0.0])


def test_a_link_that_a_costlier_flow_fills_has_the_price_of_the_level_it_sets():
    """Flow 0 fills link 1, and what it cannot send there it takes from flow 1 on link 2."""
    routing = [[1, 1, 0], [1, 0, 0], [0, 1, 1]]
    found = alpha_fair_path_allocation(routing, [0, 0, 1], [1.0, 0.4, 10.0], np.inf).require()
    np.testing.assert_allclose(found.rates, [1.0, 9.4], rtol=1e-9)
    np.testing.assert_allclose(found.prices, [1.0, 1.0 / 9.4, 1.0 / 9.4], rtol=1e-9)
    args = (routing, [0, 0, 1], [1.0, 0.4, 10.0], np.inf)
    assert path_allocation_residual(*args, found.path_rates, found.prices) == found.residual
    wrong = np.array([0.2, 0.8, 9.2])  # link 1 not full: link 2 could be left to flow 1
    assert path_allocation_residual(*args, wrong, [1.0, 0.0, 1.0 / 9.2]) > 0.01
    assert path_allocation_residual(*args, wrong, [1.0, 1.0 / 9.2, 1.0 / 9.2]) > 0.01


@pytest.mark.parametrize("problem", [*map(tied, range(20)), *map(split_problem, range(20))])
def test_the_residual_rejects_every_changed_answer(problem):
    """The answer is accepted; rates, or a price, changed by a hundredth are not."""
    R, owner, capacity = problem[:3]
    found = alpha_fair_path_allocation(R, owner, capacity, np.inf).require()
    z, prices = found.path_rates, found.prices
    args = (R, owner, capacity, np.inf)
    assert path_allocation_residual(*args, z, prices) == found.residual <= 1e-6
    assert path_allocation_residual(*args, 0.99 * z, prices) > 1e-3
    assert path_allocation_residual(*args, 1.01 * z, prices) > 1e-3
    assert path_allocation_residual(*args, z, 1.01 * prices) > 1e-3
    assert path_allocation_residual(*args, z, 0.0 * prices) > 0.5
    assert path_allocation_residual(*args, z, -prices) == np.inf
    for flow in range(len(found.rates)):
        fewer = np.where(owner == flow, 0.99, 1.0) * z
        assert path_allocation_residual(*args, fewer, prices) > 1e-3
