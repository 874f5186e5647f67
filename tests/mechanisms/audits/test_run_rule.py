"""Mechanisms that misbehave: audits say what is wrong and never count with nonsense."""

import math
from fractions import Fraction

import numpy as np
import pytest

from fairopt import errors
from mechanisms import (
    Outcome,
    audit,
    budget_fair,
    exactly,
    greedy_max_min,
    max_min_fair,
    random_recruitment,
)
from mechanisms.audits.collusion_search import find_limits
from mechanisms.audits.properties import (
    find_irrational_payment,
    find_overspend,
    find_profitable_report,
)
from mechanisms.audits.run_rule import checked_outcome, run_mechanism
from proofs.conformance import check_auction
from tests.mechanisms.profiles import table

BIDS = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])


def paying(amount):
    """Greedy recruits, every one paid this much."""

    def rule(bids, budget):
        outcome = greedy_max_min(bids, budget)
        payments = np.full(bids.shape, 0, dtype=object)
        payments[outcome.winners] = amount
        return Outcome(outcome.winners, payments, outcome.level)

    return rule


def pays_losers(bids, budget):
    """Nobody works, everybody gets a hundredth of its bid: bidding more pays, unless refused."""
    nobody = np.zeros(bids.shape, dtype=bool)
    return Outcome(nobody, bids / 100, nobody.sum(axis=0))


def too_small(bids, budget):
    return Outcome(np.ones((1, 1), bool), np.ones((1, 1)), np.ones(1))


@pytest.mark.parametrize("method", ["auto", "search"])
@pytest.mark.parametrize("bids", [BIDS, exactly(BIDS)])
@pytest.mark.parametrize(
    ("rule", "argument"),
    [
        (lambda bids, budget: None, "outcome"),
        (lambda bids, budget: {"winners": []}, "outcome"),
        (too_small, "outcome"),
        (paying(math.nan), "outcome.payments[client 0, task 0]"),
        (paying(math.inf), "outcome.payments[client 0, task 0]"),
        (paying("1"), "outcome.payments[client 0, task 0]"),
        (paying(1j), "outcome.payments[client 0, task 0]"),
        (paying(None), "outcome.payments[client 0, task 0]"),
        (pays_losers, "outcome.payments[client 0, task 0]"),
    ],
)
def test_nonsense_is_refused_and_never_passes(rule, argument, bids, method):
    for look in (
        lambda: audit(rule, bids, 6, method=method, samples=60),
        lambda: find_limits(rule, bids, 6, samples=20),
        lambda: find_profitable_report(rule, bids, 6, client=0, reports=[(5, 5)]),
    ):
        with pytest.raises(errors.InvalidInput) as caught:
            look()
        assert caught.value.argument == argument


def test_nonsense_does_not_conform():
    report = check_auction(paying(math.nan))
    assert not report.passed
    assert all("finite amount" in (result.witness or "") for result in report.broken)


def test_a_bare_outcome_is_checked_too():
    outcome = Outcome(np.array([[True]]), np.array([[math.nan]]), np.array([1]))
    with pytest.raises(errors.InvalidInput, match="finite"):
        find_overspend(outcome, 1)
    with pytest.raises(errors.InvalidInput, match="finite"):
        find_irrational_payment(outcome, [[0.5]])
    with pytest.raises(errors.InvalidInput, match="shape"):
        checked_outcome(max_min_fair([[1.0]], 2.0), (2, 1))


def test_a_rule_may_spoil_its_copy_of_the_bids():
    def spoils(bids, budget):
        outcome = greedy_max_min(bids.copy(), budget)
        bids[:] = 0
        return outcome

    for bids in (BIDS, exactly(BIDS)):
        kept = bids.copy()
        for method in ("auto", "search"):
            mine = audit(spoils, bids, 6, method=method, samples=90)
            clean = audit(lambda b, m: greedy_max_min(b, m), bids, 6, method=method, samples=90)
            assert [v.gain for v in mine.violations] == [v.gain for v in clean.violations]
            assert all(v.replay(spoils) == v.gain for v in mine.violations)
        assert (bids == kept).all()


