"""FedProx: federated averaging with a proximal term in the clients' loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt import InvalidInput
from fl_runtime.algorithms.fed_avg import FedAvg
from fl_runtime.training.federation import Federation


@dataclass(frozen=True, kw_only=True)
class FedProx(FedAvg):
    r"""FedAvg whose clients are pulled back to the model that was sent.

    Problem: clients minimise :math:`F_k(w) + \tfrac{\mu}{2} \|w - w_t\|^2` instead of their loss.

    Attributes:
        mu: Strength of the pull, >= 0; 0 is FedAvg.

    Source: Li et al. 2020 (arXiv 1812.06127), equation (2) and algorithm 2.
    """

    mu: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 <= self.mu < np.inf:
            raise InvalidInput("mu", self.mu, "a finite number >= 0")

    def job_options(
        self, federation: Federation, client: int, task: int, weight: float
    ) -> Mapping[str, Any]:
        """The proximal term."""
        return {**super().job_options(federation, client, task, weight), "proximal": self.mu}
