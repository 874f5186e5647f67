"""Proofs that run the rule: verdicts on honest and wrong rules, refusals, limits, the engine."""

import math
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

import mechanisms
from fairopt import InvalidInput, MissingExtra
from mechanisms import (
    Outcome,
    ProofStatus,
    budget_fair,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
    prove,
)
from mechanisms.auctions.exact.ranking import exact_outcome
from mechanisms.audits.symbolic.linear_form import NEGATIVE, POSITIVE, ZERO, NotLinear, Path
from mechanisms.audits.symbolic.paths import Limits, Paths
from mechanisms.bids import exactly


def pays_the_bid(bids, budget):
    """The recruits of the default auction, paid what they ask."""
    found = max_min_fair(bids, budget)
    payments = found.payments.copy()
    payments[found.winners] = np.asarray(bids)[found.winners]
    return Outcome(found.winners, payments, found.level)


def pays_nothing(bids, budget):
    """Everybody is recruited for nothing, so no report is better than another."""
    return exact_outcome(dict.fromkeys(np.ndindex(bids.shape), Fraction(0)), bids.shape)


def pays_everybody(bids, budget):
    """Everybody is paid the whole budget where it bids no more."""
    cells = ((i, s) for i, row in enumerate(bids) for s, bid in enumerate(row) if bid <= budget)
    return exact_outcome(dict.fromkeys(cells, budget), bids.shape)


def fixed_price(bids, budget):
    """An honest rule with a number of its own, which does not scale with money."""
    clients = [i for i, row in enumerate(bids) if row[0] <= 3]
    prices = {(clients[0], 0): Fraction(3)} if clients and budget >= 3 else {}
    return exact_outcome(prices, bids.shape)


@pytest.mark.parametrize(
    ("rule", "shape"),
    [
        (budget_fair, (3, 1)),
        (budget_fair, (2, 2)),
        (max_min_fair, (3, 1)),
        (leave_one_out_level, (2, 2)),
        (max_min_fair, (1, 3)),
        pytest.param(max_min_fair, (2, 2), marks=pytest.mark.slow),
    ],
)
def test_honest_rules_are_proved(rule, shape):
    found = prove(rule, shape, seconds=600)
    assert found.status is ProofStatus.PROVED
    assert found.proved is True
    assert found.violation is None
    assert "any budget" in found.scope
    assert found.status.value in found.sentence


@pytest.mark.parametrize(
    ("rule", "shape", "checks", "law"),
    [
        (pays_the_bid, (2, 1), ("truthful",), "truthful"),
        (pays_nothing, (1, 2), ("truthful",), "individually rational"),
        (pays_everybody, (2, 1), ("truthful", "budget"), "within budget"),
        (level_max_min, (2, 2), ("truthful",), "truthful"),
    ],
)
def test_wrong_rules_are_refuted_by_an_auction_that_replays(rule, shape, checks, law):
    found = prove(rule, shape, checks=checks, seconds=600)
    assert found.status is ProofStatus.REFUTED
    assert found.proved is False
    assert found.violation.law == law
    assert found.violation.gain > 0
    assert found.violation.replay(rule) == found.violation.gain
    assert found.violation.sentence in found.sentence


def test_a_wrong_rule_may_keep_the_other_law():
    assert prove(pays_everybody, (2, 1), checks=["truthful"]).proved
    assert prove(pays_the_bid, (2, 1), checks=["budget"]).proved


def test_a_rule_that_does_not_scale_is_proved_at_every_budget_or_at_one():
    assert prove(fixed_price, (2, 1)).proved
    found = prove(fixed_price, (2, 1), budget=2)
    assert found.proved
    assert found.scope.endswith("budget 2")


def test_missing_bids_and_feigned_ones():
    """With a single task per client the common level is honest, until a task is feigned."""
    found = prove(budget_fair, (2, 1), missing_bids=True)
    assert found.proved
    assert "any tasks" in found.scope
    cheap = prove(level_max_min, (2, 1), missing_bids=True)
    assert cheap.proved
    assert prove(level_max_min, (2, 2), missing_bids=True, checks=["truthful"]).proved is False


def random_payments(bids, budget):
    return exact_outcome({(0, 0): budget * random.randint(1, 10**9) / 10**9}, bids.shape)


def remembers(seen=[]):  # noqa: B006
    def rule(bids, budget):
        seen.append(1)
        return exact_outcome({(0, 0): budget / len(seen)}, bids.shape)

    return rule


