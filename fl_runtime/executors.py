"""Executors by name, and the fixed rule behind `auto`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fairopt.choices import choose
from fl_runtime.executor import Executor, SequentialExecutor
from fl_runtime.stacked import StackedExecutor
from fl_runtime.task import Task

STACK_FROM = 32
"""Active clients per round from which `auto` stacks on a CPU (`benchmarks/runtime.py`)."""

EXECUTORS: Mapping[str, Callable[[Sequence[Task]], Executor]] = {
    "sequential": SequentialExecutor,
    "stacked": StackedExecutor,
}
"""Names in a configuration."""


def resolve_executor(name: str, *, device: str = "cpu", active_clients: int = 1) -> str:
    """The executor that a name stands for.

    `auto` is a fixed rule, so that a run repeats: `stacked` on a GPU or when at least
    `STACK_FROM` clients are active in a round, else `sequential`.

    Raises:
        InvalidInput: Not an executor of this version.

    Example:
        >>> resolve_executor("auto", active_clients=10), resolve_executor("auto", device="cuda")
        ('sequential', 'stacked')
    """
    if name == "auto":
        return "stacked" if device == "cuda" or active_clients >= STACK_FROM else "sequential"
    choose("executor", name, EXECUTORS)
    return name
