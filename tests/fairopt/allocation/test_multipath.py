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
from fairopt.allocation.multipath.log_form import Iterate, path_form, residuals
from fairopt.allocation.multipath.newton import newton_change

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


def test_an_answer_that_a_programme_contradicts_says_who_could_gain(monkeypatch):
    """Without stages: flows 1 and 5 could change paths at no cost to them, and flow 2 have more."""
    monkeypatch.setattr(solve, "worth_staging", lambda form, z: False)
    R, owner, capacity = tied(3)
    found = alpha_fair_path_allocation(R, owner, capacity, 20.0)
    assert not found.ok
    assert found.residual <= 1e-6
    assert gains_at_no_cost(R, owner, capacity, found.rates)[2] > 1e-3
    assert "flows 2 could have more at no cost" in found.sentence


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


@given(st.integers(0, 2**20), st.sampled_from([0.5, 2.0, 20.0]))
@settings(max_examples=25)
def test_newton_changes_solve_the_linearised_equations(seed, alpha):
    """A short step reduces every residual by its share, up to the square of the step."""
    rng = np.random.default_rng(seed)
    R, owner, _ = tied(int(rng.integers(50)))
    from scipy import sparse

    A = sparse.csr_array(R / R.sum(axis=1, keepdims=True).clip(1.0))
    A = A[np.flatnonzero(A.sum(axis=1))]
    form = path_form(A, owner, int(owner[-1]) + 1, np.zeros(int(owner[-1]) + 1), alpha)
    z = rng.uniform(0.1, 0.3, len(owner))
    prices = rng.uniform(1.0, 2.0, A.shape[0])
    cost = A.T @ prices
    pi = 0.9 * form.cheapest(cost)
    exact = Iterate(z, cost - pi[owner], prices, np.maximum(1.0 - A @ z, 0.1), pi)
    point = exact._replace(s=exact.s * np.exp(rng.uniform(-0.1, 0.1, len(exact.s))))
    gaps = rng.uniform(-0.1, 0.1, len(z)), rng.uniform(-0.1, 0.1, len(prices))
    change = newton_change(form, point, *gaps)
    assert change is not None

    def left(length):
        moved = Iterate(*(p * np.exp(length * c) for p, c in zip(point, change, strict=True)))
        before, after = residuals(form, point), residuals(form, moved)
        parts = [a - (1.0 - length) * b for a, b in zip(after, before, strict=True)]
        return max(float(np.abs(part).max()) for part in parts)

    largest = max(1.0, *(float(np.abs(part).max()) for part in change))
    h = 1e-4 / largest
    relative = 0.03 * h  # residuals are relative to what moves: a tenth of a tenth of the step
    assert left(h) <= relative + 20.0 * (h * largest) ** 2
