"""Volumes and weights of flows over several paths."""

import networkx as nx
import numpy as np
import pytest

from benchmarks.problems.high_precision import exact_path_rates
from benchmarks.split_flow_accuracy import UNDER, problem
from fairopt import (
    InvalidInput,
    Status,
    alpha_fair_allocation,
    alpha_fair_path_allocation,
    network,
    path_allocation_residual,
)
from tests.fairopt.allocation.test_network import split_problem

FINITE = (0.5, 1.0, 2.0, 4.0)


def limited(seed):
    """A problem over several paths, the limits of some flows, and weights."""
    R, owner, c, p = split_problem(seed)
    rng = np.random.default_rng([5, seed])
    n = len(p)
    upper = np.where(rng.random(n) < 0.5, rng.uniform(0.05, 3.0, n), np.inf)
    return R, owner, c, p, upper, rng.uniform(0.3, 3.0, n)


@pytest.mark.parametrize("alpha", [*FINITE, np.inf])
def test_limits_of_single_paths_are_those_of_the_other_solver(alpha):
    for seed in range(30):
        R, _, c, _, _, _ = limited(seed)
        rng = np.random.default_rng(seed)
        n = R.shape[1]
        upper = np.where(rng.random(n) < 0.5, rng.uniform(0.0, 2.0, n), np.inf)
        one = alpha_fair_allocation(R, c, alpha, upper=upper).require()
        split = alpha_fair_path_allocation(R, np.arange(n), c, alpha, upper=upper).require()
        np.testing.assert_allclose(split.rates, one.rates, rtol=1e-6)
        if alpha != np.inf:
            held = one.rates > upper * (1.0 - 1e-9)
            assert (split.upper_prices[~held] < 1e-6 * split.prices.max()).all()


@pytest.mark.parametrize("alpha", FINITE)
def test_weights_are_priorities_at_finite_alpha(alpha):
    for seed in range(20):
        R, owner, c, p, upper, w = limited(seed)
        found = alpha_fair_path_allocation(R, owner, c, alpha, priority=p, upper=upper, weights=w)
        other = alpha_fair_path_allocation(
            R, owner, c, alpha, priority=p * w ** (alpha - 1.0), upper=upper
        )
        np.testing.assert_allclose(found.require().rates, other.require().rates, rtol=1e-7)
        np.testing.assert_allclose(found.prices, other.prices, rtol=1e-5, atol=1e-7)


def test_weighted_max_min_shares_by_weight_and_respects_volumes():
    """Two flows over both of two links, one with its own: by hand."""
    R, owner = [[1, 0, 1, 0], [0, 1, 0, 1]], [0, 0, 1, 1]
    found = alpha_fair_path_allocation(R, owner, [1.0, 2.0], np.inf, weights=[2.0, 1.0]).require()
    np.testing.assert_allclose(found.rates, [2.0, 1.0], rtol=1e-7)
    np.testing.assert_allclose(found.prices, [1.0, 1.0], rtol=1e-7)
    capped = alpha_fair_path_allocation(
        R, owner, [1.0, 2.0], np.inf, weights=[2.0, 1.0], upper=[0.5, np.inf]
    ).require()
    np.testing.assert_allclose(capped.rates, [0.5, 2.5], rtol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, *FINITE, np.inf])
def test_the_residual_of_the_answer_is_the_one_it_has(alpha):
    for seed in range(10):
        R, owner, c, p, upper, w = limited(seed)
        options = {"priority": p, "upper": upper, "weights": w}
        found = alpha_fair_path_allocation(R, owner, c, alpha, **options).require()
        parts = (found.path_rates, found.prices, found.upper_prices)
        judged = path_allocation_residual(R, owner, c, alpha, *parts, **options)
        assert judged == pytest.approx(found.residual, rel=1e-6, abs=1e-9)
        assert (found.rates <= upper * (1.0 + 1e-6)).all()
        wrong = (0.9 * found.path_rates, *parts[1:])
        assert path_allocation_residual(R, owner, c, alpha, *wrong, **options) > 1e-3
        if (found.upper_prices > 1e-3).any():
            unpaid = path_allocation_residual(R, owner, c, alpha, *parts[:2], **options)
            assert unpaid > 1e-3


