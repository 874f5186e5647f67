"""The laws of a truthful auction, each as a search for a witness against it.

Rules and laws never mix: a law sees a mechanism as a callable `(bids, budget) -> Outcome`, or only
the outcome. A search returns a `Violation` that replays, or `None`. Those that vary one bid of one
client do so exactly and completely (see `mechanisms.audits.response_curve.trace`); they need a
mechanism that adds, scales and compares numbers and so works on fractions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt.errors import InvalidInput
from mechanisms.audits.capacity import beyond
from mechanisms.audits.response_curve import Piece, row_with, trace
from mechanisms.audits.run_rule import checked_outcome, run_mechanism
from mechanisms.audits.violation import (
    CAPACITY,
    CRITICAL,
    MENU,
    MONOTONE,
    RATIONAL,
    TRUTHFUL,
    WITHIN_BUDGET,
    Violation,
    client_utility,
    exact_spend,
)
from mechanisms.bids import checked_bids, checked_budget, exact_number, exactly
from mechanisms.outcome import Mechanism, Outcome
from mechanisms.reading.amounts import amount, amounts

Row = tuple[Any, ...]
Traces = dict[int, list[Piece]]


def find_irrational_payment(outcome: Outcome, bids: ArrayLike) -> Violation | None:
    """A recruit that is paid less than its bid.

    Args:
        outcome: What the mechanism decided.
        bids: (N, S) on these bids.

    Example:
        >>> outcome = Outcome(np.array([[True]]), np.array([[1.0]]), np.array([1]))
        >>> find_irrational_payment(outcome, [[3.0]]).sentence
        'client 0 bids 3 for task 0 and is paid 1'
    """
    table = checked_bids(bids)
    checked_outcome(outcome, table.shape)
    for client, task in np.argwhere(outcome.winners):
        bid, pay = (exact_number(x[client, task]) for x in (table, outcome.payments))
        if pay < bid:
            sentence = (
                f"client {client} bids {amount(bid)} for task {task} and is paid {amount(pay)}"
            )
            found = Violation(RATIONAL, sentence, bid - pay)
            return replace(found, client=int(client), task=int(task), truth=tuple(table[client]))
    return None


def find_overspend(outcome: Outcome, budget: Any) -> Violation | None:
    """Payments whose exact sum is above the budget.

    Example:
        >>> outcome = Outcome(np.array([[True]]), np.array([[1.5]]), np.array([1]))
        >>> find_overspend(outcome, 1).gain
        Fraction(1, 2)
    """
    checked_outcome(outcome, outcome.winners.shape)
    limit, spend = checked_budget(budget, exact=True), exact_spend(outcome)
    if spend <= limit:
        return None
    sentence = f"{amount(spend)} is paid out of a budget of {amount(limit)}"
    return Violation(WITHIN_BUDGET, sentence, spend - limit)


def find_overload(outcome: Outcome, capacity: Sequence[int]) -> Violation | None:
    """A client that gets more tasks than it can do.

    Example:
        >>> outcome = Outcome(np.array([[True, True]]), np.array([[1.5, 2]]), np.array([1, 1]))
        >>> find_overload(outcome, [1]).sentence
        'client 0 gets 2 tasks and can do 1'
    """
    for client in np.flatnonzero(beyond(outcome, capacity)).tolist():
        tasks, most = int(outcome.winners[client].sum()), capacity[client]
        sentence = f"client {client} gets {tasks} tasks and can do {most}"
        return Violation(CAPACITY, sentence, tasks - most, client=client, capacity=tuple(capacity))
    return None


def find_profitable_misreport(
    mechanism: Mechanism, bids: ArrayLike, budget: Any, *, client: int, feigned: bool = False
) -> Violation | None:
    """The single bid by which one client gains most when it replaces the true one.

    Every bid from 0 to infinity, and not bidding, is covered for each task in turn; the client's
    other bids stay truthful. Bids are taken as the true costs. Where the best gain is a limit
    that no bid attains, a bid with all but 1/1024 of it is returned.

    A client that does not bid on a task stays out of it, unless `feigned` is set: then it may
    also bid on a task that it cannot do, hoping to lose there and to gain elsewhere. That breaks
    `level_max_min` even where every client has one task.

    Args:
        mechanism: Callable on exact numbers that only adds, scales and compares.
        bids: (N, S) true costs.
        budget: Money available.
        client: Who may misreport.
        feigned: Also vary bids for tasks that the client does not bid on.

    Raises:
        InvalidInput: Bad bids or budget, or a mechanism of another kind.

    Example:
        >>> from mechanisms import greedy_max_min
        >>> bids = [[5], [6], [7], [20]]
        >>> find_profitable_misreport(greedy_max_min, bids, 20, client=0).report
        (Fraction(7, 1),)
    """
    profile = Profile(mechanism, bids, budget, client)
    traces = profile.traces(feigned=feigned)
    return max(misreports(profile, traces), key=lambda found: found.gain, default=None)


def find_profitable_report(
    mechanism: Mechanism,
    bids: ArrayLike,
    budget: Any,
    *,
    client: int,
    reports: Iterable[Row],
    honest: Outcome | None = None,
) -> Violation | None:
    """The best of some joint reports of one client, if it beats the truth.

    Args:
        mechanism: Any callable; bids are passed on as given.
        bids: (N, S) true costs.
        budget: Money available.
        client: Who may misreport.
        reports: Rows of S bids to try.
        honest: What the mechanism decides on the bids, if that is known.
    """
    table = checked_bids(bids)
    truth = tuple(table[client])
    known = run_mechanism(mechanism, table, budget) if honest is None else honest
    truthful = client_utility(known, client, truth)
    best, found = truthful, None
    profile = table.copy()
    for report in reports:
        profile[client] = report
        utility = client_utility(run_mechanism(mechanism, profile, budget), client, truth)
        if utility > best:
            best, found = utility, tuple(report)
    if found is None:
        return None
    return misreport(table, budget, client, found, best - truthful)


def find_non_monotone(
    mechanism: Mechanism, bids: ArrayLike, budget: Any, *, client: int
) -> Violation | None:
    """A task that one client wins at some bid and loses at a lower one, everything else equal.

    Covers every bid, task by task. Arguments and errors as `find_profitable_misreport`.
    """
    profile = Profile(mechanism, bids, budget, client)
    return next(monotonicity(profile, profile.traces()), None)


def find_non_critical_payment(
    mechanism: Mechanism, bids: ArrayLike, budget: Any, *, client: int
) -> Violation | None:
    """A payment that differs from the highest bid at which the client still wins the task.

    The law is about clients that bid on one task, for which monotone and critical together are
    truthfulness; others are passed over, and so is a task that the client wins at every bid.
    Arguments and errors as `find_profitable_misreport`.
    """
    profile = Profile(mechanism, bids, budget, client)
    return next(critical_payments(profile, profile.traces()), None)


def find_menu_dependence(
    mechanism: Mechanism, bids: ArrayLike, budget: Any, *, client: int
) -> Violation | None:
    """Two reports of one client that differ in one bid and win the same tasks at different pay.

    A mechanism is truthful against joint misreports exactly if a client's own bids move neither
    the pay for a set of tasks nor which sets it may choose from, and it gets the best one. This
    looks for a witness against the first half, along each single bid. Arguments and errors as
    `find_profitable_misreport`.
    """
    profile = Profile(mechanism, bids, budget, client)
    return next(menu_dependence(profile, profile.traces()), None)


class Profile:
    """One client in one exact auction: what the searches below walk over."""

    def __init__(self, mechanism: Mechanism, bids: ArrayLike, budget: Any, client: int) -> None:
        table = checked_bids(bids)
        if not 0 <= client < table.shape[0]:
            raise InvalidInput("client", client, f"an index below {table.shape[0]}")
        self.mechanism = mechanism
        self.bids = table if table.dtype == object else exactly(table)
        self.budget = checked_budget(budget, exact=True)
        self.client = client
        self.truth: Row = tuple(self.bids[client])

    def traces(self, *, feigned: bool = False) -> Traces:
        """All pieces of the client's bid, for each task that it bids on (or for all)."""
        tasks = [task for task, bid in enumerate(self.truth) if feigned or bid < np.inf]
        return {task: list(self.trace(task)) for task in tasks}

    def trace(self, task: int) -> Iterator[Piece]:
        """Pieces of one bid."""
        return trace(self.mechanism, self.bids, self.budget, self.client, task)

    def truthful_utility(self) -> Any:
        """Utility of the truth."""
        outcome = run_mechanism(self.mechanism, self.bids, self.budget)
        return client_utility(outcome, self.client, self.truth)

    def violation(self, law: str, sentence: str, gain: Any, task: int, pair: Row) -> Violation:
        """A violation between two bids for one task; the first stands in the profile."""
        rows = [row_with(self.truth, task, bid) for bid in pair]
        bids = self.bids.copy()
        bids[self.client] = rows[0]
        found = Violation(law, sentence, gain, bids, self.budget, self.client)
        return replace(found, task=task, truth=rows[0], report=rows[1])


