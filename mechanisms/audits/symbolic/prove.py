"""The public call: is a rule truthful and within budget, whatever the real bids of its clients?"""

from __future__ import annotations

import itertools
import math
import numbers
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, Literal

from fairopt.errors import InvalidInput
from mechanisms.audits.best_response import known_rule
from mechanisms.audits.run_rule import checked_mechanism
from mechanisms.audits.symbolic.paths import Limits, Paths
from mechanisms.audits.symbolic.programs import (
    BUDGET,
    Cells,
    Law,
    Menu,
    Shape,
    Truthful,
    WithinBudget,
)
from mechanisms.audits.time_limit import OutOfTime
from mechanisms.audits.violation import Violation
from mechanisms.bids import checked_budget, checked_count
from mechanisms.outcome import Mechanism

LARGEST = 12
"""Bids up to which a shape is accepted: beyond it the paths of any rule are too many."""
Check = Literal["truthful", "budget"]
CHECKS: tuple[Check, ...] = ("truthful", "budget")


class ProofStatus(Enum):
    """What a proof attempt came to; the value is the sentence that a person reads."""

    PROVED = "holds for all real bids of this shape"
    REFUTED = "does not hold: there is an auction that breaks it"
    UNFINISHED = "neither proved nor refuted: the limits were reached first"


@dataclass(frozen=True, eq=False)
class ProofReport:
    """What a proof attempt showed.

    Args:
        status: Proved, refuted or unfinished.
        scope: What it is about, in words.
        violation: For REFUTED an exact auction that breaks a law, and that replays.
        paths: Paths of the rule's code that were run.
        checks: Questions to the solver.
        seconds: It took.
    """

    status: ProofStatus
    scope: str
    violation: Violation | None
    paths: int
    checks: int
    seconds: float

    @property
    def proved(self) -> bool | None:
        """True if proved, False if refuted, None if unfinished."""
        return {ProofStatus.PROVED: True, ProofStatus.REFUTED: False}.get(self.status)

    @property
    def sentence(self) -> str:
        """The whole of it for a person."""
        example = "" if self.violation is None else f": {self.violation.sentence}"
        return f"{self.scope}: {self.status.value}{example}"


def prove(
    rule: Mechanism,
    shape: tuple[int, int],
    *,
    checks: Sequence[Check] = CHECKS,
    budget: Any = None,
    missing_bids: bool = False,
    max_paths: int = 20_000,
    seconds: float = 60.0,
) -> ProofReport:
    """Prove laws of an exact rule for all real bids of a small auction, by running it.

    The rule runs on unknown bids that remember their linear form. Each of its comparisons is also
    tried the other way, at a point that the solver Z3 finds or shows not to exist, until every
    path of its code has been run; ties are paths of their own. What holds on all of them holds for
    all real bids. The rule is no black box to be sampled and no encoding of it is proved: it is
    the code that runs. On every path it also runs on plain fractions and must decide alike.

    Args:
        rule: `(bids, budget) -> Outcome` that adds, subtracts, compares, and scales by constants,
            as on an object array of `Fraction`. It is called many times.
        shape: (N, S), at most 12 bids; 2 x 2 and 3 x 1 take seconds, 3 x 2 minutes.
        checks: "truthful": no client gains by any joint misreport of its costs, and none is paid
            below its bid. "budget": payments sum to at most the budget.
        budget: A number, or None for any budget > 0, an unknown as well.
        missing_bids: Also every pattern in which clients do not bid for some tasks, and misreports
            that bid, or do not bid, where the truth is otherwise. Otherwise everybody bids on
            everything.
        max_paths: Runs of all programs together, before the attempt is given up.
        seconds: The same in time. A rule that never returns is ended (in the main thread, where
            the system has an alarm clock that nobody uses).

    Returns:
        `ProofReport`: PROVED, REFUTED with an auction that replays, or UNFINISHED.

    Guarantee: PROVED is about exact numbers of this shape, and this rule as code: not about other
    shapes, floats, or a rule that remembers earlier auctions it was not asked about.

    Raises:
        InvalidInput: Bad arguments; a rule that does something else with bids (products, rounding,
            floats), that decides otherwise when run again, or that returns no sound outcome.
        MissingExtra: Z3 is not installed.

    Example:
        >>> from mechanisms import budget_fair, level_max_min
        >>> prove(budget_fair, (2, 1)).status.name
        'PROVED'
        >>> report = prove(level_max_min, (2, 2))
        >>> report.proved, report.violation.law, report.violation.replay(level_max_min) > 0
        (False, 'truthful', True)
    """
    limits = Limits(
        checked_count("max_paths", max_paths, 1), time.monotonic() + _checked_seconds(seconds)
    )
    clients, tasks = _checked_shape(shape)
    wanted = _checked_checks(checks)
    if not isinstance(missing_bids, bool):
        raise InvalidInput("missing_bids", missing_bids, "True or False")
    money = None if budget is None else checked_budget(budget, exact=True)
    checked_mechanism(rule, "rule")
    if money is None and "unit" in known_rule(rule)[1]:
        requirement = "a number where the rule has a unit: every multiple of it is a path"
        raise InvalidInput("budget", budget, requirement)
    start = time.monotonic()
    try:
        patterns = _patterns(clients, tasks) if missing_bids else [frozenset[Any]()]
        shapes = [Shape(clients, tasks, missing, money) for missing in patterns]
        violation = find_violation(rule, shapes, wanted, limits, feigned=missing_bids)
        status = ProofStatus.PROVED if violation is None else ProofStatus.REFUTED
    except OutOfTime:
        violation, status = None, ProofStatus.UNFINISHED
    took = time.monotonic() - start
    scope = _scope(rule, clients, tasks, money, missing_bids, wanted)
    return ProofReport(status, scope, violation, limits.taken, limits.checks, took)