def test_answers_with_limits_are_within_their_certified_errors():
    checked = 0
    for seed in range(80):
        R, owner, c, p, alpha = problem(seed)
        upper = np.random.default_rng(seed).uniform(0.05, 3.0, len(p))
        found = alpha_fair_path_allocation(R, owner, c, alpha, priority=p, upper=upper)
        if not found.ok:
            assert found.status is Status.INFEASIBLE
            continue
        rows = np.vstack([R, owner == np.arange(len(p))[:, None]])
        prices = np.concatenate([found.prices, found.upper_prices])
        room = np.concatenate([c, upper])
        exact = exact_path_rates(rows, owner, room, alpha, found.path_rates, prices, p)
        if exact is None:
            continue
        kept = [i for i, rate in enumerate(exact) if rate > 0]
        error = np.array([float(abs(found.rates[i] / exact[i] - 1)) for i in kept])
        assert (error <= found.error[kept] + UNDER).all()
        assert error.max() <= 1e-9
        checked += 1
    assert checked > 50


def test_a_volume_of_zero_closes_a_flow_and_a_volume_bounds_an_unlimited_one():
    R, owner = [[1, 0, 1], [0, 1, 0]], [0, 0, 1]
    shut = alpha_fair_path_allocation(R, owner, [1.0, 1.0], 1.0, upper=[0.0, np.inf])
    assert shut.status is Status.INFEASIBLE
    assert "flows 0 can only have rate zero" in shut.sentence
    below = alpha_fair_path_allocation(R, owner, [1.0, 1.0], 0.5, upper=[0.0, np.inf]).require()
    np.testing.assert_allclose(below.rates, [0.0, 1.0])
    free = alpha_fair_path_allocation(R, owner, [1.0, np.inf], 2.0, upper=[3.0, np.inf]).require()
    np.testing.assert_allclose(free.rates, [3.0, 1.0])
    np.testing.assert_allclose(free.upper_prices, [1.0 / 9.0, 0.0])


def test_refusals_name_the_argument():
    call = ([[1.0, 1.0]], [0, 0], [1.0], 1.0)
    for name, wrong in (
        ("upper", [-1.0]), ("upper", [1.0, 1.0]), ("weights", [0.0]), ("weights", [np.inf]),
        ("weights", [[1.0]]),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as caught:
            alpha_fair_path_allocation(*call, **{name: wrong})
        assert caught.value.argument == name
    with pytest.raises(InvalidInput, match="float64 holds"):
        alpha_fair_path_allocation([[1e300, 1.0]], [0, 0], [1.0], 1.0, weights=[1e300])
    found = alpha_fair_path_allocation(*call)
    nowhere = path_allocation_residual(*call, found.path_rates, found.prices, [1.0])
    assert nowhere == np.inf


@pytest.mark.parametrize("paths", [1, 2])
def test_demands_on_a_graph_have_volumes_and_weights(paths):
    line = nx.path_graph(["a", "b", "c"])
    nx.set_edge_attributes(line, 1.0, "capacity")
    demands = [("a", "c"), ("a", "b")]
    found = network.allocation_on_graph(line, demands, np.inf, paths=paths, upper=[0.2, np.inf])
    np.testing.assert_allclose(found.require().rates, [0.2, 0.8], rtol=1e-7)
    found = network.allocation_on_graph(line, demands, np.inf, paths=paths, weights=[1.0, 3.0])
    np.testing.assert_allclose(found.require().rates, [0.25, 0.75], rtol=1e-7)
    np.testing.assert_allclose(found.loads, [1.0, 0.25], rtol=1e-7)
