"""Audits: complete where they say so, and never calling a truthful rule untruthful."""

import functools
import itertools
import math
from fractions import Fraction

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import errors
from mechanisms import (
    audit,
    budget_fair,
    cheapest_first,
    exactly,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
    participation_fee,
    sampled_posted_price,
)
from mechanisms.auctions.exact.integer_scaling import in_integers
from mechanisms.audits.properties import find_profitable_report
from mechanisms.audits.violation import CAPACITY, LAWS, TRUTHFUL
from mechanisms.bids import read_auction
from tests.mechanisms.profiles import HALVES, float_auctions, table

TRUTHFUL_RULES = [budget_fair, max_min_fair, leave_one_out_level]
C3 = table((1, 5), (2, 1), (4, 3))


@pytest.mark.parametrize("rule", TRUTHFUL_RULES)
@settings(max_examples=25)
@given(auction=float_auctions(5, 3, HALVES))
def test_truthful_rules_pass_every_joint_misreport(rule, auction):
    report = audit(rule, *auction)
    assert report.truthful is True
    assert set(report.laws.values()) == {True}
    assert "every joint misreport" in report.scope
    assert report.ok


@settings(max_examples=60)
@given(float_auctions(3, 2, HALVES))
def test_the_best_response_to_the_common_level_is_the_best_of_all_reports(auction):
    bids, budget = exactly(auction[0]), Fraction(auction[1])
    values = sorted({bid for bid in bids.flat if bid < math.inf} | {Fraction(0)})
    fine = [v + d for v in values for d in (Fraction(-1, 64), Fraction(0), Fraction(1, 64))]
    for client, truth in enumerate(bids):
        choices = [[c] if c == math.inf else [v for v in fine if v >= 0] + [c] for c in truth]
        best = find_profitable_report(
            level_max_min, bids, budget, client=client, reports=itertools.product(*choices)
        )
        report = audit(level_max_min, bids, budget, clients=client)
        found = [each for each in report.violations if each.law == TRUTHFUL]
        assert report.truthful == (best is None) or (best is None and found)
        if best is not None:
            assert found[0].gain >= best.gain
        for each in found:
            assert each.replay(level_max_min) == each.gain > 0


