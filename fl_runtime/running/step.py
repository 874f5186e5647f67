"""One step of the loop: send jobs, wait, train what is due, aggregate.

Jobs are given their end when they are sent (`clock.Timing`), and the algorithm says what it waits
for (`sync_policies.SyncPolicy`). A job's result depends on nothing but its payload and seed, so it
may be computed at any time after dispatch. When an answer is due that has not been computed, all
jobs in flight whose answers will count are computed with it in one stack; their results are kept
until they are due.

Nothing here trains, evaluates or writes: an executor does the first, and whether a model is ruined
is asked of a `Judge`. So tests drive this very step without data (`tests/fl_runtime/driven.py`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_runtime.algorithms.base import ServerState
from fl_runtime.execution.executor import Executor
from fl_runtime.running.build import Parts
from fl_runtime.running.history_rows import (
    FAILED,
    NOT_FINITE,
    RUINS_MODEL,
    ClientFailure,
    RoundStats,
)
from fl_runtime.running.run_state import RunState
from fl_runtime.simulation.clock import PendingJob
from fl_runtime.simulation.sync_policies import Arrivals
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update, are_finite

Held = NDArray[np.bool_]
"""(num_clients, num_tasks), who holds what."""


class Judge(Protocol):
    """Who says whether a model is still one."""

    def ruined(self, state: ServerState, held: Held) -> set[str]:
        """Names of tasks of which a model has no finite validation loss."""
        ...


def step(parts: Parts, current: RunState, judge: Judge) -> tuple[RunState, RoundStats]:
    """Send jobs, also where others end at this very moment; wait; and aggregate what arrives."""
    current = _send(parts, current)
    arrivals = _awaited(parts, current)
    stats = _lost(arrivals)
    current = replace(current, now=arrivals.time, pending=arrivals.left)
    updates = [
        replace(entry.update, payload=entry.job.payload)
        for entry in arrivals.answered
        if entry.update is not None
    ]
    state, aggregated = _aggregate_sound(parts, current.state, updates, arrivals, judge)
    stats += aggregated
    account = None if current.account is None else current.account + stats.ends
    return replace(current, state=state, account=account), stats


def _awaited(parts: Parts, current: RunState) -> Arrivals:
    """What the algorithm has waited for: in virtual time, or by the wall."""
    policy, dispatch_index = parts.algorithm.sync_policy(parts.federation), current.dispatches - 1
    if parts.wall is not None:
        return parts.wall.wait(policy, current.pending, dispatch_index, current.now)
    otherwise = parts.timing.later(current.now, current.state.seed, dispatch_index)
    return _computed(parts.executor, policy.collect(current.pending, dispatch_index, otherwise))


def _lost(arrivals: Arrivals) -> RoundStats:
    """The jobs that brought no answer, and what is known about them."""

    def of(entry: PendingJob) -> ClientFailure:
        return ClientFailure.of(entry.reason or FAILED, entry, arrivals.time)

    gone = [entry for entry in arrivals.lost if entry.fate == "drops out"]
    told = (*(entry for entry in gone if entry.reason), *arrivals.late)
    return RoundStats(
        dropped=len(gone),
        discarded=arrivals.discarded,
        failures=tuple(of(entry) for entry in arrivals.lost if entry.fate != "drops out"),
        remarks=tuple(map(of, told)),
    )


def _aggregate_sound(
    parts: Parts,
    state: ServerState,
    updates: Sequence[Update],
    arrivals: Arrivals,
    judge: Judge,
) -> tuple[ServerState, RoundStats]:
    """Aggregate the updates that are sound, so that no model is ever ruined.

    Left out are updates that the algorithm finds too old, updates that are not finite, and all
    updates of a task whose model would have no finite validation loss afterwards (a step that
    overflows); what the algorithm has kept for such a task is forgotten with them.
    """
    algorithm, over = parts.algorithm, arrivals.over
    accepted = [update for update in updates if algorithm.accepts(state, update)]
    pairs = list(zip(accepted, are_finite(accepted), strict=True))
    rejected = [(NOT_FINITE, update) for update, finite in pairs if not finite]
    sound = [update for update, finite in pairs if finite]
    for _ in range(len(parts.federation.tasks) + 1):  # leaving out one task may break another
        after = algorithm.aggregate(state, sound) if sound or over else state
        broken = judge.ruined(after, parts.federation.eligible)
        if not broken:
            break
        rejected += [(RUINS_MODEL, update) for update in sound if update.task in broken]
        sound = [update for update in sound if update.task not in broken]
        state, over = algorithm.forget(state, broken), True
    return after, RoundStats(
        updates=tuple(sound),
        staleness=tuple(state.version(update.task) - update.version for update in sound),
        stale=len(updates) - len(accepted),
        failures=tuple(ClientFailure.of(why, update, arrivals.time) for why, update in rejected),
    )


def _send(parts: Parts, current: RunState) -> RunState:
    """Let the algorithm dispatch jobs, and give each its end."""
    state, jobs = parts.algorithm.dispatch(current.state, _seen(parts, current), current.now)
    launch = parts.timing.launch if parts.wall is None else parts.wall.launch
    pending = launch(
        jobs,
        current.pending,
        seed=state.seed,
        dispatch_index=current.dispatches,
        number=current.sent,
        now=current.now,
    )
    return replace(
        current,
        state=state,
        pending=pending,
        dispatches=current.dispatches + 1,
        sent=current.sent + len(jobs),
    )


def _seen(parts: Parts, current: RunState) -> Federation:
    """The federation as the algorithm sees it at that time."""
    count = parts.federation.num_clients
    busy = np.zeros(count, dtype=np.bool_)
    busy[[entry.job.client for entry in current.pending]] = True
    return replace(
        parts.federation.without(current.finished),
        present=parts.availability.present(current.state.seed, count, current.now),
        busy=busy,
        in_flight=Counter(entry.job.task for entry in current.pending),
    )


def _computed(executor: Executor, arrivals: Arrivals) -> Arrivals:
    """The arrivals with the answers that are due, and with those worth computing in one stack.

    A job to which the executor brings no answer has failed.
    """
    if all(entry.update is not None for entry in arrivals.answered):
        return arrivals
    due = [entry for entry in (*arrivals.answered, *arrivals.ahead) if entry.update is None]
    done = {entry.number: entry for entry in _train(executor, due)}
    answered = [done.get(entry.number, entry) for entry in arrivals.answered]
    return replace(
        arrivals,
        answered=tuple(entry for entry in answered if entry.fate == "answers"),
        lost=(*arrivals.lost, *(entry for entry in answered if entry.fate != "answers")),
        left=tuple(done.get(entry.number, entry) for entry in arrivals.left),
    )


def _train(executor: Executor, due: Sequence[PendingJob]) -> list[PendingJob]:
    """Those jobs with their updates, or marked as failed."""
    executor.submit(entry.job for entry in due)
    answers: dict[tuple[str, int, int], deque[Update]] = {}
    while updates := executor.poll():
        for update in updates:
            key = update.task, update.client, update.version
            answers.setdefault(key, deque()).append(update)
    done = []
    for entry in due:
        key = entry.job.task, entry.job.client, entry.job.version
        mine = answers.get(key)
        done.append(replace(entry, update=mine.popleft()) if mine else replace(entry, fate="fails"))
    return done
