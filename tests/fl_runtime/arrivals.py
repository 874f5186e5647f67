"""The loop of arrivals without training: an algorithm's dispatches on the runtime's own clock."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from fl_runtime.algorithms.fed_ast import FedAST
from fl_runtime.algorithms.fed_ast_requests import FedASTState, draw_clients, refill, send
from fl_runtime.simulation.clock import PendingJobs, Timing, withdraw
from fl_runtime.simulation.sync_policies import NextArrival
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import LocalTraining, Params

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
            name=name, initial=vector(*[0.0] * size), shards=((0,),) * clients, training=training
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
    state: FedASTState
    pending: PendingJobs


def arrivals(
    algorithm: FedAST,
    clients: Federation,
    timing: Timing,
    train: Callable[[Job], Params],
    *,
    pick: Pick = draw_clients,
    finishing: Mapping[int, str] = {},
) -> Iterator[Seen]:
    """Dispatch after every answer; `finishing` closes a task at a dispatch."""
    state, pending, now, sent = algorithm.init(clients, 0), cast(PendingJobs, ()), 0.0, 0
    closed: set[str] = set()
    event: Seen | None = None
    for index in itertools.count():
        if index in finishing:
            closed.add(finishing[index])
            pending = withdraw(pending, closed, now)
            state = algorithm.forget(state, closed)
        in_flight = Counter(entry.job.task for entry in pending)
        seen = replace(clients.without(closed), in_flight=in_flight)
        state = algorithm.planned(state, seen.open_tasks)
        state, jobs = send(state, seen, pick(state, seen, refill(state.requests, in_flight)), now)
        pending = timing.launch(jobs, pending, seed=0, dispatch_index=index, number=sent, now=now)
        sent += len(jobs)
        if event is not None:
            yield replace(event, state=state, pending=pending)
        came = NextArrival().collect(pending, index, now)
        (entry,), pending, now = came.answered, came.left, came.time
        job, delta = entry.job, train(entry.job)
        age = state.version(job.task) - job.version
        state = algorithm.aggregate(state, [Update(job.task, job.client, job.version, delta, 1)])
        event = Seen(now, job, delta, age, state, pending)
