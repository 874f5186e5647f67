"""Who holds what, written down apart from the algorithms: a book of models and optimisers' states.

A federation of tiny tasks in which clients come, go, lose answers and hold other tasks every so
many rounds; an executor that invents updates; and a `Ledger` that says what every job must bring,
from the stream of jobs and answered updates alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_runtime.algorithms.base import Algorithm, ServerState
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.partitions import IID
from fl_runtime.execution.executor import joint_groups
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.models import build_model
from fl_runtime.training.task import LocalTraining, Params, Task
from fl_runtime.training.task_from_data import make_task

NAMES = ("a", "b", "c")
CLIENTS = 4
TRUNK = ("1.weight", "1.bias")
DECODER = ("3.weight", "3.bias")
HEAD = ("5.weight", "5.bias")
MOMENTUM = "optimizer:momentum_buffer:"
ROUNDING = 1e-5  # float32 sums of a handful of numbers around one, in another order

Owner = Callable[[str, int, str], Hashable]
"""To whom an entry belongs, by task, client and name: what has one owner is one and the same."""


def tiny_task(name: str) -> Task:
    """Points in the plane on two sides, for a model of three layers."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    features = (rng.normal(size=(60, 2)) + labels[:, None]).astype(np.float32)
    model = build_model("mlp", (2,), 2, [2, 2], seed=NAMES.index(name))
    data = Dataset(features, labels.astype(np.int64), 2)
    training = LocalTraining(0.1, 1, 50)
    return make_task(name, data, model, training, IID(), num_clients=CLIENTS, seed=0)


TASKS = tuple(tiny_task(name) for name in NAMES)


def tiny_federation(algorithm: Algorithm, fraction: float = 1.0) -> Federation:
    """All tasks, held by everybody."""
    everybody = np.ones((CLIENTS, len(NAMES)), dtype=np.bool_)
    companions = algorithm.companions(TASKS, 0)
    return Federation(TASKS, CLIENTS, fraction, everybody, companions=companions)


def invented(jobs: Sequence[Job], *, persist: bool) -> list[Update]:
    """Updates of random numbers around the size of the models, joint where jobs are joint."""
    found: dict[int, Update] = {}
    for group in joint_groups(jobs):
        common: dict[str, Tensor] = {}
        for index in group:
            job, shared = jobs[index], jobs[index].config.get("shared", ())
            generator = torch.Generator().manual_seed(job.seed % 2**31 + len(job.task) * index)
            delta = {k: torch.randn(v.shape, generator=generator) for k, v in job.payload.items()}
            common = common or {key: delta[key] for key in shared}
            delta |= common
            found[index] = _answer(job, delta, persist)
    return [found[index] for index in range(len(jobs))]


def _answer(job: Job, delta: dict[str, Tensor], persist: bool) -> Update:
    """An update whose optimiser adds to what the job brought."""
    old, new = job.client_state, {}
    for key, value in delta.items() if persist else ():
        new[MOMENTUM + key] = 0.5 * old.get(MOMENTUM + key, 0.0 * value) + value
    losses = {"train_loss": 1.0, "start_loss": 1.0, "end_loss": float(delta[HEAD[1]].abs().mean())}
    count = 10 + job.client
    echo: Mapping[str, float] = job.config.get("echo", {})
    return Update(
        job.task, job.client, job.version, delta, count, {**old, **new}, {**losses, **echo}
    )


