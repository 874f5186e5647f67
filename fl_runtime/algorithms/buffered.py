"""Asynchronous arms: clients work all the time, and the server aggregates when enough has arrived.

A fixed number of jobs is in flight. Whenever one ends, an idle client is asked for another: first a
client is drawn, all equally likely, then its task. The job carries the task's current model and
version. Time, loss of jobs and files are the loop's business.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.algorithms.aggregation import add, weighted_sum
from fl_runtime.algorithms.allocation import FedFairMMFL, RandomAllocation, draw_tasks
from fl_runtime.algorithms.base import ServerState
from fl_runtime.clock import NextArrival, Wait
from fl_runtime.federation import Federation
from fl_runtime.job import Job, Update
from fl_runtime.streams import stream, torch_seed
from fl_runtime.task import Params


@dataclass(frozen=True)
class Kept:
    """An update that waits in a buffer.

    Attributes:
        weight: By its age when it arrived.
        num_examples: Size of the client's shard.
        delta: Trained parameters minus those it started from.
    """

    weight: float
    num_examples: int
    delta: Params


@dataclass(frozen=True, kw_only=True)
class AsynchronousState(ServerState):
    """State of an asynchronous server with one global model per task.

    Attributes:
        versions: How often each task's model has been replaced.
        buffers: Updates of each task that wait for the next aggregation.
        dispatches: How often the server has looked for clients to ask.
        jobs: (num_clients,) jobs that each client has been given.
    """

    versions: Mapping[str, int]
    buffers: Mapping[str, tuple[Kept, ...]]
    dispatches: int
    jobs: tuple[int, ...]

    @classmethod
    def initial(cls, federation: Federation, seed: int) -> Self:
        """Initial models, empty buffers, nobody asked."""
        names = [task.name for task in federation.tasks]
        return cls(
            seed=seed,
            server_round=0,
            models={task.name: task.initial for task in federation.tasks},
            validation_loss={},
            validation_error={},
            versions=dict.fromkeys(names, 0),
            buffers=dict.fromkeys(names, ()),
            dispatches=0,
            jobs=(0,) * federation.num_clients,
        )

    def version(self, task: str) -> int:
        """How often that task's model has been replaced."""
        return self.versions[task]

    def keeping(self, task: str, kept: Sequence[Kept]) -> Self:
        """The same state with that buffer."""
        return replace(self, buffers={**self.buffers, task: tuple(kept)})

    def aggregated(self, task: str, params: Params) -> Self:
        """The state with the task's next version, and one more server round."""
        return replace(
            self.keeping(task, ()),
            server_round=self.server_round + 1,
            models={**self.models, task: params},
            versions={**self.versions, task: self.versions[task] + 1},
        )

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        buffers = {
            task: [(each.weight, each.num_examples, each.delta) for each in kept]
            for task, kept in self.buffers.items()
        }
        return {**super().tree(), "buffers": buffers}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The state that `tree` described."""
        buffers = {
            task: tuple(Kept(*each) for each in kept) for task, kept in tree["buffers"].items()
        }
        return cls(**{**tree, "buffers": buffers, "jobs": tuple(tree["jobs"])})


@dataclass(frozen=True)
class Asynchronous:
    """Common part: keep a number of jobs in flight, and take in answers as they come.

    Attributes:
        concurrency: Jobs in flight, at most one per client; None for all clients.
        allocation: The task of a request: `uniform` over the tasks a client agreed to, or `fair`,
            by the probabilities of `FedFairMMFL`.
        alpha: Of the fair allocation.
        signal: Of the fair allocation.
        max_staleness: Answers that are more versions old than this are dropped; None for no bound.
    """

    concurrency: int | None = None
    allocation: Literal["uniform", "fair"] = "uniform"
    alpha: float = 3.0
    signal: Literal["loss", "error"] = "error"
    max_staleness: int | None = None

    def __post_init__(self) -> None:
        FedFairMMFL(self.alpha)
        if self.max_staleness is not None and self.max_staleness < 0:
            raise InvalidInput("max_staleness", self.max_staleness, "an integer >= 0")
        self._check()

    def _check(self) -> None:
        """Refuse values of the algorithm's own parameters."""

    def init(self, federation: Federation, seed: int) -> AsynchronousState:
        """Initial models, if the settings fit the clients."""
        count = federation.num_clients
        if self.concurrency is not None and not 1 <= self.concurrency <= count:
            raise InvalidInput("algorithm.concurrency", self.concurrency, f"in 1 .. {count}")
        if federation.over_selection > 1.0:
            requirement = "1 for an algorithm that does not work in rounds"
            raise InvalidInput("clients.over-selection", federation.over_selection, requirement)
        return AsynchronousState.initial(federation, seed)

    def dispatch(
        self, state: AsynchronousState, federation: Federation, now: float
    ) -> tuple[AsynchronousState, list[Job]]:
        """Ask idle clients until the wanted number of jobs is in flight."""
        rng = stream(state.seed, "requests", state.dispatches)
        slots = (self.concurrency or federation.num_clients) - sum(federation.in_flight.values())
        willing = federation.idle[federation.eligible[federation.idle].any(axis=1)]
        clients = np.sort(rng.choice(willing, min(slots, willing.size), replace=False))
        shares = self.probabilities(state, federation)[clients]
        chosen = draw_tasks(shares, rng.random(clients.size))
        pairs = [(int(c), federation.tasks[t].name) for c, t in zip(clients, chosen, strict=True)]
        jobs = list(state.jobs)
        for client, _ in pairs:
            jobs[client] += 1
        after = replace(state, dispatches=state.dispatches + 1, jobs=tuple(jobs))
        return after, [request(state, client, task, now) for client, task in pairs]

    def probabilities(
        self, state: AsynchronousState, federation: Federation
    ) -> NDArray[np.float64]:
        """(num_clients, num_tasks) chances of each task."""
        if self.allocation == "fair":
            return FedFairMMFL(self.alpha, self.signal).probabilities(state, federation)
        return RandomAllocation().probabilities(state, federation)

    def wait(self, federation: Federation) -> Wait:
        """The next job to end, whichever it is."""
        return NextArrival()

    @property
    def may_refuse(self) -> bool:
        """Whether there is a bound of staleness."""
        return self.max_staleness is not None

    def accepts(self, state: AsynchronousState, update: Update) -> bool:
        """Whether the answer is young enough."""
        age = state.versions[update.task] - update.version
        return self.max_staleness is None or age <= self.max_staleness

    def absorb(self, state: AsynchronousState, updates: Sequence[Update]) -> AsynchronousState:
        """Take in updates one by one; none at all is a round that changes no model."""
        if not updates:
            return replace(state, server_round=state.server_round + 1)
        for update in updates:
            state = self.take(state.keep([update]), update)
        return state

    def take(self, state: AsynchronousState, update: Update) -> AsynchronousState:
        """Take in one update."""
        raise NotImplementedError

    def forget(self, state: AsynchronousState, tasks: Collection[str]) -> AsynchronousState:
        """Empty the buffers of those tasks."""
        for task in tasks:
            state = state.keeping(task, ())
        return state


