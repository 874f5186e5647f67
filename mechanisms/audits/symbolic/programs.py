"""What must hold on every path of a rule, for a client or for all of them.

A program builds the unknown bids of its shape, runs the rule on them and compares. The same rule
also runs on the plain numbers of the path's point and must do there what it did on forms: so a rule
that catches what a form cannot do, or that draws random numbers, is found out.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fairopt.user_objects import said
from mechanisms.audits.properties import (
    find_irrational_payment,
    find_overspend,
    find_profitable_report,
)
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.audits.symbolic.linear_form import Path, value_of
from mechanisms.audits.time_limit import stopped_after
from mechanisms.audits.violation import Violation
from mechanisms.outcome import Mechanism, Outcome

LINEAR = (
    "one that does nothing with bids and budget but add, subtract, compare and scale them by "
    "constants, and the same with every kind of number"
)
BUDGET = "budget"
Cells = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Shape:
    """The unknowns of one auction.

    Args:
        clients: N.
        tasks: S.
        missing: Cells (client, task) without a bid.
        budget: The budget; None for any.
    """

    clients: int
    tasks: int
    missing: Cells = frozenset()
    budget: Fraction | None = None

    def bids(self) -> list[str]:
        """Names of the unknown bids."""
        cells = itertools.product(range(self.clients), range(self.tasks))
        return [_bid(*cell) for cell in cells if cell not in self.missing]

    def table(self, path: Path) -> NDArray[Any]:
        """(N, S) unknown bids, `inf` where there is none."""
        table = np.empty((self.clients, self.tasks), dtype=object)
        for cell in np.ndindex(table.shape):
            table[cell] = math.inf if cell in self.missing else path.unknown(_bid(*cell))
        return table

    def money(self, path: Path) -> Any:
        """The budget."""
        return path.unknown(BUDGET) if self.budget is None else self.budget


@dataclass(frozen=True)
class Law:
    """A program for one rule and shape.

    Args:
        rule: The rule.
        shape: Its unknowns.
    """

    rule: Mechanism
    shape: Shape

    def names(self) -> list[str]:
        """All unknowns."""
        return [*self.shape.bids(), *([BUDGET] if self.shape.budget is None else [])]

    def run(self, path: Path, bids: NDArray[Any], budget: Any) -> Outcome:
        """What the rule does with forms, which it must do with their values too."""
        with stopped_after(path.deadline - time.monotonic()):
            plain = run_mechanism(self.rule, values(bids), value_of(budget))
            try:
                outcome = run_mechanism(self.rule, bids, budget)
            except Exception as error:
                raise InvalidInput("rule", self.rule, f"{LINEAR} ({said(error)})") from error
        same = np.array_equal(plain.winners, outcome.winners)
        if not same or any(map(_differ, plain.payments.flat, outcome.payments.flat)):
            raise InvalidInput("rule", self.rule, LINEAR)
        return outcome


@dataclass(frozen=True)
class WithinBudget(Law):
    """Payments sum to at most the budget."""

    def __call__(self, path: Path) -> Violation | None:
        """The overspent auction, or None."""
        bids, budget = self.shape.table(path), self.shape.money(path)
        outcome = self.run(path, bids, budget)
        if sum(outcome.payments.flat, Fraction(0)) <= budget:
            return None
        return overspent(self.rule, values(bids), value_of(budget))


@dataclass(frozen=True)
class Menu(Law):
    """One client meets prices that its bids do not enter, and its outcome is its best choice.

    The price of a task is what the client is paid there when it bids 0 for everything, which does
    not depend on its bids. If on every path it wins exactly at these prices, only where it bids no
    more, and loses only where it bids no less, then no report earns more than the truth: whatever
    it reports it gets at most the sum of the positive gains, which the truth gets.

    Args:
        client: Who.
    """

    client: int

    def __call__(self, path: Path) -> str | None:
        """Where the client does not choose from such a menu, or None: then it has no lie."""
        bids, budget = self.shape.table(path), self.shape.money(path)
        outcome = self.run(path, bids, budget)
        free = bids.copy()
        free[self.client] = Fraction(0)
        prices = self.run(path, free, budget).payments[self.client]
        for task, price in enumerate(prices):
            won, pay = outcome.winners[self.client, task], outcome.payments[self.client, task]
            bid = bids[self.client, task]
            chosen = bid < math.inf and pay == price and bid <= pay if won else bid >= price
            if not chosen:
                return f"client {self.client}, task {task}: not its choice at a price of its own"
        return None


@dataclass(frozen=True)
class Truthful(Law):
    """One client runs the auction twice, with its costs and with any other bids.

    Args:
        client: Who.
        unwilling: Tasks for which it does not bid when it misreports.
    """

    client: int
    unwilling: frozenset[int]

    def names(self) -> list[str]:
        """The unknowns of the auction, and the client's report."""
        return [*super().names(), *map(_report, self._reported())]

    def _reported(self) -> list[int]:
        """Tasks for which it bids when it misreports."""
        return [task for task in range(self.shape.tasks) if task not in self.unwilling]

    def __call__(self, path: Path) -> Violation | None:
        """A bid above its pay or a report that gains, or None."""
        costs, budget = self.shape.table(path), self.shape.money(path)
        reports = costs.copy()
        reports[self.client] = math.inf
        for task in self._reported():
            reports[self.client, task] = path.unknown(_report(task))
        honest, lie = self.run(path, costs, budget), self.run(path, reports, budget)
        exact, money = values(costs), value_of(budget)
        row = costs[self.client]
        if not _rational(honest, row, self.client):
            return underpaid(self.rule, exact, money)
        gain, feigned = (_utility(outcome, row, self.client) for outcome in (honest, lie))
        if feigned == -math.inf or feigned <= gain:
            return None
        report = tuple(values(reports)[self.client])
        return find_profitable_report(self.rule, exact, money, client=self.client, reports=[report])