def rounds(bids, budget):
    return exact_outcome({(0, 0): Fraction(round(float(bids[0, 0])))}, bids.shape)


def multiplies(bids, budget):
    return exact_outcome({(0, 0): bids[0, 0] * bids[0, 0]}, bids.shape)


def swallows(bids, budget):
    """Takes for no bid what is no float."""
    table = np.zeros(bids.shape)
    for cell in np.ndindex(bids.shape):
        try:
            table[cell] = float(bids[cell])
        except TypeError:
            table[cell] = math.inf
    return exact_outcome({(0, 0): budget} if table[0, 0] < 1 else {}, bids.shape)


@pytest.mark.parametrize("rule", [random_payments, remembers(), rounds, multiplies, swallows])
def test_rules_that_no_proof_can_follow_are_refused(rule):
    with pytest.raises(InvalidInput) as caught:
        prove(rule, (2, 1), checks=["budget"])
    assert caught.value.argument in ("rule", "outcome")


@pytest.mark.parametrize(
    "rule",
    [
        lambda bids, budget: None,
        lambda bids, budget: max_min_fair(bids[:1], budget),
        lambda bids, budget: max_min_fair(np.c_[bids, bids], budget),
        lambda bids, budget: exact_outcome({(0, 0): math.inf}, bids.shape),
    ],
)
def test_outcomes_of_another_kind_are_refused(rule):
    with pytest.raises(InvalidInput) as caught:
        prove(rule, (2, 1))
    assert caught.value.argument.startswith("outcome")


def test_what_a_rule_raises_comes_with_its_bids():
    def refuses(bids, budget):
        raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        prove(refuses, (2, 1))
    assert "ran on bids" in caught.value.__notes__[0]


def test_a_rule_may_write_to_its_input():
    def writes(bids, budget):
        bids[:] = Fraction(0)
        return exact_outcome({}, bids.shape)

    assert prove(writes, (2, 1)).proved


def test_limits_leave_it_open():
    found = prove(max_min_fair, (3, 2), max_paths=20)
    assert found.status is ProofStatus.UNFINISHED
    assert found.proved is None
    assert found.paths == 20
    assert "limits were reached" in found.sentence
    assert prove(max_min_fair, (4, 3), seconds=0.2).proved is None


def never(bids, budget):
    while True:
        time.sleep(0.01)


def never_compares(bids, budget):
    while bids[0, 0] >= 0:
        pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm clock")
@pytest.mark.parametrize("rule", [never, never_compares])
def test_a_rule_that_never_returns_is_ended(rule):
    assert prove(rule, (2, 1), seconds=0.3).status is ProofStatus.UNFINISHED


def test_other_threads_prove_too():
    found = []
    thread = threading.Thread(target=lambda: found.append(prove(budget_fair, (2, 1))))
    thread.start()
    thread.join()
    assert found[0].proved


GOOD = {
    "rule": budget_fair, "shape": (2, 1), "checks": ("budget",), "budget": 1, "max_paths": 10,
    "seconds": 1.0,
}  # fmt: skip
BAD = {
    "rule": ["budget_fair", None, 3],
    "shape": [(2,), 4, (2, 0), (2.0, 1), (7, 2), "21", None, (True, 1)],
    "checks": ["truthful", (), ("honest",), None],
    "budget": [0, -1, math.inf, math.nan, "1", True],
    "missing_bids": ["yes", 1, None],
    "max_paths": [0, 1.5, True, None],
    "seconds": [0.0, -1.0, math.inf, math.nan, "1", True],
}


@pytest.mark.parametrize(("argument", "value"), [(a, v) for a in BAD for v in BAD[a]])
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(InvalidInput) as caught:
        prove(**(GOOD | {argument: value}))
    assert caught.value.argument == argument


def test_without_the_solver_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "z3", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fairopt\[mechanisms\]'"):
        prove(budget_fair, (2, 1))


def test_forms_are_fractions_on_one_path():
    """Random expressions of two unknowns, against the fractions they stand for."""
    rng = random.Random(5)
    for _ in range(300):
        point = {name: Fraction(rng.randint(0, 9), rng.randint(1, 4)) for name in "xy"}
        path = Path(point, {})
        x, y = (path.unknown(name) for name in "xy")
        a, b, c = (Fraction(rng.randint(-3, 3)) for _ in range(3))
        form = (a * x + y * b - c) / 2 - (x - y)
        value = (a * point["x"] + point["y"] * b - c) / 2 - (point["x"] - point["y"])
        other = Fraction(rng.randint(-4, 4), 2)
        pairs = [(form, value), (other - form, other - value), (-form, -value), (+form, value)]
        for seen, right in pairs:
            assert (seen < other) == (right < other)
            assert (seen <= other) == (right <= other)
            assert (seen > other) == (right > other)
            assert (seen >= other) == (right >= other)
            assert (seen == other) == (right == other)
            assert (seen != other) == (right != other)
            assert bool(seen) == bool(right)


