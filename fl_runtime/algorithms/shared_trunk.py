r"""Tasks that share a trunk: one encoder for all, one head per task, one common direction.

**The design, for every algorithm with shared parts.** Each ``[[task]]`` keeps a whole model of its
own, trunk and head, under its own name; nothing else in the runtime (jobs, executors, evaluation,
checkpoints) knows about sharing. What is shared is a set of *entry names*, `trunk_entries`: all but
the last layer, or the layers that `shared-layers` names. The server keeps those entries equal in
all models. Algorithms with encoders per client, or decoders between trunk and head, use the same
names.

**Where tasks are reconciled.** `where = "server"`: clients train each task on its own, and the
server combines the tasks' mean updates of the trunk,

.. math:: \theta \leftarrow \theta + \sum_s w_s \bar\Delta_s, \qquad
          \bar\Delta_s = \sum_k c_{k,s} \Delta_{k,s},

with weights w from the method and :math:`c_{k,s}` from `aggregation`. `where = "client"`: every
local step of a client is such a compromise between its own tasks' gradients
(`joint_training`), and the server takes the mean over tasks. Heads get their own mean either way.
A client keeps the state of its optimiser per task in the first case (it trains the trunk once for
each), and in the second that of the trunk once and that of heads per task.

Steps without an answer are defined in `directions`; the history counts them: `num-decisions`,
`num-stationary` (step zero), `num-undecided` (step the mean).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fairopt import InvalidInput
from fairopt.torch import aggregate
from fl_runtime.algorithms.aggregation import add, combined
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.exchange import Exchange, everything
from fl_runtime.algorithms.fed_avg import FedAvg
from fl_runtime.random_streams import torch_seed
from fl_runtime.training.directions import Direction, outcome
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.joint_training import check_joint
from fl_runtime.training.task import Params, Task

PLAIN_MEAN: Mapping[str, Any] = {"method": "mean", "length": "own"}
"""What the server does with trunks that were reconciled on the clients."""


@dataclass(frozen=True, kw_only=True)
class SharedTrunk(FedAvg):
    """FedAvg per task, with one trunk for all tasks.

    Attributes:
        where: Whether the `server` or each `client` reconciles the tasks.
        length: Of the common step: `mean`, as long as the mean over tasks, or the method's `own`.
        shared_layers: Names of layers that make up the trunk; all but the last layer if empty.
    """

    where: Literal["server", "client"] = "server"
    length: Literal["mean", "own"] = "mean"
    shared_layers: tuple[str, ...] = ()

    @property
    def shares_parts(self) -> bool:
        """The trunk."""
        return True

    def own_figures(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """What came of the decisions about the trunk."""
        return tuple(_figures([]))

    @abstractmethod
    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """The method and its parameters, see `directions.METHODS`."""

    def init(self, federation: Federation, seed: int) -> ServerState:
        """Initial models, all with the trunk of the first task."""
        state = super().init(federation, seed)
        for task in federation.tasks:
            check_no_buffers(task)
        if self.where == "client":
            check_joint(federation.tasks)
            if self.tasks_per_client == "one":
                requirement = '"all" where clients reconcile their tasks'
                raise InvalidInput("algorithm.tasks-per-client", "one", requirement)
        first = federation.tasks[0].initial
        trunk = {key: first[key] for key in trunk_entries(state.models, self.shared_layers)}
        return replace(state, models={k: {**m, **trunk} for k, m in state.models.items()})

    def exchange(self, state: ServerState, task: str) -> Exchange:
        """All models; the trunk is sent once, and comes back once where clients reconcile."""
        trunk = trunk_entries(state.models, self.shared_layers)
        return everything(state.models[task], trunk, together=self.where == "client")

    def job_options(
        self, federation: Federation, client: int, task: int, weight: float
    ) -> Mapping[str, Any]:
        """Joint training, where clients reconcile."""
        plain = super().job_options(federation, client, task, weight)
        if self.where == "server":
            return plain
        models = {task.name: task.initial for task in federation.tasks}
        joint = {**self.table(list(models)), "length": self.length}
        return {**plain, "joint": joint, "shared": trunk_entries(models, self.shared_layers)}

    def seed_name(self, federation: Federation, client: int, task: int) -> str:
        """One order of examples for all tasks of a client: equal shards have equal batches."""
        return federation.tasks[int(np.argmax(federation.eligible[client]))].name

    def aggregate(self, state: ServerState, updates: Sequence[Update]) -> ServerState:
        """Heads by their own means, the trunk by the common direction."""
        together = self.where == "client"
        trunk = trunk_entries(state.models, self.shared_layers) if together else ()
        after = replace(state.keep(updates, trunk), server_round=state.server_round + 1)
        mine = {task: [u for u in updates if u.task == task] for task in state.models}
        steps = {task: combined(s, self.coefficients(s)) for task, s in mine.items() if s}
        common, counts = self._common(state, steps, updates) if steps else ({}, ())
        models = {
            task: add(params, {**steps.get(task, {}), **common})
            for task, params in state.models.items()
        }
        return replace(after, models=models, figures=_figures(counts))

    def _common(
        self, state: ServerState, steps: Mapping[str, Params], updates: Sequence[Update]
    ) -> tuple[Params, Sequence[str]]:
        """The step of the trunk, and what came of every decision about it."""
        trunk = trunk_entries(state.models, self.shared_layers)
        here = self.where == "server"
        table = {**self.table(list(state.models)), "length": self.length} if here else PLAIN_MEAN
        seed = torch_seed(state.seed, "direction", state.server_round)
        parts = [{key: step[key] for key in trunk} for step in steps.values()]
        common, solution = aggregate(parts, Direction.of(table, list(steps), seed))
        return common, [outcome(solution.status)] if here else _outcomes(updates)


def trunk_entries(models: Mapping[str, Params], layers: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the entries that all tasks' models share.

    Args:
        models: Entries by task.
        layers: Names of layers (``"encoder"`` covers ``"encoder.0.weight"``); all but the last
            layer of each model if empty.

    Raises:
        InvalidInput: There is nothing to share, a layer is unknown, or models differ in it.

    Example:
        >>> import torch
        >>> one = torch.zeros(1)
        >>> model = {"1.weight": one, "1.bias": one, "3.weight": one, "3.bias": one}
        >>> trunk_entries({"a": model, "b": model})
        ('1.weight', '1.bias')
    """
    (first, params), *others = models.items()
    for layer in layers:
        if not any(_inside(key, layer) for key in params):
            raise InvalidInput("algorithm.shared-layers", layer, f"a layer of {list(params)}")
    trunk = _trunk(params, layers)
    if not trunk:
        requirement = "one that trains layers before its last, to be shared"
        raise InvalidInput(f"task {first} model", list(params), requirement)
    shapes = {key: tuple(params[key].shape) for key in trunk}
    for name, other in others:
        found = {key: tuple(other[key].shape) for key in _trunk(other, layers)}
        if found != shapes:
            requirement = f"the shared entries of task {first}, {shapes}"
            raise InvalidInput(f"task {name} model", found, requirement)
    return trunk


