"""Two published algorithms as a user writes them; `docs/extending.md` shows the same lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fl_runtime import FedAvg
from fl_runtime.algorithms.base import Memory
from fl_runtime.training.job import Update
from fl_runtime.training.task import Params


@dataclass(frozen=True, kw_only=True)
class FedNova(FedAvg):
    """Clients that do more steps do not count more (Wang et al. 2020, arXiv 2007.07481)."""

    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        shares = super().coefficients(updates)
        effective = sum(p * u.num_steps for p, u in zip(shares, updates, strict=True))
        return [effective * p / u.num_steps for p, u in zip(shares, updates, strict=True)]


@dataclass(frozen=True, kw_only=True)
class FedAdam(FedAvg):
    """Adam on the server (Reddi et al. 2021, arXiv 2003.00295, algorithm 2)."""

    rate: float = 0.03
    beta: tuple[float, float] = (0.9, 0.99)
    tau: float = 1e-3

    def server_step(self, mean: Params, memory: Memory) -> tuple[Params, Memory]:
        old = memory or {k: (torch.zeros_like(d), d * 0 + self.tau**2) for k, d in mean.items()}
        m = {k: d.lerp(old[k][0], self.beta[0]) for k, d in mean.items()}
        v = {k: (d * d).lerp(old[k][1], self.beta[1]) for k, d in mean.items()}
        steps = {k: self.rate * m[k] / (v[k].sqrt() + self.tau) for k in mean}
        return steps, {k: (m[k], v[k]) for k in mean}
