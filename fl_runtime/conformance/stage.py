"""A small federation on which an algorithm is played in the runtime's own loop, and noted down.

Two tasks on the same twelve-dimensional points, six clients with three to thirteen examples of
each, of which one may not train the second task and one neither; clients come and go, and jobs are
lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fl_runtime.algorithms.base import Algorithm, ServerState
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.partitions import Labels, Shards
from fl_runtime.execution.executor import Executor
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.running.build import Parts
from fl_runtime.running.loop import Evaluator, Measuring, one_round
from fl_runtime.running.run_state import RunState
from fl_runtime.running.step import Held
from fl_runtime.simulation.clock import Timing
from fl_runtime.simulation.delays import Exponential
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.models import build_model
from fl_runtime.training.task import Evaluation, LocalTraining, Params, Task
from fl_runtime.training.task_from_data import make_task

NUM_CLIENTS = 6
NUM_FEATURES = 12
NUM_EXAMPLES = 90
WIDTHS = (5, 4)
"""Layers before the last: enough for an encoder, a decoder and a head."""

PATIENCE = 150
"""Aggregations without a new round after which nothing more is expected."""

TASKS = ("first", "second")
DROPOUT, FAILURES = 0.2, 0.1


@dataclass(frozen=True)
class _Uneven:
    """Shares that grow by the client's number."""

    def split(self, labels: Labels, num_clients: int, rng: Generator) -> Shards:
        """Cut a shuffled deck."""
        ends = np.cumsum(np.arange(num_clients) + 1.5)
        cuts = (ends[:-1] / ends[-1] * labels.size).astype(int)
        return tuple(np.split(rng.permutation(labels.size), cuts))


@dataclass(frozen=True)
class _InTurns:
    """At any time every third client is away."""

    def present(self, seed: int, num_clients: int, now: float) -> NDArray[np.bool_]:
        """The others."""
        return np.asarray((np.arange(num_clients) + int(now)) % 3 > 0)


@dataclass
class Noted:
    """An algorithm that notes every dispatch and aggregation of the loop."""

    algorithm: Any
    dispatches: list[tuple[Any, Federation, float, list[Job]]] = field(default_factory=list)
    aggregations: list[tuple[Any, Sequence[Update], Any]] = field(default_factory=list)
    expected: list[NDArray[np.float64] | None] = field(default_factory=list)
    refused: list[tuple[Any, Update]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.algorithm, name)

    def dispatch(
        self, state: ServerState, federation: Federation, now: float
    ) -> tuple[ServerState, list[Job]]:
        """As it is."""
        self.expected.append(self.algorithm.inclusion(state, federation))
        after, jobs = self.algorithm.dispatch(state, federation, now)
        self.dispatches.append((state, federation, now, jobs))
        return after, jobs

    def accepts(self, state: ServerState, update: Update) -> bool:
        """As it is."""
        accepted: bool = self.algorithm.accepts(state, update)
        if not accepted:
            self.refused.append((state, update))
        return accepted

    def aggregate(self, state: ServerState, updates: Sequence[Update]) -> ServerState:
        """As it is; an algorithm that never counts a round is stopped.

        Raises:
            RuntimeError: After `PATIENCE` aggregations in one round.
        """
        after: ServerState = self.algorithm.aggregate(state, updates)
        self.aggregations.append((state, updates, after))
        if len(self.aggregations) > PATIENCE:
            begun = self.aggregations[-PATIENCE][0]
            if begun.server_round == after.server_round:
                raise RuntimeError(f"{PATIENCE} aggregations, and still round {begun.server_round}")
        return after


@dataclass
class Instant:
    """An executor that answers every job by a function, without training; None is no answer."""

    train: Callable[[Job], Params | None]
    waiting: list[Job] = field(default_factory=list)

    def submit(self, jobs: Iterable[Job]) -> None:
        """Take jobs."""
        self.waiting += jobs

    def poll(self) -> list[Update]:
        """The answers to all of them."""
        jobs, self.waiting = self.waiting, []
        found = ((job, self.train(job)) for job in jobs)
        return [answered(job, delta) for job, delta in found if delta is not None]


def answered(job: Job, delta: Params) -> Update:
    """The update of a client with one example and one step, with what the job echoes."""
    losses = dict.fromkeys(("train_loss", "start_loss", "end_loss", "reference_loss"), 1.0)
    metrics = {**losses, "learning_rate": 1.0, **job.config.get("echo", {})}
    return Update(job.task, job.client, job.version, delta, 1, metrics=metrics, num_steps=1)


def unmoved(job: Job) -> Params:
    """A difference of zero."""
    return {key: 0.0 * value for key, value in job.payload.items()}


class Unmoved:
    """An evaluator that looks at no model."""

    def validation(self, state: ServerState, held: Held) -> Mapping[str, Evaluation]:
        """The second task is the worse one."""
        return {name: Evaluation.of_accuracy(1.0, 0.5 / (1 + k)) for k, name in enumerate(TASKS)}

    def test(self, state: ServerState, held: Held) -> Mapping[str, Evaluation]:
        """The same."""
        return self.validation(state, held)

    def ruined(self, state: ServerState, held: Held) -> set[str]:
        """None."""
        return set()


def stage(algorithm: Algorithm, executor: Callable[[Sequence[Task]], Executor] | None) -> Parts:
    """Everything that the loop needs; None for an executor that does not train."""
    eligible = np.ones((NUM_CLIENTS, len(TASKS)), dtype=np.bool_)
    eligible[0, 1] = eligible[1] = False
    tasks = tuple(algorithm.reported([_task(name, k) for k, name in enumerate(TASKS)], 0))
    companions = tuple(algorithm.companions(tasks, 0))
    timing = Timing(Exponential(1.0), np.ones(NUM_CLIENTS), {}, DROPOUT, FAILURES)
    federation = Federation(
        tasks,
        NUM_CLIENTS,
        0.7,
        eligible,
        companions=companions,
        answer_chance=timing.answer_chance,
    )
    made = Instant(unmoved) if executor is None else executor((*tasks, *companions))
    nobody = cast(Any, None)
    return Parts(algorithm, federation, nobody, nobody, None, timing, _InTurns(), made)


def played(algorithm: Algorithm, rounds: int, *, train: bool = True) -> tuple[Parts, Noted]:
    """So many rounds of the loop, and what happened at the algorithm's side."""
    noted = Noted(algorithm)
    parts = stage(algorithm, SequentialExecutor if train else None)
    parts = replace(parts, algorithm=cast(Algorithm, noted))
    evaluator: Measuring = Unmoved()
    if train:
        evaluator = Evaluator(parts.federation.tasks, parts.federation.companions)
    current = RunState(algorithm.init(parts.federation, 0))
    for _ in range(rounds):
        current, _, _ = one_round(parts, current, evaluator)
    return parts, noted


def _task(name: str, number: int) -> Task:
    """Labels by a line of its own through common points."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(NUM_EXAMPLES, NUM_FEATURES)).astype(np.float32)
    labels = (features[:, number] > 0.0).astype(np.int64)
    model = build_model("mlp", (NUM_FEATURES,), 2, WIDTHS, seed=number)
    return make_task(
        name,
        Dataset(features, labels, 2, strata=np.zeros(NUM_EXAMPLES, dtype=np.int64), family="stage"),
        model,
        LocalTraining(0.1, 2, 4, momentum=0.5, persist_optimizer=True),
        _Uneven(),
        num_clients=NUM_CLIENTS,
        seed=0,
    )
