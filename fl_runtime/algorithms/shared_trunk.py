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

**Losses as alpha-fairness sees them** (`loss_alpha`). On clients every batch loss is transformed,
for heads too, and all else is as if it were the loss. The server scales what its method sees of a
task's update by the task's mean training loss of the round; with `length = "mean"` the step has the
length of the mean of the updates as they are, so that it does not grow as losses shrink.

Steps without an answer are defined in `directions`; the history counts them: `num-decisions`,
`num-stationary` (step zero), `num-undecided` (step the mean).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fairopt import InvalidInput
from fairopt.torch import aggregate
from fl_runtime.algorithms.aggregation import add, combined
from fl_runtime.algorithms.base import TRUNK, Memory, ServerState
from fl_runtime.algorithms.exchange import Exchange, everything
from fl_runtime.algorithms.fed_avg import FedAvg
from fl_runtime.random_streams import torch_seed
from fl_runtime.training.directions import LOSS_METHODS, Direction, outcome
from fl_runtime.training.fair_losses import FLOOR, Scaled, loss_factors
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.joint_training import check_joint
from fl_runtime.training.method_memory import averaged
from fl_runtime.training.task import Params, Task
from fl_runtime.validation_errors import check_positive

PLAIN_MEAN: Mapping[str, Any] = {"method": "mean", "length": "own"}
"""What the server does with trunks that were reconciled on the clients."""

EPOCHS = "dwa"
"""The method that compares epochs; on clients too it is the server that closes them."""


@dataclass(frozen=True, kw_only=True)
class SharedTrunk(FedAvg):
    """FedAvg per task, with one trunk for all tasks.

    Attributes:
        where: Whether the `server` or each `client` reconciles the tasks.
        length: Of the common step: `mean`, as long as the mean over tasks, or the method's `own`,
            which FairGrad's makes the longer the smaller the gradients are (for alpha > 1).
        loss_alpha: What the method sees of a task is scaled by its loss to the power of minus this
            (`training.fair_losses`), in [0, inf); 0 leaves it as it is, 1 makes losses free of
            units.
        loss_floor: Losses below it count as it there.
        shared_layers: Names of layers that make up the trunk; all but the last layer if empty.
    """

    where: Literal["server", "client"] = "server"
    length: Literal["mean", "own"] = "mean"
    loss_alpha: float = 0.0
    loss_floor: float = FLOOR
    shared_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.loss_alpha < math.inf:
            raise InvalidInput("loss_alpha", self.loss_alpha, "a number in [0, inf)")
        check_positive("loss_floor", self.loss_floor)

    @property
    def shares_parts(self) -> bool:
        """The trunk."""
        return True

    def own_figures(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """What came of the decisions about the trunk."""
        return tuple(_figures([]))

    @abstractmethod
    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """The method and its parameters, see `directions.METHODS` and `LOSS_METHODS`."""

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

    def dispatch(
        self, state: ServerState, federation: Federation, now: float
    ) -> tuple[ServerState, list[Job]]:
        """Jobs, with what the method remembers where clients reconcile."""
        after, jobs = super().dispatch(state, federation, now)
        memory = state.memory.get(TRUNK)
        return after, [_with(job, memory) for job in jobs] if memory else jobs

    def job_options(
        self, federation: Federation, client: int, task: int, weight: float
    ) -> Mapping[str, Any]:
        """Joint training, where clients reconcile."""
        plain = super().job_options(federation, client, task, weight)
        if self.where == "server":
            return plain
        models = {task.name: task.initial for task in federation.tasks}
        joint = {**self.table(list(models)), "length": self.length}
        if self.loss_alpha:
            joint |= {"loss-alpha": self.loss_alpha, "loss-floor": self.loss_floor}
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
        before = state.memory.get(TRUNK, {})
        common, counts, memory = self._common(state, steps, updates) if steps else ({}, (), before)
        if memory:
            after = replace(after, memory={**after.memory, TRUNK: memory})
        models = {
            task: add(params, {**steps.get(task, {}), **common})
            for task, params in state.models.items()
        }
        return replace(after, models=models, figures=_figures(counts))

    def _common(
        self, state: ServerState, steps: Mapping[str, Params], updates: Sequence[Update]
    ) -> tuple[Params, Sequence[str], Memory]:
        """The step of the trunk, what came of every decision about it, and what is remembered."""
        trunk = trunk_entries(state.models, self.shared_layers)
        parts = [{key: step[key] for key in trunk} for step in steps.values()]
        if self.where == "client":
            common, _ = aggregate(parts, Direction.of(PLAIN_MEAN, list(steps), 0))
            return common, _outcomes(updates), self._from_clients(state, list(steps), updates)
        direction = self._direction(state, list(steps), updates)
        if self.loss_alpha:
            factors = loss_factors(_losses(steps, updates), self.loss_alpha, self.loss_floor)
            direction = replace(direction, method=Scaled(direction.method, factors))
        common, solution = aggregate(parts, direction)
        direction.end_epoch()
        memory = direction.remembered(list(steps), state.memory.get(TRUNK, {}))
        return common, [outcome(solution.status)], memory

    def _direction(
        self, state: ServerState, tasks: Sequence[str], updates: Sequence[Update]
    ) -> Direction:
        """The method at the losses of this round, with what the server remembers."""
        memory = state.memory.get(TRUNK, {})
        table = {**self.table(list(state.models)), "length": self.length, "memory": memory}
        losses = _losses(tasks, updates) if table["method"] in LOSS_METHODS else ()
        seed = torch_seed(state.seed, "direction", state.server_round)
        return Direction.of(table, tasks, seed, losses)

    def _from_clients(
        self, state: ServerState, tasks: Sequence[str], updates: Sequence[Update]
    ) -> Memory:
        """What is remembered of a round in which clients decided: what they learnt, on average.

        Of methods with epochs, the losses of the round, which is one.
        """
        before = state.memory.get(TRUNK, {})
        if self.table(list(state.models))["method"] != EPOCHS:
            return averaged(before, updates)
        direction = self._direction(state, tasks, updates)
        direction.solve(np.eye(len(tasks)))
        direction.end_epoch()
        return direction.remembered(tasks, before)


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


def _losses(tasks: Iterable[str], updates: Sequence[Update]) -> list[float]:
    """The training losses of a round."""
    return [training_loss(updates, task) for task in tasks]


def training_loss(updates: Sequence[Update], task: str) -> float:
    """A task's mean training loss over the answers of a round, weighted by examples.

    Example:
        >>> some = [Update("a", k, 0, {}, k, metrics={"train_loss": 4.0 * k}) for k in (1, 3)]
        >>> training_loss(some, "a")
        10.0
    """
    mine = [u for u in updates if u.task == task]
    total = sum(u.num_examples for u in mine)
    return math.fsum(u.metrics["train_loss"] * u.num_examples for u in mine) / max(total, 1)


def _with(job: Job, memory: Memory) -> Job:
    """A joint job that knows what the method remembers; another one as it is."""
    if "joint" not in job.config:
        return job
    joint = {**job.config["joint"], "memory": memory}
    return replace(job, config={**job.config, "joint": joint})


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