class Alternating:
    """A rule with a memory: every other auction is held by another rule."""

    def __init__(self):
        self.calls = 0

    def __call__(self, bids, budget):
        self.calls += 1
        return (max_min_fair if self.calls % 2 else budget_fair)(bids, budget)


class Drifting(Alternating):
    """A rule that answers twice alike before it changes its mind."""

    def __call__(self, bids, budget):
        self.calls += 1
        return (max_min_fair if self.calls % 12 < 8 else greedy_max_min)(bids, budget)


MANY_WAYS = table((1, 1), (1, 2), (2, 1), (2, 2), (1, 1))
"""Bids that six units of money can recruit in many ways."""


class Wandering:
    """Random recruitment whose generator goes on from auction to auction."""

    def __init__(self):
        self.rng = np.random.default_rng(1)

    def __call__(self, bids, budget):
        return random_recruitment(bids, budget, self.rng)


@pytest.mark.parametrize("method", ["auto", "search"])
@pytest.mark.parametrize("make", [Alternating, Drifting, Wandering])
def test_a_rule_that_changes_its_mind_is_refused(make, method):
    bids = table((1, 10), (2, 10), (3, 12), (4, 14), (5, 20))
    with pytest.raises(errors.InvalidInput, match="a function of bids and budget alone"):
        audit(make(), bids, 60, method=method, samples=200)


def test_a_memory_does_not_conform_and_has_no_limits():
    report = check_auction(Wandering(), claims=["same bids, same outcome"])
    assert not report.passed
    with pytest.raises(errors.InvalidInput, match="a function of bids and budget alone"):
        find_limits(Wandering(), MANY_WAYS, 6, samples=20)


def test_an_error_of_the_rule_names_the_bids():
    def fragile(bids, budget):
        if bids[0][0] > 2:
            raise IndexError("too costly")
        return max_min_fair(bids, budget)

    for method in ("auto", "search"):
        with pytest.raises(IndexError, match="too costly") as caught:
            audit(fragile, BIDS, 6, method=method)
        assert "the mechanism under test ran on bids" in caught.value.__notes__[0]
    with pytest.raises(ZeroDivisionError) as caught:
        run_mechanism(lambda bids, budget: 1 / 0, np.zeros((50, 50)), 1)
    assert "of shape (50, 50)" in caught.value.__notes__[0]


def test_bids_that_are_looked_up_are_not_traced():
    """Equality by hash would go unseen by the tracing, so such a rule is searched instead."""

    def lucky_number(bids, budget):
        outcome = max_min_fair(bids, budget)
        if bids[0][0] in {Fraction(7, 2)}:
            outcome.payments[0, 0] += outcome.winners[0, 0]
        return outcome

    report = audit(lucky_number, exactly(BIDS), 12, samples=30)
    assert report.method == "search"
    with pytest.raises(errors.InvalidInput, match="only adds, scales and compares"):
        audit(lucky_number, exactly(BIDS), 12, method="exact")


def test_fractions_of_numpy_integers_are_counted_in_python():
    """They cannot be hashed, and overflow: a rule may pay them without a thought."""

    def flat_price(bids, budget):
        won = bids <= 1
        price = Fraction(np.int64(2**62 + 1), np.int64(3)) * 3
        return Outcome(won, np.where(won, price, 0), won.sum(axis=0))

    outcome = run_mechanism(flat_price, np.array([[1], [2]], dtype=object), 2**63)
    paid = outcome.payments[0, 0]
    assert type(paid.numerator) is int
    assert hash(paid) == hash(2**62 + 1)
    report = audit(flat_price, [[1], [2]], 2**63, method="search", samples=50)
    assert report.violations[0].gain == 2**62 - 1
