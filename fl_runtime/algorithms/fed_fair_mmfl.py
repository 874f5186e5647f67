"""Algorithms that differ only in which task an active client trains.

One task per client and round, one global model per task, the same choice of aggregation rules, one
barrier per round. In every round all of them draw the same active clients and the same uniform
numbers from the same streams, so arms with one seed are paired.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fairopt import InvalidInput, client_task_probabilities
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.synchronous import Probabilities, Synchronous
from fl_runtime.training.federation import Federation


@dataclass(frozen=True, kw_only=True)
class OneTaskPerClient(Synchronous):
    """Common part: every active client draws one task."""

    def assignments(
        self,
        probabilities: Probabilities,
        active: NDArray[np.int64],
        draws: NDArray[np.float64],
    ) -> list[tuple[int, int]]:
        """One task per active client that has an eligible one; the others stay idle."""
        return one_each(probabilities, active, draws)


@dataclass(frozen=True)
class FedFairMMFL(OneTaskPerClient):
    r"""Alpha-fair allocation: tasks that do badly get more clients.

    Problem: minimise :math:`\sum_s f_s(w_s)^\alpha`. A client trains task s with probability
    proportional to :math:`a_s f_s^{\alpha-1}` over the tasks it agreed to.

    Attributes:
        alpha: Power of the loss, in [1, inf]; 1 ignores the losses (with equal priorities it is
            the random allocation), inf sends every client to its worst task.
        signal: What stands for :math:`f_s`: validation `loss`, or validation `error` (the share of
            misclassified examples, which has the same range in every task).
        priority: One positive weight per task, or empty for equal weights.
        aggregation: See `Synchronous`. With `data-weighted` or `plain` means fairness decides how
            many clients train a task; with `importance` the expected step of every task is that of
            full participation, and fairness decides its variance.

    In the first round nothing is known and the allocation is uniform.

    Source: FedFairMMFL (arXiv 2404.13841), allocation rule; measured here on a validation split
    that is never reported.

    Example:
        >>> FedFairMMFL(alpha=0.5)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: alpha = 0.5, but it must be a number in [1, inf]
    """

    alpha: float = 3.0
    signal: Literal["loss", "error"] = "error"
    priority: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.alpha >= 1.0:
            raise InvalidInput("alpha", self.alpha, "a number in [1, inf]")

    def init(self, federation: Federation, seed: int) -> ServerState:
        """Initial models, if the priorities fit the tasks."""
        check_priority(self.priority, len(federation.tasks))
        return super().init(federation, seed)

    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """Alpha-fair shares of the latest validation measurements."""
        tasks = federation.tasks
        measured = state.validation_loss if self.signal == "loss" else state.validation_error
        first = state.server_round == 0
        return client_task_probabilities(
            np.array([1.0 if first else measured[task.name] for task in tasks]),
            1.0 if first else self.alpha,
            eligible=federation.eligible,
            priority=np.array(self.priority) if self.priority and not first else None,
        )


@dataclass(frozen=True)
class RandomAllocation(OneTaskPerClient):
    """Every active client trains one of its tasks, all equally likely."""

    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """Uniform over eligible tasks."""
        ones = np.ones(len(federation.tasks))
        return client_task_probabilities(ones, 1.0, eligible=federation.eligible)


@dataclass(frozen=True)
class RoundRobin(OneTaskPerClient):
    """Clients walk through their eligible tasks in turn.

    Clients form contiguous blocks, as equal as can be (block j ends before client
    floor((j+1) N / S)); block j starts on its task number j, and every client, active or not, moves
    on by one task per round.

    Source: the round-robin baseline of the FedFairMMFL experiments (arXiv 2404.13841).
    """

    def __post_init__(self) -> None:
        if self.aggregation == "importance":
            requirement = "data-weighted or plain: whose turn it is is not drawn"
            raise InvalidInput("aggregation", self.aggregation, requirement)

    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """A one at the task whose turn it is."""
        count, tasks = federation.eligible.shape
        ends = [(j + 1) * count // tasks for j in range(tasks)]
        block = np.searchsorted(ends, np.arange(count), side="right")
        shares = np.zeros((count, tasks))
        for client in range(count):
            mine = np.flatnonzero(federation.eligible[client])
            if mine.size:
                shares[client, mine[(block[client] + state.server_round) % mine.size]] = 1.0
        return shares


def check_priority(priority: tuple[float, ...], num_tasks: int) -> None:
    """Refuse priorities that do not fit the tasks."""
    fits = len(priority) in (0, num_tasks)
    if not (fits and all(0.0 < share < math.inf for share in priority)):
        requirement = f"empty or {num_tasks} positive numbers, one per task"
        raise InvalidInput("algorithm.priority", priority, requirement)


def one_each(
    probabilities: Probabilities, active: NDArray[np.int64], draws: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Pairs (client, task) with one drawn task per active client that may train any."""
    chosen = draw_tasks(probabilities[active], draws)
    pairs = zip(active.tolist(), chosen.tolist(), strict=True)
    return [(client, task) for client, task in pairs if task >= 0]


def draw_tasks(probabilities: Probabilities, draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """One task per row by inversion of the cumulative shares; -1 for a row of zeros.

    Args:
        probabilities: (n, S), rows that sum to one or to zero.
        draws: (n,) uniform numbers in [0, 1).

    Example:
        >>> draw_tasks(np.array([[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]), np.array([0.2, 0.2, 0.2]))
        array([ 0,  1, -1])
    """
    total = probabilities.sum(axis=1)
    cumulative = np.cumsum(probabilities, axis=1)
    passed = (cumulative <= (draws * total)[:, None]).sum(axis=1)
    last = probabilities.shape[1] - 1 - np.argmax(probabilities[:, ::-1] > 0.0, axis=1)
    return np.where(total > 0.0, np.minimum(passed, last), -1).astype(np.int64)
