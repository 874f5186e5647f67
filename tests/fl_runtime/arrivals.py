"""What an asynchronous server sees, arrival by arrival: the runtime's own loop without training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from fl_runtime.algorithms.asynchronous import AsynchronousState, ByArrival
from fl_runtime.algorithms.fed_ast_requests import FedASTState, refill, send
from fl_runtime.running.loop import closed
from fl_runtime.running.run_state import RunState
from fl_runtime.running.step import step
from fl_runtime.simulation.clock import PendingJobs, Timing
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job
from fl_runtime.training.task import LocalTraining, Params
from tests.fl_runtime.driven import Instant, Told, parts_of

Pick = Callable[[FedASTState, Federation, Sequence[str]], list[tuple[int, str]]]


def vector(*values: float) -> Params:
    """A model of those numbers."""
    return {"w": torch.tensor(values, dtype=torch.float64)}


def federation(
    names: Sequence[str], clients: int, *, rate: float = 0.5, steps: int = 1, size: int = 1
) -> Federation:
    """Tasks of `size` numbers that start at zero, trained by `steps` steps of size `rate`."""
    training = LocalTraining(learning_rate=rate, local_epochs=steps, batch_size=1)
    tasks = [
        SimpleNamespace(
            name=name,
            initial=vector(*[0.0] * size),
            shards=((0,),) * clients,
            sizes=(1,) * clients,
            training=training,
        )
        for name in names
    ]
    everybody = np.ones((clients, len(names)), dtype=bool)
    return Federation(cast(Any, tuple(tasks)), clients, 1.0, everybody)


@dataclass(frozen=True)
class Seen:
    """An update that has been processed, and what is in flight after the next dispatch."""

    time: float
    job: Job
    delta: Params
    staleness: int
    state: Any
    pending: PendingJobs


@dataclass(frozen=True)
class Noted(Timing):
    """A timing that notes the latest queue."""

    queues: list[PendingJobs] = field(default_factory=list)

    def launch(self, *args: Any, **kwargs: Any) -> PendingJobs:
        """Of the timing, noted."""
        self.queues[:] = [super().launch(*args, **kwargs)]
        return self.queues[0]


class Watched:
    """An algorithm whose state after a dispatch is noted, and whose clients may be scripted."""

    def __init__(self, algorithm: ByArrival, pick: Pick | None) -> None:
        self.algorithm = algorithm
        self.pick = pick
        self.state: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.algorithm, name)

    def dispatch(
        self, state: Any, seen: Federation, now: float
    ) -> tuple[AsynchronousState, list[Job]]:
        """The algorithm's, or with the clients of the script."""
        if self.pick is None:
            self.state, jobs = self.algorithm.dispatch(state, seen, now)  # type: ignore[attr-defined]
            return self.state, jobs
        state = self.algorithm.planned(state, seen.open_tasks)  # type: ignore[attr-defined]
        pairs = self.pick(state, seen, refill(state.requests, seen.in_flight))
        self.state, jobs = send(state, seen, pairs, now)
        return self.state, jobs


def arrivals(
    algorithm: ByArrival,
    clients: Federation,
    timing: Timing,
    train: Callable[[Job], Params],
    *,
    pick: Pick | None = None,
    finishing: Mapping[int, str] = {},
    seed: int = 0,
) -> Iterator[Seen]:
    """Steps of the loop, each with one arrival; `finishing` closes a task before a dispatch."""
    watched, noted = Watched(algorithm, pick), Noted(**vars(timing))
    parts = parts_of(cast(Any, watched), clients, noted, Instant(train))
    judge = Told(tuple(task.name for task in clients.tasks))
    current = RunState(cast(Any, algorithm).init(clients, seed))
    event: Seen | None = None
    for index in itertools.count():
        if index in finishing:
            current = closed(parts, current, {finishing[index]})
        current, stats = step(parts, current, judge)
        (sent,) = noted.queues
        if event is not None:
            yield replace(event, state=watched.state, pending=sent)
        (update,), (age,) = stats.updates, stats.staleness
        left = {entry.number for entry in current.pending}
        (job,) = (entry.job for entry in sent if entry.number not in left)
        event = Seen(current.now, job, update.delta, age, current.state, current.pending)
