"""Flows over several paths at any alpha: solved, and with the rates that exchanges decide."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from benchmarks.problems import networks
from fairopt import alpha_fair_path_allocation, network, path_allocation_residual
from fairopt.allocation.multipath import solve

BOTTLENECK = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
"""Flow 0 always crosses link 0, then link 1 (with flow 1) or link 2 (with flow 2)."""
OWNER = [0, 0, 1, 2]
ALPHAS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


@given(st.floats(0.5, 2.0), st.floats(8.0, 12.0), st.floats(-0.4, 0.4), st.sampled_from(ALPHAS))
@settings(max_examples=25)
def test_a_narrow_flow_splits_for_the_wide_ones(narrow, wide, apart, alpha):
    """Its paths cost the same to 50 digits, yet the split decides what the others get."""
    capacity = [narrow, wide, wide + apart]
    found = alpha_fair_path_allocation(BOTTLENECK, OWNER, capacity, alpha).require()
    rich = 0.5 * (2.0 * wide + apart - narrow)
    np.testing.assert_allclose(found.rates, [narrow, rich, rich], rtol=1e-5)


@pytest.mark.parametrize("alpha", [2.0, 20.0, 50.0, 100.0])
def test_the_residual_sees_what_matters_to_low_price_flows_only(alpha):
    """Flow 0 on one path takes 0.5 from flow 1, whose price is 1e-48 of its own at alpha = 50."""
    rates = np.array([1.0, 0.0, 9.0, 10.0])
    prices = np.array([1.0, 9.0**-alpha, 10.0**-alpha])
    assert path_allocation_residual(BOTTLENECK, OWNER, [1, 10, 10], alpha, rates, prices) > 0.1
    found = alpha_fair_path_allocation(BOTTLENECK, OWNER, [1, 10, 10], alpha).require()
    np.testing.assert_allclose(found.rates, [1.0, 9.5, 9.5], rtol=1e-6)
    parts = (found.path_rates, found.prices)
    assert path_allocation_residual(BOTTLENECK, OWNER, [1, 10, 10], alpha, *parts) <= 1e-6


def test_the_residual_sees_the_price_of_a_link_with_slack_that_only_low_price_flows_use():
    """Flow 0 avoids link 1, which has slack, for its price alone."""
    rates = np.array([0.0, 1.0, 8.0, 9.0])
    prices = np.array([1.0, 8.0**-50, 9.0**-50])
    wrong = path_allocation_residual(BOTTLENECK, OWNER, [1, 10, 10], 50.0, rates, prices)
    assert wrong > 0.1


def tied(seed):
    """A small problem with whole capacities, paths that repeat and a link that repeats others."""
    rng = np.random.default_rng([7, seed])
    m, n = int(rng.integers(2, 8)), int(rng.integers(2, 8))
    owner = np.repeat(np.arange(n), rng.integers(1, 4, n))
    R = (rng.random((m, len(owner))) < 0.4) * 1.0
    R[rng.integers(m, size=len(owner)), np.arange(len(owner))] = 1.0
    capacity = rng.integers(1, 4, m) * 1.0
    if seed % 2:
        R, capacity = np.vstack([R, R.sum(axis=0)]), np.append(capacity, capacity.sum())
    return R, owner, capacity


def gains_at_no_cost(R, owner, capacity, rates):
    """By how much each flow could have more, relatively, if all others keep theirs."""
    sums = (owner == np.arange(len(rates))[:, None]) * 1.0
    gains = []
    for flow, one in enumerate(sums):
        kept = np.delete(np.arange(len(rates)), flow)
        limits = np.concatenate([capacity, -(1.0 - 1e-9) * rates[kept]])
        found = linprog(-one, np.vstack([R, -sums[kept]]), limits, method="highs")
        gains.append(-found.fun / rates[flow] - 1.0)
    return np.array(gains)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 5.0])
def test_ties_are_solved(alpha):
    for seed in range(10):
        R, owner, capacity = tied(seed)
        found = alpha_fair_path_allocation(R, owner, capacity, alpha)
        assert found.ok, (seed, found.sentence, found.residual)


@pytest.mark.parametrize("alpha", [1.0, 20.0, 50.0, 100.0])
def test_all_are_solved_and_no_flow_can_gain(alpha):
    """Prices alone accept answers that a chain of exchanges improves for a low-price flow."""
    for seed in range(12):
        R, owner, capacity = tied(seed)
        for tol in (1e-6, 1e-2) if seed < 4 else (1e-6,):
            found = alpha_fair_path_allocation(R, owner, capacity, alpha, tol=tol).require()
            gain = gains_at_no_cost(R, owner, capacity, found.rates).max()
            assert gain < tol, (seed, tol)


def test_what_float64_does_not_certify_is_not_optimal(monkeypatch):
    """Without decimals flow 2 has less than its best rate, which no residual shows."""
    R, owner, capacity = tied(3)
    exact = alpha_fair_path_allocation(R, owner, capacity, 20.0).require()
    monkeypatch.setattr(solve, "solve_in_decimals", lambda *args: None)
    found = alpha_fair_path_allocation(R, owner, capacity, 20.0)
    assert not found.ok
    off = np.abs(found.rates / exact.rates - 1.0)
    assert (off <= found.error * (1.0 + 1e-9)).all()
    if found.residual <= 1e-6:
        assert "may be off by" in found.sentence


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.5, 5.0])
@pytest.mark.parametrize("name", ["regular", "karate", "miserables", "grid"])
def test_real_networks_with_equal_links_are_solved(name, alpha):
    graph = nx.Graph(networks.GRAPHS[name]())
    nx.set_edge_attributes(graph, 1.0, "capacity")
    rng = np.random.default_rng(0)
    nodes = list(graph)
    demands = [tuple(nodes[k] for k in rng.choice(len(nodes), 2, replace=False)) for _ in range(12)]
    network.allocation_on_graph(graph, demands, alpha, paths=3).require()