def find_violation(
    rule: Mechanism,
    shapes: Sequence[Shape],
    checks: Sequence[Check],
    limits: Limits,
    *,
    feigned: bool = False,
) -> Violation | None:
    """The first violation of some laws, over all real numbers of some patterns of bids.

    Args:
        rule: The rule.
        shapes: Patterns of bids of equally many clients and tasks.
        checks: Which laws.
        limits: What all of it may take.
        feigned: Misreports may bid, or not bid, for tasks where the truth does otherwise; then the
            shapes must be all patterns.

    Raises:
        OutOfTime: The limits were reached.
    """
    if "budget" in checks:
        for shape in shapes:
            law = WithinBudget(rule, shape)
            found = _space(law, limits).counterexample(law)
            if found is not None:
                return _confirmed(found)
    if "truthful" not in checks:
        return None
    lies = (_lie(rule, shapes, i, feigned, limits) for i in range(shapes[0].clients))
    return next((found for found in lies if found is not None), None)


def _lie(
    rule: Mechanism, shapes: Sequence[Shape], client: int, feigned: bool, limits: Limits
) -> Violation | None:
    """A misreport of one client: excluded by its menu, if it has one everywhere, or looked for."""
    menus = (Menu(rule, shape, client) for shape in shapes)
    if all(_space(menu, limits).counterexample(menu) is None for menu in menus):
        return None
    for shape in shapes:
        own = frozenset(task for i, task in shape.missing if i == client)
        for unwilling in _subsets(range(shape.tasks)) if feigned else [own]:
            law = Truthful(rule, shape, client, frozenset(unwilling))
            found = _space(law, limits).counterexample(law)
            if found is not None:
                return _confirmed(found)
    return None


def _confirmed(found: Violation) -> Violation:
    """A violation that a path found and that fractions confirmed."""
    assert isinstance(found, Violation), "what forms show must show in fractions"
    return found


def _space(law: Law, limits: Limits) -> Paths:
    """The unknowns of a law."""
    positive = [BUDGET] if law.shape.budget is None else []
    return Paths(law.names(), positive, limits)


def _patterns(clients: int, tasks: int) -> Iterator[Cells]:
    """Every set of cells without a bid, but for that of all cells."""
    cells = list(itertools.product(range(clients), range(tasks)))
    return (frozenset(chosen) for chosen in _subsets(cells) if len(chosen) < len(cells))


def _subsets(items: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """All subsets, small ones first."""
    sizes = range(len(items) + 1)
    return itertools.chain.from_iterable(itertools.combinations(items, size) for size in sizes)


def _scope(
    rule: Mechanism,
    clients: int,
    tasks: int,
    budget: Fraction | None,
    missing: bool,
    checks: Sequence[Check],
) -> str:
    """What is proved, in words."""
    words = {"truthful": "truthful and individually rational", "budget": "within budget"}
    money = "any budget" if budget is None else f"budget {budget}"
    bids = "bidding on any tasks" if missing else "all bidding on everything"
    laws = ", ".join(words[check] for check in checks)
    name = getattr(rule, "__name__", repr(rule))
    return f"{name}, {laws}, (N, S) = ({clients}, {tasks}), {bids}, {money}"


def _checked_shape(shape: Any) -> tuple[int, int]:
    """(N, S), small enough."""
    requirement = f"(clients, tasks), two integers >= 1 with a product of at most {LARGEST}"
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 2:
        raise InvalidInput("shape", shape, requirement)
    clients, tasks = (checked_count("shape", size, 1) for size in shape)
    if clients * tasks > LARGEST:
        raise InvalidInput("shape", shape, requirement)
    return clients, tasks


def _checked_checks(checks: Any) -> tuple[Check, ...]:
    """Which laws."""
    known = isinstance(checks, Sequence) and not isinstance(checks, str)
    if not known or not checks or any(check not in CHECKS for check in checks):
        raise InvalidInput("checks", checks, f"one or more of {', '.join(CHECKS)}")
    return tuple(checks)


def _checked_seconds(seconds: Any) -> float:
    """A time."""
    right = isinstance(seconds, numbers.Real) and not isinstance(seconds, bool)
    if not right or not 0 < seconds < math.inf:
        raise InvalidInput("seconds", seconds, "a finite number > 0")
    return float(seconds)
