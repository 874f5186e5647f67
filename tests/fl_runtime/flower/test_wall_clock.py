"""The clock of the wall: fed by virtual arrivals it is virtual time; and what it adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from fl_runtime.algorithms import ALGORITHMS
from fl_runtime.algorithms.base import Algorithm
from fl_runtime.conformance.stage import Instant, Unmoved, answered, stage
from fl_runtime.flower.wall_clock import Deadline, Heard, WallClock
from fl_runtime.running.account import account_row, is_balanced
from fl_runtime.running.build import Parts
from fl_runtime.running.history_rows import RoundStats
from fl_runtime.running.run_state import RunState
from fl_runtime.running.step import step
from fl_runtime.simulation.availability import Always
from fl_runtime.simulation.clock import PendingJob, PendingJobs, Timing
from fl_runtime.training.job import Job
from fl_runtime.training.task import Params

STEPS = 25

LONGEST = 20_000
"""Sleeps of a clock in a test: a few hundred per step would be many."""


def drawn(job: Job) -> Params:
    """A difference that depends on the job's seed."""
    size = (job.seed % 97) / 97.0
    return {key: 0.0 * value + size for key, value in job.payload.items()}


@dataclass
class Virtual:
    """A carrier whose answers come when virtual time has them, and a time that jumps to them.

    Attributes:
        timing: The law of virtual time.
        time: Of the wall.
        flying: Jobs on their way.
        sent: Numbers of all jobs that were sent, in order.
        slow: Numbers of jobs whose answers take so many seconds longer.
    """

    timing: Timing
    time: float = 0.0
    flying: PendingJobs = ()
    sent: list[int] = field(default_factory=list)
    slow: dict[int, float] = field(default_factory=dict)
    given_up: list[int] = field(default_factory=list)
    sleeps: int = 0

    def send(self, entries: Sequence[PendingJob], seconds: float) -> None:
        self.sent += [entry.number for entry in entries]
        first = entries[0]
        known = {entry.number for entry in self.flying}
        later = self.timing.launch(
            [entry.job for entry in entries],
            self.flying,
            seed=0,
            dispatch_index=first.dispatch_index,
            number=first.number,
            now=self.time,
        )
        self.flying = tuple(
            replace(e, finish=e.finish + self.slow.get(e.number, 0.0))
            if e.number not in known
            else e
            for e in later
        )

    def listen(self) -> list[Heard]:
        due = [entry for entry in self.flying if entry.finish <= self.time]
        self.flying = tuple(entry for entry in self.flying if entry.finish > self.time)
        return [
            Heard(entry.number, answered(entry.job, drawn(entry.job)))
            if entry.fate == "answers"
            else Heard(entry.number, reason="lost")
            for entry in due
        ]

    def give_up(self, entries: Sequence[PendingJob]) -> None:
        self.given_up += [entry.number for entry in entries]

    def figures(self) -> dict[str, float]:
        return {"bytes-sent": 1.0}

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        if self.sleeps > LONGEST:
            raise TimeoutError("this clock waits for nothing")
        self.time = min([self.time + seconds, *(entry.finish for entry in self.flying)])


def parts_of(algorithm: Algorithm, over_selection: float = 1.0, dropout: float = 0.2) -> Parts:
    """A federation in virtual time, whose clients are always there."""
    parts = stage(algorithm, None)
    timing = replace(parts.timing, failures=0.0, dropout=dropout)
    federation = replace(parts.federation, over_selection=over_selection, answer_chance=0.8)
    return replace(
        parts,
        timing=timing,
        federation=federation,
        availability=Always(),
        executor=Instant(drawn),
    )


def walled(parts: Parts, deadline: Deadline | None = None) -> tuple[Parts, Virtual]:
    """The same federation by the clock of the wall."""
    carrier = Virtual(parts.timing)
    patient = Deadline(first=1e9, least=1e9) if deadline is None else deadline
    clock = WallClock(carrier, patient, now=carrier.now, sleep=carrier.sleep)
    return replace(parts, wall=clock, executor=Instant(lambda _: None)), carrier


