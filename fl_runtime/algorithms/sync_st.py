"""Simultaneous training in rounds: the arm that FedAST is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairopt import InvalidInput, request_allocation
from fl_runtime.algorithms.aggregation import AGGREGATIONS, step_tasks
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.synchronous import Probabilities, Synchronous
from fl_runtime.simulation.sync_policies import Barrier, SyncPolicy
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.task import Params
from fl_runtime.validation_errors import check_positive


@dataclass(frozen=True, kw_only=True)
class SyncST(Synchronous):
    r"""Rounds in which every task has clients of its own and takes the first answers.

    Problem: the active clients are split at random into disjoint sets, one per unfinished task, in
    the ratio of `split`. The round is over when every task has `first` answers; later ones are
    discarded, and their clients are busy until they end. Then
    :math:`x_m \leftarrow x_m + \eta_s \sum_k c_k \Delta_k`.

    The clients of a finished task go to the others; each still takes `first` answers. A client that
    is drawn for a task which it did not agree to stays idle.

    Attributes:
        first: Answers that are enough for a task; None for all.
        split: Relative sizes of the sets, one per task, or empty for equal ones.
        server_learning_rate: :math:`\eta_s`.

    Source: the synchronous arm of FedAST (arXiv 2406.00302).

    Example:
        >>> SyncST(first=0)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: first = 0, but it must be an integer >= 1
    """

    first: int | None = None
    split: tuple[float, ...] = ()
    server_learning_rate: float = 1.0

    def __post_init__(self) -> None:
        if self.first is not None and self.first < 1:
            raise InvalidInput("first", self.first, "an integer >= 1")
        if not all(0.0 < share < math.inf for share in self.split):
            raise InvalidInput("split", list(self.split), "positive numbers")
        check_positive("server_learning_rate", self.server_learning_rate)

    def init(self, federation: Federation, seed: int) -> ServerState:
        """Initial models, if the settings fit the tasks."""
        tasks = len(federation.tasks)
        if len(self.split) not in (0, tasks):
            requirement = f"empty or {tasks} numbers, one per task"
            raise InvalidInput("algorithm.split", list(self.split), requirement)
        if federation.over_selection > 1.0:
            requirement = "1: algorithm.first says how many answers of the active clients count"
            raise InvalidInput("clients.over-selection", federation.over_selection, requirement)
        return super().init(federation, seed)

    def sync_policy(self, federation: Federation) -> SyncPolicy:
        """One barrier for all tasks."""
        return Barrier(self.first, per_task=True)

    @property
    def answers_once(self) -> bool:
        """One job per client and round."""
        return True

    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """The shares of the unfinished tasks, where a client may train them."""
        unfinished = federation.eligible.any(axis=0)
        shares = np.where(unfinished, self.split or np.ones(unfinished.size), 0.0)
        return np.asarray(federation.eligible * (shares / max(shares.sum(), np.finfo(float).tiny)))

    def assignments(
        self,
        probabilities: Probabilities,
        active: NDArray[np.int64],
        draws: NDArray[np.float64],
    ) -> list[tuple[int, int]]:
        """Disjoint sets of exact sizes, by the order of the draws."""
        shares = probabilities.max(axis=0)
        unfinished = np.flatnonzero(shares)
        if not unfinished.size:
            return []
        least = 1 if active.size >= unfinished.size else 0
        ratio = np.array(self.split or np.ones(shares.size))[unfinished]  # before any rounding
        sizes = request_allocation(ratio, active.size, minimum=least, rounding="largest-remainder")
        tasks = np.empty(active.size, dtype=np.int64)
        tasks[np.argsort(draws, kind="stable")] = np.repeat(unfinished, sizes)
        pairs = zip(active.tolist(), tasks.tolist(), strict=True)
        return [(client, task) for client, task in pairs if probabilities[client, task] > 0.0]

    def models(self, state: ServerState, updates: Sequence[Update]) -> Mapping[str, Params]:
        """Every task's model after a step of the server's length."""
        rule = AGGREGATIONS[self.aggregation]
        rate = self.server_learning_rate
        return step_tasks(
            state.models, updates, lambda mine: [rate * share for share in rule(mine)]
        )
