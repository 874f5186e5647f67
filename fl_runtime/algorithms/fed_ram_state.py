"""The state of FedRAM: small companions of the tasks, references, task and client weights.

A companion is a `Task` like any other: the shards and held-out sets of the task it stands for, with
a small model of its own, under the name ``TASK.proxy``. Executors train it, the loop checks whether
an update ruins it, checkpoints hold it among the state's models; nothing reports it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from fairopt.errors import InvalidInput
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.client_models import ClientModels
from fl_runtime.algorithms.one_trunk import initial_models
from fl_runtime.algorithms.reweighting import Vector, differential_loss
from fl_runtime.algorithms.shared_trunk import trunk_entries
from fl_runtime.data.inputs import Shapes, each, shapes_of
from fl_runtime.extensions import Entry
from fl_runtime.random_streams import torch_seed
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.models import Outputs, build_model
from fl_runtime.training.task import Params, Task, float_state, output_shape

STAGES = ("reference", "proxy", "agent")
"""In order; the figure `stage` counts them from one."""

SUFFIX = ".proxy"
"""Of a companion's name."""

CLIENT_WEIGHT = "client_weight"
"""Figures of a client's weight, by its number: ``client_weight/0``."""

MOST_CLIENTS = 20
"""With more than that the history has only the smallest and the largest client weight."""


@dataclass(frozen=True)
class Small:
    """What the small model of every task is.

    Attributes:
        model: A family of models or a factory, as in a task; empty for an `mlp`, or a `linear` one
            without hidden layers.
        hidden: Widths of its hidden layers.
        pace: How long a job on it takes, as a multiple of one on the task's own model.
    """

    model: Entry = ""
    hidden: Sequence[int] = ()
    pace: float = 1.0

    @property
    def family(self) -> Entry:
        """The model that it stands for."""
        return self.model or ("mlp" if self.hidden else "linear")


def companion(task: Task, small: Small, seed: int) -> Task:
    """The task with a small model.

    Raises:
        InvalidInput: The model does not fit the task's examples.
    """
    example, outputs = task.validation.at(slice(1)).features, output_shape(task)
    alone = isinstance(example, Tensor) and example.is_floating_point()
    model = _built(
        small,
        shapes_of(example),
        outputs if len(outputs) > 1 else math.prod(outputs),
        seed=torch_seed(seed, "initial model", task.name + SUFFIX),
        example=None if alone else each(Tensor.cpu, example),
    ).to(task.validation.targets.device)
    initial = {key: value.clone() for key, value in float_state(model).items()}
    fixed = {
        key: value.clone()
        for key, value in model.state_dict().items()
        if isinstance(value, Tensor) and key not in initial
    }
    return replace(
        task,
        name=task.name + SUFFIX,
        model=model,
        initial=initial,
        fixed=fixed,
        pace=small.pace,
    )


def _built(small: Small, shapes: Shapes, outputs: Outputs, *, seed: int, example: Any) -> nn.Module:
    """The small model of examples of those shapes, refused by the key that names it."""
    try:
        return build_model(small.family, shapes, outputs, small.hidden, seed=seed, example=example)
    except InvalidInput as error:
        if not small.model or error.argument not in ("model", "hidden"):
            raise
        key = f"algorithm.proxy-{error.argument}"
        raise InvalidInput(key, error.value, error.requirement) from error


def small_task(task: Task, small: Small, seed: int) -> Task:
    """The companion under the name of the task it stands for."""
    return replace(companion(task, small, seed), name=task.name, pace=1.0)


