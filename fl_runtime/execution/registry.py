"""Executors by name, and the fixed rule behind `auto`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from fl_runtime.execution.dense import is_dense
from fl_runtime.execution.executor import Executor, GroupedExecutor
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.execution.stacked import DenseExecutor, StackedExecutor
from fl_runtime.training.losses import Loss
from fl_runtime.training.task import LocalTraining, Task

STACK_FROM = 6
"""Clients of one task at a time from which `auto` stacks on a CPU: below, setting a stack up costs
more than it saves; above, it is never slower (`benchmarks/runtime.py`: even at 4 to 5 clients)."""

LARGEST_STACKED = 64 * 2**10
"""Bytes of an entry up to which `auto` stacks on a CPU what is not fully connected: beyond, a step
is arithmetic, of which a stack has more."""

EXECUTORS: Mapping[str, Callable[[Sequence[Task]], Executor]] = {
    "sequential": SequentialExecutor,
    "stacked": StackedExecutor,
    "dense": DenseExecutor,
}
"""Names in a configuration."""


def by_shape(
    model: nn.Module,
    example: Any,
    loss: Loss,
    training: LocalTraining,
    *,
    device: str = "cpu",
    clients_per_task: float = 1.0,
) -> str:
    """The executor that `auto` stands for: a fixed rule, so that a run repeats.

    `dense` for models that are fully connected; else `stacked` on a GPU; else, on a CPU,
    `sequential` for convolutions, whose stacks are slower, and `stacked` where at least
    `STACK_FROM` clients share the task and no entry is larger than `LARGEST_STACKED`.

    Args:
        model: The task's.
        example: (1, ...) of its inputs, or such by name.
        loss: The task's.
        training: The task's.
        device: Where it trains.
        clients_per_task: Clients that train the task at a time, on average.

    Example:
        >>> import torch
        >>> from fl_runtime.training.losses import CROSS_ENTROPY
        >>> how = LocalTraining(0.1, 1, 8)
        >>> by_shape(nn.Linear(4, 2), torch.zeros(1, 4), CROSS_ENTROPY, how)
        'dense'
        >>> by_shape(nn.Conv1d(4, 2, 3), torch.zeros(1, 4, 8), CROSS_ENTROPY, how)
        'sequential'
    """
    if is_dense(model, example, loss, training):
        return "dense"
    if device != "cpu":
        return "stacked"
    if any(isinstance(part, _ConvNd) for part in model.modules()):
        return "sequential"
    largest = max(value.numel() * value.element_size() for value in model.parameters())
    small = largest <= LARGEST_STACKED
    return "stacked" if small and clients_per_task >= STACK_FROM else "sequential"


def make_executor(
    tasks: Sequence[Task], names: Mapping[str, str], *, clients_per_stack: int | None = None
) -> GroupedExecutor:
    """What trains these tasks, each by the executor of that name."""
    if set(names.values()) == {"sequential"}:
        return SequentialExecutor(tasks)
    return StackedExecutor(tasks, names, clients_per_stack=clients_per_stack)
