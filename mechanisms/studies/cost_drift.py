"""How costs move from round to round: small records with a `draw` method, as for distributions.

Costs move by themselves. Where working makes a client cheaper or more expensive, its bid today
moves its cost tomorrow, and nothing here applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.bids import checked_count
from mechanisms.studies.cost_distributions import CostDistribution, Uniform

Costs = NDArray[np.float64]
UNIT = Uniform()
"""Costs of the first round where nothing else is said."""


class CostProcess(Protocol):
    """Anything that draws a table of costs for every round."""

    def draw(
        self, rng: np.random.Generator, num_rounds: int, num_clients: int, num_tasks: int
    ) -> Costs:
        """(num_rounds, num_clients, num_tasks) costs >= 0; `inf` = does not bid, for good."""


@dataclass(frozen=True)
class GeometricWalk:
    """c(t+1) = c(t) exp(sigma Z - sigma^2 / 2), Z standard normal: costs keep their mean.

    Args:
        start: Distribution of the first round.
        sigma: Standard deviation of a step of the logarithm, >= 0; 0 keeps costs as they are.

    Example:
        >>> walk = GeometricWalk(Uniform(1.0, 2.0), sigma=0.0)
        >>> walk.draw(np.random.default_rng(0), 3, 1, 1).round(2).ravel()
        array([1.64, 1.64, 1.64])
    """

    start: CostDistribution = UNIT
    sigma: float = 0.1

    def __post_init__(self) -> None:
        _check("sigma", self.sigma, np.inf)

    def draw(
        self, rng: np.random.Generator, num_rounds: int, num_clients: int, num_tasks: int
    ) -> Costs:
        """Draw costs."""
        checked_count("num_rounds", num_rounds, 1)
        first = self.start.draw(rng, num_clients, num_tasks)
        steps = rng.standard_normal((num_rounds - 1, *first.shape))
        steps = self.sigma * steps - self.sigma**2 / 2
        path = np.concatenate([np.zeros((1, *first.shape)), np.cumsum(steps, axis=0)])
        return np.asarray(first * np.exp(path))


@dataclass(frozen=True)
class MeanReverting:
    """c(t) = c(0) exp(x(t)), x(t+1) = (1 - pull) x(t) + sigma Z: costs stay near the first ones.

    Args:
        start: Distribution of the first round, x(0) = 0.
        pull: Share of the distance that a step makes good, in [0, 1].
        sigma: Standard deviation of a step, >= 0.
    """

    start: CostDistribution = UNIT
    pull: float = 0.2
    sigma: float = 0.2

    def __post_init__(self) -> None:
        _check("pull", self.pull, 1.0)
        _check("sigma", self.sigma, np.inf)

    def draw(
        self, rng: np.random.Generator, num_rounds: int, num_clients: int, num_tasks: int
    ) -> Costs:
        """Draw costs."""
        checked_count("num_rounds", num_rounds, 1)
        first = self.start.draw(rng, num_clients, num_tasks)
        path = np.zeros((num_rounds, *first.shape))
        for t in range(1, num_rounds):
            path[t] = (1 - self.pull) * path[t - 1] + self.sigma * rng.standard_normal(first.shape)
        return np.asarray(first * np.exp(path))


def _check(name: str, value: Any, most: float) -> None:
    """Refuse what is not a finite number in [0, most]."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not 0 <= value <= most or value == np.inf:
        raise InvalidInput(name, value, "a finite number >= 0" if most > 1 else "in [0, 1]")
