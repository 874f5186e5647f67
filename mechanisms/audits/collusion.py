"""What truthful auctions do not prevent: coalitions of two clients, and false names of one.

No auction of this package is collusion-proof where two clients share their gains; fixed prices
with money for everybody are. `budget_fair` is false-name-proof where a client shares its work
between two names, `max_min_fair` is not. The searches here show what there is to gain, with
witnesses that replay.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt.errors import InvalidInput
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.audits.violation import client_utility
from mechanisms.bids import checked_bids, checked_budget
from mechanisms.outcome import Mechanism
from mechanisms.reading.amounts import amount, amounts

COLLUSION_PROOF = "collusion-proof"
FALSE_NAME_PROOF = "false-name-proof"

Row = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class JointViolation:
    """A witness of a profitable joint misreport: of a coalition, or of one client under more names.

    Args:
        law: `COLLUSION_PROOF` or `FALSE_NAME_PROOF`.
        sentence: What happened, for a person.
        gain: Of the whole coalition, compared with truthful bids; side payments share it.
        bids: (N, S) true costs of everybody.
        budget: Money available.
        clients: The coalition: two clients, or the one with several names.
        reports: Rows of bids. The first ones replace the rows of `clients`; the others are further
            names of the first client and stand below all rows.
    """

    law: str
    sentence: str
    gain: Any
    bids: NDArray[Any]
    budget: Any
    clients: tuple[int, ...]
    reports: tuple[Row, ...]

    def reported(self) -> NDArray[Any]:
        """The profile that the mechanism sees."""
        return _reported(self.bids, self.clients, self.reports)

    def replay(self, mechanism: Mechanism) -> Any:
        """Run a mechanism on the witness; returns the joint gain that it allows."""
        return _gain(mechanism, self.bids, self.budget, self.clients, self.reports)


def find_profitable_collusion(
    mechanism: Mechanism,
    bids: ArrayLike,
    budget: Any,
    *,
    clients: tuple[int, int],
    reports: Iterable[tuple[Row, Row]],
) -> JointViolation | None:
    """The best of some joint reports of two clients, if together they gain over the truth.

    Utilities are added: the two settle the rest by side payments.

    Args:
        mechanism: Any callable; bids are passed on as given.
        bids: (N, S) true costs.
        budget: Money available.
        clients: The two.
        reports: Pairs of rows of S bids. All pairs of a grid (see `all_pairs`) make the answer
            exact on that grid; sampled pairs make it a lower bound.

    Raises:
        InvalidInput: Bad bids or budget, or not two clients.

    Example:
        A loser that sets the price bids more; the winner shares what that brings.

        >>> from mechanisms import max_min_fair
        >>> pairs = all_pairs(range(5), 1)
        >>> found = find_profitable_collusion(
        ...     max_min_fair, [[0], [2]], 3, clients=(0, 1), reports=pairs)
        >>> found.reports, found.gain
        (((0,), (3,)), Fraction(1, 1))
    """
    table = checked_bids(bids)
    checked_budget(budget, exact=table.dtype == object)
    pair = tuple(clients)
    if len(set(pair)) != 2 or not all(0 <= client < len(table) for client in pair):
        raise InvalidInput("clients", clients, f"two different indices below {len(table)}")
    return _best(mechanism, table, budget, pair, reports, COLLUSION_PROOF)


def find_profitable_false_name(
    mechanism: Mechanism,
    bids: ArrayLike,
    budget: Any,
    *,
    client: int,
    identities: Iterable[tuple[Row, ...]] | None = None,
    twice: bool = True,
) -> JointViolation | None:
    """The best way for one client to appear as several, if it beats appearing once with its costs.

    Each identity bears the client's costs for what it wins: a task that is won twice is done
    twice. Under posted prices, too, that pays, as any work does; what is particular to a rule
    shows with `twice=False`. Further identities stand below all clients, so they lose ties.

    Args:
        mechanism: Any callable; bids are passed on as given.
        bids: (N, S) true costs.
        budget: Money available.
        client: Who appears several times.
        identities: Rows of bids, a tuple for each way to appear. By default all ways to split the
            truthful bids between two names (see `splits`).
        twice: Whether two names of the client may win the same task; otherwise only those ways to
            appear count under which this does not happen.

    Raises:
        InvalidInput: Bad bids or budget, or no such client.

    Example:
        >>> from mechanisms import budget_fair
        >>> doubled = [((0,), (0,))]
        >>> found = find_profitable_false_name(
        ...     budget_fair, [[0], [1]], 3, client=0, identities=doubled)
        >>> found.gain  # 1 + 1 under two names, 3/2 under one
        Fraction(1, 2)
        >>> find_profitable_false_name(budget_fair, [[0, 1], [2, 2]], 3, client=0) is None
        True
    """
    table = checked_bids(bids)
    checked_budget(budget, exact=table.dtype == object)
    if not 0 <= client < len(table):
        raise InvalidInput("client", client, f"an index below {len(table)}")
    rows = splits(tuple(table[client])) if identities is None else identities
    return _best(mechanism, table, budget, (client,), rows, FALSE_NAME_PROOF, twice=twice)


def all_pairs(values: Iterable[Any], num_tasks: int) -> Iterator[tuple[Row, Row]]:
    """Every pair of rows whose bids come from some values.

    Example:
        >>> len(list(all_pairs([0, 1, 2], 2)))
        81
    """
    rows = itertools.product(list(values), repeat=num_tasks)
    return itertools.product(list(rows), repeat=2)  # type: ignore[return-value]


def splits(row: Row) -> Iterator[tuple[Row, Row]]:
    """All ways to divide the bids of a row between two names, both of which bid on something.

    Example:
        >>> list(splits((1, 2)))
        [((1, inf), (inf, 2)), ((inf, 2), (1, inf))]
    """
    tasks = [task for task, bid in enumerate(row) if bid < math.inf]
    for size in range(1, len(tasks)):
        for kept in itertools.combinations(tasks, size):
            first = tuple(bid if task in kept else math.inf for task, bid in enumerate(row))
            second = tuple(math.inf if task in kept else bid for task, bid in enumerate(row))
            yield first, second


def _best(
    mechanism: Mechanism,
    bids: NDArray[Any],
    budget: Any,
    clients: tuple[int, ...],
    candidates: Iterable[tuple[Row, ...]],
    law: str,
    *,
    twice: bool = True,
) -> JointViolation | None:
    """Best of some joint reports, if it gains."""
    truthful = _utility(run_mechanism(mechanism, bids, budget), bids, clients, len(clients))
    best, found = truthful, None
    for rows in candidates:
        outcome = run_mechanism(mechanism, _reported(bids, clients, rows), budget)
        if not twice and _doubled(outcome.winners, bids, clients):
            continue
        utility = _utility(outcome, bids, clients, len(rows))
        if utility > best:
            best, found = utility, tuple(tuple(row) for row in rows)
    if found is None:
        return None
    who = f"client {clients[0]} under {len(found)} names"
    if law == COLLUSION_PROOF:
        who = f"clients {clients[0]} and {clients[1]} together"
    gains = f"gain{'s' * (law == FALSE_NAME_PROOF)} {amount(best - truthful)}"
    sentence = f"{who} {gains} by bidding {' and '.join(map(amounts, found))}"
    return JointViolation(law, sentence, best - truthful, bids, budget, clients, found)


def _doubled(winners: NDArray[np.bool_], bids: NDArray[Any], clients: tuple[int, ...]) -> bool:
    """Whether the client wins a task under two names."""
    names = [*clients, *range(len(bids), len(winners))]
    return bool((winners[names].sum(axis=0) > 1).any())


def _gain(
    mechanism: Mechanism,
    bids: NDArray[Any],
    budget: Any,
    clients: tuple[int, ...],
    reports: tuple[Row, ...],
) -> Any:
    """Joint gain of some reports over the truth."""
    truthful = _utility(run_mechanism(mechanism, bids, budget), bids, clients, len(clients))
    outcome = run_mechanism(mechanism, _reported(bids, clients, reports), budget)
    return _utility(outcome, bids, clients, len(reports)) - truthful


def _reported(
    bids: NDArray[Any], clients: tuple[int, ...], reports: tuple[Row, ...]
) -> NDArray[Any]:
    """The profile with the first rows in the clients' places and the others below."""
    profile = np.empty((len(bids) + len(reports) - len(clients), bids.shape[1]), bids.dtype)
    profile[: len(bids)] = bids
    for place, row in enumerate(reports[len(clients) :], start=len(bids)):
        profile[place] = row
    for client, row in zip(clients, reports, strict=False):
        profile[client] = row
    return profile


def _utility(outcome: Any, bids: NDArray[Any], clients: tuple[int, ...], names: int) -> Any:
    """Exact joint utility of the clients' rows and of those below all clients."""
    rows = [*clients, *range(len(bids), len(bids) + names - len(clients))]
    owners = [*clients, *[clients[0]] * (names - len(clients))]
    return sum(
        client_utility(outcome, row, bids[owner]) for row, owner in zip(rows, owners, strict=True)
    )
