r"""Time of the wall, in which jobs are trained elsewhere and answers come when they come.

Problem: the loop sends jobs and waits for what the algorithm wants (`sync_policies.SyncPolicy`): a
barrier, or the next arrival. In virtual time every job knows its end when it is sent. Here nobody
knows it; so an unanswered job is taken to end at its deadline, and to end well. What has been heard
until now replaces that: an answer ends its job now, a loss likewise. The policy then says up to
which time it has to wait. If that time has come, its arrivals are exact; otherwise the server
listens until then, and asks again. So the policies and the algorithms are the ones of virtual time.

A deadline that passes without an answer drops the job. Its answer may come later: it is remarked in
the history and changes nothing. Time is in seconds of the run; while no server process runs, it
stands still. Jobs that were in flight when a process ended are sent again by the next one.

Whoever carries jobs and brings answers (`Carrier`) decides nothing about time, so tests drive this
clock with a carrier that does not train and a time that they set.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Protocol

from fl_runtime.simulation.clock import PendingJob, PendingJobs, queue
from fl_runtime.simulation.sync_policies import Arrivals, SyncPolicy
from fl_runtime.training.job import Job, Update

LISTENING = 0.05
"""Seconds between two looks for answers: short beside any training that is worth a network."""

IDLE = 1.0
"""Seconds until a server with nothing in flight looks again whether a client is there."""


@dataclass(frozen=True)
class Heard:
    """What became of a job that was sent.

    Attributes:
        number: Of the job, see `PendingJob.number`.
        update: The answer; None if there is none.
        reason: Why there is none.
        refused: Whether an answer came that is none: of the wrong form, say.
    """

    number: int
    update: Update | None = None
    reason: str = ""
    refused: bool = False


class Carrier(Protocol):
    """Who takes jobs to clients and brings what becomes of them."""

    def send(self, entries: Sequence[PendingJob], seconds: float) -> None:
        """Take jobs, whose answers are of use for that many seconds."""
        ...

    def listen(self) -> list[Heard]:
        """What has been heard since; nothing, if there was nothing. It does not wait."""
        ...

    def give_up(self, entries: Sequence[PendingJob]) -> None:
        """Learn that the deadline of these jobs has passed."""
        ...

    def figures(self) -> Mapping[str, float]:
        """What has been carried since the last call."""
        ...


@dataclass
class Deadline:
    """How long an answer is waited for: a multiple of what answers have taken so far.

    Attributes:
        times: That multiple, of the median.
        first: Seconds while fewer than `enough` answers are known.
        least: Seconds at least: starting a process takes its time, whatever training takes.
        enough: Answers from which a median says something.
        seen: Seconds that the latest answers took.

    Example:
        >>> deadline = Deadline(first=600.0, least=1.0, enough=3)
        >>> deadline.seconds
        600.0
        >>> deadline.seen.extend([4.0, 5.0, 90.0])
        >>> deadline.seconds
        15.0
    """

    times: float = 3.0
    first: float = 300.0
    least: float = 60.0
    enough: int = 5
    seen: deque[float] = field(default_factory=lambda: deque(maxlen=50))

    @property
    def seconds(self) -> float:
        """The deadline of a job that is sent now."""
        if len(self.seen) < self.enough:
            return self.first
        return max(self.least, self.times * median(self.seen))


class WallClock:
    """The clock of a federation whose nodes are elsewhere.

    Example:
        >>> from fl_runtime.simulation.sync_policies import NextArrival
        >>> class Echo:  # answers everything at once
        ...     def __init__(self):
        ...         self.sent = []
        ...     def send(self, entries, seconds):
        ...         self.sent += entries
        ...     def listen(self):
        ...         sent, self.sent = self.sent, []
        ...         return [Heard(e.number, Update("a", e.job.client, 0, {}, 9)) for e in sent]
        >>> clock = WallClock(Echo(), now=lambda: 7.0)
        >>> jobs = [Job("a", client, 0, 0.0, {}, seed=0) for client in (4, 5)]
        >>> pending = clock.launch(jobs, (), seed=0, dispatch_index=0, number=0, now=2.5)
        >>> arrivals = clock.wait(NextArrival(), pending, 0, 2.5)
        >>> [e.job.client for e in arrivals.answered], [e.job.client for e in arrivals.left]
        ([4], [5])
        >>> arrivals.time  # where the run stood
        2.5
    """

    def __init__(
        self,
        carrier: Carrier,
        deadline: Deadline | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """A clock that has not begun.

        Args:
            carrier: Takes jobs and brings answers.
            deadline: How long answers are waited for.
            now: Seconds that pass.
            sleep: Waits.
        """
        self._carrier, self._now, self._sleep = carrier, now, sleep
        self._deadline = Deadline() if deadline is None else deadline
        self._zero: float | None = None
        self._sent: dict[int, float] = {}
        self._dropped: dict[int, PendingJob] = {}
        self._late: list[PendingJob] = []

    def launch(
        self,
        jobs: Sequence[Job],
        pending: PendingJobs,
        *,
        seed: int,
        dispatch_index: int,
        number: int,
        now: float,
    ) -> PendingJobs:
        """The queue with these jobs, which end at their deadlines; they are sent by `wait`."""
        finish = now + self._deadline.seconds
        sent = [
            PendingJob(finish, number + place, dispatch_index, "answers", job, begin=now)
            for place, job in enumerate(jobs)
        ]
        return queue((*pending, *sent))

    def wait(
        self, policy: SyncPolicy, pending: PendingJobs, dispatch_index: int, now: float
    ) -> Arrivals:
        """What the policy has waited for.

        Args:
            policy: What the algorithm waits for.
            pending: Jobs in flight; those that this process has not sent yet are sent.
            dispatch_index: Number of the latest dispatch.
            now: Where the run stands.
        """
        if self._zero is None:
            self._zero = self._now() - now
        pending = self._send(pending)
        otherwise = self._time() + IDLE
        while True:
            pending = self._settled(pending, self._carrier.listen())
            found = policy.collect(pending, dispatch_index, otherwise)
            left = found.time - self._time()
            if left <= 0.0:
                late, self._late = tuple(self._late), []
                return replace(found, ahead=(), late=late)
            self._sleep(min(left, LISTENING))

    def figures(self) -> Mapping[str, float]:
        """What has been carried since the last row."""
        return self._carrier.figures()

    def _time(self) -> float:
        """Seconds of the run."""
        assert self._zero is not None
        return self._now() - self._zero

    def _send(self, pending: PendingJobs) -> PendingJobs:
        """Send what this process has not sent yet: new jobs, and those of an earlier process."""
        fresh = [e for e in pending if _is_open(e) and e.number not in self._sent]
        if not fresh:
            return pending
        now, seconds = self._time(), self._deadline.seconds
        fresh.sort(key=lambda entry: entry.number)
        self._carrier.send(fresh, seconds)
        self._sent |= {entry.number: now for entry in fresh}
        numbers = {entry.number for entry in fresh}
        return queue(
            [replace(e, finish=now + seconds) if e.number in numbers else e for e in pending]
        )

    def _settled(self, pending: PendingJobs, heard: Sequence[Heard]) -> PendingJobs:
        """The queue with what has been heard, and without answers whose deadline has passed."""
        now, told = self._time(), {each.number: each for each in heard}
        for number in told.keys() & self._dropped.keys():
            entry = self._dropped.pop(number)
            took = now - self._sent[number]
            self._late.append(replace(entry, reason=f"answered late, after {took:.0f} s"))
        found = [
            self._ended(entry, told[entry.number], now)
            if entry.number in told and _is_open(entry)
            else entry
            for entry in pending
        ]
        overdue = [entry for entry in found if _is_open(entry) and entry.finish <= now]
        if overdue:
            self._carrier.give_up(overdue)
            self._dropped |= {entry.number: entry for entry in overdue}
        numbers = {entry.number for entry in overdue}
        return queue([self._overdue(e) if e.number in numbers else e for e in found])

    def _ended(self, entry: PendingJob, heard: Heard, now: float) -> PendingJob:
        """A job of which something has been heard."""
        if heard.update is not None:
            self._deadline.seen.append(now - self._sent[entry.number])
            return replace(entry, finish=now, update=heard.update)
        if entry.fate == "answers":  # one that comes too late has been counted
            entry = replace(entry, fate="is refused" if heard.refused else "drops out")
        return replace(entry, finish=now, reason=heard.reason)

    def _overdue(self, entry: PendingJob) -> PendingJob:
        """A job whose deadline has passed."""
        reason = f"no answer within {entry.finish - self._sent[entry.number]:.0f} s"
        if entry.fate != "answers":
            return replace(entry, reason=reason)
        return replace(entry, fate="drops out", reason=reason)


def _is_open(entry: PendingJob) -> bool:
    """Whether nothing is known yet of a job."""
    return entry.update is None and not entry.reason
