"""What every rule owes to names, to units of money, and to more money."""

import subprocess
import sys
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
)
from tests.mechanisms.profiles import HALVES, float_auctions

RULES = [
    budget_fair,
    cheapest_first,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
]
SETTINGS = settings(max_examples=60)


def distinct(bids):
    """The same bids moved apart by less than any gap, so that no two of a task tie."""
    step = np.arange(bids.size).reshape(bids.shape) * 2.0**-20
    return bids + step


@pytest.mark.parametrize("rule", RULES)
@SETTINGS
@given(auction=float_auctions(values=HALVES), seed=st.integers(0, 999))
def test_names_of_clients_and_tasks_do_not_matter(rule, auction, seed):
    bids, budget = distinct(auction[0]), auction[1]
    rng = np.random.default_rng(seed)
    clients, tasks = rng.permutation(bids.shape[0]), rng.permutation(bids.shape[1])
    renamed = rule(bids[np.ix_(clients, tasks)], budget)
    outcome = rule(bids, budget)
    assert np.array_equal(renamed.payments, outcome.payments[np.ix_(clients, tasks)])
    assert np.array_equal(renamed.level, outcome.level[tasks])


@pytest.mark.parametrize("rule", RULES)
@SETTINGS
@given(auction=float_auctions(values=HALVES), power=st.integers(-60, 60))
def test_units_of_money_do_not_matter(rule, auction, power):
    bids, budget = auction
    outcome, scaled = rule(bids, budget), rule(bids * 2.0**power, budget * 2.0**power)
    assert np.array_equal(scaled.payments, outcome.payments * 2.0**power)
    exact = rule(exactly(bids) * Fraction(7, 3), Fraction(budget) * Fraction(7, 3))
    assert np.array_equal(exact.winners, outcome.winners)


@pytest.mark.parametrize("rule", [budget_fair, greedy_max_min, level_max_min, max_min_fair])
@SETTINGS
@given(auction=float_auctions(values=HALVES), factor=st.sampled_from([1.25, 2.0, 3.0]))
def test_more_money_recruits_everybody_it_did_before(rule, auction, factor):
    bids, budget = auction
    assert (rule(bids, budget * factor).winners >= rule(bids, budget).winners).all()


def test_fewer_bidders_than_tasks():
    bids = np.array([[1.0, np.inf, 2.0, 1.0, 3.0], [2.0, 2.0, np.inf, 1.0, 1.0]])
    for rule in RULES:
        outcome = rule(bids, 50.0)
        assert outcome.spend <= 50.0
        assert not outcome.winners[np.isinf(bids)].any()
    assert max_min_fair(bids, 50.0).payments[[0, 1], [2, 1]].tolist() == [10.0, 10.0]
    assert max_min_fair(bids, 50.0, reserve=4.0).min_take_up == 1


def test_the_example_finds_the_misreport_in_its_rule():
    command = [sys.executable, "examples/audit_your_own_auction.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mine: truthful = False" in done.stdout
    assert "gains 4 by bidding (4, 1) [replayed: 4]" in done.stdout
    assert "max_min_fair: truthful = True" in done.stdout
