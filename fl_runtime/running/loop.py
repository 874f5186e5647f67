"""The only loop of training: rounds of as many steps as it takes until the algorithm aggregates.

A step (`step`) sends jobs, waits and aggregates; it serves algorithms in rounds and asynchronous
ones alike. Then models are evaluated, and tasks that have reached their targets are closed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from fl_runtime.algorithms.base import ServerState
from fl_runtime.running.account import Account, in_flight
from fl_runtime.running.build import Parts
from fl_runtime.running.evaluation_plan import EVERYTHING, Measured
from fl_runtime.running.history_rows import RoundStats, round_row
from fl_runtime.running.run_state import RunState
from fl_runtime.running.step import Held, step
from fl_runtime.simulation.clock import withdraw
from fl_runtime.training.examples import Examples
from fl_runtime.training.scores import is_reached
from fl_runtime.training.task import Evaluation, Params, Task


class Measuring(Protocol):
    """What evaluates models: an `Evaluator`, or in tests of the loop whoever stands for one."""

    def validation(self, state: ServerState, held: Held) -> Mapping[str, Evaluation]:
        """On the data that decisions are made by."""
        ...

    def test(self, state: ServerState, held: Held) -> Mapping[str, Evaluation]:
        """On the data that is only reported."""
        ...

    def ruined(self, state: ServerState, held: Held) -> set[str]:
        """Names of tasks of which a model has no finite validation loss."""
        ...


SAMPLE = "s"
"""What a part of a validation set is called of which only the loss is asked."""


class Evaluator:
    """Evaluates models on held-out data, each model once: most rounds leave some tasks alone.

    Every method takes who holds which task now, (num_clients, num_tasks) bool: where clients have
    models of their own, a task is judged by theirs.
    """

    def __init__(
        self, tasks: Sequence[Task], companions: Sequence[Task] = (), *, sample: int | None = None
    ) -> None:
        """Take the tasks.

        Args:
            tasks: Those that are reported.
            companions: Those of the algorithm.
            sample: Examples of a validation set by which a model is found ruined; all by default.
        """
        self._tasks = tasks
        self._companions = companions
        self._sample = sample
        self._seen: dict[tuple[str, str, str], tuple[Params, Evaluation]] = {}

    def validation(self, state: ServerState, held: Held) -> dict[str, Evaluation]:
        """On the data that decisions are made by."""
        pairs = zip(self._tasks, held.T, strict=True)
        return {t.name: self._of(t, "v", t.validation, state, mine) for t, mine in pairs}

    def test(self, state: ServerState, held: Held) -> dict[str, Evaluation]:
        """On the data that is only reported."""
        pairs = zip(self._tasks, held.T, strict=True)
        return {t.name: self._of(t, "t", t.test, state, mine) for t, mine in pairs}

    def ruined(self, state: ServerState, held: Held) -> set[str]:
        """Names of tasks and companions of which a model has no finite validation loss."""
        nobody = np.zeros(len(held), dtype=np.bool_)
        pairs = [*zip(self._tasks, held.T, strict=True), *((t, nobody) for t in self._companions)]
        seen = {t.name: self._of(t, *self._judged_by(t), state, mine) for t, mine in pairs}
        return {name for name, one in seen.items() if not math.isfinite(one.loss)}

    def _judged_by(self, task: Task) -> tuple[str, Examples]:
        """What shows whether a model is ruined."""
        if self._sample is None:
            return "v", task.validation
        whole = task.validation
        return SAMPLE, Examples(whole.features[: self._sample], whole.targets[: self._sample])

    def _of(
        self, task: Task, kind: str, examples: Examples, state: ServerState, holders: Held
    ) -> Evaluation:
        """The mean over the models that the task is evaluated by."""
        seen = [
            self._of_one(task, (task.name, kind, holder), params, examples)
            for holder, params in state.evaluated(
                task.name, np.flatnonzero(holders).tolist()
            ).items()
        ]
        return seen[0] if len(seen) == 1 else Evaluation.mean(seen, task.scale)

    def _of_one(
        self, task: Task, key: tuple[str, str, str], params: Params, examples: Examples
    ) -> Evaluation:
        """The evaluation of one model, from memory if it is of the very same parameters."""
        known = self._seen.get(key)
        if known is None or any(known[0][name] is not value for name, value in params.items()):
            known = (params, task.evaluate(params, examples, measured=key[1] != SAMPLE))
            self._seen[key] = known
        return known[1]


def everything(current: RunState) -> Measured:
    """All held-out sets, whatever the round."""
    return EVERYTHING


def one_round(
    parts: Parts,
    current: RunState,
    evaluator: Measuring,
    limit: float | None = None,
    wanted: Callable[[RunState], Measured] = everything,
) -> tuple[RunState, RoundStats, dict[str, Any]]:
    """Steps until the algorithm has aggregated, or waited in vain.

    The server has waited in vain when nothing is in flight, when as many jobs as there are clients
    have come to nothing in a row, or when an aggregation would have ruined a model: then it counts
    a round that changes no model. So does a round that begins at the time limit, for jobs that end
    at that moment, if they are too few for an aggregation.

    Args:
        parts: The algorithm and its surroundings.
        current: The state before the round.
        evaluator: Evaluates models.
        limit: Virtual time at which the run ends; None for no limit.
        wanted: What is evaluated after the round, by the state that it leads to.

    Returns:
        The state after the round, what happened in it, and the figures of its row.
    """
    before, stats, wasted = current.state.server_round, RoundStats(), 0
    at_limit = limit is not None and current.now >= limit
    while current.state.server_round == before:
        current, seen = step(parts, current, evaluator)
        stats += seen
        wasted = 0 if seen.updates else wasted + seen.wasted
        in_vain = wasted >= parts.federation.num_clients or (at_limit and not current.is_due)
        if current.state.server_round == before and in_vain:
            current = replace(current, state=parts.algorithm.aggregate(current.state, []))
    current, row = measured(parts, current, stats, evaluator, wanted(current))
    return current, stats, row


def measured(
    parts: Parts, current: RunState, stats: RoundStats, evaluator: Measuring, wanted: Measured
) -> tuple[RunState, dict[str, Any]]:
    """The state after a round whose models have been evaluated, and the figures of its row."""
    held = parts.federation.eligible
    validation = evaluator.validation(current.state, held) if wanted.validation else {}
    current = replace(current, state=current.state.observe(validation))
    test = evaluator.test(current.state, held) if wanted.test else {}
    row = round_row(parts, current, stats, validation, test)
    metrics = {task.name: next(iter(task.metrics.values())) for task in parts.federation.tasks}
    reached = {
        task
        for task, target in parts.targets.items()
        if task in test
        and is_reached(test[task].score, target, higher=metrics[task].higher_is_better)
    }
    return closed(parts, current, reached), row


def closed(parts: Parts, current: RunState, reached: Collection[str]) -> RunState:
    """The state in which tasks that have reached their target are closed.

    No client is given a job of a finished task again, its jobs in flight are withdrawn and its
    buffer is emptied.
    """
    fresh = set(reached).difference(current.finished)
    if not fresh:
        return current
    left = withdraw(current.pending, parts.federation.models_of(fresh), current.now)
    gone = Account(withdrawn=in_flight(current.pending) - in_flight(left))
    finished = fresh.union(current.finished)
    return replace(
        current,
        state=parts.algorithm.forget(current.state, fresh),
        pending=left,
        finished=tuple(task.name for task in parts.federation.tasks if task.name in finished),
        account=None if current.account is None else current.account + gone,
    )
