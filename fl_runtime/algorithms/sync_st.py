"""Simultaneous training in rounds: the arm that FedAST is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt import InvalidInput
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.inclusion import counted_chance, why_unknown
from fl_runtime.algorithms.synchronous import Probabilities, Synchronous
from fl_runtime.simulation.sync_policies import Barrier, SyncPolicy
from fl_runtime.training.client_sampling import systematic
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.validation_errors import check_positive
from fl_runtime.whole_numbers import whole_down


@dataclass(frozen=True, kw_only=True)
class SyncST(Synchronous):
    r"""Rounds in which every task has clients of its own and takes the first answers.

    Problem: the active clients are split at random into disjoint sets, one per unfinished task, in
    the ratio of `split`: each set has its exact share of the clients, rounded down or up by a draw,
    so that the share is its expected size (`split_sizes`). The round is over when every task has
    `first` answers; later ones are discarded, and their clients are busy until they end. Then
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

    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """The shares of the unfinished tasks, where a client may train them."""
        shares = self._shares(federation.eligible, federation.num_selected)
        return np.asarray(federation.eligible * shares / max(federation.num_selected, 1))

    def inclusion(self, state: ServerState, federation: Federation) -> Probabilities | None:
        """The same, where a client answers, and is among the first of its set."""
        if self.why_unknown(federation):
            return None
        asked = federation.num_selected
        shares = self._shares(federation.eligible, asked)
        idle = federation.idle
        found = np.zeros(federation.eligible.shape)
        for task in np.flatnonzero(shares).tolist():
            able = int(federation.eligible[idle, task].sum())
            # sizes are the share rounded down or up; a client is in the set with chance size / idle
            low = int(np.floor(shares[task]))
            chance = sum(
                weight * size / idle.size * self._counted(size, able, federation)
                for size, weight in ((low, low + 1 - shares[task]), (low + 1, shares[task] - low))
                if size and able and weight > 0.0
            )
            mine = idle[federation.eligible[idle, task]]
            found[mine, task] = chance * federation.answer_chance
        return found

    def why_unknown(self, federation: Federation) -> str:
        """Where first answers count, clients must be alike; jobs of a set are of one task."""
        alike = replace(federation, equal_tasks=True)
        return why_unknown(alike, takes_first=self.first is not None, jobs_per_client=1)

    def assignments(
        self,
        probabilities: Probabilities,
        active: NDArray[np.int64],
        rng: Generator,
    ) -> list[tuple[int, int]]:
        """Disjoint sets, by the order of the draws."""
        draws = rng.random(active.size)
        sizes = split_sizes(self._shares(probabilities, active.size), rng)
        if not sizes.sum():
            return []
        tasks = np.empty(active.size, dtype=np.int64)
        tasks[np.argsort(draws, kind="stable")] = np.repeat(np.arange(sizes.size), sizes)
        pairs = zip(active.tolist(), tasks.tolist(), strict=True)
        return [(client, task) for client, task in pairs if probabilities[client, task] > 0.0]

    def _shares(self, pairs: NDArray[Any], clients: int) -> NDArray[np.float64]:
        """(num_tasks,) exact sizes of the sets: of at least one client each, if there are so many.

        Tasks whose share is below one client get one, and the others share the rest. Unfinished are
        the tasks that some client may train, of (num_clients, num_tasks) pairs.
        """
        unfinished = pairs.astype(np.bool_).any(axis=0)
        shares = np.zeros(unfinished.size)
        left, rest = unfinished.copy(), float(clients)
        ratio = np.where(unfinished, self.split or np.ones(unfinished.size), 0.0)
        while left.any():
            shares[left] = ratio[left] / ratio[left].sum() * rest
            small = left & (shares < 1.0)
            if clients < unfinished.sum() or not small.any():
                break
            shares[small], left = 1.0, left & ~small
            rest = clients - float(shares[unfinished & ~left].sum())
        return shares

    def _counted(self, size: int, able: int, federation: Federation) -> float:
        """Chance that an answer is one of the first of its set."""
        if self.first is None:
            return 1.0
        idle = int(federation.idle.size)
        return counted_chance(self.first, size, able, idle, federation.answer_chance)

    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        """A step of the server's length."""
        return [self.server_learning_rate * share for share in super().coefficients(updates)]


def split_sizes(shares: NDArray[np.float64], rng: Generator) -> NDArray[np.int64]:
    """Whole numbers with the same sum, each the share rounded down or up, and on average the share.

    Method: `systematic` sampling: tasks in a random order cut a line into pieces of what is left of
    their shares, and each gets the points in its piece. Where no share needs rounding nothing is
    drawn.

    Args:
        shares: (S,) nonnegative, of a whole sum.
        rng: Draws the order and the offset.

    Source: Madow 1949, systematic sampling with unequal probabilities.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> sorted(split_sizes(np.array([8.0, 8.0, 8.0]) / 3.0, rng).tolist())
        [2, 3, 3]
    """
    whole = np.array([whole_down(share) for share in shares.tolist()], dtype=np.int64)
    missing = round(float(shares.sum())) - int(whole.sum())
    if not missing:
        return whole
    order = rng.permutation(shares.size)
    rest = np.maximum(shares - whole, 0.0)[order]
    whole[order] += systematic(rest * (missing / rest.sum()), 1.0 - rng.random())
    return whole
