"""q-FFL: clients with a high loss count more, with a step length from their own losses and updates.

Which client trains which task is drawn uniformly, as in `random`; only aggregation differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt import InvalidInput
from fl_runtime.algorithms.aggregation import (
    AGGREGATIONS,
    data_shares,
    data_weighted,
    squared_length,
)
from fl_runtime.algorithms.one_task_per_client import RandomAllocation
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update

LEAST_LOSS = 1e-10
"""Losses count as at least that much, as in released code: F^(q-1) is infinite at 0 for q < 1."""


@dataclass(frozen=True, kw_only=True)
class QFFL(RandomAllocation):
    r"""q-fair federated learning per client (q-FedAvg), within each task.

    Problem: minimise :math:`\sum_k p_k F_k^{q+1} / (q+1)`. With :math:`F_k` the loss of the model
    that was sent, on client k's examples, :math:`\Delta_k` what training changed and
    :math:`L = 1 / \eta` (the client's step size),

    .. math:: w \leftarrow w + \frac{\sum_k p_k F_k^q L \Delta_k}
              {\sum_k p_k (q F_k^{q-1} L^2 \|\Delta_k\|^2 + L F_k^q)}.

    Attributes:
        q: >= 0; 0 is the aggregation of `random`, large q approaches the worst client.
        aggregation: :math:`p_k`, `data-weighted` or `plain` (the published sums have p_k = 1 since
            they sample clients in proportion to their data; here sampling is uniform).

    Source: Li et al. 2020 (arXiv 1905.10497), algorithm 2; alpha-fairness with alpha = q + 1.
    """

    q: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.q < np.inf:
            raise InvalidInput("q", self.q, "a finite number >= 0")
        if self.aggregation == "importance":
            raise InvalidInput("aggregation", self.aggregation, "data-weighted or plain")

    def job_options(
        self, federation: Federation, client: int, task: int, weight: float
    ) -> Mapping[str, Any]:
        """The loss of the model that is sent."""
        return {"measure_start": True}

    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        """The fraction above, update by update; losses are divided by the largest one first."""
        losses = [max(update.metrics["start_loss"], LEAST_LOSS) for update in updates]
        top, shares = max(losses), AGGREGATIONS[self.aggregation](updates)
        numerator, denominator = [], 0.0
        for update, loss, share in zip(updates, losses, shares, strict=True):
            L, f = 1.0 / update.metrics["learning_rate"], loss / top
            curvature = self.q * f ** (self.q - 1.0) / top * L**2 * squared_length(update.delta)
            numerator.append(share * f**self.q * L)
            denominator += share * (curvature + L * f**self.q)
        return [value / denominator for value in numerator]


@dataclass(frozen=True, kw_only=True)
class QFFLReleased(RandomAllocation):
    r"""The "client-fairness" arm of the released FedFairMMFL code, as a variant; not q-FFL.

    With S unfinished tasks, N clients, C the active fraction, :math:`d_k` client k's share of the
    task's examples, :math:`P = C / S`, f the task's loss and :math:`H = \max_k d_k \|\Delta_k\|`,

    .. math:: w \leftarrow w + \frac{f}{(\alpha - 1) (N H)^2 + f} \sum_k \frac{d_k}{P} \Delta_k .

    One weight for all clients of a task: it shortens steps and favours no client. f is
    estimated by the data-weighted mean over the clients that trained, since only they report.

    Attributes:
        alpha: >= 1; 1 is the `importance` aggregation of `random` where all clients are eligible
            for all tasks.

    Source: reconstruction from released code (`--fairness taskfair`), which has L = 1.
    """

    alpha: float = 3.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.alpha < np.inf:
            raise InvalidInput("alpha", self.alpha, "a finite number >= 1")
        if self.aggregation != "data-weighted":
            raise InvalidInput("aggregation", self.aggregation, "absent: this arm has its own")

    def job_options(
        self, federation: Federation, client: int, task: int, weight: float
    ) -> Mapping[str, Any]:
        """The start loss; echoed are d / P and N d."""
        share = float(data_shares(federation)[client, task])
        chance = federation.num_active / federation.num_clients / len(federation.open_tasks)
        echo = {"released_weight": share / chance, "relative_size": share * federation.num_clients}
        return {"measure_start": True, "echo": echo}

    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        """The factors of the updates of one task."""
        shares = data_weighted(updates)
        f = sum(s * u.metrics["start_loss"] for s, u in zip(shares, updates, strict=True))
        longest = max(u.metrics["relative_size"] ** 2 * squared_length(u.delta) for u in updates)
        shrink = f / ((self.alpha - 1.0) * longest + f) if f > 0.0 else float(self.alpha == 1.0)
        return [update.metrics["released_weight"] * shrink for update in updates]
