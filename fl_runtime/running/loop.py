"""The only loop of training: dispatch, wait, train, aggregate, measure.

One step serves algorithms in rounds and asynchronous ones alike. Jobs are given their end when they
are sent (`clock.Timing`), the algorithm says what it waits for (`sync_policies.SyncPolicy`), and a
round is as many steps as it takes until the algorithm has aggregated.

A job's result depends on nothing but its payload and seed, so it may be computed at any time after
dispatch. When an answer is due that has not been computed, all jobs in flight whose answers will
count are computed with it in one stack; their results are kept until they are due.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

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
    round_row,
)
from fl_runtime.running.run_state import RunState
from fl_runtime.simulation.clock import PendingJob, withdraw
from fl_runtime.simulation.sync_policies import Arrivals
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.task import Evaluation, Examples, Params, Task

Held = NDArray[np.bool_]
"""Who holds what."""


class Evaluator:
    """Evaluates models on held-out data, each model once: most rounds leave some tasks alone.

    Every method takes who holds which task now, (num_clients, num_tasks) bool: where clients have
    models of their own, a task is judged by theirs.
    """

    def __init__(self, tasks: Sequence[Task], companions: Sequence[Task] = ()) -> None:
        self._tasks = tasks
        self._companions = companions
        self._seen: dict[tuple[str, str, str], tuple[Params, Evaluation]] = {}

    def validation(self, state: ServerState, held: Held) -> dict[str, Evaluation]:
        """On the data that decisions are made by."""
        pairs = zip(self._tasks, held.T, strict=True)
        return {t.name: self._of(t, "v", state, mine, t.validation) for t, mine in pairs}

    def test(self, state: ServerState, held: Held) -> dict[str, Evaluation]:
        """On the data that is only reported."""
        pairs = zip(self._tasks, held.T, strict=True)
        return {t.name: self._of(t, "t", state, mine, t.test) for t, mine in pairs}

    def ruined(self, state: ServerState, held: Held) -> set[str]:
        """Names of tasks and companions of which a model has no finite validation loss."""
        nobody = np.zeros(len(held), dtype=np.bool_)
        seen = self.validation(state, held) | {
            t.name: self._of(t, "v", state, nobody, t.validation) for t in self._companions
        }
        return {name for name, one in seen.items() if not math.isfinite(one.loss)}

    def _of(
        self, task: Task, kind: str, state: ServerState, holders: Held, examples: Examples
    ) -> Evaluation:
        """The mean over the models that the task is evaluated by."""
        seen = [
            self._of_one(task, (task.name, kind, holder), params, examples)
            for holder, params in state.evaluated(
                task.name, np.flatnonzero(holders).tolist()
            ).items()
        ]
        return seen[0] if len(seen) == 1 else Evaluation.mean(seen)

    def _of_one(
        self, task: Task, key: tuple[str, str, str], params: Params, examples: Examples
    ) -> Evaluation:
        """The evaluation of one model, from memory if it is of the very same parameters."""
        known = self._seen.get(key)
        if known is None or any(known[0][name] is not value for name, value in params.items()):
            known = (params, task.evaluate(params, examples))
            self._seen[key] = known
        return known[1]


def one_round(
    parts: Parts, current: RunState, evaluator: Evaluator
) -> tuple[RunState, RoundStats, dict[str, Any]]:
    """Steps until the algorithm has aggregated, or waited in vain.

    The server has waited in vain when nothing is in flight, when as many jobs as there are clients
    have come to nothing in a row, or when an aggregation would have ruined a model: then it counts
    a round that changes no model.

    Returns:
        The state after the round, what happened in it, and the figures of its row.
    """
    before, stats, wasted = current.state.server_round, RoundStats(), 0
    while current.state.server_round == before:
        current, seen = step(parts, current, evaluator)
        stats += seen
        wasted = 0 if seen.updates else wasted + seen.wasted
        if current.state.server_round == before and wasted >= parts.federation.num_clients:
            current = replace(current, state=parts.algorithm.aggregate(current.state, []))
    validation = evaluator.validation(current.state, parts.federation.eligible)
    current = replace(current, state=current.state.observe(validation))
    test = evaluator.test(current.state, parts.federation.eligible)
    row = round_row(parts, current, stats, validation, test)
    return _finished(parts, current, test), stats, row


def _finished(parts: Parts, current: RunState, test: Mapping[str, Evaluation]) -> RunState:
    """The state in which tasks that have reached their target are closed.

    No client is given a job of a finished task again, its jobs in flight are withdrawn and its
    buffer is emptied.
    """
    reached = {task for task, target in parts.targets.items() if test[task].accuracy >= target}
    fresh = reached.difference(current.finished)
    if not fresh:
        return current
    return replace(
        current,
        state=parts.algorithm.forget(current.state, fresh),
        pending=withdraw(current.pending, fresh, current.now),
        finished=tuple(task for task in parts.targets if task in fresh.union(current.finished)),
    )


def step(parts: Parts, current: RunState, evaluator: Evaluator) -> tuple[RunState, RoundStats]:
    """Send jobs unless others end at this very time, wait, and aggregate what arrives."""
    if not (current.pending and current.pending[0].finish <= current.now):
        current = _send(parts, current)
    dispatch_index = current.dispatches - 1
    otherwise = parts.timing.later(current.now, current.state.seed, dispatch_index)
    policy = parts.algorithm.sync_policy(parts.federation)
    arrivals = _computed(parts.executor, policy.collect(current.pending, dispatch_index, otherwise))
    stats = RoundStats(
        dropped=sum(entry.fate == "drops out" for entry in arrivals.lost),
        discarded=arrivals.discarded,
        failures=tuple(
            ClientFailure.of(FAILED, entry, arrivals.time)
            for entry in arrivals.lost
            if entry.fate == "fails"
        ),
    )
    current = replace(current, now=arrivals.time, pending=arrivals.left)
    updates = [
        replace(entry.update, payload=entry.job.payload)
        for entry in arrivals.answered
        if entry.update is not None
    ]
    state, aggregated = _aggregate_sound(parts, current.state, updates, arrivals, evaluator)
    return replace(current, state=state), stats + aggregated


def _aggregate_sound(
    parts: Parts,
    state: ServerState,
    updates: Sequence[Update],
    arrivals: Arrivals,
    evaluator: Evaluator,
) -> tuple[ServerState, RoundStats]:
    """Aggregate the updates that are sound, so that no model is ever ruined.

    Left out are updates that the algorithm finds too old, updates that are not finite, and all
    updates of a task whose model would have no finite validation loss afterwards (a step that
    overflows); what the algorithm has kept for such a task is forgotten with them.
    """
    algorithm, over = parts.algorithm, arrivals.over
    accepted = [update for update in updates if algorithm.accepts(state, update)]
    rejected = [(NOT_FINITE, update) for update in accepted if not update.is_finite]
    sound = [update for update in accepted if update.is_finite]
    for _ in range(len(parts.federation.tasks) + 1):  # leaving out one task may break another
        after = algorithm.aggregate(state, sound) if sound or over else state
        broken = evaluator.ruined(after, parts.federation.eligible)
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
    pending = parts.timing.launch(
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