@dataclass(frozen=True)
class FedRAMState(ServerState):
    """State of FedRAM; `models` holds every task's model, then every companion's.

    Attributes:
        stage_start: Rounds finished when the stage began.
        task_weights: (num_clients, num_tasks) weights, each row of sum one. A client's row is its
            own and no other client's weights enter it.
        client_weights: (num_clients,) weights of sum one.
        proposed: Rows of `task_weights` that this round's active clients have computed, by the
            client's number as a string; they count once the client answers.
        references: What clients trained alone, by companion and client; the server never looks into
            them. Only a client that has answered for a companion has one.
        held: (num_clients, num_tasks) bool, which tasks clients held at the last dispatch.
        rates: Steps of the weights by their names, where they have been found.
    """

    stage_start: int = field(default=0, kw_only=True)
    task_weights: Sequence[Sequence[float]] = field(default=(), kw_only=True)
    client_weights: Sequence[float] = field(default=(), kw_only=True)
    proposed: Mapping[str, Sequence[float]] = field(default_factory=dict, kw_only=True)
    references: ClientModels = field(default_factory=ClientModels, kw_only=True)
    held: Sequence[Sequence[bool]] = field(default=(), kw_only=True)
    rates: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    @classmethod
    def beginning(cls, federation: Federation, seed: int, *, one_trunk: bool) -> FedRAMState:
        """Initial models; task weights by size, client weights equal."""
        tasks, companions = federation.tasks, federation.companions
        agents, proxies = (
            initial_models(some, one_trunk=one_trunk) for some in (tasks, companions)
        )
        return cls(
            seed=seed,
            server_round=0,
            models={**agents, **proxies},
            validation_loss={},
            validation_error={},
            task_weights=first_task_weights(federation),
            client_weights=[1.0 / federation.num_clients] * federation.num_clients,
            references=ClientModels(shared=trunk_entries(proxies) if one_trunk else ()),
            held=federation.eligible.tolist(),
        )

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return {**super().tree(), "references": self.references.tree()}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The state that `tree` described."""
        references = ClientModels.from_tree(tree["references"])
        return super().from_tree({**tree, "references": references})

    @property
    def stage_round(self) -> int:
        """Rounds finished within the stage; it addresses the random streams of a round."""
        return self.server_round - self.stage_start

    @property
    def agents(self) -> dict[str, Params]:
        """The tasks' models."""
        return dict(islice(self.models.items(), len(self.models) // 2))

    @property
    def proxies(self) -> dict[str, Params]:
        """The companions' models."""
        return dict(islice(self.models.items(), len(self.models) // 2, None))

    def version(self, task: str) -> int:
        """How often a model of this stage has been replaced."""
        return self.stage_round

    def reference(self, name: str, client: int) -> Params:
        """What a client compares the proxy with: its own model, or the proxy where it has none."""
        common = self.models[name]
        found = self.references.head(name, client) is not None
        return self.references.model(common, name, client) if found else common

    def with_answers(self, clients: Sequence[int], weights: Vector) -> FedRAMState:
        """The state with what those clients proposed, and with these client weights."""
        rows = [list(row) for row in self.task_weights]
        for client in clients:
            rows[client] = list(self.proposed[str(client)])
        return replace(self, task_weights=rows, client_weights=weights.tolist())


def first_task_weights(federation: Federation) -> list[list[float]]:
    """Every client's shares of its examples, over all tasks."""
    sizes = np.array([task.sizes for task in federation.tasks]).T
    return (sizes / sizes.sum(axis=1, keepdims=True)).tolist()  # type: ignore[no-any-return]


def shares_of_held(row: ArrayLike, held: NDArray[np.bool_]) -> Vector:
    """A client's task weights over the tasks it holds, sum one; zero for the others."""
    mine = np.where(held, np.asarray(row), 0.0)
    return np.asarray(mine / mine.sum())


def losses_of(
    tasks: Sequence[Task], models: Mapping[str, Params], client: int, held: NDArray[np.bool_]
) -> Vector:
    """(num_tasks,) mean losses of models on one client's examples, NaN for tasks it lacks."""
    return np.array(
        [
            task.evaluate(models[task.name], task.shards[client]).loss if mine else np.nan
            for task, mine in zip(tasks, held, strict=True)
        ]
    )


def changed_loss(mine: Sequence[Update], against: str) -> float:
    """The differential loss of one client over its tasks: after training, against another loss.

    Args:
        mine: Its updates of the proxies, with the losses that their jobs measured.
        against: `global` for the loss of the proxy that was sent, `reference` for the reference's.
    """
    base = "start_loss" if against == "global" else "reference_loss"
    after, before = ([update.metrics[key] for update in mine] for key in ("end_loss", base))
    return differential_loss(after, before, [update.num_examples for update in mine])


def answered(updates: Sequence[Update]) -> list[int]:
    """Clients behind these updates."""
    return sorted({update.client for update in updates})


def stage_figures(state: FedRAMState, stage: str, updates: Sequence[Update]) -> dict[str, float]:
    """For the history: the stage, its cost, and where the weights stand.

    `training_cost` is parameters times examples trained, summed over updates; `TASK/weight` the
    mean of a task's weight over the clients that hold any task, each with weights over those it
    holds; `client_weight/K` the weight of client K, where clients are few (`MOST_CLIENTS`).
    """
    sizes = [sum(value.numel() for value in u.delta.values()) * u.num_examples for u in updates]
    return {
        "stage": STAGES.index(stage) + 1,
        "training_cost": sum(sizes),
        "min_client_weight": min(state.client_weights),
        "max_client_weight": max(state.client_weights),
        **{f"{task}/weight": w for task, w in zip(state.agents, _mean_weights(state), strict=True)},
        **_client_weights(state),
        **state.rates,
    }


def _client_weights(state: FedRAMState) -> dict[str, float]:
    """Every client's weight, where they are few."""
    if len(state.client_weights) > MOST_CLIENTS:
        return {}
    return {f"{CLIENT_WEIGHT}/{k}": weight for k, weight in enumerate(state.client_weights)}


def _mean_weights(state: FedRAMState) -> list[float]:
    """Per task, see `stage_figures`; NaN where nobody holds anything."""
    held = np.asarray(state.held, dtype=np.bool_)
    rows = [
        np.asarray(row) if mine.all() else shares_of_held(row, mine)  # a sum of one, to the bit
        for row, mine in zip(state.task_weights, held, strict=True)
        if mine.any()
    ]
    return np.mean(rows, axis=0).tolist() if rows else [np.nan] * len(state.agents)
