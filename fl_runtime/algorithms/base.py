"""What an algorithm is: a frozen record of hyper-parameters with pure functions of a state.

The loop in `experiment` owns time, evaluation, files and progress. An algorithm only says

* `init(federation, seed)`: the first state;
* `dispatch(state, idle, now)`: the state after dispatch and the jobs to start;
* `absorb(state, updates)`: the state after those updates arrived;
* `observe(state, validation)`: the state after the server measured the models on validation data.

A state is a frozen record of plain values, arrays and tensors, so it can be written to a checkpoint
and read back. It carries the seed and the counters that address its random streams, hence no
generator is mutated behind a caller's back and the same state always dispatches the same jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from torch import Tensor

from fl_runtime.algorithms.aggregation import data_weighted, step_tasks
from fl_runtime.federation import Federation
from fl_runtime.job import Job, Update
from fl_runtime.task import Evaluation, Params


@dataclass(frozen=True)
class ServerState:
    """State of a synchronous server with one global model per task.

    Attributes:
        seed: Seed of the run.
        server_round: Rounds finished.
        models: Global parameters by task.
        validation_loss: Latest validation loss by task, empty before the first measurement.
        validation_error: Latest share of validation examples that were misclassified, by task.
        client_states: What clients keep, by task and by the client's number in words (keys of a
            checkpoint are words).
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

    def init(self, federation: Federation, seed: int) -> ServerState:
        """The state before the first round."""
        ...

    def dispatch(
        self, state: ServerState, federation: Federation, now: float
    ) -> tuple[ServerState, list[Job]]:
        """Jobs for the clients that are idle."""
        ...

    def absorb(self, state: ServerState, updates: Sequence[Update]) -> ServerState:
        """Aggregate what arrived."""
        ...


def weighted_mean_step(
    models: Mapping[str, Params], updates: Sequence[Update]
) -> dict[str, Params]:
    r"""The one aggregation rule of all arms: data-weighted mean of the updates, task by task.

    .. math:: w_s \leftarrow w_s + \sum_{k \in K_s} n_{k,s} \Delta_{k,s} / \sum_{k \in K_s} n_{k,s}

    Symbols: :math:`K_s` clients that trained task s, :math:`n_{k,s}` their numbers of examples,
    :math:`\Delta_{k,s}` their updates. A task that nobody trained keeps its model.

    Source: federated averaging as used by FedFairMMFL (arXiv 2404.13841); the same for every arm,
    so that arms differ in allocation only.
    """
    return step_tasks(models, updates, data_weighted)
