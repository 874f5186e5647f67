"""Truthfulness for all real bids: the rules once more, over terms of the solver Z3.

A rule is anonymous, so without loss of generality the others' bids are sorted; only the client
in question has bids in any position. It has the last index and so loses ties, which cost nobody
utility. The solver looks for bids, true costs and a profitable misreport; `unsat` is a proof for
every real profile of that shape, and a model is turned into fractions and replayed on the rule
itself. The budget is 1: the rules scale with money.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput, NotSolved
from fairopt.extras import extra
from mechanisms.audits.best_response import known_rule
from mechanisms.audits.properties import find_overspend, find_profitable_report
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.audits.smt.encodings import (
    BUDGET,
    UTILITIES,
    Market,
    Offers,
    Term,
    new_market,
    ordered,
    sorted_terms,
)
from mechanisms.audits.violation import Violation
from mechanisms.outcome import Mechanism

SECONDS = 120
"""Time after which a proof attempt is given up with an error."""


@dataclass(frozen=True)
class SmtResult:
    """Outcome of a proof attempt.

    Args:
        proved: No real profile of the shape lets a client gain.
        violation: Otherwise, an exact one that replays.
    """

    proved: bool
    violation: Violation | None


def prove_truthful(
    mechanism: Mechanism, shape: tuple[int, ...], *, joint: bool = True
) -> SmtResult:
    """Prove that no client has a profitable misreport at any real bids, or give a counter-example.

    Args:
        mechanism: `budget_fair`, `max_min_fair`, `leave_one_out_level` or `level_max_min`.
        shape: (N, S); every client bids on every task.
        joint: The client bids on all tasks and may misreport all of them. Otherwise every client
            has one task, and N of the others bid on each of the other tasks.

    Raises:
        InvalidInput: A mechanism that is not encoded here.
        NotSolved: The solver gave up.

    Example:
        >>> from mechanisms import level_max_min, max_min_fair
        >>> prove_truthful(max_min_fair, (3, 2)).proved
        True
        >>> prove_truthful(level_max_min, (3, 2)).violation.gain > 0
        True
    """
    with extra("mechanisms"):
        import z3

    rule, options = known_rule(mechanism)
    if rule not in UTILITIES or options:
        names = ", ".join(each.__name__ for each in UTILITIES)
        called = getattr(mechanism, "__name__", mechanism)
        requirement = f'one of {names} for method="smt"; mechanisms.prove takes a rule of your own'
        raise InvalidInput("mechanism", called, requirement)
    market = new_market(int(shape[0]), int(shape[1]), joint)
    tasks = range(len(market.others))
    truth, report = ([z3.Real(f"{name}{s}") for s in tasks] for name in ("cost", "report"))
    gain = UTILITIES[rule](market, report, truth) - UTILITIES[rule](market, truth, truth)
    positive = [term >= 0 for term in (*truth, *report)]
    model = _solve([*ordered(market.others), *positive, *market.facts, gain > 0])
    if model is None:
        return SmtResult(True, None)
    return SmtResult(False, _replay(mechanism, model, market, truth, report))


def prove_within_budget(mechanism: Mechanism, offers: Offers, shape: tuple[int, int]) -> SmtResult:
    """Prove that a leave-one-out rule never overspends, at any real bids, or give an example.

    All clients are explicit here, in any order, with ties to the lower index.

    Args:
        mechanism: The rule itself, on which an example is replayed.
        offers: Its offers, such as `mechanisms.audits.smt.encodings.capped_offers` for
        `max_min_fair`.
        shape: (N, S); every client bids on every task.

    Raises:
        NotSolved: The solver gave up, or its example does not replay.

    Example:
        >>> from mechanisms import max_min_fair
        >>> from mechanisms.audits.smt.encodings import capped_offers
        >>> prove_within_budget(max_min_fair, capped_offers, (3, 2)).proved
        True
    """
    with extra("mechanisms"):
        import z3

    clients, tasks = (range(size) for size in shape)
    profile = [[z3.Real(f"bid{i}_{s}") for s in tasks] for i in clients]
    facts = [bid >= 0 for row in profile for bid in row]
    spend = sum(_payments(profile, client, offers, facts) for client in clients)
    model = _solve([*facts, spend > BUDGET])
    if model is None:
        return SmtResult(True, None)
    bids = np.array([[_number(model, bid) for bid in row] for row in profile], dtype=object)
    found = find_overspend(run_mechanism(mechanism, bids, BUDGET), BUDGET)
    if found is None:
        raise NotSolved("the solver's counter-example does not replay: the encoding is wrong")
    return SmtResult(False, found.within(bids, BUDGET))


def encoded_spend(offers: Offers, bids: NDArray[Any]) -> Fraction:
    """What encoded offers pay in all on one auction with a budget of 1.

    Args:
        offers: Such as `mechanisms.audits.smt.encodings.plain_offers`.
        bids: (N, S) fractions; everybody bids on everything.

    Raises:
        NotSolved: The solver gave up.

    Example:
        >>> from mechanisms.audits.smt.encodings import plain_offers
        >>> encoded_spend(plain_offers, np.array([[Fraction(1, 4)], [Fraction(1, 2)]]))
        Fraction(1, 2)
    """
    with extra("mechanisms"):
        import z3

    table = [[z3.RealVal(str(bid)) for bid in row] for row in bids]
    facts: list[Term] = []
    spend = sum(_payments(table, client, offers, facts) for client in range(len(table)))
    total = z3.Real("spend")
    model = _solve([*facts, total == spend])
    assert model is not None, "the definitions of the encoding contradict each other"
    return _number(model, total)


def _payments(bids: list[list[Term]], client: int, offers: Offers, facts: list[Term]) -> Term:
    """Total pay of one client at the offers that the others' bids make."""
    import z3

    others = [j for j in range(len(bids)) if j != client]
    tasks = range(len(bids[0]))
    columns = [[z3.Real(f"other{client}_{s}_{k}") for k in range(len(others))] for s in tasks]
    for s, column in enumerate(columns):
        ordered_bids = sorted_terms([bids[j][s] for j in others])
        facts.extend(name == bid for name, bid in zip(column, ordered_bids, strict=True))
    market = Market(columns, tuple(tasks), facts, name=f"_{client}")
    total = z3.RealVal(0)
    for s in tasks:
        own = bids[client][s]
        before = [bids[j][s] < own if j > client else bids[j][s] <= own for j in others]
        ahead = sum(z3.If(each, 1, 0) for each in before)
        pay = z3.RealVal(0)
        for offer in offers(market, s):
            won = z3.And(ahead < offer.k, own <= offer.price)
            pay = z3.If(offer.is_open, z3.If(won, offer.price, 0), pay)
        total = total + pay
    return total


