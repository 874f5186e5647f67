"""Virtual time: when each job ends and how; what the server waits for is in `waits`.

Jobs in flight are a queue ordered by (finish, number); the number is that of dispatch, so equal
times keep the order in which jobs were sent. A client works on its jobs one after the other: a new
one begins when its last one ends. Nothing here looks at a real clock, so a run repeats exactly on
any machine.
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

Fate = Literal["answers", "drops out", "fails"]


@dataclass(frozen=True)
class Flight:
    """A job under way.

    Attributes:
        finish: Virtual time at which the server hears of it, or of its loss.
        number: How many jobs were sent before it.
        wave: The dispatch that sent it.
        fate: `answers`; `drops out` (no answer, noticed when one was due); or `fails` (lost at a
            moment of the work, noticed at once).
        job: The work.
        update: The answer, once it has been computed (results wait here until they are due).
        begin: Virtual time at which its client turns to it.
    """

    finish: float
    number: int
    wave: int
    fate: Fate
    job: Job
    update: Update | None = None
    begin: float = 0.0


Flights = tuple[Flight, ...]
"""Jobs in flight, ordered by finish and number."""


def queue(flights: Sequence[Flight]) -> Flights:
    """The flights in the order in which the server hears of them."""
    return tuple(sorted(flights, key=lambda flight: (flight.finish, flight.number)))


def withdraw(flights: Sequence[Flight], tasks: Collection[str], now: float) -> Flights:
    """The queue without the jobs of some tasks, which their clients drop at once.

    A job that waits behind a withdrawn one at its client begins sooner, and takes as long as it
    would have taken; a job that is being worked on ends as it would have.
    """
    free: dict[int, float] = {}
    left = []
    for flight in sorted(flights, key=lambda flight: flight.number):
        if flight.job.task in tasks:
            continue
        begin = max(now, free.get(flight.job.client, now))
        if begin < flight.begin:
            flight = replace(flight, begin=begin, finish=begin + (flight.finish - flight.begin))
        free[flight.job.client] = flight.finish
        left.append(flight)
    return queue(left)


@dataclass(frozen=True)
class Timing:
    r"""How long jobs take and how they end.

    Problem: a job of task s on client i takes :math:`T = k_s \, v_i \, D` with a fresh draw D of
    the delay model, and ends at :math:`\max(now, \text{end of the client's last job}) + T`.

    Attributes:
        delay: Law of D.
        slowness: (num_clients,) factors :math:`v_i`.
        factors: Factor :math:`k_s` of each task; 1 for a task that is not named.
        dropout: Chance that a job is never answered.
        failures: Chance that a job that would be answered is lost, at a moment that is uniform over
            its duration.

    Draws are addressed by seed, wave and client, so arms that ask the same clients at the same
    wave see the same delays.
    """

    delay: DelayModel
    slowness: Delays
    factors: Mapping[str, float] = field(default_factory=dict)
    dropout: float = 0.0
    failures: float = 0.0

    def launch(
        self,
        jobs: Sequence[Job],
        flights: Flights,
        *,
        seed: int,
        wave: int,
        number: int,
        now: float,
    ) -> Flights:
        """The queue with these jobs in it.

        Args:
            jobs: New jobs; a client's jobs are worked on in this order.
            flights: What is already under way.
            seed: Seed of the run.
            wave: Number of this dispatch.
            number: Jobs sent so far.
            now: Time of dispatch.
        """
        free: dict[int, float] = {}
        for flight in flights:
            free[flight.job.client] = max(free.get(flight.job.client, now), flight.finish)
        draws: list[_Draws] = []
        asked: Counter[int] = Counter()
        sent: list[Flight] = []
        for job in jobs:
            if asked[job.client] == len(draws):
                draws.append(self._draws(seed, wave, len(draws)))
            draw = draws[asked[job.client]]
            asked[job.client] += 1
            begin = max(now, free.get(job.client, now))
            length = float(draw.lengths[job.client]) * self.factors.get(job.task, 1.0)
            fate = draw.fate(job.client)
            worked = length * float(draw.moments[job.client]) if fate == "fails" else length
            free[job.client] = begin + worked
            finish = begin + worked
            sent.append(Flight(finish, number + len(sent), wave, fate, job, begin=begin))
        return queue((*flights, *sent))

    def later(self, now: float, seed: int, wave: int) -> float:
        """Where to go in time if nobody works: as far as the slowest client would take.

        Raises:
            InvalidInput: The delays are lost in the rounding of the time.
        """
        lengths = self._draws(seed, wave, 0).lengths
        length = float(lengths.max()) * max(self.factors.values(), default=1.0)
        if length > 0.0 and now + length == now:
            raise InvalidInput("clients.delay", length, f"long enough to move time {now:g}")
        return now + length

    @property
    def mean(self) -> float:
        """Mean duration of a job of the fastest kind, for judging time limits."""
        fastest = min(self.factors.values(), default=1.0) * float(self.slowness.min())
        return self.delay.mean * fastest

    def _draws(self, seed: int, wave: int, repeat: int) -> _Draws:
        """One draw per client; `repeat` counts the jobs that a client gets in one wave."""
        keys = (wave, repeat) if repeat else (wave,)
        rng = stream(seed, "delays", *keys)
        count = self.slowness.size
        lengths = self.delay.draw(rng, count) * self.slowness
        dropped = rng.random(count) < self.dropout
        if not self.failures:
            return _Draws(lengths, dropped, np.zeros(count, dtype=np.bool_), np.ones(count))
        chance = stream(seed, "failures", *keys)
        return _Draws(lengths, dropped, chance.random(count) < self.failures, chance.random(count))


@dataclass(frozen=True)
class _Draws:
    """What chance has in store for one job of every client."""

    lengths: Delays
    dropped: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    moments: Delays

    def fate(self, client: int) -> Fate:
        """How the client's job ends."""
        if self.dropped[client]:
            return "drops out"
        return "fails" if self.failed[client] else "answers"