def steps(parts: Parts, count: int = STEPS) -> list[tuple[RunState, RoundStats]]:
    """So many steps of the loop."""
    current, found = RunState(parts.algorithm.init(parts.federation, 0)), []
    for _ in range(count):
        current, stats = step(parts, current, Unmoved())
        found.append((current, stats))
    return found


def story(seen: Sequence[tuple[RunState, RoundStats]]) -> list[Any]:
    """What can be compared: times, losses, and who answered what."""
    return [
        (
            pytest.approx(current.now),
            stats.dropped,
            stats.discarded,
            [(u.task, u.client, u.version, u.num_examples) for u in stats.updates],
            current.state.server_round,
            float(np.sum([v.sum() for m in current.state.models.values() for v in m.values()])),
        )
        for current, stats in seen
    ]


CASES = [("fed-avg", 1.0), ("fed-avg", 1.6), ("random", 1.0), ("fed-ast", 1.0), ("fed-buff", 1.0)]


@pytest.mark.parametrize(("name", "over_selection"), CASES)
def test_fed_by_virtual_arrivals_it_is_virtual_time(name: str, over_selection: float) -> None:
    """Where the first few are enough, nobody knows whether a late job would have dropped out."""
    dropout = 0.2 if over_selection == 1.0 else 0.0
    parts = parts_of(ALGORITHMS[name](), over_selection, dropout)
    wall, carrier = walled(parts)
    mine, theirs = steps(wall), steps(parts)
    assert story(mine) == story(theirs)
    last, other = mine[-1][0], theirs[-1][0]
    assert last.sent == other.sent == len(carrier.sent)
    assert last.account == other.account


def test_another_deadline_is_another_story() -> None:
    """The comparison above can fail."""
    parts = parts_of(ALGORITHMS["fed-avg"]())
    wall, _ = walled(parts, Deadline(first=0.5, least=0.5))
    assert story(steps(wall)) != story(steps(parts))


def test_overdue_jobs_are_dropped_and_late_answers_remarked() -> None:
    parts = parts_of(ALGORITHMS["fed-avg"](), dropout=0.0)
    wall, carrier = walled(parts, Deadline(first=50.0, least=50.0))
    carrier.slow = {1: 60.0}
    seen = steps(wall, 60)
    stats = [stats for _, stats in seen]
    assert carrier.given_up == [1]
    assert sum(each.dropped for each in stats) == 1
    reasons = [remark.reason for each in stats for remark in each.remarks]
    assert reasons[0] == "no answer within 50 s"
    assert reasons[1].startswith("answered late, after 6")
    last = seen[-1][0]
    assert last.account is not None
    assert is_balanced(account_row(last.account, last.sent, last.pending))


def test_a_refused_answer_is_rejected_with_its_reason() -> None:
    parts = parts_of(ALGORITHMS["fed-avg"](), dropout=0.0)
    wall, carrier = walled(parts)
    plain = carrier.listen

    def listen() -> list[Heard]:
        return [
            Heard(h.number, reason="site-1: bad", refused=True) if h.number == 0 else h
            for h in plain()
        ]

    carrier.listen = listen  # type: ignore[method-assign]
    _, stats = steps(wall, 1)[0]
    assert [failure.reason for failure in stats.failures] == ["site-1: bad"]
    assert (stats.rejected, stats.dropped) == (1, 0)


def test_another_process_sends_what_was_in_flight_again() -> None:
    parts = parts_of(ALGORITHMS["fed-ast"]())
    wall, _ = walled(parts)
    before = steps(wall, 7)[-1][0]
    kept = RunState.from_tree(before.tree(), type(before.state), "cpu")  # type: ignore[arg-type]
    again, carrier = walled(parts)
    after, _ = step(again, kept, Unmoved())
    assert set(carrier.sent) >= {
        e.number for e in kept.pending if e.update is None and not e.reason
    }
    assert after.now >= kept.now
    assert after.sent >= kept.sent


def test_deadlines_follow_the_median() -> None:
    deadline = Deadline(times=3.0, first=9.0, least=1.0, enough=2)
    assert deadline.seconds == 9.0
    deadline.seen.extend([1.0, 100.0, 2.0])
    assert deadline.seconds == 6.0
    deadline.seen.extend([0.1] * 50)
    assert deadline.seconds == 1.0
