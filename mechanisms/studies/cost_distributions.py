"""Distributions of the cost of working on a task, each a small record with a `draw` method.

They are the laws of the experiments, not claims about real clients. A configuration file names
them: see `scenario`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import choose, suggestion
from fairopt.errors import InvalidInput
from mechanisms.bids import checked_count

Costs = NDArray[np.float64]


class CostDistribution(Protocol):
    """Anything that draws a table of costs."""

    def draw(self, rng: np.random.Generator, num_clients: int, num_tasks: int) -> Costs:
        """(num_clients, num_tasks) costs >= 0; `inf` = the client does not bid."""


@dataclass(frozen=True)
class Uniform:
    """Independent costs, uniform on [low, high], times the scale of the task.

    Args:
        low: Smallest cost, >= 0.
        high: Largest cost, >= low.
        task_scale: (S,) factors > 0; empty for none.

    Example:
        >>> Uniform(0.0, 1.0, (1.0, 4.0)).draw(np.random.default_rng(0), 2, 2).round(2)
        array([[0.64, 1.08],
               [0.04, 0.07]])
    """

    low: float = 0.0
    high: float = 1.0
    task_scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_number("low", self.low, lambda x: x >= 0, ">= 0")
        _check_number("high", self.high, lambda x: x >= self.low, f">= low = {self.low}")
        object.__setattr__(self, "task_scale", _checked_scale(self.task_scale))

    def draw(self, rng: np.random.Generator, num_clients: int, num_tasks: int) -> Costs:
        """Draw costs."""
        table = rng.uniform(self.low, self.high, _shape(num_clients, num_tasks))
        return np.asarray(table * _scale_of(self.task_scale, num_tasks))


@dataclass(frozen=True)
class LogNormal:
    """Independent costs exp(mean + sigma Z), Z standard normal, times the scale of the task.

    Args:
        mean: Mean of the logarithm.
        sigma: Standard deviation of the logarithm, >= 0.
        task_scale: (S,) factors > 0; empty for none.
    """

    mean: float = 0.0
    sigma: float = 1.0
    task_scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_number("mean", self.mean, lambda x: True, "a finite number")
        _check_number("sigma", self.sigma, lambda x: x >= 0, ">= 0")
        object.__setattr__(self, "task_scale", _checked_scale(self.task_scale))

    def draw(self, rng: np.random.Generator, num_clients: int, num_tasks: int) -> Costs:
        """Draw costs."""
        table = rng.lognormal(self.mean, self.sigma, _shape(num_clients, num_tasks))
        return np.asarray(table * _scale_of(self.task_scale, num_tasks))


@dataclass(frozen=True)
class Correlated:
    """Cost = client U_i + task V_s + noise W_is with independent U, V, W uniform on [0, 1].

    A client that is costly for one task tends to be costly for all, and likewise for tasks.

    Args:
        client: Weight of the client's own factor, >= 0.
        task: Weight of the task's own factor, >= 0.
        noise: Weight of the independent part, >= 0.
    """

    client: float = 1.0
    task: float = 1.0
    noise: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_number(field.name, getattr(self, field.name), lambda x: x >= 0, ">= 0")

    def draw(self, rng: np.random.Generator, num_clients: int, num_tasks: int) -> Costs:
        """Draw costs."""
        shape = _shape(num_clients, num_tasks)
        clients, tasks = rng.random((num_clients, 1)), rng.random(num_tasks)
        return self.client * clients + self.task * tasks + self.noise * rng.random(shape)


@dataclass(frozen=True)
class Specialists:
    """Every client is cheap on one task, drawn uniformly, and costly on the others.

    The cost is uniform on [0, cheap] for the own task and on [cheap, dear] elsewhere.

    Args:
        cheap: Largest cost of the own task, >= 0.
        dear: Largest cost of another task, >= cheap.
    """

    cheap: float = 0.2
    dear: float = 1.0

    def __post_init__(self) -> None:
        _check_number("cheap", self.cheap, lambda x: x >= 0, ">= 0")
        _check_number("dear", self.dear, lambda x: x >= self.cheap, f">= cheap = {self.cheap}")

    def draw(self, rng: np.random.Generator, num_clients: int, num_tasks: int) -> Costs:
        """Draw costs."""
        shape = _shape(num_clients, num_tasks)
        own = rng.integers(num_tasks, size=(num_clients, 1))
        unit = rng.random(shape)
        costly = self.cheap + (self.dear - self.cheap) * unit
        return np.where(own == np.arange(num_tasks), self.cheap * unit, costly)


@dataclass(frozen=True)
class TwoPoint:
    """Independent costs that are `low` with the given probability and `high` otherwise.

    Args:
        low: The smaller cost, >= 0.
        high: The larger cost, >= low.
        probability: Of the smaller cost, in [0, 1].
    """

    low: float = 0.0
    high: float = 1.0
    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_number("low", self.low, lambda x: x >= 0, ">= 0")
        _check_number("high", self.high, lambda x: x >= self.low, f">= low = {self.low}")
        _check_probability("probability", self.probability)

    def draw(self, rng: np.random.Generator, num_clients: int, num_tasks: int) -> Costs:
        """Draw costs."""
        cheap = rng.random(_shape(num_clients, num_tasks)) < self.probability
        return np.where(cheap, float(self.low), float(self.high))


@dataclass(frozen=True)
class Abstaining:
    """Another distribution from which every (client, task) abstains independently.

    Args:
        costs: Distribution of the costs of those who bid.
        probability: Of not bidding for a task, in [0, 1].

    Example:
        >>> Abstaining(Uniform(), 1.0).draw(np.random.default_rng(0), 1, 2)
        array([[inf, inf]])
    """

    costs: CostDistribution
    probability: float

    def __post_init__(self) -> None:
        _check_probability("abstention", self.probability)

    def draw(self, rng: np.random.Generator, num_clients: int, num_tasks: int) -> Costs:
        """Draw costs, then who abstains."""
        table = self.costs.draw(rng, num_clients, num_tasks)
        return np.where(rng.random(table.shape) < self.probability, math.inf, table)


DISTRIBUTIONS: Mapping[str, Callable[..., CostDistribution]] = MappingProxyType(
    {
        "uniform": Uniform,
        "lognormal": LogNormal,
        "correlated": Correlated,
        "specialists": Specialists,
        "two-point": TwoPoint,
    }
)
"""Names that a configuration file may give a distribution."""


def scenario(settings: Mapping[str, Any]) -> CostDistribution:
    """Distribution described by a table of a configuration file.

    Args:
        settings: `distribution` is a name of `DISTRIBUTIONS`; `abstention`, if present, is the
            probability of not bidding; the other keys are the parameters of the distribution, in
            kebab-case or snake_case.

    Raises:
        InvalidInput: An unknown name or key, or a parameter out of its range.

    Example:
        >>> scenario({"distribution": "uniform", "high": 2.0, "task-scale": [1, 2]})
        Uniform(low=0.0, high=2.0, task_scale=(1.0, 2.0))
    """
    given = {key.replace("-", "_"): value for key, value in settings.items()}
    kind = choose("distribution", given.pop("distribution", None), DISTRIBUTIONS)
    abstention = given.pop("abstention", None)
    known = [field.name.replace("_", "-") for field in fields(kind)]  # type: ignore[arg-type]
    for key, value in given.items():
        if (name := key.replace("_", "-")) not in known:
            requirement = f"a known key{suggestion(name, known)}: {', '.join(known)}"
            raise InvalidInput(key, value, requirement)
    costs = kind(**given)
    return costs if abstention is None else Abstaining(costs, abstention)


def draw_costs(
    rng: np.random.Generator, num_clients: int, num_tasks: int, distribution: CostDistribution
) -> Costs:
    """(num_clients, num_tasks) costs drawn from a distribution; the generator is advanced.

    Example:
        >>> draw_costs(np.random.default_rng(0), 1, 2, TwoPoint(1.0, 3.0, 1.0))
        array([[1., 1.]])
    """
    return distribution.draw(rng, num_clients, num_tasks)


def _check_number(
    name: str, value: Any, accepts: Callable[[float], bool], requirement: str
) -> None:
    """Refuse what is not a finite number in range."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidInput(name, value, f"a number {requirement}")
    if not math.isfinite(value) or not accepts(float(value)):
        raise InvalidInput(name, value, f"a finite number {requirement}")


def _check_probability(name: str, value: Any) -> None:
    """Refuse what is not a probability."""
    _check_number(name, value, lambda x: 0 <= x <= 1, "in [0, 1]")


def _checked_scale(scale: Any) -> tuple[float, ...]:
    """Task scales as floats > 0."""
    if isinstance(scale, str) or not hasattr(scale, "__iter__"):
        raise InvalidInput("task_scale", scale, "a sequence of numbers > 0")
    for value in scale:
        _check_number("task_scale", value, lambda x: x > 0, "> 0")
    return tuple(float(value) for value in scale)


def _shape(num_clients: int, num_tasks: int) -> tuple[int, int]:
    """A table's shape, both sides at least 1."""
    return checked_count("num_clients", num_clients, 1), checked_count("num_tasks", num_tasks, 1)


def _scale_of(scale: tuple[float, ...], num_tasks: int) -> Any:
    """Factors to multiply a table with."""
    if scale and len(scale) != num_tasks:
        raise InvalidInput("task_scale", scale, f"{num_tasks} factors, one per task")
    return np.array(scale) if scale else 1.0
