"""The examples on polytopes, against answers known otherwise."""

import numpy as np
import pytest

from examples import fair_shares_on_polytopes as examples
from fairopt import alpha_fair_allocation


def test_cluster_shares_by_hand():
    """Two jobs, of which only one is faster on the first machine: each on its own."""
    found = examples.cluster_shares(np.array([[4.0, 1.0], [1.0, 1.0]]), np.ones(2), 1.0)
    np.testing.assert_allclose(found.utilities, [4.0, 1.0], rtol=1e-6)
    level = examples.cluster_shares(examples.SPEED, np.ones(2), np.inf)
    equal = examples.SPEED.mean(axis=1) * 2.0 / 3.0
    assert (level.utilities >= equal * (1.0 - 1e-9)).all()  # nobody has less than an equal share


def test_the_market_is_in_equilibrium():
    """Everybody spends all money on best buys, and all goods are sold."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        n, g = rng.integers(2, 7, size=2)
        value, budget = rng.uniform(0.1, 1.0, size=(n, g)), rng.uniform(0.5, 2.0, size=n)
        found = examples.fisher_market(value, budget)
        price, share = found.prices, found.point.reshape(n, g)
        np.testing.assert_allclose(share @ price, budget, rtol=1e-6)
        np.testing.assert_allclose(share.sum(axis=0), 1.0, rtol=1e-6)
        best = (value / price).max(axis=1)
        np.testing.assert_allclose((value * share).sum(axis=1), best * budget, rtol=1e-6)


def test_a_known_market():
    """Buyers 1 and 2 want one good each, 3 both alike: prices 2 and 2, half a unit for 1 and 2."""
    found = examples.fisher_market(examples.VALUE, examples.BUDGET)
    np.testing.assert_allclose(found.prices, [2.0, 2.0], rtol=1e-7)
    np.testing.assert_allclose(found.utilities, [1.0, 1.0, 1.0], rtol=1e-7)


def test_promised_rates():
    routing, capacity = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]), np.ones(2)
    promised = examples.guaranteed_rates(routing, capacity, np.array([0.5, 0.0, 0.0]))
    np.testing.assert_allclose(promised.utilities, 0.5, rtol=1e-7)
    free = examples.guaranteed_rates(routing, capacity, np.zeros(3)).utilities
    expected = alpha_fair_allocation(routing, capacity, 1.0).require().rates
    np.testing.assert_allclose(free, expected, rtol=1e-7)


def test_dominant_resource_fairness():
    """The example of the paper: 3 tasks of (1, 4) and 2 of (3, 1) on (9, 18)."""
    demand = np.array([[1.0, 4.0], [3.0, 1.0]])
    tasks = examples.dominant_shares(demand, np.array([9.0, 18.0]))
    np.testing.assert_allclose(tasks, [3.0, 2.0], rtol=1e-9)


def test_the_example_runs(capsys):
    examples.main()
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert examples.BUDGET.sum() == pytest.approx(4.0)