def _number(model: Any, term: Term) -> Fraction:
    """Value of a term in a model."""
    value = model.eval(term, model_completion=True)
    return Fraction(value.numerator_as_long(), value.denominator_as_long())


def _solve(constraints: list[Term]) -> Any:
    """A model, or None if there is none."""
    import z3

    solver = z3.SolverFor("QF_LRA")
    solver.set("timeout", 1000 * SECONDS)
    solver.add(*constraints)
    answer = solver.check()
    if answer == z3.unknown:
        raise NotSolved(f"the solver gave up within {SECONDS} s: {solver.reason_unknown()}")
    return solver.model() if answer == z3.sat else None


def _replay(
    mechanism: Mechanism, model: Any, market: Market, truth: list[Term], report: list[Term]
) -> Violation:
    """The model's auction in fractions, run by the rule itself."""
    number = partial(_number, model)
    rows = _others_rows(market, number)
    stays_out = [s for s in range(len(truth)) if s not in market.bidding]
    misreport, costs = ([number(term) for term in terms] for terms in (report, truth))
    for task in stays_out:
        misreport[task] = costs[task] = math.inf  # type: ignore[call-overload]
    bids = np.empty((len(rows) + 1, len(truth)), dtype=object)
    for i, row in enumerate([*rows, costs]):
        bids[i] = row
    client = len(rows)
    reports = [tuple(misreport)]
    found = find_profitable_report(mechanism, bids, BUDGET, client=client, reports=reports)
    if found is None:
        raise NotSolved("the solver's counter-example does not replay: the encoding is wrong")
    return found


def _others_rows(market: Market, number: Callable[[Term], Fraction]) -> list[list[Any]]:
    """Clients whose k-th bids are the others' k-th bids; one task each if the client has one."""
    tasks = range(len(market.others))
    if len(market.bidding) == len(market.others):
        return [[number(bids[k]) for bids in market.others] for k in range(len(market.others[0]))]
    return [
        [number(bid) if s == task else math.inf for s in tasks]
        for task, bids in enumerate(market.others)
        for bid in bids
    ]
