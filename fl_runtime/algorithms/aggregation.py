r"""How updates become a step of a model, :math:`w \leftarrow w + \sum_k c_k \Delta_k`.

A rule gives the coefficients :math:`c_k` of the updates that arrived. All arms of a comparison
should use one rule; the released FedFairMMFL code does not, which confounds its comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.stacks import gathered
from fl_runtime.training.task import Params

Coefficients = Callable[[Sequence[Update]], list[float]]
Aggregation = Literal["data-weighted", "plain", "importance"]

IMPORTANCE = "importance"
"""Name of the figure that a job echoes and `importance` reads."""


def data_weighted(updates: Sequence[Update]) -> list[float]:
    """Shares of the examples behind the updates."""
    total = sum(update.num_examples for update in updates)
    return [update.num_examples / total for update in updates]


def plain(updates: Sequence[Update]) -> list[float]:
    """Equal shares."""
    return [1.0 / len(updates)] * len(updates)


def importance(updates: Sequence[Update]) -> list[float]:
    """What `importance_weights` gave each job when it was sent; they need not sum to one."""
    return [update.metrics[IMPORTANCE] for update in updates]


AGGREGATIONS: Mapping[Aggregation, Coefficients] = {
    "data-weighted": data_weighted,
    "plain": plain,
    "importance": importance,
}
"""Rules by name."""


def importance_weights(
    federation: Federation, inclusion: NDArray[np.float64]
) -> NDArray[np.float64]:
    r"""Coefficients that make the expected step that of full participation in all tasks.

    .. math:: c_{k,s} = d_{k,s} / \pi_{k,s}

    Symbols: :math:`d_{k,s}` client k's share of the examples of task s among the eligible clients
    that can be asked now, :math:`\pi_{k,s}` the chance (num_clients, num_tasks) that it is asked
    for that task and its answer counts. Zero where that is zero: no client is sent there.

    Guarantee: :math:`E \sum_k c_{k,s} \Delta_{k,s} = \sum_k d_{k,s} \Delta_{k,s}`, k going over the
        clients that can be asked now with :math:`\pi_{k,s} > 0`, whether jobs are lost, more
        clients are selected than needed, or some are away. The expected sum of weights is one.

    Source: inverse-probability weighting. Released FedFairMMFL code divides by C / S whatever the
    allocation, which scales a task's step by S p_s (for alpha > 1 this is not one).
    """
    shares = data_shares(federation, now=True)
    return np.divide(shares, inclusion, out=np.zeros_like(shares), where=inclusion > 0.0)


def data_shares(federation: Federation, *, now: bool = False) -> NDArray[np.float64]:
    """(num_clients, num_tasks) shares of each task's examples.

    Args:
        federation: Clients and tasks.
        now: Over eligible clients that can be asked now, instead of all eligible ones.
    """
    sizes = np.array([task.sizes for task in federation.tasks]).T
    mine = np.where(federation.eligible, sizes, 0.0)
    if now:
        mine *= (federation.selection_chance > 0.0)[:, None]
    return np.asarray(mine / np.maximum(mine.sum(axis=0), 1.0))


def step_tasks(
    models: Mapping[str, Params], updates: Sequence[Update], rule: Coefficients
) -> dict[str, Params]:
    """Every task's model after its updates; a task that nobody trained keeps its model."""
    return {
        task: add(params, combined(mine, rule(mine))) if mine else params
        for task, params in models.items()
        for mine in [[update for update in updates if update.task == task]]
    }


def combined(updates: Sequence[Update], coefficients: Sequence[float]) -> dict[str, Tensor]:
    """The weighted sum of the updates, entry by entry."""
    return weighted_sum([update.delta for update in updates], coefficients)


def weighted_sum(deltas: Sequence[Params], coefficients: Sequence[float]) -> dict[str, Tensor]:
    """The weighted sum of differences, entry by entry."""
    with torch.no_grad():
        stack = gathered(deltas)
        if stack is None:
            stack = {key: torch.stack([delta[key] for delta in deltas]) for key in deltas[0]}
        return {key: _total(stack[key], coefficients) for key in deltas[0]}


def add(params: Params, step: Params) -> dict[str, Tensor]:
    """The model after a step."""
    with torch.no_grad():
        return {key: value + step[key] if key in step else value for key, value in params.items()}


def scaled(factor: float, step: Params) -> dict[str, Tensor]:
    """A step of another length."""
    with torch.no_grad():
        return {key: factor * value for key, value in step.items()}


def squared_length(delta: Params) -> float:
    """Squared Euclidean length, accumulated in float64."""
    return float(sum(value.double().square().sum() for value in delta.values()))


def _total(rows: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Their weighted sum."""
    shares = torch.tensor(coefficients, dtype=rows.dtype, device=rows.device)
    return torch.einsum("k,k...->...", shares, rows)
