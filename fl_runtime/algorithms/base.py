"""What an algorithm is: a frozen record of hyper-parameters with pure functions of a state.

The loop (`fl_runtime.running.loop`) owns time, evaluation, files and progress. An algorithm only
says

* `reported(tasks, seed)`: the tasks with the models that it reports: those of the configuration,
  unless it stands for them with models of its own;
* `companions(tasks, seed)`: tasks of its own beside those of the configuration (a small proxy of
  each, say), none or one per task in their order: executors train them for as long as the task
  takes, the state's `models` hold them, nothing reports them;
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
* `answers_once`: whether a client brings at most one update between two rows of the history;
* `own_figures(tasks)`: names of the figures that it puts into its state (`ServerState.figures`);
* `exchange(state, task)`: what of a task's model travels (`exchange`), which is its traffic;
* `shares_parts`: whether a task's model changes when another task is trained.

The state in turn says what a client is sent (`payload`, `client_state`) and by which models a task
is evaluated (`evaluated`): one for all clients, or one per client that holds the task.

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

from fairopt.errors import InvalidInput, Unshown
from fl_runtime.algorithms.exchange import Exchange, everything
from fl_runtime.simulation.sync_policies import Barrier, SyncPolicy
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.optimizers import entry_of
from fl_runtime.training.task import Evaluation, Params, Task

Memory = Mapping[str, Any]
"""Numbers, words and tensors by name, nested as deep as one likes: what a checkpoint can hold."""

TRUNK = ""
"""Where a client keeps what belongs to the trunk of all its tasks; no task has that name."""


@dataclass(frozen=True)
class ServerState:
    """State of a server with one global model per task, as algorithms in rounds need it.

    Attributes:
        seed: Seed of the run.
        server_round: Rounds finished (aggregations, in asynchronous systems).
        models: Global parameters by task.
        validation_loss: Latest validation loss by task, empty before the first measurement.
        validation_error: Latest error of the validation score by task (`scores.Scale`; the share of
            wrong answers, of accuracies), where the task has a scale.
        client_states: What clients keep, by task and by the client's number as a string (keys of a
            checkpoint are strings). What they keep once for a trunk that their tasks train together
            is under `TRUNK` instead of a task.
        figures: Figures of the last aggregation, by metric name, for the history.
        memory: What a server's own steps remember, by task (`Synchronous.server_step`).
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
    memory: Mapping[str, Memory] = field(default_factory=dict, kw_only=True)

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

    def evaluated(self, task: str, holders: Collection[int]) -> Mapping[str, Params]:
        """Models whose mean performance is the task's, by the client's number as a string.

        Here the task's own model is the only one, under no number.

        Args:
            task: Name of a task or companion.
            holders: Clients that hold the task now; none of a companion.
        """
        return {"": self.models[task]}

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The state that `tree` described.

        Raises:
            InvalidInput: Clients keep what earlier versions left them for several tasks at once.
        """
        check_kept(tree.get("client_states", {}))
        return cls(**tree)

    def client_state(self, task: str, client: int, under: str = TRUNK) -> Mapping[str, Tensor]:
        """What a client kept from its last jobs for a task, and for a trunk of several tasks.

        Args:
            task: Name of the task.
            client: Number of the client.
            under: Where the trunk's part is, if there is a trunk.
        """
        alone, trunk = (
            self.client_states.get(name, {}).get(str(client), {}) for name in (task, under)
        )
        return {**alone, **trunk}

    def keep(
        self, updates: Sequence[Update], trunk: Collection[str] = (), under: str = TRUNK
    ) -> Self:
        """The same state with what the clients behind these updates keep.

        Args:
            updates: Answers of clients.
            trunk: Entries that a client's tasks train together: what it keeps for them is the same
                in all its answers, and kept once.
            under: Where that is kept.
        """
        kept = {name: dict(clients) for name, clients in self.client_states.items()}
        for update in updates:
            mine = {name: entry_of(name) in trunk for name in update.client_state}
            for where, shared in ((update.task, False), (under, True)):
                some = {
                    n: update.client_state[n] for n, belongs in mine.items() if belongs == shared
                }
                if some:
                    kept.setdefault(where, {})[str(update.client)] = some
        return replace(self, client_states=kept)

    def observe(self, validation: Mapping[str, Evaluation]) -> Self:
        """The same state with fresh measurements of some tasks."""
        losses = {task: seen.loss for task, seen in validation.items()}
        errors = {task: seen.error for task, seen in validation.items() if seen.error is not None}
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

    def exchange(self, state: Any, task: str) -> Exchange:
        """What of a task's model has travelled in the round that led to the state."""
        ...

    @property
    def shares_parts(self) -> bool:
        """Whether a task's model changes when another task is trained."""
        ...

    @property
    def answers_once(self) -> bool:
        """Whether a client brings at most one update between two rows of the history."""
        ...

    def own_figures(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Names of all figures that its states may have."""
        ...


class InRounds:
    """What all algorithms in rounds share: they wait for the round's answers and keep none."""

    def reported(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """As they are."""
        return tuple(tasks)

    def companions(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """None."""
        return ()

    def exchange(self, state: ServerState, task: str) -> Exchange:
        """The whole model, for every task."""
        return everything(state.models[task])

    @property
    def shares_parts(self) -> bool:
        """Whether a task's model changes when another task is trained."""
        return False

    def own_figures(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """None."""
        return ()

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


def check_kept(client_states: Mapping[str, Mapping[str, Mapping[str, Tensor]]]) -> None:
    """Refuse what earlier versions kept of joint training: all of a client's tasks under each.

    Which of its copies of the trunk's part is the newest is not known.
    """
    for task, clients in client_states.items():
        if any(entry_of(name).startswith(f"{task}|") for kept in clients.values() for name in kept):
            raise earlier_version(f"optimiser state of task {task} and others")


def earlier_version(what: str) -> InvalidInput:
    """The refusal of a checkpoint from which a run would go on wrongly."""
    requirement = "of this version, which keeps them by client: start the run anew"
    return InvalidInput("checkpoint", what, requirement)


def check_priority(priority: tuple[float, ...], num_tasks: int) -> None:
    """Refuse priorities that do not fit the tasks."""
    fits = len(priority) in (0, num_tasks)
    if not (fits and all(0.0 < share < math.inf for share in priority)):
        requirement = f"empty or {num_tasks} positive numbers, one per task"
        raise InvalidInput("algorithm.priority", priority, requirement)


def check_comparable(signal: str, tasks: Sequence[Task]) -> None:
    """Refuse a signal that is in several units: shares of clients would follow the units.

    Raises:
        InvalidInput: A task has a score without a scale, and the signal is made of errors, or it
            is the loss and tasks have different losses.
    """
    for task in tasks if signal != "loss" or unlike_losses(tasks) else ():
        if task.scale is None:
            score = next(iter(task.metrics))
            why = (
                f'give [worst, best], such as ["initial", 0.0], since score {score} has no worst '
                f'value of its own, and signal = "{signal}"'
            )
            several = " compares tasks with different losses" if signal == "loss" else ""
            raise InvalidInput(f"task.{task.name}.range", Unshown.MISSING, f"{why}{several}")


def unlike_losses(tasks: Sequence[Task]) -> bool:
    """Whether tasks have different losses, which are no figures of one unit."""
    return any(task.loss != tasks[0].loss for task in tasks)
