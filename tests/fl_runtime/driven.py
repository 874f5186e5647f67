"""The runtime's loop without data: an executor that does not train, an evaluator that is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from fl_runtime.algorithms.base import Algorithm, ServerState
from fl_runtime.execution.executor import Executor
from fl_runtime.running.build import Parts
from fl_runtime.running.step import Held
from fl_runtime.simulation.availability import Always, Availability
from fl_runtime.simulation.clock import Timing
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Evaluation, Params


@dataclass
class Instant:
    """An executor that answers every job by a function; None is no answer."""

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
    """The update of a client with one example, with what the job echoes."""
    losses = dict.fromkeys(("train_loss", "start_loss", "end_loss", "reference_loss"), 1.0)
    metrics = {**losses, "learning_rate": 1.0, **job.config.get("echo", {})}
    return Update(job.task, job.client, job.version, delta, 1, metrics=metrics)


@dataclass(frozen=True)
class Told:
    """An evaluator that looks at no model: accuracies as they are set, losses of one."""

    names: tuple[str, ...]
    accuracy: Callable[[ServerState, str], float] = lambda state, task: 0.5
    ruins: Callable[[ServerState], set[str]] = lambda state: set()

    def validation(self, state: ServerState, held: Held) -> Mapping[str, Evaluation]:
        """Of every task."""
        return {name: Evaluation(1.0, self.accuracy(state, name)) for name in self.names}

    def test(self, state: ServerState, held: Held) -> Mapping[str, Evaluation]:
        """The same."""
        return self.validation(state, held)

    def ruined(self, state: ServerState, held: Held) -> set[str]:
        """Nothing, unless it is told so."""
        return self.ruins(state)


def parts_of(
    algorithm: Algorithm,
    federation: Federation,
    timing: Timing,
    executor: Executor,
    availability: Availability = Always(),  # noqa: B008
) -> Parts:
    """What the loop needs; nobody is recruited."""
    nobody = cast(Any, None)
    return Parts(algorithm, federation, nobody, nobody, None, timing, availability, executor)
