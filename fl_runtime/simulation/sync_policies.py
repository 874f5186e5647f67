"""Synchronisation policies: what a server waits for before it aggregates.

A barrier waits for the jobs of its latest dispatch, an asynchronous server for the next arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from fl_runtime.simulation.clock import LOST, PendingJob, PendingJobs


@dataclass(frozen=True)
class Arrivals:
    """What a policy has waited for.

    Attributes:
        time: Virtual time at the end of the wait.
        answered: Jobs whose answers count, in the order in which the algorithm gets them.
        lost: Jobs that dropped out or failed, of this dispatch or an earlier one.
        discarded: How many jobs of this dispatch answer too late to count.
        ahead: Jobs still in flight whose answers will count: worth computing in the same stack.
        left: All jobs still in flight.
        over: Whether the algorithm goes on even if nothing was answered.
        late: Jobs that were lost earlier, and of which something was heard since.
    """

    time: float
    answered: PendingJobs
    lost: PendingJobs
    discarded: int
    ahead: PendingJobs
    left: PendingJobs
    over: bool
    late: PendingJobs = ()


class SyncPolicy(Protocol):
    """What a server waits for before it aggregates."""

    @property
    def may_discard(self) -> bool:
        """Whether answers may come too late to count."""
        ...

    def collect(self, pending: PendingJobs, dispatch_index: int, otherwise: float) -> Arrivals:
        """Let time pass until the server may act.

        Args:
            pending: Jobs in flight.
            dispatch_index: Number of the latest dispatch.
            otherwise: The time to go on to if there is nothing to wait for.
        """
        ...


@dataclass(frozen=True)
class Barrier:
    """Wait for the jobs of the latest dispatch: for all, or for the first so many clients.

    A client counts with its last answer; among clients that end together those with the lower draws
    (`PendingJob.tie`) are first. What is answered later is discarded, but its client is busy until
    then. If fewer answer than are wanted, the barrier opens when the last should have.

    Attributes:
        first: Clients that are enough; None for all.
        per_task: Whether every task needs so many; the barrier opens when the last one has them.
    """

    first: int | None = None
    per_task: bool = False

    @property
    def may_discard(self) -> bool:
        """If it does not wait for all."""
        return self.first is not None

    def collect(self, pending: PendingJobs, dispatch_index: int, otherwise: float) -> Arrivals:
        """Everything up to the time at which the barrier opens."""
        mine = [entry for entry in pending if entry.dispatch_index == dispatch_index]
        groups: dict[str | None, list[PendingJob]] = {}
        for entry in mine:
            groups.setdefault(entry.job.task if self.per_task else None, []).append(entry)
        counted, waited_for = [], []
        for group in groups.values():
            early, enough = self._early(group)
            counted += early
            waited_for += early if enough else group
        time = max((entry.finish for entry in waited_for), default=otherwise)
        ended = [entry for entry in pending if entry.finish <= time]
        answering = [entry for entry in mine if entry.fate == "answers"]
        return Arrivals(
            time=time,
            answered=tuple(sorted(counted, key=lambda entry: entry.number)),
            lost=tuple(entry for entry in ended if entry.fate in LOST),
            discarded=len(answering) - len(counted),
            ahead=(),
            left=tuple(_too_late(entry) for entry in pending if entry.finish > time),
            over=True,
        )

    def _early(self, group: Sequence[PendingJob]) -> tuple[list[PendingJob], bool]:
        """The answers that count, and whether they are as many as are wanted."""
        answering = [entry for entry in group if entry.fate == "answers"]
        last = {entry.job.client: (entry.finish, entry.tie) for entry in answering}
        early = sorted(last, key=lambda client: last[client])[: self.first]
        counted = [entry for entry in answering if entry.job.client in early]
        return counted, self.first is not None and len(early) == self.first


def _too_late(entry: PendingJob) -> PendingJob:
    """A job that is still in flight when its barrier has opened: its answer is discarded."""
    return replace(entry, fate="answers too late") if entry.fate == "answers" else entry


@dataclass(frozen=True)
class NextArrival:
    """Wait for the next job to end, whichever it is.

    Jobs that end together come one by one, in the order of their draws (`PendingJob.tie`).
    """

    @property
    def may_discard(self) -> bool:
        """Never."""
        return False

    def collect(self, pending: PendingJobs, dispatch_index: int, otherwise: float) -> Arrivals:
        """The first of the queue."""
        if not pending:
            return Arrivals(otherwise, (), (), 0, (), (), over=True)
        first, left = pending[:1], pending[1:]
        answers = first[0].fate == "answers"
        return Arrivals(
            time=first[0].finish,
            answered=first if answers else (),
            lost=() if answers else first,
            discarded=0,
            ahead=tuple(entry for entry in left if entry.fate == "answers"),
            left=left,
            over=False,
        )
