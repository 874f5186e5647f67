"""Capacities from 1e-300 to 1e300: no NaN, no overload, and no warning (they are errors here)."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairopt import (
    Status,
    allocation_residual,
    allocation_sensitivity,
    alpha_fair_allocation,
    alpha_fair_path_allocation,
    network,
    path_allocation_residual,
)
from tests.fairopt.allocation.wide_networks import FINITE, overload
from tests.fairopt.allocation.wide_networks import network as wide_network

SEEDS = st.integers(0, 2**20)
SIZES = (1e-300, 1e-200, 1e-100, 1e100, 1e200, 1e300)
DECADES = st.sampled_from([10.0, 100.0, 200.0, 300.0])


def test_a_leaked_warning_would_fail_here():
    """A negative control: this is what every test of this file would do."""
    with pytest.raises(RuntimeWarning, match="overflow"):
        np.exp(np.array([1e3]))


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.sampled_from([0.0, *FINITE, np.inf]), DECADES)
@example(51, np.inf, 200.0)
def test_one_path_each(seed, alpha, decades):
    R, _, capacity = wide_network(seed, decades=decades, special=0.2)
    priority = np.random.default_rng(seed).uniform(0.5, 2.0, R.shape[1])
    found = alpha_fair_allocation(R, capacity, alpha, priority=priority)
    parts = (found.rates, found.prices, found.upper_prices)
    assert not any(np.isnan(part).any() for part in parts)
    assert overload(R, capacity, found.rates) <= 1e-9
    residual = allocation_residual(R, capacity, alpha, *parts, priority=priority)
    assert (residual <= 1e-9) == found.ok
    warm = alpha_fair_allocation(R, capacity, alpha, priority=priority, start=found)
    assert warm.status in (found.status, Status.ROUNDING_LIMITED)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.05, 0.5, 1.0, 2.0, np.inf]), DECADES)
def test_several_paths(seed, alpha, decades):
    R, owner, capacity = wide_network(seed, decades=decades, special=0.2, paths=3)
    found = alpha_fair_path_allocation(R, owner, capacity, alpha)
    assert not any(np.isnan(part).any() for part in (found.path_rates, found.prices))
    assert overload(R, capacity, found.path_rates) <= 1e-6
    judged = path_allocation_residual(R, owner, capacity, alpha, found.path_rates, found.prices)
    assert judged <= 1e-6 if found.ok else judged >= 0.0


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([0.05, 0.3, 0.5, 1.0, 1.5, 5.0]), DECADES)
def test_derivatives(seed, alpha, decades):
    """All capacities grow by a part: so do all rates. They do not if one full link is left out."""
    R, _, capacity = wide_network(seed, decades=decades, special=0.0)
    found = alpha_fair_allocation(R, capacity, alpha)
    if not found.ok:
        return
    slope = allocation_sensitivity(R, capacity, alpha, found)
    rates, _ = slope.change(capacity=capacity)
    slope.change(priority=np.ones(R.shape[1]))
    if not slope.ok:
        return
    np.testing.assert_allclose(rates / found.rates, 1.0, rtol=1e-6)
    full = np.flatnonzero(found.prices > 0.0)[0]
    fewer, _ = slope.change(capacity=np.where(np.arange(len(capacity)) == full, 0.0, capacity))
    assert np.abs(fewer / found.rates - 1.0).max() > 1e-6


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.0, np.inf]), st.sampled_from(SIZES))
def test_a_unit_changes_nothing_else(seed, alpha, size):
    """The same network in another unit: the same rates in it, or prices that float64 cannot hold.

    Over one path and over several.
    """
    R, owner, capacity = wide_network(seed, decades=0.5, special=0.0, paths=2)
    one = R[:, np.unique(owner, return_index=True)[1]]
    plain = alpha_fair_allocation(one, capacity, alpha).require()
    found = alpha_fair_allocation(one, size * capacity, alpha)
    if found.status is Status.OUT_OF_RANGE:
        assert alpha == 2.0
    else:
        np.testing.assert_allclose(found.require().rates / size, plain.rates, rtol=1e-9)
    plain = alpha_fair_path_allocation(R, owner, capacity, alpha).require()
    found = alpha_fair_path_allocation(R, owner, size * capacity, alpha)
    if found.status is Status.OUT_OF_RANGE:
        assert alpha == 2.0
    else:
        np.testing.assert_allclose(found.require().rates / size, plain.rates, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, np.inf])
@pytest.mark.parametrize("paths", [1, 2])
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_a_graph_of_any_size_is_solved_and_drawn(size, paths, alpha):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    ring = nx.cycle_graph(5)
    nx.set_edge_attributes(ring, size, "capacity")
    demands = [(0, 2), (1, 3), (2, 4)]
    found = network.allocation_on_graph(ring, demands, alpha, paths=paths).require()
    nx.set_edge_attributes(ring, 1.0, "capacity")
    plain = network.allocation_on_graph(ring, demands, alpha, paths=paths).require()
    np.testing.assert_allclose(found.rates / size, plain.rates, rtol=1e-6)
    network.draw(found, ring, Figure().add_subplot())


@pytest.mark.parametrize("ratio", [1e9, 1e12, 1e15, 1e200])
def test_levels_far_apart_over_several_paths(ratio):
    """Half of a link each, whatever the size of the next link: HiGHS' tolerances are absolute."""
    R, capacity = [[1, 1, 0, 0], [0, 1, 1, 1]], [1.0, ratio]
    found = alpha_fair_path_allocation(R, [0, 1, 2, 3], capacity, np.inf).require()
    one = alpha_fair_allocation(R, capacity, np.inf).require()
    np.testing.assert_allclose(found.rates, one.rates, rtol=1e-9)
    np.testing.assert_allclose(found.rates[:2], [0.5, 0.5], rtol=1e-9)
    np.testing.assert_allclose(found.prices, one.prices, rtol=1e-9)