def overspent(rule: Mechanism, bids: NDArray[Any], budget: Any) -> Violation | None:
    """The overspent budget of an auction."""
    found = find_overspend(run_mechanism(rule, bids, budget), budget)
    return None if found is None else found.within(bids, budget)


def underpaid(rule: Mechanism, bids: NDArray[Any], budget: Any) -> Violation | None:
    """The recruit of an auction that is paid below its bid."""
    found = find_irrational_payment(run_mechanism(rule, bids, budget), bids)
    return None if found is None else found.within(bids, budget)


def values(table: NDArray[Any]) -> NDArray[Any]:
    """Forms as the fractions that they are at the point."""
    out = np.empty(table.shape, dtype=object)
    for cell in np.ndindex(table.shape):
        out[cell] = value_of(table[cell])
    return out


def _rational(outcome: Outcome, bids: NDArray[Any], client: int) -> bool:
    """Whether a client is paid its bid, wherever it is recruited."""
    won = np.flatnonzero(outcome.winners[client])
    return all(bids[task] <= outcome.payments[client, task] for task in won)


def _utility(outcome: Outcome, costs: NDArray[Any], client: int) -> Any:
    """Pay less costs of one client; a task that it cannot do is worth -inf."""
    total: Any = Fraction(0)
    for task in np.flatnonzero(outcome.winners[client]):
        if costs[task] == math.inf:
            return -math.inf
        total = total + (outcome.payments[client, task] - costs[task])
    return total


def _differ(plain: Any, form: Any) -> bool:
    """Whether a form is not the number that the rule computed without forms."""
    return bool(plain != value_of(form))


def _bid(client: int, task: int) -> str:
    """Name of a bid."""
    return f"bid of client {client} for task {task}"


def _report(task: int) -> str:
    """Name of a report."""
    return f"report for task {task}"
