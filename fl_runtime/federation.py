"""Who takes part: tasks, clients, and which tasks each client agreed to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.task import Task

DECIMAL_SLACK = 1e-9
"""0.29 x 100 is 28.999999999999996 in binary and 29 to whoever wrote it."""


@dataclass(frozen=True)
class Federation:
    """Everything an algorithm may know before the first round.

    Attributes:
        tasks: The tasks, in the order of all per-task arrays.
        num_clients: Number of clients, recruited or not.
        fraction_train: Share of the clients that are active in a round.
        eligible: (num_clients, num_tasks) bool, True where a client agreed to train a task.
    """

    tasks: tuple[Task, ...]
    num_clients: int
    fraction_train: float
    eligible: NDArray[np.bool_]

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise InvalidInput("task", names, "tasks with different names")
        expected = (self.num_clients, len(self.tasks))
        if self.eligible.shape != expected:
            raise InvalidInput("eligible", self.eligible.shape, f"of shape {expected}")
        for task in self.tasks:
            if len(task.shards) != self.num_clients:
                raise InvalidInput(
                    f"task {task.name}", len(task.shards), f"{self.num_clients} client shards"
                )

    @property
    def num_active(self) -> int:
        """Clients drawn per round, at least one."""
        return active_count(self.num_clients, self.fraction_train)


def active_count(num_clients: int, fraction_train: float) -> int:
    """Clients drawn per round: the share rounded down, at least one.

    Example:
        >>> active_count(100, 0.29)
        29
    """
    return max(1, math.floor(fraction_train * num_clients + DECIMAL_SLACK))
