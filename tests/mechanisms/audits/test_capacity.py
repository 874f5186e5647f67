"""Audits of auctions for clients that can do a limited number of tasks."""

import functools
import random
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt.errors import InvalidInput
from mechanisms import Outcome, audit, capacity_max_min, level_max_min, max_min_fair
from mechanisms.audits.violation import CAPACITY, RATIONAL, TRUTHFUL, WITHIN_BUDGET
from mechanisms.outcome import counting_recruits
from tests.mechanisms.auctions import capacity_trials as trials

BIDS, BUDGET = [[8, 8], [2, 1], [3, 8]], 12
"""Where the default auction, of which each client keeps its first task, has a profitable lie."""


def first_task(bids, budget):
    """The default auction, and then only the first task of each client."""
    outcome = max_min_fair(bids, budget)
    winners, payments = outcome.winners.copy(), outcome.payments.copy()
    for client, row in enumerate(winners):
        for task in np.flatnonzero(row)[1:]:
            winners[client, task], payments[client, task] = False, 0
    return counting_recruits(winners, payments)


def test_keeping_the_first_task_is_not_truthful():
    report = audit(first_task, BIDS, BUDGET, capacity=1, method="search", samples=3000)
    assert report.laws[CAPACITY]
    assert report.truthful is False
    best = report.violations[0]
    assert best.client == 1
    assert best.replay(first_task) == best.gain > 0


def test_a_rule_for_clients_that_do_everything_overloads_the_others():
    report = audit(max_min_fair, [[1, 1], [2, 2], [3, 3]], 30, capacity=1)
    assert report.laws[CAPACITY] is False
    assert report.truthful is False
    crowded = next(each for each in report.violations if each.law == CAPACITY)
    assert crowded.gain == crowded.replay(max_min_fair) == 1
    lie = next(each for each in report.violations if each.law == TRUTHFUL)
    assert lie.replay(max_min_fair) == lie.gain > 0


@pytest.mark.parametrize("capacity", [1, 2])
def test_the_capacity_auction_passes_exactly(capacity):
    rule = functools.partial(capacity_max_min, capacity=capacity)
    bids = [[1, 2, 4], [2, 2, 8], [3, 6, 4], [1, 6, 12], [2, 4, 4]]
    for table in (bids, np.array(bids, dtype=float)):
        report = audit(rule, table, 30, clients=[1, 4], capacity=capacity)
        assert report.ok
        assert report.truthful
        assert report.method == "exact"
        assert report.laws[CAPACITY]
        assert report.laws[WITHIN_BUDGET]
        assert report.laws[RATIONAL]
        assert "every joint misreport" in report.scope


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_best_response_is_the_best_of_all_reports(seed):
    """No report on a grid beats the set that the audit by structure finds."""
    trial = trials.draw_trial(random.Random(seed), top=3, clients=4)
    rule = functools.partial(capacity_max_min, **trial.options)
    report = audit(rule, trial.table(), trial.budget, capacity=trial.capacity)
    assert report.ok
    gains = [gain for *_, gain in trials.joint_misreports(trial, random.Random(seed), 12)]
    assert max(gains) <= 0


def test_broken_twin_is_caught_by_the_structure_too(monkeypatch):
    """A twin that pays winners their asks is found although its structure is not known."""

    def pays_asks(bids, budget):
        outcome = capacity_max_min(bids, budget)
        return Outcome(outcome.winners, np.where(outcome.winners, bids, 0), outcome.level)

    bids = np.array([[1, 4], [2, 3], [4, 1], [3, 2], [5, 5], [6, 4]])
    report = audit(pays_asks, bids, 20, clients=0, capacity=1)
    assert report.truthful is False
    assert report.violations[0].replay(pays_asks) == report.violations[0].gain > F(0)


def test_a_rule_with_a_larger_capacity_of_its_own_is_no_truthful_one():
    """Its contracts with those that do less are void, so that bidding on less pays."""
    rule = functools.partial(capacity_max_min, capacity=2)
    report = audit(rule, np.array(BIDS, dtype=float), BUDGET, capacity=1)
    assert report.laws[CAPACITY] is False
    assert report.truthful is False
    lie = next(each for each in report.violations if each.law == TRUTHFUL)
    assert lie.replay(rule) == lie.gain > 0
    assert audit(rule, BIDS, BUDGET, capacity=2).ok


def test_without_a_capacity_there_is_no_such_law():
    assert CAPACITY not in audit(level_max_min, BIDS, BUDGET).laws


@pytest.mark.parametrize("capacity", [0, 3, 1.5, [1, 1], [1, 2, 3]])
def test_bad_capacity_is_refused(capacity):
    with pytest.raises(InvalidInput) as caught:
        audit(max_min_fair, BIDS, BUDGET, capacity=capacity)
    assert caught.value.argument == "capacity"
    with pytest.raises(InvalidInput):
        max_min_fair(BIDS, BUDGET).utilities(BIDS, capacity=capacity)
