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
from fl_runtime.simulation.clock import Flights, Timing, withdraw
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
    """An answer that has been taken in, and what is under way after the next dispatch."""

    time: float
    job: Job
    delta: Params
    staleness: int
    state: FedASTState
    flights: Flights


def arrivals(
    algorithm: FedAST,
    clients: Federation,
    timing: Timing,
    work: Callable[[Job], Params],
    *,
    pick: Pick = draw_clients,
    finishing: Mapping[int, str] = {},
) -> Iterator[Seen]:
    """Dispatch after every answer; `finishing` closes a task at a dispatch."""
    state, flights, now, sent, closed = algorithm.init(clients, 0), cast(Flights, ()), 0.0, 0, set()
    for wave in itertools.count():
        if wave in finishing:
            closed.add(finishing[wave])
            flights = withdraw(flights, closed, now)
            state = algorithm.forget(state, closed)
        in_flight = Counter(flight.job.task for flight in flights)
        seen = replace(clients.without(closed), in_flight=in_flight)
        state = algorithm.planned(state, seen.open_tasks)
        state, jobs = send(state, seen, pick(state, seen, refill(state.requests, in_flight)), now)
        flights = timing.launch(jobs, flights, seed=0, wave=wave, number=sent, now=now)
        sent += len(jobs)
        if wave:
            yield replace(event, state=state, flights=flights)  # noqa: F821
        came = NextArrival().take(flights, wave, now)
        (flight,), flights, now = came.answered, came.left, came.time
        job, delta = flight.job, work(flight.job)
        age = state.version(job.task) - job.version
        state = algorithm.absorb(state, [Update(job.task, job.client, job.version, delta, 1)])
        event = Seen(now, job, delta, age, state, flights)  # noqa: F841
