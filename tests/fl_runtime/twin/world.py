"""The facts of a run that every algorithm of the twin works with, and the jobs in flight."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fl_runtime.random_streams import torch_seed
from tests.fl_runtime.twin import nets
from tests.fl_runtime.twin.clock import Clock
from tests.fl_runtime.twin.data import Array, Problem, whole
from tests.fl_runtime.twin.local import Done, Memory, Work
from tests.fl_runtime.twin.nets import Model


@dataclass
class Sent:
    """A job in flight: of which task and client, from which model, and when it ends how.

    Attributes:
        name: Of the model that is trained, which is the task's or one beside it.
        task: Number of the task.
        version: Of that model.
        work: What the client does.
        group: Jobs of a client and group are trained together, if there is one.
        late: Whether its answer has been discarded already, and it only keeps its client busy.
        notes: What the server knew when it sent the job.
    """

    name: str
    task: int
    client: int
    version: int
    work: Work
    group: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    dispatch: int = 0
    begin: float = 0.0
    end: float = 0.0
    tie: float = 0.0
    fate: str = "answers"
    late: bool = False
    done: Done | None = None

    @property
    def answer(self) -> Done:
        """What came back."""
        assert self.done is not None
        return self.done

    @property
    def order(self) -> tuple[float, float, int]:
        """In which order the server hears of jobs."""
        return self.end, self.tie, self.number


class World:
    """Tasks, clients, models, jobs in flight, and the clock of one run."""

    def __init__(
        self, config: Any, seed: int, problems: list[Problem], beside: list[Problem]
    ) -> None:
        self.config, self.seed = config, seed
        self.clients, self.options = config.clients, dict(config.algorithm)
        self.problems, self.beside = problems, beside
        self.names = [p.name for p in problems]
        self.N, self.S = self.clients.num_clients, len(problems)
        self.clock = Clock(self.clients, seed)
        self.eligible = np.zeros((self.N, self.S), dtype=bool)
        self.models: dict[str, Model] = {p.name: p.initial for p in problems}
        self.flying: list[Sent] = []
        self.finished: set[int] = set()
        self.memories: dict[tuple[Any, ...], Memory] = {}
        self.losses: list[float] = []
        self.errors: list[float] = []
        self.learnt: list[list[float]] = [[] for _ in problems]
        self.figures: dict[str, float] = {}
        self.now, self.round, self.dispatches, self.number = 0.0, 0, 0, 0
        self.close_call = False

    @property
    def active(self) -> int:
        """Clients of a round whose answers count."""
        return max(1, whole(self.clients.fraction_train * self.N))

    @property
    def selected(self) -> int:
        """Clients of a round that are asked."""
        return whole(self.clients.over_selection * self.active, up=True)

    @property
    def answers(self) -> float:
        """Chance that a job is answered."""
        return float((1.0 - self.clients.dropout) * (1.0 - self.clients.failures))

    @property
    def open(self) -> Array:
        """(N, S) who may be sent a job of which task."""
        still = [s not in self.finished for s in range(self.S)]
        return self.eligible & np.array(still)

    def present(self) -> Array:
        """Who is there."""
        return self.clock.present(self.now)

    def idle(self) -> Array:
        """Clients that are there and have no job."""
        busy = {job.client for job in self.flying}
        here = self.present()
        return np.array([k for k in range(self.N) if here[k] and k not in busy], dtype=np.int64)

    def job(
        self,
        problem: Problem,
        task: int,
        client: int,
        *,
        start: Model,
        stamp: int,
        version: int,
        seed_name: str,
        **more: Any,
    ) -> Sent:
        """A job whose examples are shuffled by the streams of (stamp, client, seed_name)."""
        work = Work(
            problem.settings,
            problem.shards[client],
            start,
            torch_seed(self.seed, "local", stamp, client, seed_name),
        )
        return Sent(problem.name, task, client, version, work, **more)

    def launch(self, jobs: list[Sent]) -> None:
        """Send jobs: a client does its jobs one after the other."""
        given: dict[int, int] = {}
        factors = self.clients.task_delays or (1.0,) * self.S
        for job in jobs:
            repeat = given.get(job.client, 0)
            given[job.client] = repeat + 1
            fates = self.clock.fates(self.dispatches, repeat)
            before = [other.end for other in self.flying if other.client == job.client]
            job.begin = max([self.now, *before])
            small = self.options.get("proxy_delay", 1.0) if job.name.endswith(".proxy") else 1.0
            length = fates.length[job.client] * self.clock.speed(job.begin)[job.client]
            job.end = job.begin + length * (factors[job.task] * small)
            job.fate, job.tie = fates.fate[job.client], fates.tie[job.client]
            job.dispatch, job.number = self.dispatches, self.number
            self.number += 1
            self.flying.append(job)
        self.dispatches += 1

    def withdraw(self, tasks: Collection[int]) -> int:
        """Take back the jobs of those tasks, and count them; what waited behind begins sooner."""
        gone = sum(job.task in tasks and not job.late for job in self.flying)
        self.flying = [job for job in self.flying if job.task not in tasks]
        free: dict[int, float] = {}
        for job in sorted(self.flying, key=lambda job: job.number):
            length = job.end - job.begin
            begin = max(self.now, free.get(job.client, self.now))
            if begin < job.begin:
                job.begin, job.end = begin, begin + length
            free[job.client] = job.end
        return gone

    def remembered(self, key: tuple[Any, ...], work: Work) -> Memory:
        """What a client keeps of an optimiser, where it keeps it."""
        return self.memories.get(key, {}) if work.settings.persist_optimizer else {}

    def judge(self, judged: Mapping[int, list[Model]]) -> dict[str, float]:
        """Losses and accuracies of all tasks, of the mean over the models that stand for each."""
        row: dict[str, float] = {}
        accuracies = []
        self.losses, self.errors = [], []
        for s, problem in enumerate(self.problems):
            found = {}
            for kind, data in (("val", problem.validation), ("eval", problem.test)):
                seen = [nets.judged(model, data) for model in judged[s]]
                self.close_call |= any(near for _, _, near in seen)
                found[kind] = [float(np.mean([one[i] for one in seen])) for i in (0, 1)]
                row[f"{problem.name}/{kind}_loss"], row[f"{problem.name}/{kind}_acc"] = found[kind]
            self.losses.append(found["val"][0])
            self.errors.append(1.0 - found["val"][1])
            accuracies.append(found["eval"][1])
        a = np.array(accuracies)
        row["min_task_acc"], row["mean_task_acc"] = float(a.min()), float(a.mean())
        row["var_task_acc"] = float(((a - a.mean()) ** 2).mean())
        squares = float((a**2).sum())
        row["jain"] = float(a.sum() ** 2 / (len(a) * squares)) if squares else 1.0
        return row
