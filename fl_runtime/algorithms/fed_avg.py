"""FedAvg: federated averaging, once for every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt import client_task_probabilities
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.one_task_per_client import one_each
from fl_runtime.algorithms.synchronous import Probabilities, Synchronous
from fl_runtime.training.federation import Federation


@dataclass(frozen=True, kw_only=True)
class FedAvg(Synchronous):
    """Every active client trains all its tasks, one after the other (or one of them at random).

    Attributes:
        tasks_per_client: `all` tasks that an active client agreed to, which is S times the
            computation of the allocation rules; or `one` of them, all equally likely, which is
            `random`.

    Source: McMahan et al. 2017 (arXiv 1602.05629), algorithm 1, once per task.
    """

    tasks_per_client: Literal["all", "one"] = "all"

    @property
    def jobs_per_client(self) -> int | None:
        """One for each of its tasks, or one."""
        return None if self.tasks_per_client == "all" else 1

    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """One for every eligible task, or uniform over them."""
        if self.tasks_per_client == "all":
            return federation.eligible.astype(np.float64)
        ones = np.ones(len(federation.tasks))
        return client_task_probabilities(ones, 1.0, eligible=federation.eligible)

    def assignments(
        self,
        probabilities: Probabilities,
        active: NDArray[np.int64],
        rng: Generator,
    ) -> list[tuple[int, int]]:
        """All pairs, client by client, or one drawn task each."""
        if self.tasks_per_client == "one":
            return one_each(probabilities, active, rng)
        rows, tasks = np.nonzero(probabilities[active])
        return list(zip(active[rows].tolist(), tasks.tolist(), strict=True))
