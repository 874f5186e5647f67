"""FedAsync: every update is mixed into the model as it arrives, the less the staler it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from fairopt.errors import InvalidInput
from fl_runtime.algorithms.asynchronous import (
    Asynchronous,
    AsynchronousState,
)
from fl_runtime.training.job import Update
from fl_runtime.validation_errors import check_at_least, check_positive


@dataclass(frozen=True)
class FedAsync(Asynchronous):
    r"""Every answer moves its task's model towards the client's, less so if it is old.

    .. math:: x \leftarrow (1 - a_s) x + a_s y, \qquad a_s = a \, h(s)

    Symbols: y the client's trained model, s the versions since it was sent, a = `mixing`, and h one
    of `constant` 1; `polynomial` :math:`(1 + s)^{-exponent}`; `hinge` 1 up to s = `grace`, then
    :math:`1 / (slope \, (s - grace) + 1)`.

    Source: FedAsync (arXiv 1903.03934), without its proximal term.

    Example:
        >>> [FedAsync(mixing=0.8, weighting="hinge", slope=2.0).rate(s) for s in (0, 4, 5)]
        [0.8, 0.8, 0.26666666666666666]
    """

    mixing: float = 0.6
    weighting: Literal["constant", "polynomial", "hinge"] = "polynomial"
    exponent: float = 0.5
    slope: float = 10.0
    grace: int = 4

    def _check(self) -> None:
        """Refuse what is no convex combination."""
        if not 0.0 < self.mixing <= 1.0:
            raise InvalidInput("mixing", self.mixing, "in (0, 1]")
        check_at_least("exponent", self.exponent, 0.0)
        check_positive("slope", self.slope)
        check_at_least("grace", self.grace, 0)

    def rate(self, age: int) -> float:
        """Share of the client's model in the next one."""
        if self.weighting == "polynomial":
            return self.mixing * math.pow(1.0 + age, -self.exponent)
        if self.weighting == "hinge" and age > self.grace:
            return self.mixing / (self.slope * (age - self.grace) + 1.0)
        return self.mixing

    def receive(self, state: AsynchronousState, update: Update) -> AsynchronousState:
        """Mix the client's model in."""
        share = self.rate(state.versions[update.task] - update.version)
        with torch.no_grad():
            mixed = {
                key: (1.0 - share) * value + share * (update.payload[key] + update.delta[key])
                for key, value in state.models[update.task].items()
            }
        return state.aggregated(update.task, mixed)
