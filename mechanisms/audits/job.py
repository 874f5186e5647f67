"""What an audit is about: a mechanism, true costs, and the clients that may misreport."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.bids import checked_budget, exactly
from mechanisms.outcome import Mechanism, Outcome
from mechanisms.parallel import Item, Result, Work, for_each


@dataclass(frozen=True, eq=False)
class AuditJob:
    """One audit's checked input.

    Args:
        mechanism: The callable under test.
        bids: (N, S) true costs.
        budget: Money available.
        clients: Indices of those who may misreport, each once.
        work: Who checks them.
        capacity: (N,) most tasks of each client, where they are limited.
    """

    mechanism: Mechanism
    bids: NDArray[Any]
    budget: Any
    clients: list[int]
    work: Work
    capacity: tuple[int, ...] | None = None

    @property
    def who(self) -> str:
        """Who may misreport, in words."""
        first, last = self.clients[0], self.clients[-1]
        if self.clients == list(range(first, last + 1)) and first < last:
            return f"clients {first}-{last}"
        return f"client{'s' * (first != last)} {', '.join(map(str, self.clients))}"

    def check_each(self, check: Callable[[Item], Result], about: Sequence[Item]) -> list[Result]:
        """A check of every client that may misreport, given an item about each."""
        title = "Auditing clients"
        return for_each(check, about, self.work, title=title)

    @cached_property
    def exact_bids(self) -> NDArray[Any]:
        """Bids without rounding."""
        return self.bids if self.bids.dtype == object else exactly(self.bids)

    @cached_property
    def honest(self) -> Outcome:
        """What the mechanism decides on the exact bids; in a large auction half of an audit."""
        return run_mechanism(self.mechanism, self.exact_bids, self.exact_budget)

    @property
    def exact_budget(self) -> Any:
        """The budget without rounding."""
        return checked_budget(self.budget, exact=True)


def checked_clients(clients: Any, total: int) -> list[int]:
    """Indices of those who may misreport, in rising order and each once: None is everybody.

    Example:
        >>> checked_clients([2, 0, 2], 3)
        [0, 2]
    """
    if clients is None:
        return list(range(total))
    requirement = f"indices in 0..{total - 1}"
    single = isinstance(clients, int | np.integer) or not hasattr(clients, "__iter__")
    chosen = [clients] if single else list(clients)
    for client in chosen:
        whole = isinstance(client, int | np.integer) and not isinstance(client, bool)
        if not whole or not 0 <= client < total:
            raise InvalidInput("clients", client, requirement)
    if not chosen:
        raise InvalidInput("clients", clients, "at least one client")
    return sorted({int(client) for client in chosen})
