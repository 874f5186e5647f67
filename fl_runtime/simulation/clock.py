"""Virtual time: when each job ends and how; what the server waits for is in `sync_policies`.

Jobs in flight are a queue ordered by (finish, tie, number): jobs that end at one moment come in an
order that is drawn, so no client is favoured by its number. A client trains its jobs one after the
other: a new one begins when its last one ends. Nothing here looks at a real clock, so a run repeats
exactly on any machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.random_streams import stream
from fl_runtime.simulation.delays import DelayModel, Delays
from fl_runtime.training.job import Job, Update

Fate = Literal["answers", "answers too late", "drops out", "fails", "is refused"]

LOST = ("drops out", "fails", "is refused")
"""How a job ends that brings no answer."""


@dataclass(frozen=True)
class PendingJob:
    """A job in flight: sent, and neither answered nor known to be lost.

    Attributes:
        finish: Virtual time at which the server hears of it, or of its loss.
        number: How many jobs were sent before it.
        dispatch_index: Number of the dispatch that sent it, counted from 0.
        fate: `answers`; `answers too late` (its round is over, and it has been counted as
            discarded: it only keeps its client busy); `drops out` (no answer, noticed when one was
            due); `fails` (lost at a random time during training, noticed at once); or `is refused`
            (an answer that is none, in a real federation).
        job: What the client was sent.
        update: The answer, once it has been computed (results are kept here until they are due).
        begin: Virtual time at which its client begins it.
        tie: Uniform number that decides among jobs that end at one moment, one per client and
            dispatch.
        reason: Why it was lost, where somebody knows.
    """

    finish: float
    number: int
    dispatch_index: int
    fate: Fate
    job: Job
    update: Update | None = None
    begin: float = 0.0
    tie: float = 0.0
    reason: str = ""


PendingJobs = tuple[PendingJob, ...]
"""Jobs in flight, ordered by finish, tie and number."""


def queue(pending: Sequence[PendingJob]) -> PendingJobs:
    """The pending jobs in the order in which the server hears of them."""
    return tuple(sorted(pending, key=lambda entry: (entry.finish, entry.tie, entry.number)))


def withdraw(pending: Sequence[PendingJob], tasks: Collection[str], now: float) -> PendingJobs:
    """The queue without the jobs of some tasks, which their clients drop at once.

    A job that waits behind a withdrawn one at its client begins sooner, and takes as long as it
    would have taken; a job that is being trained ends as it would have.
    """
    free: dict[int, float] = {}
    left = []
    for entry in sorted(pending, key=lambda entry: entry.number):
        if entry.job.task in tasks:
            continue
        begin = max(now, free.get(entry.job.client, now))
        if begin < entry.begin:
            entry = replace(entry, begin=begin, finish=begin + (entry.finish - entry.begin))
        free[entry.job.client] = entry.finish
        left.append(entry)
    return queue(left)


@dataclass(frozen=True)
class SpeedChange:
    """Other factors from some time on: clients that become slow or quick.

    Attributes:
        at: Virtual time from which on jobs that begin have them.
        slowness: (num_clients,) the factors.
    """

    at: float
    slowness: Delays


@dataclass(frozen=True)
class Timing:
    r"""How long jobs take and how they end.

    Problem: a job of task s on client i takes :math:`T = k_s \, v_i \, D` with a fresh draw D of
    the delay model. It begins at :math:`t = \max(now, \text{end of the client's last job})` and
    ends at t + T; :math:`v_i` is the client's factor at t, which may change at given times.

    Attributes:
        delay: Law of D.
        slowness: (num_clients,) factors :math:`v_i`, at first.
        factors: Factor :math:`k_s` of each task; 1 for a task that is not named.
        dropout: Chance that a job is never answered.
        failures: Chance that a job that would be answered is lost, at a time that is uniform over
            its duration.
        changes: The factors from some times on, in their order.

    Draws are addressed by seed, dispatch index and client, so arms that send jobs to the same
    clients at the same dispatch see the same delays, and the same order of jobs that end together.
    """

    delay: DelayModel
    slowness: Delays
    factors: Mapping[str, float] = field(default_factory=dict)
    dropout: float = 0.0
    failures: float = 0.0
    changes: tuple[SpeedChange, ...] = ()

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
        """The queue with these jobs in it.

        Args:
            jobs: New jobs; a client trains its jobs in this order.
            pending: Jobs in flight already.
            seed: Seed of the run.
            dispatch_index: Number of this dispatch, counted from 0.
            number: Jobs sent so far.
            now: Time of dispatch.
        """
        free: dict[int, float] = {}
        for entry in pending:
            free[entry.job.client] = max(free.get(entry.job.client, now), entry.finish)
        draws: list[_Draws] = []
        given: Counter[int] = Counter()
        ties = stream(seed, "ties", dispatch_index).random(self.slowness.size)
        sent: list[PendingJob] = []
        for job in jobs:
            if given[job.client] == len(draws):
                draws.append(self._draws(seed, dispatch_index, len(draws)))
            draw = draws[given[job.client]]
            given[job.client] += 1
            begin = max(now, free.get(job.client, now))
            length = float(draw.lengths[job.client] * self.slowness_at(begin)[job.client])
            length *= self.factors.get(job.task, 1.0)
            fate = draw.fate(job.client)
            if fate == "fails":
                length *= float(draw.completed[job.client])
            finish = free[job.client] = begin + length
            sent.append(
                PendingJob(
                    finish,
                    number + len(sent),
                    dispatch_index,
                    fate,
                    job,
                    begin=begin,
                    tie=float(ties[job.client]),
                )
            )
        return queue((*pending, *sent))

    def later(self, now: float, seed: int, dispatch_index: int) -> float:
        """The time to go on to if no job is in flight: the end of the slowest client's next one.

        Raises:
            InvalidInput: The delays are lost in the rounding of the time.
        """
        lengths = self._draws(seed, dispatch_index, 0).lengths * self.slowness_at(now)
        length = float(lengths.max()) * max(self.factors.values(), default=1.0)
        if length > 0.0 and now + length == now:
            raise InvalidInput("clients.delay", length, f"long enough to move time {now:g}")
        return now + length

    @property
    def answer_chance(self) -> float:
        """Chance that a job is answered: neither dropped nor lost."""
        return (1.0 - self.dropout) * (1.0 - self.failures)

    @property
    def equal_speeds(self) -> bool:
        """Whether the jobs of all clients take times of one law."""
        return all(bool((v == v[0]).all()) for v in self._slownesses)

    @property
    def equal_tasks(self) -> bool:
        """Whether the jobs of all tasks take times of one law."""
        return len(set(self.factors.values())) <= 1

    @property
    def mean(self) -> float:
        """Mean duration of a job of the fastest kind, for checks of time limits."""
        fastest = min(float(v.min()) for v in self._slownesses)
        return self.delay.mean * min(self.factors.values(), default=1.0) * fastest

    @property
    def longest(self) -> float:
        """Mean duration of a job of the slowest kind."""
        slowest = max(float(v.max()) for v in self._slownesses)
        return self.delay.mean * slowest * max(self.factors.values(), default=1.0)

    @property
    def _slownesses(self) -> list[Delays]:
        """The factors of all times."""
        return [self.slowness, *(change.slowness for change in self.changes)]

    def slowness_at(self, time: float) -> Delays:
        """(num_clients,) factors of jobs that begin at that time.

        Example:
            >>> from fl_runtime.simulation.delays import Constant
            >>> late = SpeedChange(2.0, np.array([5.0]))
            >>> timing = Timing(Constant(), np.ones(1), changes=(late,))
            >>> [float(timing.slowness_at(time)[0]) for time in (0.0, 1.9, 2.0)]
            [1.0, 1.0, 5.0]
        """
        found = self.slowness
        for change in self.changes:
            if change.at <= time:
                found = change.slowness
        return found

    def _draws(self, seed: int, dispatch_index: int, repeat: int) -> _Draws:
        """One draw per client; `repeat` counts the jobs that a client gets in one dispatch."""
        keys = (dispatch_index, repeat) if repeat else (dispatch_index,)
        rng = stream(seed, "delays", *keys)
        count = self.slowness.size
        lengths = self.delay.draw(rng, count)
        dropped = rng.random(count) < self.dropout
        if not self.failures:
            return _Draws(lengths, dropped, np.zeros(count, dtype=np.bool_), np.ones(count))
        chance = stream(seed, "failures", *keys)
        return _Draws(lengths, dropped, chance.random(count) < self.failures, chance.random(count))


@dataclass(frozen=True)
class _Draws:
    """The random draws for one job of every client.

    Attributes:
        lengths: Durations, in units of the clients' factors.
        dropped: Whether the job is never answered.
        failed: Whether it is lost, if it is not dropped.
        completed: Share of the duration after which a job that fails is lost.
    """

    lengths: Delays
    dropped: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    completed: Delays

    def fate(self, client: int) -> Fate:
        """How the client's job ends."""
        if self.dropped[client]:
            return "drops out"
        return "fails" if self.failed[client] else "answers"
