"""Executors by name, and the fixed rule behind `auto`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fairopt.choices import choose
from fl_runtime.execution.executor import Executor
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.execution.stacked import StackedExecutor
from fl_runtime.training.task import Task

STACK_FROM = 6
"""Clients of one task at a time from which `auto` stacks on a CPU: below, setting a stack up costs
more than it saves; above, it is never slower (`benchmarks/runtime.py`: even at 4 to 5 clients)."""

EXECUTORS: Mapping[str, Callable[[Sequence[Task]], Executor]] = {
    "sequential": SequentialExecutor,
    "stacked": StackedExecutor,
}
"""Names in a configuration."""


def resolve_executor(name: str, *, device: str = "cpu", clients_per_task: float = 1.0) -> str:
    """The executor that a name stands for.

    `auto` is a fixed rule, so that a run repeats: `stacked` on a GPU or when at least
    `STACK_FROM` active clients share a task on average, else `sequential`.

    Raises:
        InvalidInput: Not an executor of this version.

    Example:
        >>> resolve_executor("auto", clients_per_task=4), resolve_executor("auto", device="cuda")
        ('sequential', 'stacked')
    """
    if name == "auto":
        return "stacked" if device == "cuda" or clients_per_task >= STACK_FROM else "sequential"
    choose("executor", name, EXECUTORS)
    return name
