"""A failed law comes with its witness: who, with which bids, and how much it was worth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.audits.capacity import WithinCapacity
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.bids import exact_number
from mechanisms.outcome import Mechanism, Outcome

TRUTHFUL = "truthful"
RATIONAL = "individually rational"
WITHIN_BUDGET = "within budget"
CAPACITY = "within capacity"
MONOTONE = "monotone"
CRITICAL = "critical payments"
MENU = "menu independent"
LAWS = (TRUTHFUL, RATIONAL, WITHIN_BUDGET, CAPACITY, MONOTONE, CRITICAL, MENU)
"""The laws that can be violated, as reports name them."""
ROUNDING = Fraction(1, 2**40)
"""Relative to the budget: smaller gains under a float mechanism are its rounding."""


@dataclass(frozen=True, eq=False, repr=False)
class Violation:
    """A witness that a mechanism breaks a law on a profile of bids.

    Args:
        law: Which of `LAWS`.
        sentence: What happened, for a person.
        gain: Size of the violation: the client's gain for a misreport, the missing pay for an
            irrational payment, the excess for an overspent budget, the difference of the two
            payments where they should be equal, 1 for a task lost by bidding less, the number of
            tasks beyond a client's capacity.
        bids: (N, S) the profile in which everybody but the client, and the client in its truthful
            bid, is as given. None where only an outcome was looked at.
        budget: The budget; None where only an outcome was looked at.
        client: Who.
        task: On which task, where the law is about one.
        truth: (S,) the client's bid in `bids`: its true costs.
        report: (S,) what it bids instead.
        edge: For `CRITICAL`, the highest bid that still wins, which the payment should equal.
        capacity: (N,) most tasks of each client, where they are limited.
    """

    law: str
    sentence: str
    gain: Any
    bids: NDArray[Any] | None = None
    budget: Any = None
    client: int | None = None
    task: int | None = None
    truth: tuple[Any, ...] | None = None
    report: tuple[Any, ...] | None = None
    edge: Any = None
    capacity: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"{self.law}: {self.sentence}"

    def __repr__(self) -> str:
        return f"<Violation of {self}>"

    def replay(self, mechanism: Mechanism) -> Any:
        """Run a mechanism on the witness; returns the gain that it allows, <= 0 for none.

        Raises:
            InvalidInput: The violation was found in a bare outcome, without bids and budget.
        """
        if self.bids is None or self.budget is None:
            raise InvalidInput("violation", self.law, "one that knows its bids and its budget")
        if self.capacity is not None and self.law != CAPACITY:
            mechanism = WithinCapacity(mechanism, self.capacity)
        truthful = run_mechanism(mechanism, self.bids, self.budget)
        if self.law == CAPACITY:
            assert self.client is not None
            assert self.capacity is not None
            return int(truthful.winners[self.client].sum()) - self.capacity[self.client]
        if self.law == WITHIN_BUDGET:
            return exact_spend(truthful) - exact_number(self.budget)
        assert self.client is not None
        if self.law == RATIONAL:
            assert self.task is not None
            return _missing_pay(truthful, self.bids, self.client, self.task)
        return self._compare(truthful, run_mechanism(mechanism, self.reported(), self.budget))

    def reported(self) -> NDArray[Any]:
        """The profile with the client's report in place of its truth."""
        assert self.bids is not None
        assert self.report is not None
        profile = self.bids.copy()
        profile[self.client] = self.report
        return profile

    def _compare(self, truthful: Outcome, other: Outcome) -> Any:
        """Gain of a law about two bids of one client."""
        client, task = self.client, self.task
        if self.law == TRUTHFUL:
            costs = np.asarray([self.truth], dtype=object)
            return client_utility(other, client, costs[0]) - client_utility(
                truthful, client, costs[0]
            )
        if self.law == MONOTONE:
            return int(truthful.winners[client, task]) - int(other.winners[client, task])
        return self._pay_gap(truthful, other)

    def _pay_gap(self, truthful: Outcome, other: Outcome) -> Any:
        """Gap between a payment and what it should equal."""
        assert self.truth is not None
        if self.law == CRITICAL:
            won = truthful.winners[self.client, self.task] and self.edge is not None
            pay = exact_number(truthful.payments[self.client, self.task])
            return abs(pay - self.edge) if won else Fraction(0)
        if not np.array_equal(truthful.winners[self.client], other.winners[self.client]):
            return Fraction(0)
        free = [Fraction(0)] * len(self.truth)
        pays = [client_utility(outcome, self.client, free) for outcome in (truthful, other)]
        return abs(pays[0] - pays[1])

    def within(self, bids: NDArray[Any], budget: Any) -> Violation:
        """The same witness with the bids and the budget under which it was found."""
        return replace(self, bids=bids, budget=budget)


def client_utility(outcome: Outcome, client: Any, costs: Any) -> Any:
    """Exact utility of one client with the given (S,) costs."""
    row = slice(client, client + 1)
    one = Outcome(outcome.winners[row], outcome.payments[row], outcome.level)
    table = np.empty((1, len(costs)), dtype=object)
    table[0] = [exact_number(cost) for cost in costs]
    return one.utilities(table)[0]


def rounding_error(bids: NDArray[Any], budget: Any) -> Fraction:
    """Gains up to it can be rounded payments: 0 where the bids are exact."""
    exact = bids.dtype == object
    return Fraction(0) if exact else ROUNDING * exact_number(budget)


def exact_spend(outcome: Outcome) -> Any:
    """Exact sum of all payments."""
    return sum((exact_number(paid) for paid in outcome.payments.flat if paid != 0), Fraction(0))


def _missing_pay(outcome: Outcome, bids: NDArray[Any], client: int, task: int) -> Any:
    """By how much a recruit is paid below its bid; not positive where it is not."""
    if not outcome.winners[client, task]:
        return Fraction(0)
    return exact_number(bids[client, task]) - exact_number(outcome.payments[client, task])
