"""Step sizes that change from round to round: a factor, as a pure function of a model's version.

The version is how often the model that a job starts from has been replaced, so in asynchronous
systems a late answer was trained with the step size of the model that it was sent. Whatever a run's
length is does not matter: a cosine has rounds of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fairopt.errors import InvalidInput
from fl_runtime.extensions import Kind


class Schedule(Protocol):
    """What multiplies the step size."""

    def factor(self, version: int) -> float:
        """Finite and positive; `version` counts from 0."""
        ...


@dataclass(frozen=True)
class Cosine:
    r"""Half a cosine from 1 to `floor`, after a linear warm-up.

    With t versions after the warm-up of W, and R = `rounds` in all,

    .. math:: floor + (1 - floor) \tfrac12 (1 + \cos(\pi \, t / (R - W))),

    during the warm-up (version + 1) / (W + 1), and after the end what was last.

    Attributes:
        rounds: Versions until the end, > warmup.
        warmup: Versions of the warm-up.
        floor: In [0, 1].

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983), equation (5), without restarts.

    Example:
        >>> [round(Cosine(4).factor(version), 3) for version in range(6)]
        [1.0, 0.854, 0.5, 0.146, 0.146, 0.146]
    """

    rounds: int
    warmup: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.rounds:
            raise InvalidInput("warmup", self.warmup, f"in 0 .. rounds - 1 = {self.rounds - 1}")
        if not 0.0 <= self.floor <= 1.0:
            raise InvalidInput("floor", self.floor, "in [0, 1]")

    def factor(self, version: int) -> float:
        """Of that version."""
        if version < self.warmup:
            return (version + 1) / (self.warmup + 1)
        length = self.rounds - self.warmup
        done = min(version - self.warmup, length - 1) / length
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Steps:
    """Every so many versions the step size is multiplied by a number.

    Example:
        >>> [Steps(2, by=0.5).factor(version) for version in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    every: int
    by: float = 0.1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InvalidInput("every", self.every, "an integer >= 1")
        _check_by(self.by)

    def factor(self, version: int) -> float:
        """Of that version."""
        return float(self.by ** (version // self.every))


@dataclass(frozen=True)
class ExponentialDecay:
    """Every version the step size is multiplied by a number."""

    by: float = 0.99

    def __post_init__(self) -> None:
        _check_by(self.by)

    def factor(self, version: int) -> float:
        """Of that version."""
        return float(self.by**version)


@dataclass(frozen=True)
class InverseRoot:
    """One over the root of 1 + version / `scale`, the rate of many convergence theorems."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.scale < math.inf:
            raise InvalidInput("scale", self.scale, "finite and > 0")

    def factor(self, version: int) -> float:
        """Of that version."""
        return 1.0 / math.sqrt(1.0 + version / self.scale)


SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
    "cosine": Cosine,
    "steps": Steps,
    "exponential": ExponentialDecay,
    "inverse-root": InverseRoot,
}
"""Names in a configuration."""

SCHEDULE = Kind("schedule", "task.schedule", SCHEDULES, Schedule)
"""How step sizes can change."""


def scheduled(schedule: Schedule, learning_rate: float, version: int) -> float:
    """The step size of jobs that start from that version.

    Raises:
        InvalidInput: A factor that is not finite and positive.
    """
    factor = schedule.factor(version)
    if not 0.0 < factor < math.inf:
        raise InvalidInput(f"schedule at version {version}", factor, "finite and > 0")
    return learning_rate * factor


def _check_by(by: float) -> None:
    """A factor that does not make steps longer, and never ends them."""
    if not 0.0 < by <= 1.0:
        raise InvalidInput("by", by, "in (0, 1]")
