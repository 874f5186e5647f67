"""What an algorithm is: a frozen record of hyper-parameters with pure functions of a state.

The loop (`fl_runtime.running.loop`) owns time, evaluation, files and progress. An algorithm only
says

* `reported(tasks, seed)`: the tasks with the models that it reports: those of the configuration,
  unless it stands for them with models of its own;
* `companions(tasks, seed)`: tasks of its own beside those of the configuration (a small proxy of
  each, say): executors train them, the state's `models` hold them, nothing reports them;
* `init(federation, seed)`: the first state;
* `dispatch(state, federation, now)`: the state after dispatch and the jobs to start; the
  federation says who is recruited for which unfinished task, who is idle and what is in flight;
* `inclusion(state, federation)`: the answers of that dispatch which each client and task can be
  expected to bring, where that is known; importance weights divide by it;
* `sync_policy(federation)`: what the server then waits for (a barrier, or the next arrival);
* `accepts(state, update)`: whether an answer may count (false for one that is too old), and
  `may_refuse`: whether that ever happens;
* `aggregate(state, updates)`: the state after those updates arrived, aggregated or buffered. It
  advances `server_round` when models are replaced, and also when there are no updates: then the
  server has waited in vain;
* `forget(state, tasks)`: the state without kept updates of tasks whose model they would ruin;
* `shares_parts`: whether a task's model changes when another task is trained.

The state in turn says what a client is sent (`payload`) and by which models a task is evaluated
(`evaluated`): one for all clients, or one per client.

A state is a frozen record of plain values, arrays and tensors, so it can be written to a checkpoint
and read back. It carries the seed and the counters that address its random streams, hence no
generator is mutated behind a caller's back and the same state always dispatches the same jobs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fairopt.errors import InvalidInput
from fl_runtime.simulation.sync_policies import Barrier, SyncPolicy
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Evaluation, Params, Task


@dataclass(frozen=True)
class ServerState:
    """State of a server with one global model per task, as algorithms in rounds need it.

    Attributes:
        seed: Seed of the run.
        server_round: Rounds finished (aggregations, in asynchronous systems).
        models: Global parameters by task.
        validation_loss: Latest validation loss by task, empty before the first measurement.
        validation_error: Latest share of validation examples that were misclassified, by task.
        client_states: What clients keep, by task and by the client's number as a string (keys of a
            checkpoint are strings).
        figures: Figures of the last aggregation, by metric name, for the history.
    """

    seed: int
    server_round: int
    models: Mapping[str, Params]
    validation_loss: Mapping[str, float]
    validation_error: Mapping[str, float]
    client_states: Mapping[str, Mapping[str, Mapping[str, Tensor]]] = field(
        default_factory=dict, kw_only=True
    )
    figures: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    @classmethod
    def initial(cls, federation: Federation, seed: int) -> Self:
        """Initial models, nothing measured."""
        models = {task.name: task.initial for task in federation.tasks}
        return cls(seed, 0, models, {}, {})

    def version(self, task: str) -> int:
        """How often that task's model has been replaced; here every round counts."""
        return self.server_round

    def payload(self, task: str, client: int) -> Params:
        """Parameters that a client starts from; here all start from the task's model."""
        return self.models[task]

    def evaluated(self, task: str) -> Mapping[str, Params]:
        """Models whose mean performance is the task's, by the client's number as a string.

        Here the task's own model is the only one, under no number.
        """
        return {"": self.models[task]}

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The state that `tree` described."""
        return cls(**tree)

    def client_state(self, task: str, client: int) -> Mapping[str, Tensor]:
        """What a client kept from its last job for a task."""
        return self.client_states.get(task, {}).get(str(client), {})

    def keep(self, updates: Sequence[Update]) -> Self:
        """The same state with what the clients behind these updates keep."""
        kept = {task: dict(clients) for task, clients in self.client_states.items()}
        for update in updates:
            if update.client_state:
                kept.setdefault(update.task, {})[str(update.client)] = update.client_state
        return replace(self, client_states=kept)

    def observe(self, validation: Mapping[str, Evaluation]) -> Self:
        """The same state with fresh measurements of some tasks."""
        losses = {task: seen.loss for task, seen in validation.items()}
        errors = {task: 1.0 - seen.accuracy for task, seen in validation.items()}
        return replace(
            self,
            validation_loss={**self.validation_loss, **losses},
            validation_error={**self.validation_error, **errors},
        )


class Algorithm(Protocol):
    """A federated algorithm; see the module's text."""

    def reported(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """The tasks with the models it reports."""
        ...

    def companions(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """Tasks of its own."""
        ...

    def init(self, federation: Federation, seed: int) -> ServerState:
        """The state before the first round."""
        ...

    def dispatch(
        self, state: Any, federation: Federation, now: float
    ) -> tuple[ServerState, list[Job]]:
        """Jobs for clients that are idle."""
        ...

    def inclusion(self, state: Any, federation: Federation) -> NDArray[np.float64] | None:
        """(num_clients, num_tasks) expected answers of the next dispatch that count, or None."""
        ...

    def sync_policy(self, federation: Federation) -> SyncPolicy:
        """What the server waits for after a dispatch, before it aggregates."""
        ...

    @property
    def may_refuse(self) -> bool:
        """Whether `accepts` is ever false."""
        ...

    def accepts(self, state: Any, update: Update) -> bool:
        """Whether that answer may count."""
        ...

    def aggregate(self, state: Any, updates: Sequence[Update]) -> ServerState:
        """The state after those updates."""
        ...

    def forget(self, state: Any, tasks: Collection[str]) -> ServerState:
        """The state without kept updates of those tasks."""
        ...

    @property
    def shares_parts(self) -> bool:
        """Whether a task's model changes when another task is trained."""
        ...


class InRounds:
    """What all algorithms in rounds share: they wait for the round's answers and keep none."""

    def reported(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """As they are."""
        return tuple(tasks)

    def companions(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """None."""
        return ()

    @property
    def shares_parts(self) -> bool:
        """Whether a task's model changes when another task is trained."""
        return False

    def sync_policy(self, federation: Federation) -> SyncPolicy:
        """A barrier; where more clients are selected than needed, for the first that answer."""
        return Barrier(federation.num_active if federation.over_selection > 1.0 else None)

    @property
    def may_refuse(self) -> bool:
        """Never."""
        return False

    def accepts(self, state: ServerState, update: Update) -> bool:
        """Every answer of the round."""
        return True

    def forget(self, state: ServerState, tasks: Collection[str]) -> ServerState:
        """Nothing is kept, so nothing is to be forgotten."""
        return state


def check_priority(priority: tuple[float, ...], num_tasks: int) -> None:
    """Refuse priorities that do not fit the tasks."""
    fits = len(priority) in (0, num_tasks)
    if not (fits and all(0.0 < share < math.inf for share in priority)):
        requirement = f"empty or {num_tasks} positive numbers, one per task"
        raise InvalidInput("algorithm.priority", priority, requirement)