def misreports(profile: Profile, traces: Traces) -> Iterator[Violation]:
    """Profitable single bids, at most one per piece."""
    truthful = profile.truthful_utility()
    for task, pieces in traces.items():
        for piece in pieces:
            bid = piece.best_bid(profile.truth, truthful)
            if bid is not None:
                gain = piece.utility(profile.truth, bid) - truthful
                report = row_with(profile.truth, task, bid)
                yield misreport(profile.bids, profile.budget, profile.client, report, gain)


def monotonicity(profile: Profile, traces: Traces) -> Iterator[Violation]:
    """Tasks won at a higher bid and lost at a lower one."""
    for task, pieces in traces.items():
        lost = None
        for piece in pieces:
            if not piece.won[task]:
                lost = piece.inside() if lost is None else lost
            elif lost is not None:
                pair = (piece.inside(), lost)
                bids = f"at {amount(pair[0])}, not at {amount(lost)}"
                sentence = f"client {profile.client} wins task {task} {bids}"
                yield profile.violation(MONOTONE, sentence, 1, task, pair)
                break


def critical_payments(profile: Profile, traces: Traces) -> Iterator[Violation]:
    """A payment that is not the supremum of the winning bids, for a client with one task."""
    if len(traces) != 1:
        return
    [(task, pieces)] = traces.items()
    winning = [piece for piece in pieces if piece.won[task]]
    edge = winning[-1].high if winning else np.inf
    for bid, won, paid in _payments(winning):
        if won[task] and edge < np.inf and paid != edge:
            sentence = (
                f"client {profile.client} bids {amount(bid)} for task {task} and is paid "
                f"{amount(paid)}; it wins at bids up to {amount(edge)}"
            )
            found = profile.violation(CRITICAL, sentence, abs(paid - edge), task, (bid, bid))
            yield replace(found, edge=edge)
            return


