"""What asynchronous algorithms share: clients train all the time, and updates arrive one by one.

A fixed number of jobs is in flight, and whenever one ends, a client is sent another, with the
task's current model and version. `ByArrival` is what all of them share; in `Asynchronous` ones an
idle client is drawn, all equally likely, then its task. Time, loss of jobs and files are the loop's
business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.algorithms.base import ServerState, check_comparable
from fl_runtime.algorithms.exchange import Exchange, everything
from fl_runtime.algorithms.fed_fair_mmfl import FedFairMMFL
from fl_runtime.algorithms.one_task_per_client import RandomAllocation, draw_tasks
from fl_runtime.random_streams import stream, torch_seed
from fl_runtime.simulation.sync_policies import NextArrival, SyncPolicy
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Params, Task


@dataclass(frozen=True)
class BufferedUpdate:
    """An update in the buffer of its task.

    Attributes:
        weight: By its age, or by the requests of its task, when it arrived.
        num_examples: Size of the client's shard.
        delta: Trained parameters minus those it started from.
    """

    weight: float
    num_examples: int
    delta: Params


@dataclass(frozen=True)
class AsynchronousState(ServerState):
    """State of an asynchronous server with one global model per task.

    Attributes:
        versions: How often each task's model has been replaced.
        buffers: Updates of each task since its last aggregation.
        dispatches: Number of dispatches so far.
        jobs: (num_clients,) jobs that each client has been sent so far.
    """

    versions: Mapping[str, int]
    buffers: Mapping[str, tuple[BufferedUpdate, ...]]
    dispatches: int
    jobs: tuple[int, ...]

    @classmethod
    def initial(cls, federation: Federation, seed: int) -> Self:
        """Initial models, empty buffers, no job sent."""
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

    def keeping(self, task: str, kept: Sequence[BufferedUpdate]) -> Self:
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
            task: tuple(BufferedUpdate(*each) for each in kept)
            for task, kept in tree["buffers"].items()
        }
        return cls(**{**tree, "buffers": buffers, "jobs": tuple(tree["jobs"])})


State = TypeVar("State", bound=AsynchronousState)


@dataclass(frozen=True, kw_only=True)
class ByArrival(ABC):
    """What all asynchronous algorithms share: they wait for the next update and process it.

    Attributes:
        max_staleness: Answers that are more versions old than this are dropped; None for no bound.
    """

    max_staleness: int | None = None

    def __post_init__(self) -> None:
        if self.max_staleness is not None and self.max_staleness < 0:
            raise InvalidInput("max_staleness", self.max_staleness, "an integer >= 0")
        self._check()

    @abstractmethod
    def _check(self) -> None:
        """Refuse values of the algorithm's own parameters."""

    def reported(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """As they are."""
        return tuple(tasks)

    def companions(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """None."""
        return ()

    def sync_policy(self, federation: Federation) -> SyncPolicy:
        """The next job to end, whichever it is."""
        return NextArrival()

    def inclusion(self, state: Any, federation: Federation) -> NDArray[np.float64] | None:
        """Expected answers of the next dispatch by client and task; None with a bound of staleness.

        How many versions pass until a job is answered is not known when it is sent.
        """
        if self.max_staleness is not None:
            return None
        return self._expected_jobs(state, federation) * federation.answer_chance

    @abstractmethod
    def _expected_jobs(self, state: Any, federation: Federation) -> NDArray[np.float64]:
        """(num_clients, num_tasks) expected number of jobs in the next dispatch."""

    def exchange(self, state: ServerState, task: str) -> Exchange:
        """The whole model, for every task."""
        return everything(state.models[task])

    @property
    def shares_parts(self) -> bool:
        """Every task has a model of its own."""
        return False

    @property
    def answers_once(self) -> bool:
        """A quick client may answer again before the next aggregation."""
        return False

    def own_figures(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def may_refuse(self) -> bool:
        """Whether there is a bound of staleness."""
        return self.max_staleness is not None

    def accepts(self, state: AsynchronousState, update: Update) -> bool:
        """Whether the answer is young enough."""
        age = state.versions[update.task] - update.version
        return self.max_staleness is None or age <= self.max_staleness

    def aggregate(self, state: State, updates: Sequence[Update]) -> State:
        """Process updates one by one; none at all is a round that changes no model."""
        if not updates:
            return replace(state, server_round=state.server_round + 1)
        for update in updates:
            state = self.receive(state.keep([update]), update)
        return state

    @abstractmethod
    def receive(self, state: Any, update: Update) -> Any:
        """The state after one update."""

    def forget(self, state: State, tasks: Collection[str]) -> State:
        """Empty the buffers of those tasks."""
        for task in tasks:
            state = state.keeping(task, ())
        return state


@dataclass(frozen=True)
class Asynchronous(ByArrival):
    """Common part of those that send jobs to idle clients: they keep a number of jobs in flight.

    Attributes:
        concurrency: Jobs in flight, at most one per client; None for all clients.
        allocation: The task of a request: `uniform` over the tasks a client agreed to, or `fair`,
            by the probabilities of `FedFairMMFL`.
        alpha: Of the fair allocation.
        signal: Of the fair allocation.
    """

    concurrency: int | None = None
    allocation: Literal["uniform", "fair"] = "uniform"
    alpha: float = 3.0
    signal: Literal["loss", "error"] = "error"

    def __post_init__(self) -> None:
        FedFairMMFL(self.alpha)
        super().__post_init__()

    def init(self, federation: Federation, seed: int) -> AsynchronousState:
        """Initial models, if the settings fit the clients."""
        count = federation.num_clients
        if self.concurrency is not None and not 1 <= self.concurrency <= count:
            raise InvalidInput("algorithm.concurrency", self.concurrency, f"in 1 .. {count}")
        refuse_over_selection(federation)
        if self.allocation == "fair":
            check_comparable(self.signal, federation.tasks)
        return AsynchronousState.initial(federation, seed)

    def dispatch(
        self, state: AsynchronousState, federation: Federation, now: float
    ) -> tuple[AsynchronousState, list[Job]]:
        """Jobs for idle clients, until the wanted number is in flight."""
        rng = stream(state.seed, "requests", state.dispatches)
        willing, wanted = self._willing(federation)
        clients = np.sort(rng.choice(willing, wanted, replace=False))
        shares = self.probabilities(state, federation)[clients]
        chosen = draw_tasks(shares, rng.random(clients.size))
        pairs = [(int(c), federation.tasks[t].name) for c, t in zip(clients, chosen, strict=True)]
        return issue(state, pairs, now)

    def _willing(self, federation: Federation) -> tuple[NDArray[np.int64], int]:
        """Idle clients with a task, and how many of them are sent a job."""
        slots = (self.concurrency or federation.num_clients) - sum(federation.in_flight.values())
        willing = federation.idle[federation.eligible[federation.idle].any(axis=1)]
        return willing, min(slots, willing.size)

    def _expected_jobs(
        self, state: AsynchronousState, federation: Federation
    ) -> NDArray[np.float64]:
        """One for each idle client with a task, all equally likely, of tasks by their shares."""
        willing, wanted = self._willing(federation)
        chance = np.zeros(federation.num_clients)
        chance[willing] = wanted / max(willing.size, 1)
        return chance[:, None] * self.probabilities(state, federation)

    def probabilities(
        self, state: AsynchronousState, federation: Federation
    ) -> NDArray[np.float64]:
        """(num_clients, num_tasks) probabilities of each task."""
        if self.allocation == "fair":
            return FedFairMMFL(self.alpha, self.signal).probabilities(state, federation)
        return RandomAllocation().probabilities(state, federation)


def refuse_over_selection(federation: Federation) -> None:
    """Selecting more clients than are needed makes sense in rounds alone."""
    if federation.over_selection > 1.0:
        requirement = "1 for an algorithm that does not work in rounds"
        raise InvalidInput("clients.over-selection", federation.over_selection, requirement)


def issue(state: State, pairs: Sequence[tuple[int, str]], now: float) -> tuple[State, list[Job]]:
    """One dispatch: jobs for pairs of client and task, in which a client may occur repeatedly."""
    given, jobs = list(state.jobs), []
    for client, task in pairs:
        jobs.append(_job(state, client, task, now, given[client]))
        given[client] += 1
    return replace(state, dispatches=state.dispatches + 1, jobs=tuple(given)), jobs


def _job(state: AsynchronousState, client: int, task: str, now: float, number: int) -> Job:
    """The job of one client on one task, seeded by how many the client had before."""
    return Job(
        task=task,
        client=client,
        version=state.versions[task],
        sent_at=now,
        payload=state.models[task],
        seed=torch_seed(state.seed, "local", number, client, task),
        client_state=state.client_state(task, client),
    )
