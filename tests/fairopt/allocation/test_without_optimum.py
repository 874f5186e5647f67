"""Flows without an optimum do not keep the others from theirs: closed, unlimited, infinite."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairopt import (
    Status,
    allocation_residual,
    alpha_fair_allocation,
    alpha_fair_path_allocation,
    path_allocation_residual,
    reference,
)
from fairopt.allocation import solve
from tests.fairopt.allocation.wide_networks import FINITE, network, overload

ROW = (
    np.array(
        [[1, 1, 0, 1, 0, 0, 1, 0, 1], [0, 1, 0, 0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 0, 0, 1, 0, 0]]
    )
    * 1.0,
    np.array([3.332155377933489e-05, 341214.48157372075, 0.00471275343772451]),
)
"""Flows 4 and 5 use no link; at alpha = 1000 prices leave float64."""
SEEDS = st.integers(0, 2**20)
PATH_ALPHAS = (0.0, 0.3, 1.0, 2.0, np.inf)  # of ordinary size: several paths at 50 take seconds


def parts(R, capacity, alpha):
    """Flows with a path that nothing limits, those that have none but closed ones, the others."""
    free = ~(R[np.isfinite(capacity)] > 0.0).any(axis=0)
    shut = (R[capacity == 0.0] > 0.0).any(axis=0) & (1.0 <= alpha < np.inf)
    return free, shut, ~(free | shut)


def check_others(R, capacity, alpha, kept, found):
    """The other flows have the rates of the problem without them, and fit."""
    alone = alpha_fair_allocation(R[:, kept], capacity, alpha)
    np.testing.assert_array_equal(found.rates[kept], alone.rates)
    assert overload(R, capacity, found.rates) <= 1e-9
    if alone.status is Status.OPTIMAL:
        assert "the others are solved" in found.sentence
        residual = allocation_residual(R[:, kept], capacity, alpha, alone.rates, alone.prices)
        assert residual <= 1e-9
    else:
        assert alone.status.sentence in found.sentence


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from([0.0, *FINITE, np.inf]), st.sampled_from([3.0, 10.0, 300.0]))
def test_the_others_are_solved_as_if_they_were_alone(seed, alpha, decades):
    R, _, capacity = network(seed, decades=decades)
    free, shut, kept = parts(R, capacity, alpha)
    found = alpha_fair_allocation(R, capacity, alpha)
    np.testing.assert_array_equal(np.isposinf(found.rates), free)
    if shut.any():
        assert found.status is Status.INFEASIBLE
        np.testing.assert_array_equal(found.certificate > 0.0, shut)
        assert (found.rates[shut] == 0.0).all()
    elif free.any():
        assert found.status is Status.UNBOUNDED
        np.testing.assert_array_equal(found.certificate > 0.0, free)
    if (free | shut).any() and kept.any():
        check_others(R, capacity, alpha, kept, found)
    assert overload(R, capacity, found.rates) <= 1e-9


@pytest.mark.parametrize("alpha", [0.0, *FINITE, np.inf])
def test_unlimited_flows_beside_links_of_ten_decades(alpha):
    """The case in which alpha = 1000 overloaded links 13.6 times."""
    R, capacity = ROW
    found = alpha_fair_allocation(R, capacity, alpha)
    assert found.status is Status.UNBOUNDED
    check_others(R, capacity, alpha, parts(R, capacity, alpha)[2], found)


def test_what_a_method_returns_is_not_passed_on_unjudged(monkeypatch):
    """A negative control: rates that overload links are seen, named and made to fit."""
    right = solve.solve_finite

    def too_much(*given):
        found = right(*given)
        found.rates[::2] *= 3.0
        return found

    monkeypatch.setattr(solve, "solve_finite", too_much)
    R, capacity = ROW
    found = alpha_fair_allocation(R, capacity, 2.0)
    assert found.status is Status.UNBOUNDED
    assert Status.STEP_LIMIT.sentence in found.sentence
    assert overload(R, capacity, found.rates) <= 1e-9
    alone = alpha_fair_allocation(R[:, parts(R, capacity, 2.0)[2]], capacity, 2.0)
    assert alone.status is Status.STEP_LIMIT
    assert alone.residual > 0.1


def test_both_kinds_at_once_are_infeasible_and_both_are_named():
    """No point is worse than no end, whatever the numbers of the two statuses are."""
    R, capacity = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), [0.0, 2.0]
    for found in (
        alpha_fair_allocation(R, capacity, 1.0),
        alpha_fair_path_allocation(R, [0, 1, 2], capacity, 1.0),
    ):
        assert found.status is Status.INFEASIBLE
        np.testing.assert_array_equal(found.certificate, [1.0, 0.0, 0.0])
        np.testing.assert_allclose(found.rates, [0.0, np.inf, 2.0], rtol=1e-6)
        assert "flows 0 can only have rate zero" in found.sentence
        assert "flows 1 are limited by nothing" in found.sentence


def test_flows_of_the_others_keep_their_numbers():
    """A rate that vanishes beside an unlimited flow is named by its number among all flows."""
    R = [[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    found = alpha_fair_allocation(R, [1.0, 2.0], 1e-3, priority=[1.0, 0.001, 2.0, 3.0])
    assert found.status is Status.UNBOUNDED
    assert "the rates of flows 1 are below" in found.sentence
    np.testing.assert_allclose(found.rates, [np.inf, 0.0, 1.0, 2.0], atol=1e-300)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from(PATH_ALPHAS))
def test_several_paths_the_others_are_solved_as_if_they_were_alone(seed, alpha):
    R, owner, capacity = network(seed, decades=1.0, paths=3)
    free, _, _ = parts(R, capacity, alpha)
    shut = (R[capacity == 0.0] > 0.0).any(axis=0)
    unlimited = np.bincount(owner, free) > 0.0
    closed = (np.bincount(owner, ~shut) == 0.0) & (1.0 <= alpha < np.inf)
    found = alpha_fair_path_allocation(R, owner, capacity, alpha)
    np.testing.assert_array_equal(np.isposinf(found.rates), unlimited)
    np.testing.assert_array_equal(found.rates, np.bincount(owner, found.path_rates))
    assert overload(R, capacity, found.path_rates) <= 1e-6
    kept = ~(unlimited | closed)
    if kept.all():
        assert found.status is Status.OPTIMAL
        return
    assert found.status is (Status.INFEASIBLE if closed.any() else Status.UNBOUNDED)
    np.testing.assert_array_equal(found.certificate > 0.0, closed if closed.any() else unlimited)
    if kept.any():
        mine = kept[owner]
        _, numbers = np.unique(owner[mine], return_inverse=True)
        alone = alpha_fair_path_allocation(R[:, mine], numbers, capacity, alpha).require()
        np.testing.assert_array_equal(found.rates[kept], alone.rates)
        assert "the others are solved" in found.sentence


def test_a_closed_path_beside_an_open_one():
    found = alpha_fair_path_allocation([[1, 0], [0, 1]], [0, 1], [0.0, 1.0], 1)
    assert found.status is Status.INFEASIBLE
    np.testing.assert_allclose(found.rates, [0.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(found.prices == np.inf, [True, False])


@settings(max_examples=60, deadline=None)
@given(SEEDS)
@example(0)
def test_max_min_exists_beside_closed_links(seed):
    """Rate zero on closed links, progressive filling in fractions elsewhere."""
    rng = np.random.default_rng(seed)
    links, flows = int(rng.integers(2, 5)), int(rng.integers(2, 7))
    R = rng.integers(0, 3, (links, flows))
    R[rng.integers(links, size=flows), np.arange(flows)] = 1
    capacity = rng.integers(0, 4, links)
    capacity[0] = 0
    exact = [float(rate) for rate in reference.max_min_rates(R.tolist(), capacity.tolist())]
    one = alpha_fair_allocation(R * 1.0, capacity * 1.0, np.inf)
    several = alpha_fair_path_allocation(R * 1.0, np.arange(flows), capacity * 1.0, np.inf)
    for found, tol in ((one, 1e-12), (several, 1e-7)):
        assert found.status is Status.OPTIMAL
        np.testing.assert_allclose(found.rates, exact, rtol=tol)
    assert not np.isfinite(one.prices[capacity == 0][R[capacity == 0].any(axis=1)]).any()
    given_a_rate = np.where(np.array(exact) == 0.0, 1e-3, exact)
    if (given_a_rate != exact).any():
        wrong = allocation_residual(R, capacity, np.inf, given_a_rate, one.prices)
        assert wrong == np.inf
        of_paths = (given_a_rate, several.prices)
        assert path_allocation_residual(R, range(flows), capacity, np.inf, *of_paths) == np.inf


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, np.inf])
def test_a_closed_link_for_every_alpha(alpha):
    """Rates (0, 0, 1); only where rate zero has no utility it is INFEASIBLE."""
    R, capacity = [[1, 1, 0], [0, 1, 1]], [0, 1]
    for found in (
        alpha_fair_allocation(R, capacity, alpha),
        alpha_fair_path_allocation(R, [0, 1, 2], capacity, alpha),
    ):
        infeasible = 1.0 <= alpha < np.inf
        assert found.status is (Status.INFEASIBLE if infeasible else Status.OPTIMAL)
        np.testing.assert_allclose(found.rates, [0.0, 0.0, 1.0], rtol=1e-6)
        np.testing.assert_allclose(found.prices, [np.inf, 1.0], rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from(PATH_ALPHAS))
def test_links_without_a_limit_change_nothing(seed, alpha):
    """Beside limited ones they are as if they were not there, over one path or several."""
    R, owner, capacity = network(seed, decades=1.0, special=0.0, paths=3)
    rng = np.random.default_rng(seed)
    wide = np.vstack([R, (rng.random((2, len(owner))) < 0.5) * 1.0])
    room = np.append(capacity, [np.inf, np.inf])
    plain = alpha_fair_path_allocation(R, owner, capacity, alpha).require()
    found = alpha_fair_path_allocation(wide, owner, room, alpha)
    assert found.status is Status.OPTIMAL
    np.testing.assert_allclose(found.rates, plain.rates, rtol=1e-9)
    assert not found.prices[-2:].any()
    judged = path_allocation_residual(wide, owner, room, alpha, found.path_rates, found.prices)
    assert judged == found.residual
    paid = found.prices + np.append(np.zeros(len(capacity)), [1.0, 1.0])
    if wide[-2:].any():  # a price of a link that can never be full
        assert path_allocation_residual(wide, owner, room, alpha, found.path_rates, paid) > 1e-3


def test_a_link_without_a_limit_at_alpha_zero():
    routing = [[1, 0], [0, 1], [1, 1]]
    found = alpha_fair_path_allocation(routing, [0, 1], [1, 1, np.inf], 0)
    assert found.status is Status.OPTIMAL
    np.testing.assert_array_equal(found.rates, [1.0, 1.0])
    free = alpha_fair_path_allocation([[1, 0], [0, 0], [1, 1]], [0, 1], [1, 1, np.inf], 0)
    assert free.status is Status.UNBOUNDED
    np.testing.assert_array_equal(free.rates, [1.0, np.inf])
