"""Truthfulness for all real bids: the rules once more, over terms of the solver Z3.

A rule is anonymous, so without loss of generality the others' asks are sorted; only the client
in question has asks in any position. It has the last index and so loses ties, which cost nobody
utility. The solver is asked for asks, true costs and a misreport with a gain; `unsat` is a proof
for every real profile of that shape, and a model is turned into fractions and replayed on the
rule itself. The budget is 1: the rules scale with money.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from fairopt.errors import InvalidInput, NotSolved
from mechanisms.best_response import known_rule
from mechanisms.budget_fair import budget_fair
from mechanisms.level_rules import leave_one_out_level, level_max_min
from mechanisms.max_min_fair import max_min_fair
from mechanisms.outcome import Mechanism
from mechanisms.properties import find_profitable_report
from mechanisms.violation import Violation

SECONDS = 120
"""Time after which a proof attempt is given up with an error."""
BUDGET = Fraction(1)

Term = Any
Asks = list[list[Term]]
Utility = Callable[["Market", Sequence[Term], Sequence[Term]], Term]


@dataclass(frozen=True)
class SmtVerdict:
    """Outcome of a proof attempt.

    Args:
        proved: No real profile of the shape lets a client gain.
        violation: Otherwise, an exact one that replays.
    """

    proved: bool
    violation: Violation | None


@dataclass(frozen=True)
class Market:
    """What one client sees.

    Args:
        others: For every task the others' asks, sorted; S lists of terms.
        bidding: Tasks on which the client bids.
        facts: Where encodings put the definitions of their own variables.
    """

    others: Asks
    bidding: tuple[int, ...]
    facts: list[Term]

    def a(self, task: int, k: int) -> Term:
        """k-th ask of the others; 0 at k = 0, None after the last."""
        if k == 0:
            return 0
        return self.others[task][k - 1] if k <= len(self.others[task]) else None

    def b(self, task: int, k: int, own: Term) -> Term:
        """k-th ask of all, None after the last."""
        if task not in self.bidding:
            return self.a(task, k)
        below, above = self.a(task, k - 1), self.a(task, k)
        if above is None:
            return None if below is None else _max(below, own)
        return _max(below, _min(own, above))


def prove_truthful(
    mechanism: Mechanism, shape: tuple[int, ...], *, joint: bool = True
) -> SmtVerdict:
    """Prove that no client gains by lying, at any real bids, or give a counter-example.

    Args:
        mechanism: `budget_fair`, `max_min_fair`, `leave_one_out_level` or `level_max_min`.
        shape: (N, S); every client bids on every task.
        joint: The client bids on all tasks and may lie about all of them. Otherwise every client
            has one task, and N of the others bid on each of the other tasks.

    Raises:
        InvalidInput: A mechanism that is not encoded here.
        NotSolved: The solver gave up.

    Example:
        >>> prove_truthful(max_min_fair, (3, 2)).proved
        True
        >>> prove_truthful(level_max_min, (3, 2)).violation.gain > 0
        True
    """
    import z3

    rule, reserve = known_rule(mechanism)
    if rule not in _UTILITIES or reserve is not None:
        names = ", ".join(each.__name__ for each in _UTILITIES)
        raise InvalidInput("mechanism", mechanism, f'one of {names} for method="smt"')
    market = _market(int(shape[0]), int(shape[1]), joint)
    tasks = range(len(market.others))
    truth, report = ([z3.Real(f"{name}{s}") for s in tasks] for name in ("cost", "report"))
    gain = _UTILITIES[rule](market, report, truth) - _UTILITIES[rule](market, truth, truth)
    positive = [term >= 0 for term in (*truth, *report)]
    model = _solve([*_ordered(market.others), *positive, *market.facts, gain > 0])
    if model is None:
        return SmtVerdict(True, None)
    return SmtVerdict(False, _replay(mechanism, model, market, truth, report))


def _market(clients: int, tasks: int, joint: bool) -> Market:
    """Others' asks as variables: one fewer where the client bids."""
    import z3

    bidding = tuple(range(tasks)) if joint else (0,)
    counts = [clients - 1 if s in bidding else clients for s in range(tasks)]
    others = [[z3.Real(f"a{s}_{k}") for k in range(1, n + 1)] for s, n in enumerate(counts)]
    return Market(others, bidding, [])


def _ordered(others: Asks) -> list[Term]:
    """0 <= a(1) <= a(2) <= ..."""
    return [low <= high for asks in others for low, high in zip([0, *asks], asks, strict=False)]


def _solve(constraints: list[Term]) -> Any:
    """A model, or None if there is none."""
    import z3

    solver = z3.SolverFor("QF_LRA")
    solver.set("timeout", 1000 * SECONDS)
    solver.add(*constraints)
    verdict = solver.check()
    if verdict == z3.unknown:
        raise NotSolved(f"the solver gave up within {SECONDS} s: {solver.reason_unknown()}")
    return solver.model() if verdict == z3.sat else None


def _replay(
    mechanism: Mechanism, model: Any, market: Market, truth: list[Term], report: list[Term]
) -> Violation:
    """The model's auction in fractions, run by the rule itself."""

    def number(term: Term) -> Fraction:
        value = model.eval(term, model_completion=True)
        return Fraction(value.numerator_as_long(), value.denominator_as_long())

    rows = _others_rows(market, number)
    stays_out = [s for s in range(len(truth)) if s not in market.bidding]
    lie, costs = ([number(term) for term in asks] for asks in (report, truth))
    for task in stays_out:
        lie[task] = costs[task] = math.inf  # type: ignore[call-overload]
    bids = np.empty((len(rows) + 1, len(truth)), dtype=object)
    for i, row in enumerate([*rows, costs]):
        bids[i] = row
    client = len(rows)
    found = find_profitable_report(mechanism, bids, BUDGET, client=client, reports=[tuple(lie)])
    if found is None:
        raise NotSolved("the solver's counter-example does not replay: the encoding is wrong")
    return found


