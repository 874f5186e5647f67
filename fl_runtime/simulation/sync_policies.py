"""What a server waits for before it acts: a barrier, or the next arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fl_runtime.simulation.clock import Flight, Flights


@dataclass(frozen=True)
class Arrivals:
    """What a wait brought.

    Attributes:
        time: Virtual time at its end.
        answered: Jobs whose answers count, in the order in which the algorithm gets them.
        lost: Jobs that dropped out or failed.
        discarded: How many jobs answer too late to count.
        ahead: Jobs still in flight whose answers will count: worth computing in the same stack.
        left: All jobs still in flight.
        over: Whether the algorithm goes on even if nothing was answered.
    """

    time: float
    answered: Flights
    lost: Flights
    discarded: int
    ahead: Flights
    left: Flights
    over: bool


class Wait(Protocol):
    """What a server waits for before it acts."""

    @property
    def may_discard(self) -> bool:
        """Whether answers may come too late to count."""
        ...

    def take(self, flights: Flights, wave: int, otherwise: float) -> Arrivals:
        """Let time pass.

        Args:
            flights: Jobs in flight.
            wave: The latest dispatch.
            otherwise: Where to go in time if there is nothing to wait for.
        """
        ...


@dataclass(frozen=True)
class Barrier:
    """Wait for the jobs of the latest dispatch: for all, or for the first so many clients.

    A client counts with its last answer. What is answered later is discarded, but its client is
    busy until then. If fewer answer than are wanted, the barrier opens when the last should have.

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

    def take(self, flights: Flights, wave: int, otherwise: float) -> Arrivals:
        """Everything up to the moment the barrier opens."""
        mine = [flight for flight in flights if flight.wave == wave]
        groups: dict[str | None, list[Flight]] = {}
        for flight in mine:
            groups.setdefault(flight.job.task if self.per_task else None, []).append(flight)
        counted, waited_for = [], []
        for group in groups.values():
            early, enough = self._early(group)
            counted += early
            waited_for += early if enough else group
        time = max((flight.finish for flight in waited_for), default=otherwise)
        answering = [flight for flight in mine if flight.fate == "answers"]
        return Arrivals(
            time=time,
            answered=tuple(sorted(counted, key=lambda flight: flight.number)),
            lost=tuple(f for f in mine if f.fate != "answers" and f.finish <= time),
            discarded=len(answering) - len(counted),
            ahead=(),
            left=tuple(flight for flight in flights if flight.finish > time),
            over=True,
        )

    def _early(self, group: Sequence[Flight]) -> tuple[list[Flight], bool]:
        """The answers that count, and whether they are as many as are wanted."""
        answering = [flight for flight in group if flight.fate == "answers"]
        last = {flight.job.client: flight.finish for flight in answering}
        early = sorted(last, key=lambda client: last[client])[: self.first]
        counted = [flight for flight in answering if flight.job.client in early]
        return counted, self.first is not None and len(early) == self.first


@dataclass(frozen=True)
class NextArrival:
    """Wait for the next job to end, whichever it is; jobs that end together come one by one."""

    @property
    def may_discard(self) -> bool:
        """Never."""
        return False

    def take(self, flights: Flights, wave: int, otherwise: float) -> Arrivals:
        """The first of the queue."""
        if not flights:
            return Arrivals(otherwise, (), (), 0, (), (), over=True)
        first, left = flights[:1], flights[1:]
        answers = first[0].fate == "answers"
        return Arrivals(
            time=first[0].finish,
            answered=first if answers else (),
            lost=() if answers else first,
            discarded=0,
            ahead=tuple(flight for flight in left if flight.fate == "answers"),
            left=left,
            over=False,
        )
