"""What an auction decides: who is recruited for which task, and at what pay."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt.errors import InvalidInput
from mechanisms.integers import checked_capacity

UNROUNDED = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""In which decimals are added without rounding."""

Mechanism = Callable[[Any, Any], "Outcome"]
"""A mechanism is any callable `(bids, budget) -> Outcome`; users bring their own."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Result of one auction among N clients for S tasks.

    Payments are floats, or exact `Fraction` objects where the bids were exact, or `Decimal` where
    also the unit of payments was given as one. Who is not recruited is paid 0.

    Args:
        winners: (N, S) bool, client i works on task s.
        payments: (N, S) money paid to client i for task s.
        level: (S,) what the rule calls its level; the rule's docstring says which number it is.
            Recruits per task unless given.

    Raises:
        InvalidInput: Winners are no boolean table, or payments have another shape.

    Example:
        >>> outcome = Outcome(np.array([[True], [False]]), np.array([[2.0], [0.0]]), np.array([1]))
        >>> outcome.spend, outcome.take_up, outcome.min_take_up
        (2.0, array([1]), 1)
        >>> outcome.utilities(np.array([[0.5], [1.0]]))
        array([1.5, 0. ])
    """

    winners: NDArray[np.bool_]
    payments: NDArray[Any]
    level: Any = None

    def __post_init__(self) -> None:
        if self.level is None:
            object.__setattr__(self, "level", np.asarray(self.winners).sum(axis=0))
        for name in ("winners", "payments", "level"):
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        if self.winners.ndim != 2 or self.winners.dtype != np.bool_:
            found = f"{self.winners.dtype} of shape {self.winners.shape}"
            raise InvalidInput("winners", found, "a boolean table (clients, tasks)")
        if self.payments.shape != self.winners.shape:
            requirement = f"a table of shape {self.winners.shape}"
            raise InvalidInput("payments", self.payments.shape, requirement)

    @property
    def exact(self) -> bool:
        """Whether the payments are exact numbers rather than floats."""
        return self.payments.dtype == object

    @property
    def spend(self) -> Any:
        """Total payment: exact for exact payments, correctly rounded for floats.

        The sum of decimals is a decimal, without rounding whatever the context.
        """
        paid = self.payments[self.payments != 0]
        if not self.exact:
            return math.fsum(paid)
        if all(isinstance(amount, Decimal) for amount in self.payments.flat):
            return functools.reduce(UNROUNDED.add, paid, Decimal(0))
        return sum(map(without_decimals, paid), Fraction(0))

    @property
    def take_up(self) -> NDArray[np.int64]:
        """(S,) recruits per task."""
        return np.asarray(self.winners.sum(axis=0, dtype=np.int64))

    @property
    def min_take_up(self) -> int:
        """Fewest recruits of any task: what max-min auctions maximise."""
        return int(self.take_up.min())

    def utilities(
        self, costs: ArrayLike, *, capacity: int | ArrayLike | None = None
    ) -> NDArray[Any]:
        """(N,) payments minus costs of the set of tasks that a client won.

        Floats, or fractions where payments or costs are exact numbers, decimals included.

        Args:
            costs: (N, S) true costs; `inf` where a client cannot do a task.
            capacity: Most tasks that a client can do, or (N,) one for each client. A larger set
                cannot be done, so its utility is -inf. None: costs add up without limit.

        Raises:
            InvalidInput: `costs` has another shape than the outcome or is not made of real
                numbers, or the capacity is no integer in 1..S.

        Example:
            >>> outcome = Outcome(np.array([[True, True]]), np.array([[2.0, 3.0]]), np.array([1]))
            >>> outcome.utilities([[1.0, 1.0]]), outcome.utilities([[1.0, 1.0]], capacity=1)
            (array([3.]), array([-inf]))
        """
        sums = self._sums(costs)
        if capacity is not None:
            limits = checked_capacity(capacity, self.winners.shape)
            sums[self.winners.sum(axis=1) > np.array(limits)] = -math.inf
        return sums

    def _sums(self, costs: ArrayLike) -> NDArray[Any]:
        """Payments minus costs, summed over all tasks that a client won."""
        table = np.asarray(costs)
        if table.shape != self.winners.shape:
            raise InvalidInput("costs", table.shape, f"a table of shape {self.winners.shape}")
        if table.dtype.kind not in "iufO" or (table.dtype.kind == "f" and np.isnan(table).any()):
            raise InvalidInput(
                "costs", table.dtype, "real numbers, inf where a task cannot be done"
            )
        if not (self.exact or table.dtype == object):
            return np.asarray(np.where(self.winners, self.payments - table, 0.0).sum(axis=1))
        rows = zip(self.winners, self.payments, table, strict=True)
        return np.array([_exact_utility(*row) for row in rows], dtype=object)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Outcome):
            return NotImplemented
        return (
            np.array_equal(self.winners, other.winners)
            and np.array_equal(self.payments, other.payments)
            and np.array_equal(self.level, other.level)
        )

    __hash__ = None  # type: ignore[assignment]


def counting_recruits(winners: NDArray[np.bool_], payments: NDArray[Any]) -> Outcome:
    """An outcome whose level is the number of recruits of each task.

    Example:
        >>> counting_recruits(np.array([[True], [False]]), np.array([[2.0], [0.0]])).level
        array([1])
    """
    return Outcome(winners, payments, np.asarray(winners.sum(axis=0, dtype=np.int64)))


def _exact_utility(won: NDArray[np.bool_], paid: NDArray[Any], cost: NDArray[Any]) -> Any:
    """Utility of one client, with floats read as the binary numbers they are."""
    terms = (_exactly(p) - _exactly(c) for w, p, c in zip(won, paid, cost, strict=True) if w)
    return sum(terms, Fraction(0))


def _exactly(value: Any) -> Any:
    """A finite float or integer as a Fraction; everything else unchanged."""
    if isinstance(value, (int, np.integer)):
        return Fraction(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(value)
    return without_decimals(value)


def without_decimals(value: Any) -> Any:
    """A decimal as a Fraction, or a float where it is not finite; everything else unchanged."""
    if not isinstance(value, Decimal):
        return value
    return Fraction(value) if value.is_finite() else float(value)