@dataclass
class Ledger:
    """What everybody must hold.

    Attributes:
        start: Initial models by task, with one trunk where there is one.
        owner: Of entries of models.
        keeper: Of an optimiser's state of entries; None where nobody keeps it.
        known: Whether the ledger follows an entry of a task.
    """

    start: Mapping[str, Params]
    owner: Owner
    keeper: Owner
    known: Callable[[str, str], bool] = lambda task, key: True
    models: dict[Hashable, Tensor] = field(default_factory=dict)
    states: dict[Hashable, Tensor] = field(default_factory=dict)
    answered: set[tuple[str, int]] = field(default_factory=set)

    def payload(self, task: str, client: int) -> dict[str, Tensor]:
        """The entries of a model that the ledger follows."""
        return {
            key: self.models.get(self.owner(task, client, key), value)
            for key, value in self.start[task].items()
            if self.known(task, key)
        }

    def check(self, jobs: Sequence[Job]) -> None:
        """Every job brings the model and the optimiser's state of its client."""
        for job in jobs:
            for key, value in self.payload(job.task, job.client).items():
                torch.testing.assert_close(job.payload[key], value, rtol=ROUNDING, atol=ROUNDING)
            owners = {key: self.keeper(job.task, job.client, key) for key in job.payload}
            kept = {MOMENTUM + key: self.states[o] for key, o in owners.items() if o in self.states}
            assert job.client_state.keys() == kept.keys()
            assert all(torch.equal(value, kept[name]) for name, value in job.client_state.items())

    def note(self, updates: Sequence[Update]) -> None:
        """An entry moves by the mean over tasks of the mean over its clients, by examples."""
        steps: dict[Hashable, dict[str, list[tuple[int, Tensor]]]] = {}
        for u in updates:
            self.answered.add((u.task, u.client))
            for key, value in u.delta.items():
                if self.known(u.task, key):
                    mine = steps.setdefault(self.owner(u.task, u.client, key), {})
                    mine.setdefault(u.task, []).append((u.num_examples, value))
                name = self.keeper(u.task, u.client, key)
                if name is not None and MOMENTUM + key in u.client_state:
                    self.states[name] = u.client_state[MOMENTUM + key]
        before = {
            self.owner(u.task, u.client, key): value
            for u in updates
            for key, value in self.payload(u.task, u.client).items()
        }
        for name, by_task in steps.items():
            means = [
                sum(n * v for n, v in some) / sum(n for n, _ in some) for some in by_task.values()
            ]
            self.models[name] = before[name] + torch.stack(means).mean(dim=0)


@dataclass(frozen=True)
class Life:
    """A life of a federation, drawn from a seed.

    Attributes:
        seed: Of who holds what, who is there and what is lost.
        rounds: How many.
        every: Rounds between recruitments.
        lost: Chance that an answer is lost.
        fraction: Share of the clients that are active.
        persist: Whether clients keep their optimisers' state.
    """

    seed: int = 0
    rounds: int = 6
    every: int = 2
    lost: float = 0.4
    fraction: float = 1.0
    persist: bool = True

    def lived(
        self,
        algorithm: Algorithm,
        seen: Callable[[int, ServerState, Federation, Sequence[Job]], None],
        counted: Callable[[int, Sequence[Update]], None],
    ) -> ServerState:
        """The last state; every dispatch and every round's answers are shown on the way.

        Between rounds the state goes through the tree of a checkpoint.
        """
        rng = np.random.default_rng(self.seed)
        fed = tiny_federation(algorithm, self.fraction)
        state: Any = algorithm.init(fed, self.seed)
        for number in range(self.rounds):
            if number % self.every == 0:
                fed = replace(fed, eligible=_some(rng, (CLIENTS, len(NAMES)), 0.6))
            there = replace(fed, present=_some(rng, CLIENTS, 0.8))
            state, jobs = algorithm.dispatch(state, there, float(number))
            seen(number, state, there, jobs)
            updates = invented(jobs, persist=self.persist)
            updates = [u for u in updates if rng.random() >= self.lost]
            state = algorithm.aggregate(state, updates)
            counted(number, updates)
            state = type(state).from_tree(state.tree())
        return state  # type: ignore[no-any-return]


def _some(rng: np.random.Generator, shape: Any, share: float) -> NDArray[np.bool_]:
    """That share of the places, at random."""
    return np.asarray(rng.random(shape) < share)
