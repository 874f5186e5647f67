"""What an audit prints: a few lines, with names, and why it sampled."""

import functools

import numpy as np
import pytest

from mechanisms import NamedBids, Outcome, audit, level_max_min, max_min_fair
from mechanisms.audits.properties import find_profitable_report
from mechanisms.audits.violation import CRITICAL, MENU, MONOTONE, TRUTHFUL
from tests.mechanisms.audits.zoo import outcome

COSTS = np.array([[1, 5], [2, 1], [4, 3]])
NAMED = NamedBids(("ann", "7", "cay"), ("mnist", "cifar"), COSTS)


def test_a_report_is_printed_in_a_few_lines():
    report = audit(level_max_min, COSTS, 15)
    lines = str(report).splitlines()
    assert len(lines) == 1 + len(report.laws)
    assert lines[1] == (
        "truthful: violated; client 0 with costs (1, 5) gains 2 by bidding (1, 3.25)"
    )
    assert len(repr(report)) < 200
    for each in report.violations:
        assert max(map(len, (str(each), repr(each)))) < 200
        assert "\n" not in repr(each)


def test_bids_with_names_give_sentences_with_names():
    numbered, named = (audit(level_max_min, bids, 15) for bids in (COSTS, NAMED))
    assert named.violations[0].sentence.startswith("client ann with costs (1, 5) gains 2")
    assert "client ann is paid 4 for task mnist when it bids 3.25 for task cifar" in str(named)
    assert [each.gain for each in named.violations] == [each.gain for each in numbered.violations]
    assert named.violations[0].replay(level_max_min) == named.violations[0].gain
    assert str(numbered.named(NAMED)) == str(named)


def pays_the_bid(bids, budget):
    """The cheaper half of each task is paid what it bids."""
    most = len(bids) // 2
    winners = np.zeros(bids.shape, dtype=bool)
    for task in range(bids.shape[1]):
        winners[np.argsort(bids[:, task], kind="stable")[:most], task] = True
    return Outcome(winners, np.where(winners, bids, 0), winners.sum(axis=0))


def test_the_largest_gain_of_a_search_is_near_the_supremum():
    rng = np.random.default_rng(3)
    for shape, samples in (((300, 1), 3_000), ((12, 2), 2_000)):
        costs = rng.random(shape)
        found = audit(pays_the_bid, costs, 9.0, method="search", samples=samples)
        edges = np.sort(costs, axis=0)[shape[0] // 2]
        supremum = np.maximum(edges - costs, 0).sum(axis=1).max()
        assert 0.99 * supremum <= found.violations[0].gain <= supremum
        assert found.violations[0].replay(pays_the_bid) == found.violations[0].gain
    grid = [
        row for a in np.linspace(0, 1.2, 40) for row in [(a, b) for b in np.linspace(0, 1.2, 40)]
    ]
    best = max(
        float(each.gain)
        for client in range(12)
        if (each := find_profitable_report(pays_the_bid, costs, 9.0, client=client, reports=grid))
    )
    assert best <= float(found.violations[0].gain) * 1.01


def roots(bids, budget):
    """Pays the root of the budget to whoever asks for less."""
    winners = np.asarray(np.sqrt(bids) <= np.sqrt(budget) / 9, dtype=bool)
    return outcome(winners, np.where(winners, budget / 81, 0.0))


@pytest.mark.parametrize("method", ["auto", "exact", "search", "smt"])
def test_a_law_at_which_nobody_looked_is_not_checked(method):
    report = audit(max_min_fair, COSTS, 15.0, method=method, samples=60)
    kinds = {law: report.result(law) for law in (TRUTHFUL, MONOTONE, CRITICAL, MENU)}
    if method in ("auto", "exact"):
        assert set(kinds.values()) == {"holds"}
        return
    assert kinds.pop(TRUTHFUL) == {"search": "not decided", "smt": "holds"}[method]
    assert set(kinds.values()) == {"not checked"}


def test_an_audit_that_samples_says_why_and_what_to_do():
    many = np.random.default_rng(0).random((120, 1))
    scope = audit(pays_the_bid, many, 9.0, samples=120).scope
    assert "120 clients times 120 bids are more than 10,000" in scope
    assert 'method="exact" (--method exact) traces every single bid' in scope
    assert "does more than add, scale and compare" in audit(roots, COSTS, 90).scope
    assert "since" not in audit(roots, COSTS, 90, method="search", samples=9).scope
    for few in (pays_the_bid, functools.partial(max_min_fair, unit=1)):
        assert "since" not in audit(few, COSTS, 15, samples=9).scope
