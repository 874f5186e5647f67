"""Laws accept what obeys them, reject what does not, and their witnesses replay."""

import numpy as np
import pytest

from fairopt import errors
from mechanisms import Outcome, budget_fair, greedy_max_min, leave_one_out_level, max_min_fair
from proofs.aggregators import mean
from proofs.conformance import (
    AGGREGATOR_LAWS,
    AUCTION_LAWS,
    DoesNotConform,
    check_aggregator,
    check_auction,
)
from proofs.conformance_law import Law
from proofs.incentives import wrong_rules


@pytest.mark.parametrize("rule", [budget_fair, max_min_fair, leave_one_out_level])
def test_truthful_rules_conform(rule):
    assert check_auction(rule, seed=1).require().passed


@pytest.mark.parametrize(
    ("rule", "law"),
    [
        (greedy_max_min, "truthful"),
        (wrong_rules.unlimited, "within budget"),
        (wrong_rules.underpaying, "individually rational"),
        (lambda bids, budget: max_min_fair(bids * 0, budget), "recruits only bidders"),
    ],
)
def test_wrong_rules_do_not_conform(rule, law):
    def forgiving(bids, budget):
        bids = bids.copy()
        if law == "recruits only bidders":
            bids[bids == float("inf")] = 1.0
        return rule(bids, budget)

    report = check_auction(forgiving, claims=[law])
    assert not report.passed
    assert report.results[0].witness
    assert report.results[0].replay(forgiving) in report.results[0].witness
    assert report.results[0].replay(max_min_fair) is None
    with pytest.raises(DoesNotConform, match=law):
        report.require()


def test_unknown_law():
    with pytest.raises(errors.InvalidInput, match="within budget"):
        check_auction(budget_fair, claims=["nice"])
    with pytest.raises(errors.InvalidInput, match="did you mean finite"):
        check_aggregator(mean, claims=["finit"])
    assert "truthful" in AUCTION_LAWS


def changing(G):
    G *= 2.0
    return G.mean(axis=0)


def moody(G, calls=[]):  # noqa: B006
    calls.append(1)
    return len(calls) * G.mean(axis=0)


def against_the_mean(G):
    return -G.mean(axis=0)


CONTROLS = {
    "finite": lambda G: G.mean(axis=0) * np.inf,
    "deterministic": moody,
    "single precision": lambda G: G.mean(axis=0) * (2.0 if G.dtype == np.float32 else 1.0),
    "leaves its input alone": changing,
    "permutation invariant": lambda G: G[0],
    "non-conflicting": against_the_mean,
    "non-conflicting on edge cases": against_the_mean,
    "common descent": lambda G: 0.0 * G[0],
    "within the span": lambda G: np.ones(G.shape[1]),
    "within the convex hull": lambda G: G.sum(axis=0),
    "scale equivariant": lambda G: G.mean(axis=0) * np.abs(G).sum(),
    "ignores the common scale": lambda G: G.mean(axis=0) + np.maximum(G.max(axis=0), 1.0),
    "ignores task scales": mean,
    "linear under scaling": lambda G: G.mean(axis=0) * np.abs(G).max(),
    "duplicated tasks": lambda G: G[0] / len(G) + G.mean(axis=0),
    "stops where stationary": mean,
    "moves elsewhere": lambda G: 0.0 * G[0],
}


def test_every_law_has_a_negative_control():
    assert set(CONTROLS) == set(AGGREGATOR_LAWS)


@pytest.mark.parametrize("law", CONTROLS)
def test_wrong_aggregators_do_not_conform(law):
    report = check_aggregator(CONTROLS[law], claims=[law])
    assert not report.passed
    result = report.broken[0]
    assert result.statement == AGGREGATOR_LAWS[law].statement
    assert law in str(report)
    if law != "deterministic":
        assert result.replay(CONTROLS[law]) in result.witness


def test_lengths_beyond_floats_do_not_hide_a_direction():
    """A constant of 1e300 conflicts with tasks, and so does what is too short to be squared."""
    laws = ["non-conflicting", "within the span", "common descent"]
    huge = check_aggregator(lambda G: np.full(G.shape[1], 1e300), claims=laws)
    assert [result.law for result in huge.broken] == laws
    short = check_aggregator(lambda G: -1e-200 * G.mean(axis=0), claims=laws)
    assert [result.law for result in short.broken] == ["non-conflicting", "common descent"]
    assert "nan" not in str(huge) + str(short)