@settings(max_examples=15)
@given(float_auctions(3, 2, HALVES), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_reserve_is_audited_through_a_partial(auction, reserve):
    for rule in (max_min_fair, leave_one_out_level, level_max_min):
        report = audit(functools.partial(rule, reserve=reserve), *auction)
        assert "every joint misreport" in report.scope
        for each in report.violations:
            assert rule is level_max_min
            assert each.replay(functools.partial(rule, reserve=reserve)) == each.gain


def test_single_bids_of_any_mechanism():
    report = audit(greedy_max_min, [[5], [6], [7], [20]], 20, clients=[0, 2])
    assert report.truthful is False
    assert report.violations[0].gain == 2
    assert report.scope == "every misreport of every single bid of clients 0, 2 at this profile"
    assert report.laws["critical payments"] is False
    single = audit(level_max_min, C3, 15, joint=False)
    assert single.laws["critical payments"] is None
    assert "single bid" in single.scope
    assert single.truthful is False
    assert single.laws["monotone"] is True
    assert single.laws["menu independent"] is False


def test_bundles_at_a_fee_are_traced():
    def rule(bids, budget):
        return participation_fee(bids, budget, [1, 1], 1)

    report = audit(rule, C3, 15, joint=False)
    assert report.truthful is True
    assert report.laws["menu independent"] is True
    assert report.ok
    together = audit(rule, C3, 15, samples=900)
    assert together.truthful is None
    assert together.scope == (
        "every misreport of every single bid of clients 0-2, and 900 sampled joint misreports, "
        "at this profile"
    )


def floats_only(bids, budget):
    """A user's rule that cannot take fractions, and pays the bids."""
    return greedy_max_min(np.asarray(bids, dtype=np.float64), float(budget))


def test_a_rule_that_needs_floats_is_searched():
    report = audit(floats_only, [[5.0], [6.0], [7.0], [20.0]], 20.0)
    assert report.method == "search"
    assert report.truthful is False
    assert "a lower bound" in report.scope
    assert report.violations[0].replay(floats_only) > 0


def truthful_floats(bids, budget):
    """A user's truthful rule that cannot take fractions."""
    return max_min_fair(np.asarray(bids, dtype=np.float64), float(budget))


def test_a_search_that_finds_nothing_decides_nothing():
    report = audit(truthful_floats, np.random.default_rng(0).random((6, 3)), 3.0, samples=600)
    assert report.truthful is None
    assert report.ok
    assert report.laws[TRUTHFUL] is None
    assert report.scope == (
        "600 sampled joint misreports of clients 0-5, a lower bound; sampled since the rule does "
        "more than add, scale and compare"
    )
    again = audit(level_max_min, C3, 15, method="search", samples=2000)
    assert again.truthful is False
    single = audit(level_max_min, C3, 15, method="search", joint=False, samples=2000)
    assert "single-bid" in single.scope


def test_a_search_repeats_and_follows_its_generator():
    tried, found = [], []
    for seed in (1, 1, 2):
        seen = []

        def watched(bids, budget, seen=seen):
            seen.append(bids.tolist())
            return level_max_min(bids, budget)

        rng = np.random.default_rng(seed)
        report = audit(watched, C3, 15, method="search", samples=300, rng=rng)
        tried.append(seen)
        found.append([each.report for each in report.violations])
    assert (found[0], tried[0]) == (found[1], tried[1])
    assert tried[0] != tried[2]


def test_overspending_and_underpaying_show_up():
    def generous(bids, budget):
        return cheapest_first(bids, 10 * budget)

    report = audit(generous, C3, 2)
    assert report.laws["within budget"] is False
    spend = next(each for each in report.violations if each.law == "within budget")
    assert spend.replay(generous) == spend.gain > 0

    def mean(bids, budget):
        outcome = cheapest_first(bids, budget)
        outcome.payments[outcome.winners] = Fraction(0)
        return outcome

    report = audit(mean, C3, 4)
    assert report.laws["individually rational"] is False
    assert report.violations[-1].replay(mean) > 0


def test_proofs_for_all_real_bids():
    shape = np.zeros((4, 2))
    for rule in TRUTHFUL_RULES:
        report = audit(rule, shape, 1, method="smt")
        assert report.truthful is True
        assert report.scope == "all real bids and joint misreports, n = 4, S = 2"
    report = audit(level_max_min, shape, 1, method="smt")
    assert report.truthful is False
    assert report.violations[0].replay(level_max_min) == report.violations[0].gain > 0
    assert audit(level_max_min, shape, 1, method="smt", joint=False).truthful is True


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"method": "guess"}, "method"),
        ({"mechanism": greedy_max_min, "joint": True}, "joint"),
        ({"mechanism": greedy_max_min, "method": "smt"}, "mechanism"),
        ({"mechanism": floats_only, "method": "exact"}, "mechanism"),
        ({"clients": 3}, "clients"),
        ({"clients": [-1]}, "clients"),
        ({"clients": []}, "clients"),
        ({"clients": [True]}, "clients"),
        ({"method": "search", "samples": 0}, "samples"),
        ({"bids": [[-1.0]]}, "bids[client 0, task 0]"),
        ({"budget": 0}, "budget"),
    ],
)
def test_bad_input(arguments, named):
    given = {"mechanism": max_min_fair, "bids": [[1.0], [2.0], [3.0]], "budget": 4, **arguments}
    with pytest.raises(errors.InvalidInput) as caught:
        audit(given.pop("mechanism"), given.pop("bids"), given.pop("budget"), **given)
    assert caught.value.argument == named


def test_an_unknown_structure_names_the_way_out():
    with pytest.raises(errors.InvalidInput, match=r'joint=False or method="search"'):
        audit(cheapest_first, C3, 15, joint=True)


def test_a_rule_that_fails_on_one_client_only_is_searched():
    def picky(bids, budget):
        bids[2].astype(float)
        return max_min_fair(bids, budget)

    assert audit(picky, C3, 15, samples=60).method == "search"
    with pytest.raises(errors.InvalidInput, match="only adds, scales and compares"):
        audit(picky, C3, 15, method="exact")


