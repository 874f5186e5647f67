"""Rounds of one algorithm in memory: in the runtime's loop, or without clock and losses of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from fl_runtime.algorithms.base import Algorithm, ServerState
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.running.build import Parts
from fl_runtime.running.loop import Evaluator, one_round
from fl_runtime.running.run_state import RunState
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Task


def started(parts: Parts) -> tuple[RunState, Evaluator]:
    """The state before the first round, and the evaluator that `one_round` takes."""
    state = parts.algorithm.init(parts.federation, 0)
    return RunState(state), Evaluator(parts.federation.tasks, parts.federation.companions)


def looped(parts: Parts, rounds: int) -> RunState:
    """The state after so many rounds of the loop."""
    current, evaluator = started(parts)
    for _ in range(rounds):
        current, _, _ = one_round(parts, current, evaluator)
    return current


def trained(tasks: Sequence[Task], jobs: Sequence[Job]) -> list[Update]:
    """The updates of those jobs, one after the other."""
    executor = SequentialExecutor(tasks)
    executor.submit(jobs)
    return executor.poll()


def after_one_round(algorithm: Algorithm, state: ServerState, fed: Federation) -> ServerState:
    """The state after a dispatch whose jobs are all answered."""
    state, jobs = algorithm.dispatch(state, fed, 0.0)
    tasks = (*fed.tasks, *algorithm.companions(fed.tasks, state.seed))
    return algorithm.aggregate(state, trained(tasks, jobs))
