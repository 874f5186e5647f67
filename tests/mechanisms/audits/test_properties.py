"""The laws: truthful rules pass, every wrong rule is caught with a witness that replays."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import errors
from mechanisms import (
    Outcome,
    budget_fair,
    cheapest_first,
    exactly,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
)
from mechanisms.audits.infinitesimal import Horizon, Infinitesimal, NotAffine
from mechanisms.audits.properties import (
    find_irrational_payment,
    find_menu_dependence,
    find_non_critical_payment,
    find_non_monotone,
    find_overspend,
    find_profitable_misreport,
    find_profitable_report,
)
from mechanisms.audits.response_curve import trace
from tests.mechanisms.profiles import HALVES, float_auctions, table

TRUTHFUL_RULES = [budget_fair, max_min_fair, leave_one_out_level]
ONE_CLIENT_LAWS = [
    find_profitable_misreport,
    find_non_monotone,
    find_non_critical_payment,
    find_menu_dependence,
]


def next_price_per_rank(bids, budget):
    """The j-th cheapest of one task is paid the (j+1)-th bid while money lasts: not truthful."""
    order = sorted(range(len(bids)), key=lambda i: (bids[i][0], i))
    winners, payments = np.zeros((len(bids), 1), bool), np.full((len(bids), 1), Fraction(0), object)
    left = Fraction(budget)
    for client, following in itertools.pairwise(order):
        pay = bids[following][0]
        if pay > left:
            break
        left, winners[client], payments[client] = left - pay, True, pay
    return Outcome(winners, payments, winners.sum(axis=0))


def most_expensive_wins(bids, budget):
    """The highest bid below the budget wins and is paid the budget: rising bids win."""
    winners = np.zeros(bids.shape, bool)
    for task, column in enumerate(bids.T):
        affordable = [i for i, bid in enumerate(column) if bid <= budget]
        if affordable:
            winners[max(affordable, key=lambda i: (column[i], -i)), task] = True
    payments = np.where(winners, Fraction(budget), Fraction(0))
    return Outcome(winners, payments, winners.sum(axis=0))


def rounds_bids(bids, budget):
    """A rule that looks at the digits of a bid, which no linear tracing can follow."""
    return budget_fair(np.round(bids.astype(float)), float(budget))


@pytest.mark.parametrize("rule", TRUTHFUL_RULES)
@settings(max_examples=25)
@given(auction=float_auctions(max_clients=4, max_tasks=3, values=HALVES))
def test_truthful_rules_obey_every_law(rule, auction):
    bids, budget = auction
    outcome = rule(bids, budget)
    assert find_overspend(outcome, budget) is None
    assert find_irrational_payment(outcome, bids) is None
    for law in ONE_CLIENT_LAWS:
        assert law(rule, bids, budget, client=0) is None


@settings(max_examples=25)
@given(st.lists(st.sampled_from(HALVES), min_size=2, max_size=8), st.sampled_from([1, 3, 7]))
def test_the_common_level_is_truthful_for_one_task_per_client(costs, budget):
    bids = np.full((len(costs), 2), np.inf)
    bids[np.arange(len(costs)), np.arange(len(costs)) % 2] = costs
    for client in range(2):
        assert find_profitable_misreport(level_max_min, bids, budget, client=client) is None


def test_the_common_level_falls_to_a_bid_on_a_task_that_the_client_cannot_do():
    rows = [(0, "-"), ("-", "3/2"), (0, "-"), ("-", 0), ("5/2", "-"), ("-", 0)]
    bids = table(*rows)
    assert find_profitable_misreport(level_max_min, bids, 7, client=0) is None
    found = find_profitable_misreport(level_max_min, bids, 7, client=0, feigned=True)
    assert found.replay(level_max_min) == found.gain > 0
    for rule in TRUTHFUL_RULES:
        assert find_profitable_misreport(rule, bids, 7, client=0, feigned=True) is None


def test_pay_as_bid_invites_a_misreport_of_the_exact_amount():
    bids = table((5,), (6,), (7,), (20,))
    found = find_profitable_misreport(greedy_max_min, bids, 20, client=0)
    assert (found.report, found.gain) == ((7,), 2)
    assert found.replay(greedy_max_min) == 2
    assert found.replay(max_min_fair) <= 0
    assert find_menu_dependence(greedy_max_min, bids, 20, client=0).replay(greedy_max_min) > 0
    wrong = find_non_critical_payment(greedy_max_min, bids, 20, client=0)
    assert wrong.replay(greedy_max_min) == wrong.gain > 0
    assert wrong.replay(max_min_fair) < wrong.gain


def test_next_price_per_rank_invites_a_misreport():
    bids = table((1,), (2,), (10,))
    found = find_profitable_misreport(next_price_per_rank, bids, 13, client=0)
    assert found.gain == 8
    assert found.replay(next_price_per_rank) == 8
    assert find_profitable_misreport(max_min_fair, bids, 13, client=0) is None


def test_a_losing_bid_moves_the_common_level():
    bids = table((1, 5), (2, 1), (4, 3))
    found = find_profitable_misreport(level_max_min, bids, 15, client=0)
    assert found.gain > 0
    assert found.report[0] == 1  # task 0 is won either way, the bid for task 1 moves the level
    assert found.replay(level_max_min) == found.gain
    assert found.replay(leave_one_out_level) <= 0
    menu = find_menu_dependence(level_max_min, bids, 15, client=0)
    assert menu.replay(level_max_min) == menu.gain > 0
    assert menu.replay(max_min_fair) == 0


def test_a_rule_that_favours_the_most_expensive_is_not_monotone():
    bids = table((1,), (2,))
    found = find_non_monotone(most_expensive_wins, bids, 5, client=0)
    assert found.replay(most_expensive_wins) == 1
    assert found.replay(max_min_fair) <= 0


def test_overspending_and_underpaying_are_measured_exactly():
    outcome = Outcome(np.array([[True], [True]]), np.array([[0.1], [0.2]]), np.array([2]))
    excess = Fraction(0.1) + Fraction(0.2) - Fraction(0.3)
    assert excess > 0
    found = find_overspend(outcome, 0.3)
    assert found.gain == excess
    assert found.within(exactly([[0.0], [0.0]]), 0.3).replay(lambda *_: outcome) == excess
    poor = find_irrational_payment(outcome, [[0.1], [0.5]])
    assert (poor.client, poor.task, poor.gain) == (1, 0, Fraction(0.5) - Fraction(0.2))
    assert poor.within(exactly([[0.1], [0.5]]), 1).replay(lambda *_: outcome) == poor.gain
    assert poor.within(exactly([[0.1], [0.5]]), 1).replay(max_min_fair) <= 0
    with pytest.raises(errors.InvalidInput, match="knows its bids"):
        found.replay(max_min_fair)


def test_a_joint_report_is_searched_among_those_given():
    bids = table((6, 1), (1, 2), (2, 5))
    reports = itertools.product(range(7), repeat=2)
    found = find_profitable_report(level_max_min, bids, 16, client=0, reports=reports)
    assert found.gain == 3
    assert found.replay(level_max_min) == 3
    again = itertools.product(range(7), repeat=2)
    assert find_profitable_report(max_min_fair, bids, 16, client=0, reports=again) is None


@settings(max_examples=40)
@given(
    float_auctions(max_clients=4, max_tasks=2, values=HALVES),
    st.fractions(0, 4, max_denominator=16),
)
def test_every_bid_lies_in_a_piece_that_predicts_its_outcome(auction, bid):
    bids, budget = exactly(auction[0]), Fraction(auction[1])
    for rule in (max_min_fair, level_max_min, greedy_max_min, cheapest_first):
        profile = bids.copy()
        profile[0, 0] = bid
        outcome = rule(profile, budget)
        pieces = [
            p
            for p in trace(rule, bids, budget, 0, 0)
            if bid == p.low == p.high or p.low < bid < p.high
        ]
        assert len(pieces) == 1
        assert list(pieces[0].won) == outcome.winners[0].tolist()
        costs = tuple(Fraction(0) for _ in bids[0])
        paid = sum(outcome.payments[0][outcome.winners[0]], Fraction(0))
        assert pieces[0].utility(costs, bid) == paid


@pytest.mark.parametrize("law", ONE_CLIENT_LAWS)
def test_a_rule_that_rounds_bids_is_refused(law):
    with pytest.raises(errors.InvalidInput, match="only adds, scales and compares"):
        law(rounds_bids, table((1,), (2,)), 5, client=0)
    with pytest.raises(errors.InvalidInput, match="client"):
        law(budget_fair, table((1,), (2,)), 5, client=2)


def test_germs_are_an_ordered_space():
    horizon = Horizon()
    bid = Infinitesimal(Fraction(1), Fraction(1), horizon)
    assert 1 < bid <= bid + 0
    assert bid < math.inf
    assert bid + math.inf == math.inf
    assert (3 - bid) * 2 == 6 - 2 * bid
    assert (bid / 2 + bid / 2) == bid
    assert horizon.limit == math.inf
    assert bid < 4
    assert horizon.limit == 3
    for wrong in (lambda: bid * bid, lambda: 1 / bid, lambda: float(bid), lambda: bid + "1"):
        with pytest.raises(NotAffine):
            wrong()