def menu_dependence(profile: Profile, traces: Traces) -> Iterator[Violation]:
    """Sets of tasks whose pay moves with one of the client's own bids."""
    for varied, pieces in traces.items():
        first: dict[tuple[bool, ...], tuple[Any, Any]] = {}
        for bid, won, pay in _payments(pieces):
            other, before = first.setdefault(won, (bid, pay))
            if before != pay:
                tasks = ", ".join(str(task) for task, wins in enumerate(won) if wins)
                sentence = (
                    f"client {profile.client} is paid {amount(before)} for task {tasks} when it "
                    f"bids {amount(other)} for task {varied}, and {amount(pay)} when it bids "
                    f"{amount(bid)}"
                )
                yield profile.violation(MENU, sentence, abs(pay - before), varied, (other, bid))
                break


def _payments(pieces: list[Piece]) -> Iterator[tuple[Any, tuple[bool, ...], Any]]:
    """(bid, tasks won, pay): two bids of every interval, since pay is linear there."""
    for piece in pieces:
        middle = piece.inside()
        for bid in (middle, (middle + piece.low) / 2):
            yield bid, piece.won, piece.utility((Fraction(0),) * len(piece.won), bid)


def misreport(bids: NDArray[Any], budget: Any, client: int, report: Row, gain: Any) -> Violation:
    """Violation of truthfulness by a client whose true costs stand in the bids."""
    truth = tuple(bids[client])
    gained = f"with costs {amounts(truth)} gains {amount(gain)} by bidding {amounts(report)}"
    sentence = f"client {client} {gained}"
    found = Violation(TRUTHFUL, sentence, gain, bids, budget, client)
    return replace(found, truth=truth, report=report)
