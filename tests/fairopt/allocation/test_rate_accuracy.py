"""Rates that no load shows are named, and only those; against solutions of many digits."""

import networkx as nx
import numpy as np
import pytest

from benchmarks.problems import networks
from benchmarks.problems.high_precision import path_rates
from fairopt import (
    Status,
    allocation_residual,
    alpha_fair_allocation,
    alpha_fair_path_allocation,
    network,
)
from fairopt.allocation import rate_accuracy

BESIDE = [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
"""Flow 2 leaves 1 - x of two links of capacity 1, the same to flows 0 and 1."""
DIGITS = 1e-3
ROOM, SMALL = [1.0, 1.0], [1e-3, 2e-3, 1.0]


def exact_beside(alpha):
    """x_0 = x_1 = 1 - x_2 and p_0 + p_1 = x_0^alpha p_2 x_2^-alpha, x_2 = 1 to float64."""
    small = (SMALL[0] + SMALL[1]) ** (1.0 / alpha)
    return np.array([small, small, 1.0])


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_rates_beside_a_large_flow_are_named(alpha):
    """Residual below tol and two rates off by factors: named, with a status of its own."""
    found = alpha_fair_allocation(BESIDE, ROOM, alpha, priority=SMALL)
    off = found.rates / exact_beside(alpha)
    assert off[2] == pytest.approx(1.0, rel=1e-9)
    assert max(off[0], 1.0 / off[0]) > 1.4
    assert found.residual <= 1e-9
    assert found.status is Status.ROUNDING_LIMITED
    assert "flows 0, 1 fill so little of a full link" in found.sentence
    np.testing.assert_array_equal(found.certificate, [1.0, 1.0, 0.0])
    assert found.require() is found
    judged = (found.rates, found.prices, found.upper_prices)
    assert allocation_residual(BESIDE, ROOM, alpha, *judged, priority=SMALL) == found.residual


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_rates_beside_a_large_flow_that_loads_show_are_right(alpha):
    found = alpha_fair_allocation(BESIDE, ROOM, alpha, priority=SMALL)
    assert found.status is Status.OPTIMAL
    exact = path_rates(BESIDE, [0, 1, 2], ROOM, alpha, SMALL)
    np.testing.assert_allclose(found.rates, exact, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 1.0])
def test_tiny_rates_that_a_price_fixes_are_not_named(alpha):
    """x_i = (p_i / p_1)^(1 / alpha) x_1 on a link alone: 1e-20 of it and right to ten digits."""
    weights = np.array([1.0, 1.0, 10.0 ** (-20.0 * alpha)])
    found = alpha_fair_allocation([[1.0, 1.0, 1.0]], [3.0], alpha, priority=weights)
    assert found.status is Status.OPTIMAL
    np.testing.assert_allclose(found.rates, [1.5, 1.5, 1.5e-20], rtol=1e-10)


def small_problem(seed):
    """Links of whole capacities, at which loads coincide, and priorities over many decades."""
    rng = np.random.default_rng(seed)
    links, flows = int(rng.integers(2, 4)), int(rng.integers(3, 6))
    R = (rng.random((links, flows)) < 0.6) * 1.0
    R[rng.integers(links, size=flows), np.arange(flows)] = 1.0
    priority = 10.0 ** -rng.uniform(0.0, rng.uniform(0.0, 6.0), flows)
    alpha = float(rng.choice([0.1, 0.2, 0.3]))
    return R, rng.integers(1, 3, links) * 1.0, alpha, priority


