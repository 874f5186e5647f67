"""Virtual time: when a job would have finished, decided by seeded delays and never by the wall.

A synchronous round is a barrier: it lasts as long as its slowest job. Nothing here looks at a real
clock, so a run repeats exactly on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from numpy.random import Generator

from fairopt.errors import InvalidInput


class DelayModel(Protocol):
    """How long a job takes, in units of virtual time."""

    @property
    def mean(self) -> float:
        """The expected delay, > 0."""
        ...

    def draw(self, rng: Generator) -> float:
        """One delay, finite and nonnegative."""
        ...


@dataclass(frozen=True)
class Constant:
    """Every job takes the same time; the default of 1 counts rounds."""

    mean: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and self.mean > 0.0):
            raise InvalidInput("mean", self.mean, "finite and > 0")

    def draw(self, rng: Generator) -> float:
        """The constant."""
        return self.mean


@dataclass(frozen=True)
class ShiftedExponential:
    """A fixed part plus an exponential one: `shift` + Exp, with expectation `mean`.

    Example:
        >>> import numpy as np
        >>> ShiftedExponential(shift=1.0, mean=1.5).draw(np.random.default_rng(0)) >= 1.0
        True
    """

    shift: float
    mean: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shift) and self.shift >= 0.0):
            raise InvalidInput("shift", self.shift, "finite and >= 0")
        if not (math.isfinite(self.mean) and self.mean >= self.shift and self.mean > 0.0):
            raise InvalidInput("mean", self.mean, f"finite, > 0 and at least shift {self.shift}")

    def draw(self, rng: Generator) -> float:
        """One delay."""
        return self.shift + float(rng.exponential(self.mean - self.shift))


DELAY_MODELS: Mapping[str, type[Constant] | type[ShiftedExponential]] = {
    "constant": Constant,
    "shifted-exponential": ShiftedExponential,
}
"""Delay models by their names in a configuration."""