def request(state: AsynchronousState, client: int, task: str, now: float) -> Job:
    """The work order for one client on one task, seeded by how many the client had before."""
    return Job(
        task=task,
        client=client,
        version=state.versions[task],
        sent_at=now,
        payload=state.models[task],
        seed=torch_seed(state.seed, "local", state.jobs[client], client, task),
        client_state=state.client_state(task, client),
    )


@dataclass(frozen=True)
class FedBuff(Asynchronous):
    r"""Buffered aggregation: when b updates of a task have arrived, its model takes one step.

    .. math:: x \leftarrow x + \eta \sum_{i \in B} \frac{n_i}{\sum_{j \in B} n_j}
              (1 + s_i)^{-a} \Delta_i

    Symbols: :math:`s_i` versions of the task's model since update i was sent, measured when it
    arrives; :math:`n_i` examples of its client, as in the mean of the synchronous arms.

    Attributes:
        buffer_size: b, one or one per task.
        exponent: a >= 0; 0 gives every update its full weight.
        server_learning_rate: :math:`\eta`.

    Guarantee: with constant delays, all clients in flight, b = number of clients and a = 0, rounds
    are those of federated averaging. With R jobs of one task in flight the mean staleness tends to
    (R - 1) / b.

    Source: FedBuff (arXiv 2106.06639), one buffer per task; the weight by examples is ours, so that
    arms differ in timing only.

    Example:
        >>> FedBuff(buffer_size=0)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: buffer_size = 0, but it must be an integer >= 1, or one per
        task
    """

    buffer_size: int | tuple[int, ...] = 10
    exponent: float = 0.5
    server_learning_rate: float = 1.0

    def _check(self) -> None:
        """Refuse empty buffers, growing weights and steps back."""
        sizes = self.buffer_size if isinstance(self.buffer_size, tuple) else (self.buffer_size,)
        if not sizes or min(sizes) < 1:
            raise InvalidInput("buffer_size", self.buffer_size, "an integer >= 1, or one per task")
        _check_range("exponent", self.exponent, 0.0)
        _check_positive("server_learning_rate", self.server_learning_rate)

    def init(self, federation: Federation, seed: int) -> AsynchronousState:
        """Initial models, if there is a buffer for every task."""
        tasks = len(federation.tasks)
        if isinstance(self.buffer_size, tuple) and len(self.buffer_size) != tasks:
            requirement = f"an integer, or {tasks}, one per task"
            raise InvalidInput("algorithm.buffer-size", list(self.buffer_size), requirement)
        return super().init(federation, seed)

    def take(self, state: AsynchronousState, update: Update) -> AsynchronousState:
        """Into the buffer; when it is full, into the model."""
        age = state.versions[update.task] - update.version
        weight = math.pow(1.0 + age, -self.exponent)
        kept = (*state.buffers[update.task], Kept(weight, update.num_examples, update.delta))
        if len(kept) < self._size(state, update.task):
            return state.keeping(update.task, kept)
        total = sum(each.num_examples for each in kept)
        shares = [
            self.server_learning_rate * each.weight * (each.num_examples / total) for each in kept
        ]
        deltas = [each.delta for each in kept]
        step = weighted_sum(deltas, shares)
        return state.aggregated(update.task, add(state.models[update.task], step))

    def _size(self, state: AsynchronousState, task: str) -> int:
        """Capacity of that task's buffer."""
        if isinstance(self.buffer_size, tuple):
            return self.buffer_size[list(state.models).index(task)]
        return self.buffer_size