def check_named(seeds):
    """How many answers have rates that are off; all of those rates are named, no other is."""
    wrong = 0
    for seed in seeds:
        R, capacity, alpha, priority = small_problem(seed)
        found = alpha_fair_allocation(R, capacity, alpha, priority=priority)
        if not found.ok:
            assert found.status is Status.OUT_OF_RANGE, seed
            continue
        exact = path_rates(R, np.arange(len(priority)), capacity, alpha, priority)
        off = np.abs(found.rates / exact - 1.0)
        named = np.zeros(len(off), bool) if found.certificate is None else found.certificate > 0.0
        assert (off[~named] <= DIGITS).all(), seed
        wrong += bool((off > DIGITS).any())
        assert (found.status is Status.ROUNDING_LIMITED) == named.any(), seed
        if named.any():
            assert (off > 1e-6).any(), seed  # not named for nothing
    return wrong


def test_unnamed_rates_have_three_digits():
    assert check_named(range(12)) >= 1


@pytest.mark.slow
def test_unnamed_rates_have_three_digits_at_length():
    assert check_named(range(58, 86)) >= 2


def test_without_the_check_wrong_rates_are_optimal(monkeypatch):
    """A negative control: the residual alone accepts them."""
    monkeypatch.setattr(rate_accuracy, "ACCURATE", np.inf)
    found = alpha_fair_allocation(BESIDE, ROOM, 0.1, priority=SMALL)
    assert found.status is Status.OPTIMAL
    assert np.abs(np.log(found.rates / exact_beside(0.1))).max() > np.log(1.4)
    with pytest.raises(AssertionError):
        check_named(range(4, 5))


def test_too_many_links_to_factor_name_every_rate_that_is_checked(monkeypatch):
    monkeypatch.setattr(rate_accuracy, "MOST_LINKS", 0)
    found = alpha_fair_allocation([[1.0, 1.0]], [1.0], 0.1, priority=[1.0, 0.01])
    assert found.status is Status.ROUNDING_LIMITED
    np.testing.assert_array_equal(found.certificate, [0.0, 1.0])


def test_flows_at_a_time_change_nothing(monkeypatch):
    whole = alpha_fair_allocation(BESIDE, ROOM, 0.1, priority=SMALL)
    monkeypatch.setattr(rate_accuracy, "ROWS", 1)
    assert alpha_fair_allocation(BESIDE, ROOM, 0.1, priority=SMALL) == whole


@pytest.mark.parametrize("name", networks.NAMES)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 5.0, 100.0])
def test_ordinary_networks_are_optimal(name, alpha):
    """Also at large alpha, where prices are a hundred decades apart and rates are not."""
    R, capacity, priority = networks.problem(name, 60)
    found = alpha_fair_allocation(R, capacity, alpha, priority=priority)
    assert found.status is Status.OPTIMAL


def test_degenerate_networks_are_optimal_or_out_of_range():
    for seed in range(100):
        R, capacity, alpha, priority = networks.degenerate(np.random.default_rng(seed))
        found = alpha_fair_allocation(R, capacity, alpha, priority=priority)
        assert found.status in (Status.OPTIMAL, Status.OUT_OF_RANGE), seed


def test_demands_are_named():
    line = nx.Graph([("a", "b", {"capacity": 1.0}), ("b", "c", {"capacity": 1.0})])
    demands = [("a", "b"), ("b", "c"), ("a", "c")]
    found = network.allocation_on_graph(line, demands, 0.1, priority=SMALL).require()
    assert found.status is Status.ROUNDING_LIMITED
    assert found.sentence.endswith(": 'a' -> 'b', 'b' -> 'c'")


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_over_several_paths_rates_that_no_load_shows_are_right(alpha):
    """They are solved and certified in decimals, where a load shows what is below 1e-9 of it."""
    found = alpha_fair_path_allocation(BESIDE, [0, 1, 2], ROOM, alpha, priority=SMALL)
    assert found.status is Status.OPTIMAL
    assert found.error.max() < 1e-9
    np.testing.assert_allclose(found.rates, exact_beside(alpha), rtol=1e-9)
    large = alpha_fair_path_allocation(BESIDE, [0, 1, 2], ROOM, 1.0, priority=SMALL)
    assert large.status is Status.OPTIMAL