def test_a_memory_that_shows_after_other_gradients():
    """Weights are drawn anew when the gradients change, so a second call repeats the first."""
    seen: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(0)

    def remembers(G):
        key = G.tobytes()
        if seen.get("key") != key:
            seen.update(key=key, weights=rng.dirichlet(np.ones(len(G))))
        return seen["weights"] @ G

    report = check_aggregator(remembers, claims=["deterministic"])
    assert "after one with other gradients" in report.broken[0].witness


class OwnError(Exception):
    """An error that no library knows."""


def crash(error):
    def aggregate(*arguments):
        raise error

    return aggregate


NOT_LAWFUL = {
    "raises ZeroDivisionError: no": crash(ZeroDivisionError("no")),
    "raises OwnError: no": crash(OwnError("no")),
    "raises AssertionError: three tasks": crash(AssertionError("three tasks")),
    "has no attribute 'norm'": lambda G: G.norm(dim=1),
    "returns None": lambda G: None,
    "returns shape (": lambda G: G,
    "returns shape (1, ": lambda G: G[:1],
    "returns no array": lambda G: "none",
    "not finite": lambda G: G[0] * np.nan,
}


@pytest.mark.parametrize("law", sorted(set(AGGREGATOR_LAWS) - {"leaves its input alone"}))
@pytest.mark.parametrize("words", NOT_LAWFUL)
def test_errors_and_shapes_break_every_law_that_is_tried(words, law):
    broken = check_aggregator(NOT_LAWFUL[words], claims=[law], at_most=1).broken
    assert words in broken[0].witness


def bad_outcome(kind):
    def mechanism(bids, budget):
        won = bids < 1.0
        pay = won * 1.0
        return {
            "tuple": (won, pay),
            "nan": Outcome(won, np.where(won, pay, np.nan), won.sum(axis=0)),
            "narrow": Outcome(won[:1], pay[:1], won.sum(axis=0)),
        }[kind]

    return mechanism


BAD_AUCTIONS = {
    "a mechanisms.Outcome": bad_outcome("tuple"),
    "a finite amount of money": bad_outcome("nan"),
    "one of tables of shape": bad_outcome("narrow"),
    "int64 of shape": lambda bids, budget: Outcome(np.ones(bids.shape, int), bids, bids),
    "has no attribute 'tolists'": lambda bids, budget: bids.tolists(),
    "raises OwnError: no": crash(OwnError("no")),
}


@pytest.mark.parametrize("law", AUCTION_LAWS)
@pytest.mark.parametrize("words", BAD_AUCTIONS)
def test_errors_and_bad_outcomes_break_every_law_that_is_tried(words, law):
    assert words in check_auction(BAD_AUCTIONS[words], claims=[law]).broken[0].witness


def test_an_error_of_a_law_is_not_blamed_on_the_code():
    def wrong(code, instance, rng):
        raise ZeroDivisionError

    law = Law("wrong", "nothing", lambda seed: iter([("one", 1)]), wrong)
    with pytest.raises(ZeroDivisionError):
        law.check(mean, 0)


def test_slow_code_may_be_tried_on_fewer_instances():
    calls = []

    def counted(G):
        calls.append(G.shape)
        return G.mean(axis=0)

    report = check_aggregator(counted, claims=["finite"], at_most=5)
    assert report.passed
    assert len(calls) == 5
    assert len(set(calls)) > 1
    assert check_aggregator(counted, claims=["finite"], at_most=10_000).passed
    assert len(calls) == 5 + 180


@pytest.mark.parametrize(
    "call",
    [
        lambda: check_aggregator(None),
        lambda: check_auction(3),
        lambda: check_aggregator(mean, claims="finite"),
        lambda: check_aggregator(mean, at_most=0),
        lambda: check_auction(max_min_fair, at_most=1.5),
    ],
)
def test_what_cannot_be_checked_is_refused(call):
    with pytest.raises(errors.InvalidInput):
        call()


def test_the_seed_decides():
    one, same, other = (
        check_aggregator(against_the_mean, claims=["non-conflicting"], seed=seed).broken[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.instance, same.instance)
    assert one.witness == same.witness
    assert not np.array_equal(one.instance, other.instance)


def test_a_law_that_passed_has_nothing_to_replay():
    assert (
        check_aggregator(mean, claims=["finite"]).require().results[0].replay(against_the_mean)
        is None
    )


def test_an_auction_that_never_returns_fails_the_law_that_was_tried():
    def waits(bids, budget):
        while True:
            pass

    report = check_auction(waits, claims=["truthful"], time_limit=0.1)
    assert not report.passed
    assert "time_limit" in report.broken[0].witness