def _trunk(params: Params, layers: Sequence[str]) -> tuple[str, ...]:
    """The shared entries of one model."""
    if layers:
        return tuple(k for k in params if any(_inside(k, layer) for layer in layers))
    head = list(params)[-1].rpartition(".")[0]
    return tuple(key for key in params if key.rpartition(".")[0] != head)


def _inside(key: str, layer: str) -> bool:
    """Whether an entry belongs to a layer."""
    return key == layer or key.startswith(f"{layer}.")


def check_no_buffers(task: Task) -> None:
    """Refuse running statistics: they have no gradient, so no direction is defined for them."""
    names = [name for name, _ in task.model.named_buffers()]
    if names:
        requirement = "absent: a shared trunk takes models without buffers (batch norm, say)"
        raise InvalidInput(f"task {task.name} model buffers", names, requirement)


def _outcomes(updates: Sequence[Update]) -> list[str]:
    """What came of every local step of these clients."""
    kinds = ("decided", "stationary", "undecided")
    return [k for u in updates for k in kinds for _ in range(int(u.metrics.get(f"{k}_steps", 0)))]


def _figures(outcomes: Sequence[str]) -> dict[str, float]:
    """Counts for the history."""
    return {
        "num-decisions": len(outcomes),
        "num-stationary": outcomes.count("stationary"),
        "num-undecided": outcomes.count("undecided"),
    }