def _others_rows(market: Market, number: Callable[[Term], Fraction]) -> list[list[Any]]:
    """Clients whose k-th asks are the others' k-th asks; one task each if the client has one."""
    tasks = range(len(market.others))
    if len(market.bidding) == len(market.others):
        return [[number(asks[k]) for asks in market.others] for k in range(len(market.others[0]))]
    return [
        [number(ask) if s == task else math.inf for s in tasks]
        for task, asks in enumerate(market.others)
        for ask in asks
    ]


def _budget_fair(market: Market, asked: Sequence[Term], costs: Sequence[Term]) -> Term:
    """Utility under budget-fair: the level of each task depends on its own asks."""
    import z3

    total: Term = z3.RealVal(0)
    share = BUDGET / len(market.others)
    for s in market.bidding:
        gain: Term = z3.RealVal(0)
        for k in range(1, len(market.others[s]) + 2):
            price = market.a(s, k)
            pay = share / k if price is None else _min(price, share / k)
            among = z3.BoolVal(True) if price is None else asked[s] < price
            won = z3.If(among, pay - costs[s], 0)
            gain = z3.If(k * market.b(s, k, asked[s]) <= share, won, gain)
        total = total + gain
    return total


def _level_max_min(market: Market, asked: Sequence[Term], costs: Sequence[Term]) -> Term:
    """Utility under the common level, which looks at all asks."""
    import z3

    total: Term = z3.RealVal(0)
    tasks = range(len(market.others))
    for k in range(1, max(map(len, market.others)) + 1):
        asks = [market.b(s, k + 1, asked[s]) for s in tasks]
        if _missing(asks):
            break
        prices = {s: market.a(s, k) for s in market.bidding}
        total = z3.If(k * sum(asks) <= BUDGET, _menu_utility(prices, asked, costs), total)
    return total


def _leave_one_out_level(market: Market, asked: Sequence[Term], costs: Sequence[Term]) -> Term:
    """Utility at the prices of the plain leave-one-out rule."""
    import z3

    prices = {}
    for s in market.bidding:
        price: Term = z3.RealVal(0)
        for k in range(1, len(market.others[s]) + 1):
            x = [market.a(t, k if t == s else k + 1) for t in range(len(market.others))]
            if _missing(x):
                break
            price = z3.If(k * sum(x) <= BUDGET, x[s], price)
        prices[s] = price
    return _menu_utility(prices, asked, costs)


def _max_min_fair(market: Market, asked: Sequence[Term], costs: Sequence[Term]) -> Term:
    """Utility at the water-filling prices; every cap is a variable with its defining equation."""
    import z3

    prices, ties = {}, {}
    tasks = range(len(market.others))
    for s in market.bidding:
        price, tie = z3.RealVal(0), z3.BoolVal(False)
        for k in range(1, len(market.others[s]) + 2):
            lowest = [market.a(t, k - 1 if t == s else k) for t in tasks]
            if _missing(lowest):
                break
            x = [market.a(t, k if t == s else k + 1) for t in tasks]
            is_open = k * _capped_sum(x, _max(*lowest)) <= BUDGET
            offer, is_cap = _capped(market, x, k, s)
            price, tie = z3.If(is_open, offer, price), z3.If(is_open, is_cap, tie)
        prices[s], ties[s] = price, tie
    return _menu_utility(prices, asked, costs, ties)


def _capped(market: Market, x: list[Term], k: int, s: int) -> tuple[Term, Term]:
    """min(x_s, water level of x at B / k), and whether the level is the smaller one."""
    import z3

    level = z3.Real(f"level{s}_{k}")
    fill = k * _capped_sum(x, level) == BUDGET
    if _missing(x):
        market.facts.append(fill)
        is_cap = z3.BoolVal(True) if x[s] is None else level < x[s]
    else:
        fits = k * sum(x) <= BUDGET
        market.facts.append(z3.Or(fits, fill))
        is_cap = z3.And(z3.Not(fits), level < x[s])
    return (level if x[s] is None else z3.If(is_cap, level, x[s])), is_cap


def _capped_sum(x: list[Term], cap: Term) -> Term:
    """sum_t min(x_t, cap), a missing ask being infinite."""
    return sum(cap if term is None else _min(term, cap) for term in x)


def _menu_utility(
    prices: dict[int, Term],
    asked: Sequence[Term],
    costs: Sequence[Term],
    ties: dict[int, Term] | None = None,
) -> Term:
    """The client gets every task priced above its ask, and those where it wins ties."""
    import z3

    gains = []
    for s, price in prices.items():
        won = asked[s] < price
        if ties is not None:
            won = z3.Or(won, z3.And(ties[s], asked[s] == price))
        gains.append(z3.If(won, price - costs[s], 0))
    return sum(gains)


def _missing(asks: list[Term]) -> bool:
    """Whether one of some asks does not exist (`in` would ask the solver)."""
    return any(ask is None for ask in asks)


def _min(x: Term, y: Term) -> Term:
    """Smaller of two terms."""
    import z3

    return z3.If(x <= y, x, y)


def _max(*terms: Term) -> Term:
    """Largest of some terms."""
    import z3

    top = terms[0]
    for term in terms[1:]:
        top = z3.If(top >= term, top, term)
    return top


_UTILITIES: dict[Any, Utility] = {
    budget_fair: _budget_fair,
    max_min_fair: _max_min_fair,
    leave_one_out_level: _leave_one_out_level,
    level_max_min: _level_max_min,
}
