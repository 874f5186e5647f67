"""How long a job takes in virtual time: laws of one delay, drawn for many clients at once.

Every law is given by its mean where it has one, so that laws with one mean differ only in how
uneven they are. Times of a client and a task are multiples of such a draw, see `clock.Timing`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.extensions import Kind
from fl_runtime.validation_errors import check_at_least, check_positive
from fl_runtime.whole_numbers import largest_remainders

Delays = NDArray[np.float64]

LARGEST_SIGMA = 5.0
"""Of a lognormal delay: beyond it one draw in 1000 is a million times the median."""


class DelayModel(Protocol):
    """How long a job takes, in units of virtual time."""

    @property
    def mean(self) -> float:
        """The expected delay, > 0."""
        ...

    def draw(self, rng: Generator, count: int) -> Delays:
        """That many independent delays, finite and nonnegative."""
        ...


@dataclass(frozen=True)
class Constant:
    """Every job takes the same time; the default of 1 counts rounds."""

    mean: float = 1.0

    def __post_init__(self) -> None:
        check_positive("mean", self.mean)

    def draw(self, rng: Generator, count: int) -> Delays:
        """The constant."""
        return np.full(count, self.mean)


@dataclass(frozen=True)
class ShiftedExponential:
    """A fixed part plus an exponential one: `shift` + Exp, with expectation `mean`.

    Example:
        >>> ShiftedExponential(shift=1.0, mean=1.5).draw(np.random.default_rng(0), 9).min() >= 1.0
        np.True_
    """

    shift: float
    mean: float

    def __post_init__(self) -> None:
        check_at_least("shift", self.shift, 0.0)
        if not (math.isfinite(self.mean) and self.mean >= self.shift and self.mean > 0.0):
            raise InvalidInput("mean", self.mean, f"finite, > 0 and at least shift {self.shift}")

    def draw(self, rng: Generator, count: int) -> Delays:
        """Independent delays."""
        return self.shift + rng.exponential(self.mean - self.shift, count)


@dataclass(frozen=True)
class Exponential:
    """Memoryless: any delay is possible, with expectation `mean`."""

    mean: float = 1.0

    def __post_init__(self) -> None:
        check_positive("mean", self.mean)

    def draw(self, rng: Generator, count: int) -> Delays:
        """Independent delays."""
        return rng.exponential(self.mean, count)


@dataclass(frozen=True)
class Uniform:
    """Evenly spread between `low` and `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        check_at_least("low", self.low, 0.0)
        if not (math.isfinite(self.high) and self.high >= self.low and self.high > 0.0):
            raise InvalidInput("high", self.high, f"finite, > 0 and at least low {self.low}")

    @property
    def mean(self) -> float:
        """The middle."""
        return (self.low + self.high) / 2.0

    def draw(self, rng: Generator, count: int) -> Delays:
        """Independent delays."""
        return rng.uniform(self.low, self.high, count)


@dataclass(frozen=True)
class Lognormal:
    r"""Skewed, with a tail heavier than any exponential: :math:`\log T \sim N(\mu, \sigma^2)`.

    Attributes:
        mean: Expectation, so :math:`\mu = \log(mean) - \sigma^2 / 2`.
        sigma: Standard deviation of the logarithm.
    """

    mean: float = 1.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        check_positive("mean", self.mean)
        if not 0.0 <= self.sigma <= LARGEST_SIGMA:
            raise InvalidInput("sigma", self.sigma, f"in [0, {LARGEST_SIGMA:g}]")

    def draw(self, rng: Generator, count: int) -> Delays:
        """Independent delays."""
        return rng.lognormal(math.log(self.mean) - self.sigma**2 / 2.0, self.sigma, count)


@dataclass(frozen=True)
class Pareto:
    r"""Heavy tail: :math:`P(T > t) = (t_0 / t)^{index}` from the shortest time :math:`t_0` on.

    Attributes:
        mean: Expectation, so :math:`t_0 = mean (index - 1) / index`.
        index: Tail index, > 1 for the mean to exist; up to 2 the variance does not.
    """

    mean: float = 1.0
    index: float = 1.5

    def __post_init__(self) -> None:
        check_positive("mean", self.mean)
        if not (math.isfinite(self.index) and self.index > 1.0):
            raise InvalidInput("index", self.index, "finite and > 1")

    def draw(self, rng: Generator, count: int) -> Delays:
        """Independent delays."""
        shortest = self.mean * (self.index - 1.0) / self.index
        return shortest * (1.0 + rng.pareto(self.index, count))


DelayKind = type[Constant | ShiftedExponential | Exponential | Uniform | Lognormal | Pareto]

DELAY_MODELS: Mapping[str, DelayKind] = {
    "constant": Constant,
    "shifted-exponential": ShiftedExponential,
    "exponential": Exponential,
    "uniform": Uniform,
    "lognormal": Lognormal,
    "pareto": Pareto,
}
"""Delay models by their names in a configuration."""

DELAY = Kind("delay", "clients.delay.model", DELAY_MODELS, DelayModel)
"""How long a job can take."""


def dealt_speeds(
    shares: Sequence[float], factors: Sequence[float], num_clients: int, rng: Generator
) -> Delays:
    """(num_clients,) delay factors: classes of those shares, dealt at random.

    Class sizes are the shares rounded by largest remainders, so they do not depend on luck. Shares
    count as the decimals that somebody wrote: of equal remainders those of the first classes win.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> sorted(dealt_speeds([0.25, 0.5, 0.25], [1.3, 1.0, 0.7], 6, rng).tolist())
        [0.7, 1.0, 1.0, 1.0, 1.3, 1.3]
    """
    sizes = largest_remainders(shares, num_clients)
    return rng.permutation(np.repeat(np.array(factors, dtype=np.float64), sizes))