def test_forms_and_infinity():
    x = Path({"x": Fraction(1)}, {}).unknown("x")
    assert x < math.inf
    assert x > -math.inf
    assert (x == math.inf) is False
    assert x + math.inf == math.inf
    assert x - math.inf == -math.inf
    assert math.inf - x == math.inf


def test_what_follows_from_earlier_answers_is_no_decision():
    path = Path({"x": Fraction(1), "y": Fraction(3)}, {})
    x, y = path.unknown("x"), path.unknown("y")
    assert x < y
    assert 2 * y > 2 * x
    assert (x == y) is False
    assert len(path.decisions) == 1
    assert (path.decisions[0].taken, path.decisions[0].other) == (NEGATIVE, ZERO | POSITIVE)


@pytest.mark.parametrize("what", [lambda x: x * x, lambda x: 1 / x, float, lambda x: x + 1j, hash])
def test_what_is_not_linear_raises(what):
    x = Path({"x": Fraction(1)}, {}).unknown("x")
    with pytest.raises(TypeError):
        what(x)
    with pytest.raises(NotLinear):
        float(x)


def weak_orders(n):
    """Ordered partitions of n things, by their recursion."""
    return 1 if n == 0 else sum(math.comb(n, k) * weak_orders(n - k) for k in range(1, n + 1))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_every_order_with_ties_is_a_path(n):
    """Telling apart all orders of n numbers takes one path for each, and none twice."""
    names = [f"x{k}" for k in range(n)]
    seen = []

    def program(path):
        numbers = [path.unknown(name) for name in names]
        seen.append(tuple(a < b for a in numbers for b in numbers))
        return

    limits = Limits(10_000, math.inf)
    assert Paths(names, [], limits).counterexample(program) is None
    assert limits.taken == len(seen) == len(set(seen)) == weak_orders(n)


def test_a_needle_is_found_exactly():
    """A program that fails at one point only, which no sampling would hit."""

    def program(path):
        x, y = path.unknown("x"), path.unknown("y")
        return dict(path.point) if 3 * x == 7 and 5 * y - x == Fraction(1, 3) else None

    found = Paths(["x", "y"], [], Limits(100, math.inf)).counterexample(program)
    assert found == {"x": Fraction(7, 3), "y": Fraction(8, 15)}


def test_every_path_of_the_default_auction_is_the_search_over_all_levels():
    """One auction for every path of the code: against the definition with all levels tried."""
    from proofs.incentives.wrong_rules import _leave_one_out

    auctions = []

    def recorded(bids, budget):
        if not any(hasattr(bid, "terms") for bid in bids.flat):
            auctions.append((bids.copy(), budget))
        return max_min_fair(bids, budget)

    assert prove(recorded, (2, 2), checks=["budget"], seconds=600).proved
    assert len(auctions) > 300
    for bids, budget in auctions:
        slow = _leave_one_out(exactly(bids), budget, test_others=True, early=0)
        assert np.array_equal(max_min_fair(bids, budget).payments, slow.payments)


def test_it_is_public():
    assert mechanisms.prove is prove
    assert {"prove", "ProofReport", "ProofStatus"} <= set(mechanisms.__all__)


def test_the_example_runs():
    command = [sys.executable, "examples/prove_your_own_auction.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one, two, _, replayed, shared = done.stdout.splitlines()
    assert one.endswith(ProofStatus.PROVED.value)
    assert ProofStatus.REFUTED.value in two
    assert int(replayed.split()[-1]) > 0
    assert shared.endswith(ProofStatus.PROVED.value)


def test_the_snippet_of_the_page_prints_its_comments(capsys):
    page = (pathlib.Path(__file__).parents[3] / "docs" / "auctions.md").read_text(encoding="utf-8")
    section = page.split("## Proofs for all bids")[1].split("\n## ")[0]
    source = section.split("```python\n")[1].split("```")[0]
    exec(compile(source, "auctions.md", "exec"), {})
    promised = re.findall(r"^print\(.*\)  # (.*)$", source, flags=re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == promised