def test_large_auctions_of_unknown_rules_are_searched():
    bids = np.random.default_rng(0).random((80, 2))
    report = audit(lambda b, m: max_min_fair(b, m), bids, 10.0, samples=80)
    assert (report.method, report.truthful) == ("search", None)


def test_progress_and_random_rules():
    def rule(bids, budget):
        return sampled_posted_price(bids, budget, np.random.default_rng(3))

    report = audit(rule, C3, 15, progress=True, joint=False)
    assert report.truthful is True
    assert tuple(report.laws) == tuple(law for law in LAWS if law != CAPACITY)


def test_a_large_auction_and_a_few_clients():
    bids = np.random.default_rng(0).random((300, 3))
    report = audit(max_min_fair, bids, 60.0, clients=range(20))
    assert report.truthful is True
    assert report.scope == "every joint misreport of clients 0-19 at this profile"


def contents(report):
    """All that a report says, comparable."""
    found = [
        (v.law, v.sentence, v.gain, v.client, v.task, v.truth, v.report, v.edge, v.budget)
        for v in report.violations
    ]
    profiles = [None if v.bids is None else v.bids.tolist() for v in report.violations]
    return report.truthful, report.scope, report.method, dict(report.laws), found, profiles


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (max_min_fair, {}),
        (level_max_min, {}),
        (lambda bids, budget: greedy_max_min(bids, budget), {"joint": False}),
        (lambda bids, budget: greedy_max_min(bids, budget), {"method": "search", "samples": 300}),
    ],
)
def test_the_report_is_the_same_for_any_number_of_processes(rule, options):
    bids = np.array([[1.0, 5.0], [2.0, 1.0], [4.0, 3.0]])
    reports = [audit(rule, bids, 15.0, jobs=jobs, **options) for jobs in (None, 1, 2, -1)]
    with joblib.parallel_config(backend="threading", n_jobs=3):  # as a registered backend would be
        reports.append(audit(rule, bids, 15.0, **options))
    assert len({str(contents(report)) for report in reports}) == 1
    assert reports[0].violations or rule is max_min_fair


class ThreadsElsewhere(joblib.parallel.ThreadingBackend):
    """Somebody's cluster: only shows that it was used."""

    started = 0

    def configure(self, n_jobs=1, parallel=None, **options):
        type(self).started += 1
        return super().configure(2, parallel, **options)

    def effective_n_jobs(self, n_jobs):
        return 2


def test_a_registered_backend_takes_over():
    joblib.register_parallel_backend("a-cluster", lambda **options: ThreadsElsewhere())
    before = ThreadsElsewhere.started
    with joblib.parallel_config(backend="a-cluster"):
        report = audit(max_min_fair, C3, 15)
    assert report.truthful is True
    assert ThreadsElsewhere.started == before + 1


def test_a_failure_in_another_process_is_the_same_error():
    def picky(bids, budget):
        bids[2].astype(float)
        return max_min_fair(bids, budget)

    with pytest.raises(errors.InvalidInput, match="only adds, scales and compares"):
        audit(picky, C3, 15, method="exact", jobs=2)


@settings(max_examples=30)
@given(float_auctions(5, 3))
def test_decisions_in_integers_are_those_in_fractions(auction):
    bids, budget = exactly(auction[0]), Fraction(auction[1])
    original = read_auction(bids, budget)
    small, unit = in_integers(original)
    assert all(isinstance(bid, int) or bid == math.inf for bid in small.bids.flat)
    back = [[bid * unit for bid in row] for row in small.bids]
    assert back == bids.tolist()
    assert small.budget * unit == budget


def test_numbers_without_a_handy_common_denominator_stay_fractions():
    primes = [p for p in range(2, 4000) if all(p % q for q in range(2, math.isqrt(p) + 1))]
    bids = table(*((Fraction(1, p),) for p in primes))
    auction = read_auction(bids, 1)
    assert in_integers(auction)[0] is auction
    assert max_min_fair(bids, 1) == budget_fair(bids, 1)
