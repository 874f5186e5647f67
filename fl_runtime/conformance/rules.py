"""The laws of a recruitment rule: the audit of auctions, in the form of all other checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.user_objects import said
from fl_runtime.conformance.broken import Broken, other_dice, tried
from fl_runtime.extensions import resolve
from fl_runtime.running.recruitment import RULE
from mechanisms import Mechanism, Outcome, audit, named_rule
from mechanisms.audits.violation import LAWS, Violation

CASES: tuple[tuple[tuple[tuple[float, ...], ...], float], ...] = (
    (((1.0, 5.0), (2.0, 1.0), (4.0, 3.0)), 15.0),
    (((1.0,), (2.0,), (3.0,), (7.0,)), 8.0),
    (((2.0, np.inf), (3.0, 2.0), (np.inf, 1.0), (5.0, 4.0)), 12.0),
    (((3.0, 4.0), (3.0, 4.0), (3.0, 4.0)), 20.0),
)
"""True costs and budgets: several tasks, one task, clients without some task, equal clients."""

SAMPLES = 300
"""Misreports tried where single bids cannot be traced."""

SHAPE = "an outcome for these clients and tasks"


def check_rule(rule: str | Mapping[str, Any] | Mechanism) -> list[Broken]:
    """The laws that a recruitment rule breaks.

    Laws: an `Outcome` of the shape of the bids that recruits nobody who does not bid; the same at
    every call; and those of the audit (`python -m mechanisms audit`): truthful, individually
    rational, within budget, and where bids are traced monotone, with critical payments that are
    independent of the menu. A rule may break the law `truthful` on purpose; its clients then gain
    by misreports such as the one in the witness.

    Args:
        rule: A function (bids, budget), ``package.module:function``, or the name of a built-in one
            that takes nothing else.

    Example:
        >>> check_rule("max-min-fair")
        []
        >>> check_rule("greedy-max-min")[0].law
        'truthful'
    """
    made = _made(rule)
    first = tried({SHAPE: lambda: _shape(made), "the same at every call": lambda: _pure(made)})
    if first:
        return first
    found: dict[str, Violation] = {}
    try:
        for costs, budget in CASES:
            for violation in audit(made, costs, budget, samples=SAMPLES).violations:
                found.setdefault(violation.law, violation)
    except Exception as error:  # noqa: BLE001 - whatever the rule does with other bids
        return [Broken("decides whatever is bid", said(error))]
    return [Broken(law, found[law].sentence) for law in LAWS if law in found]


def _made(rule: str | Mapping[str, Any] | Mechanism) -> Mechanism:
    """The function behind what was given."""
    if callable(rule):
        return rule
    name = rule if isinstance(rule, str) else str(rule.get("name"))
    made: Mechanism
    if ":" in name:
        made = resolve(RULE, rule if isinstance(rule, str) else dict(rule))
    else:
        made = named_rule(name)
    return made


def _shape(rule: Mechanism) -> Iterator[str]:
    """Who is recruited is a table of yes and no, of those who bid."""
    for bids, budget in _cases():
        outcome: Any = rule(bids.copy(), budget)
        if not isinstance(outcome, Outcome):
            yield type(outcome).__name__
        elif outcome.winners.shape != bids.shape:
            yield f"winners of shape {outcome.winners.shape} for bids {bids.shape}"
        elif not np.isfinite(bids[outcome.winners]).all():
            yield "somebody is recruited who does not bid"


def _pure(rule: Mechanism) -> Iterator[str]:
    """Nothing but bids and budget plays a part, and the bids stay as they are."""
    for bids, budget in _cases():
        given, found = bids.copy(), []
        for dice in (1, 2):
            with other_dice(dice):
                found.append(rule(given, budget))
        same = np.array_equal(found[0].winners, found[1].winners)
        if not same or not np.array_equal(found[0].payments, found[1].payments):
            yield f"another outcome for bids {bids.shape} at another call"
        if not np.array_equal(given, bids):
            yield "the bids are changed"


def _cases() -> Iterator[tuple[NDArray[np.float64], float]]:
    """Costs as arrays."""
    for costs, budget in CASES:
        yield np.array(costs), budget
