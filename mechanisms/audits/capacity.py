"""Clients that can do a limited number of tasks: what a mechanism must not give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.outcome import Mechanism, Outcome


@dataclass(frozen=True)
class WithinCapacity:
    """A mechanism for clients with a capacity: who gets more than it can do gets nothing.

    A client cannot keep such a contract, so it does no task and is paid for none. The laws then
    speak of sets of tasks that clients can do, and truthfulness includes that nobody gains by
    pretending to bid on fewer tasks.

    Args:
        mechanism: The mechanism.
        capacity: (N,) most tasks of each client.

    Example:
        >>> def everything(bids, budget):
        ...     return Outcome(bids <= 1, np.where(bids <= 1, 1, 0), (bids <= 1).sum(axis=0))
        >>> WithinCapacity(everything, (1, 1))(np.array([[0, 1], [9, 1]]), 10).winners
        array([[False, False],
               [False,  True]])
    """

    mechanism: Mechanism
    capacity: tuple[int, ...]

    def __repr__(self) -> str:
        """The mechanism's: it is what errors are about."""
        return repr(self.mechanism)

    def __call__(self, bids: NDArray[Any], budget: Any) -> Outcome:
        """The mechanism's outcome without the contracts that nobody can keep."""
        outcome = self.mechanism(bids, budget)
        if not isinstance(outcome, Outcome) or outcome.winners.shape[0] != len(self.capacity):
            return outcome  # whoever asked checks it and says what is wrong
        crowded = beyond(outcome, self.capacity)
        if not crowded.any():
            return outcome
        winners, payments = outcome.winners.copy(), outcome.payments.copy()
        winners[crowded], payments[crowded] = False, 0
        return Outcome(winners, payments, outcome.level)


def beyond(outcome: Outcome, capacity: Sequence[int]) -> NDArray[np.bool_]:
    """(N,) which clients get more tasks than they can do."""
    return np.asarray(outcome.winners.sum(axis=1) > np.asarray(capacity))