@dataclass(frozen=True)
class FedAsync(Asynchronous):
    r"""Every answer moves its task's model towards the client's, less so if it is old.

    .. math:: x \leftarrow (1 - a_s) x + a_s y, \qquad a_s = a \, h(s)

    Symbols: y the client's trained model, s the versions since it was sent, a = `mixing`, and h one
    of `constant` 1; `polynomial` :math:`(1 + s)^{-exponent}`; `hinge` 1 up to s = `grace`, then
    :math:`1 / (slope \, (s - grace) + 1)`.

    Source: FedAsync (arXiv 1903.03934), without its proximal term.

    Example:
        >>> [FedAsync(mixing=0.8, weighting="hinge", slope=2.0).rate(s) for s in (0, 4, 5)]
        [0.8, 0.8, 0.26666666666666666]
    """

    mixing: float = 0.6
    weighting: Literal["constant", "polynomial", "hinge"] = "polynomial"
    exponent: float = 0.5
    slope: float = 10.0
    grace: int = 4

    def _check(self) -> None:
        """Refuse what is no convex combination."""
        if not 0.0 < self.mixing <= 1.0:
            raise InvalidInput("mixing", self.mixing, "in (0, 1]")
        _check_range("exponent", self.exponent, 0.0)
        _check_positive("slope", self.slope)
        _check_range("grace", self.grace, 0)

    def rate(self, age: int) -> float:
        """Share of the client's model in the next one."""
        if self.weighting == "polynomial":
            return self.mixing * math.pow(1.0 + age, -self.exponent)
        if self.weighting == "hinge" and age > self.grace:
            return self.mixing / (self.slope * (age - self.grace) + 1.0)
        return self.mixing

    def take(self, state: AsynchronousState, update: Update) -> AsynchronousState:
        """Mix the client's model in."""
        share = self.rate(state.versions[update.task] - update.version)
        with torch.no_grad():
            mixed = {
                key: (1.0 - share) * value + share * (update.payload[key] + update.delta[key])
                for key, value in state.models[update.task].items()
            }
        return state.aggregated(update.task, mixed)


def _check_range(name: str, value: float, least: float) -> None:
    """Refuse what is not a finite number from `least` on."""
    if not least <= value < np.inf:
        raise InvalidInput(name, value, f"finite and >= {least:g}")


def _check_positive(name: str, value: float) -> None:
    """Refuse what is not a finite positive number."""
    if not 0.0 < value < np.inf:
        raise InvalidInput(name, value, "finite and > 0")
