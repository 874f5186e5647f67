"""Rules agree with their reference implementations, in fractions and in floats, ties included."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanisms import (
    budget_fair,
    cheapest_first,
    exactly,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
    posted_price,
    proportional_share,
    random_recruitment,
)
from tests.mechanisms.auctions import literal
from tests.mechanisms.profiles import HALVES, float_auctions, paid, table

SETTINGS = settings(max_examples=150)


def recruits(outcome):
    """{(client, task): payment} of an outcome."""
    return {(int(i), int(s)): outcome.payments[i, s] for i, s in np.argwhere(outcome.winners)}


def rounded_down(price):
    """Largest float at or below a fraction."""
    nearest = float(price)
    return nearest if Fraction(nearest) <= price else math.nextafter(nearest, 0.0)


def assert_rounded_copy(floats, exact):
    """The float outcome decides as the exact one and pays its prices rounded down."""
    assert np.array_equal(floats.winners, exact.winners)
    assert np.array_equal(floats.level, exact.level)
    pairs = recruits(exact)
    assert recruits(floats) == {cell: rounded_down(price) for cell, price in pairs.items()}


def assert_sound(outcome, bids, budget):
    """Exact sum within the budget, nobody paid below its bid, nobody paid for nothing."""
    total = sum(map(Fraction, outcome.payments[outcome.winners]), Fraction(0))
    assert total <= Fraction(budget)
    assert (outcome.payments[outcome.winners] >= bids[outcome.winners]).all()
    assert (outcome.payments[~outcome.winners] == 0).all()
    assert not outcome.winners[bids == math.inf].any()


@SETTINGS
@given(float_auctions())
def test_max_min_fair_is_its_definition(auction):
    bids, budget = auction
    exact = max_min_fair(exactly(bids), budget)
    assert recruits(exact) == literal.max_min_fair(exactly(bids).tolist(), Fraction(budget))
    assert_rounded_copy(max_min_fair(bids, budget), exact)
    assert_sound(max_min_fair(bids, budget), bids, budget)


@SETTINGS
@given(float_auctions(max_clients=12, max_tasks=3), st.sampled_from([0.0, 0.5, 1.0, 2.5, math.inf]))
def test_max_min_fair_with_a_reserve(auction, reserve):
    bids, budget = auction
    exact = max_min_fair(exactly(bids), budget, reserve=reserve)
    assert_rounded_copy(max_min_fair(bids, budget, reserve=reserve), exact)
    assert_sound(exact, bids, budget)
    assert (bids[exact.winners] <= reserve).all()
    assert (exact.payments[exact.winners] <= reserve).all()


@SETTINGS
@given(float_auctions())
def test_common_level_rules_are_their_definitions(auction):
    bids, budget = auction
    rows, money = exactly(bids).tolist(), Fraction(budget)
    exact = level_max_min(exactly(bids), budget)
    assert (exact.level[0], recruits(exact)) == literal.level_max_min(rows, money)
    assert_rounded_copy(level_max_min(bids, budget), exact)
    assert_sound(level_max_min(bids, budget), bids, budget)
    single = leave_one_out_level(exactly(bids), budget)
    assert recruits(single) == literal.leave_one_out_level(rows, money)
    assert_rounded_copy(leave_one_out_level(bids, budget), single)
    assert_sound(leave_one_out_level(bids, budget), bids, budget)


@SETTINGS
@given(float_auctions(max_clients=9, max_tasks=3), st.sampled_from([0.0, 0.5, 1.0, 2.5, math.inf]))
def test_common_level_rules_with_a_reserve(auction, reserve):
    bids, budget = auction
    for rule in (level_max_min, leave_one_out_level):
        exact = rule(exactly(bids), budget, reserve=reserve)
        assert_rounded_copy(rule(bids, budget, reserve=reserve), exact)
        assert_sound(exact, bids, budget)
        assert (exact.payments[exact.winners] <= reserve).all()


@settings(max_examples=60)
@given(float_auctions(max_clients=5, max_tasks=2, values=HALVES), st.sampled_from([0.5, 1.0, 2.5]))
def test_a_reserve_is_many_outside_bidders_at_that_price(auction, reserve):
    bids, budget = auction
    kept = exactly(np.where(bids > reserve, math.inf, bids))
    budget = min(budget, 8.0)
    sellers = len(bids) + int(budget / reserve) + 2  # more than the budget could ever reach
    outside = np.full((sellers, bids.shape[1]), Fraction(reserve), dtype=object)
    crowd = max_min_fair(np.concatenate([kept, *one_task_bidders(outside)]), budget)
    exact = max_min_fair(exactly(bids), budget, reserve=reserve)
    assert np.array_equal(crowd.payments[: len(bids)], exact.payments)


def one_task_bidders(bids):
    """Every bid as a client of its own, so that the crowd bids on one task each."""
    rows = []
    for row in bids:
        for task, value in enumerate(row):
            rows.append(np.array([[value if t == task else math.inf for t in range(len(row))]]))
    return [row.astype(object) for row in rows]


@SETTINGS
@given(float_auctions())
def test_budget_fair_is_one_proportional_share_per_task(auction):
    bids, budget = auction
    exact = budget_fair(exactly(bids), budget)
    for task, share in enumerate(paid(exact)):
        column = exactly(bids)[:, task].tolist()
        assert share == literal.proportional_share(column, Fraction(budget) / bids.shape[1])
    assert_rounded_copy(budget_fair(bids, budget), exact)
    assert_sound(budget_fair(bids, budget), bids, budget)


@SETTINGS
@given(float_auctions(max_clients=9, max_tasks=1))
def test_one_task_is_the_proportional_share_under_every_rule(auction):
    bids, budget = auction
    single = proportional_share(bids[:, 0], budget)
    for rule in (budget_fair, max_min_fair):
        assert rule(bids, budget) == single


@SETTINGS
@given(float_auctions(max_tasks=3))
def test_the_default_is_never_worse_than_one_level_per_client(auction):
    bids, budget = auction
    ours = recruits(max_min_fair(exactly(bids), budget))
    simpler = literal.leave_client_out(exactly(bids).tolist(), Fraction(budget))
    assert all(cell in ours and ours[cell] >= price for cell, price in simpler.items())


@SETTINGS
@given(float_auctions())
def test_greedy_rounds_are_the_optimum(auction):
    bids, budget = auction
    exact = greedy_max_min(exactly(bids), budget)
    columns = np.sort(exactly(bids), axis=0)
    best = max(
        k
        for k in range(len(bids) + 1)
        if math.inf not in columns[:k] and columns[:k].sum() <= Fraction(budget)
    )
    assert (exact.level == best).all()
    assert exact.min_take_up == best
    assert_rounded_copy(greedy_max_min(bids, budget), exact)
    assert_sound(greedy_max_min(bids, budget), bids, budget)


@SETTINGS
@given(float_auctions())
def test_cheapest_first_buys_the_longest_prefix(auction):
    bids, budget = auction
    exact = cheapest_first(exactly(bids), budget)
    total, count = Fraction(0), 0
    for value in sorted(exactly(bids).ravel()):
        if value == math.inf or total + value > Fraction(budget):
            break
        total, count = total + value, count + 1
    assert exact.winners.sum() == count
    assert exact.spend == total
    assert_rounded_copy(cheapest_first(bids, budget), exact)


@SETTINGS
@given(float_auctions(), st.integers(0, 2**32 - 1))
def test_random_recruitment_leaves_no_bid_that_fits(auction, seed):
    bids, budget = auction
    exact, floats = (
        random_recruitment(each, budget, np.random.default_rng(seed))
        for each in (exactly(bids), bids)
    )
    assert_rounded_copy(floats, exact)
    assert_sound(floats, bids, budget)
    left = Fraction(budget) - exact.spend
    assert not any(value <= left for value in exactly(bids)[~exact.winners])


def total(prices):
    """Money paid."""
    return sum(prices.values())


@pytest.mark.parametrize(
    ("broken", "bids", "budget", "spend"),
    [
        ({"test_others": False}, table(("-", 0), (0, 0), ("-", 0)), 5, Fraction(15, 2)),
        ({"optimistic": True}, table((0, 0), (1, 0)), 1, Fraction(5, 4)),
    ],
)
def test_dropping_a_test_overspends(broken, bids, budget, spend):
    assert total(literal.max_min_fair(bids.tolist(), Fraction(budget), **broken)) == spend
    assert spend > budget
    assert max_min_fair(bids, budget).spend <= budget


ALL_RULES = (
    budget_fair,
    max_min_fair,
    leave_one_out_level,
    level_max_min,
    greedy_max_min,
    cheapest_first,
)


@pytest.mark.parametrize("rule", ALL_RULES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 5)])
def test_nobody_bids(rule, shape):
    outcome = rule(np.full(shape, np.inf), 1.0)
    assert not outcome.winners.any()
    assert outcome.spend == 0
    assert outcome.level.tolist() == [0] * shape[1]


def test_one_client_gets_the_whole_budget_of_one_task():
    assert max_min_fair([[3.0]], 10.0).payments == [[10.0]]
    assert max_min_fair([[11.0]], 10.0).spend == 0


def test_one_client_of_two_tasks_has_no_rival_to_set_its_price():
    assert max_min_fair([[1.0, 1.0]], 10.0).spend == 0
    assert max_min_fair([[1.0, 1.0]], 10.0, reserve=5.0).payments.tolist() == [[5.0, 5.0]]


def test_ties_go_to_the_lower_index():
    assert paid(proportional_share([2.0, 2.0, 2.0], 4.0)) == [{0: 2.0, 1: 2.0}]


def test_the_sum_of_equal_shares_stays_within_the_budget():
    outcome = proportional_share([0.0] * 3, 0.1)
    assert sum(map(Fraction, outcome.payments.ravel())) <= Fraction(0.1)
    assert outcome.take_up == 3


def test_large_auction_agrees_with_the_exact_form_on_a_sample_of_clients():
    rng = np.random.default_rng(3)
    bids = np.round(rng.lognormal(size=(60, 5)), 1)
    for budget in (0.5, 20.0, 100.0, 400.0):
        assert_rounded_copy(max_min_fair(bids, budget), max_min_fair(exactly(bids), budget))


LAWS = {
    "tied": lambda rng, shape: rng.integers(0, 6, shape) / 10,
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
    "awkward": lambda rng, shape: rng.choice([0.1, 0.2, 0.3, 1 / 3, 2 / 3, 1e-3], shape),
    "scales": lambda rng, shape: rng.random(shape) * 10.0 ** rng.integers(-8, 9, shape[1]),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [(300, 15), (24, 40)])
def test_many_tasks_and_hundreds_of_clients_agree_with_the_exact_form(law, shape):
    """All rules, with missing bids, at budgets that are sums of asks to the last bit."""
    rng = np.random.default_rng([len(law), *shape])
    bids = LAWS[law](rng, shape)
    bids[rng.random(shape) < 0.1] = np.inf
    asks = np.sort(np.where(np.isfinite(bids), bids, 0.0), axis=0)
    for clients in (2, shape[0] // 4):
        total = sum(map(Fraction, asks[:clients].ravel()), Fraction(0))
        budget = max(float(total), float(np.nextafter(0.0, 1.0)))
        for rule in ALL_RULES:
            assert_rounded_copy(rule(bids, budget), rule(exactly(bids), budget))


HUGE = [1e308, 1.7e308, 3e300, 1.0, 0.0]


@SETTINGS
@given(
    float_auctions(values=HUGE),
    st.sampled_from([1.0, 4e300, 5e307, 1.7e308]),
)
def test_sums_beyond_the_largest_float_are_over_budget(auction, budget):
    bids, _ = auction
    for rule in ALL_RULES:
        assert_rounded_copy(rule(bids, budget), rule(exactly(bids), budget))
    prices = np.full(bids.shape[1], 1.5e308)
    met = posted_price(bids, prices, budget).winners.any()
    assert not met or budget >= bids.shape[1] * 1.5e308
