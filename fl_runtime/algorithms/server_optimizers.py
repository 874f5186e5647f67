r"""Steps of the server: what becomes of the mean :math:`\Delta` of a task's updates.

Without one a task's model moves by the mean itself, :math:`w \leftarrow w + \Delta`. An optimiser
takes the mean for minus a gradient and remembers things from round to round, by task. With m and v
zero, resp. :math:`\tau^2`, before the first step,

.. math:: m \leftarrow \beta_1 m + (1 - \beta_1) \Delta, \qquad
          w \leftarrow w + \eta \, m / (\sqrt v + \tau),

and v is the sum of :math:`\Delta^2` (Adagrad), its decaying mean (Adam), or moves by
:math:`(1 - \beta_2) \Delta^2` towards it (Yogi). There is no correction of the bias of m and v.

Source: Reddi et al. 2021 (arXiv 2003.00295), algorithm 2; Hsu, Qi and Brown 2019 (arXiv 1909.06335)
for momentum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fairopt.errors import InvalidInput
from fl_runtime.algorithms.aggregation import IMPORTANCE, scaled, squared_length
from fl_runtime.algorithms.base import Memory
from fl_runtime.algorithms.robust_aggregation import RobustRule
from fl_runtime.extensions import Kind
from fl_runtime.training.job import Update
from fl_runtime.training.task import Params
from fl_runtime.validation_errors import check_positive


class ServerOptimizer(Protocol):
    """A step from the mean of a task's updates."""

    def step(self, mean: Params, memory: Memory) -> tuple[Params, Memory]:
        """What is added to the model, and what is remembered; memory is empty at first."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServerSGD:
    """The mean times a rate.

    Example:
        >>> ServerSGD(rate=0.5).step({"w": torch.tensor([2.0])}, {})
        ({'w': tensor([1.])}, {})
    """

    rate: float = 1.0

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)

    def step(self, mean: Params, memory: Memory) -> tuple[Params, Memory]:
        """A step of another length."""
        return {key: self.rate * value for key, value in mean.items()}, {}


@dataclass(frozen=True, kw_only=True)
class FedAvgM:
    r"""Heavy ball: :math:`v \leftarrow \beta v + \Delta`, :math:`w \leftarrow w + \eta v`."""

    rate: float = 1.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        _check_share("momentum", self.momentum)

    def step(self, mean: Params, memory: Memory) -> tuple[Params, Memory]:
        """A step along the velocity."""
        speed = {
            key: self.momentum * memory["velocity"][key] + value if memory else value
            for key, value in mean.items()
        }
        return {key: self.rate * value for key, value in speed.items()}, {"velocity": speed}


@dataclass(frozen=True, kw_only=True)
class _Adaptive:
    """What the adaptive ones share: a mean of steps over the root of their second moment.

    Attributes:
        rate: Length of a step.
        beta1: Decay of the mean of steps.
        tau: Least root of the second moment, and its first value; the smaller, the more adaptive.
    """

    rate: float = 0.03
    beta1: float = 0.9
    tau: float = 1e-3

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        check_positive("tau", self.tau)
        _check_share("beta1", self.beta1)

    def step(self, mean: Params, memory: Memory) -> tuple[Params, Memory]:
        """A step of every entry by itself."""
        first, second = memory.get("first", {}), memory.get("second", {})
        m, v, steps = {}, {}, {}
        for key, value in mean.items():
            old_m = first.get(key, torch.zeros_like(value))
            old_v = second.get(key, torch.full_like(value, self.tau**2))
            m[key] = self.beta1 * old_m + (1.0 - self.beta1) * value
            v[key] = self.moment(old_v, value.square())
            steps[key] = self.rate * m[key] / (v[key].sqrt() + self.tau)
        return steps, {"first": m, "second": v}

    def moment(self, old: Tensor, square: Tensor) -> Tensor:
        """The second moment after a step; Adagrad's sum."""
        return old + square


@dataclass(frozen=True, kw_only=True)
class FedAdagrad(_Adaptive):
    """Adagrad: steps get shorter with the sum of squares."""

    beta1: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FedAdam(_Adaptive):
    """Adam: steps over a decaying mean of squares."""

    beta2: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("beta2", self.beta2)

    def moment(self, old: Tensor, square: Tensor) -> Tensor:
        """A decaying mean."""
        return self.beta2 * old + (1.0 - self.beta2) * square


@dataclass(frozen=True, kw_only=True)
class FedYogi(FedAdam):
    """Yogi: the second moment moves by a bounded amount."""

    def moment(self, old: Tensor, square: Tensor) -> Tensor:
        """Towards the square, by a share of the square."""
        return old - (1.0 - self.beta2) * square * torch.sign(old - square)


SERVER_OPTIMIZERS: Mapping[str, Callable[..., ServerOptimizer]] = {
    "sgd": ServerSGD,
    "fed-avgm": FedAvgM,
    "adam": FedAdam,
    "yogi": FedYogi,
    "adagrad": FedAdagrad,
}
"""Names in a configuration."""

SERVER_OPTIMIZER = Kind("server optimiser", "server.optimizer", SERVER_OPTIMIZERS, ServerOptimizer)
"""What a server can do with the mean of a task's updates."""

GUARD = 1e-6
"""Added to a norm before it divides, as in PyTorch's clipping."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """What a configuration says about the server's steps, for algorithms in rounds.

    Attributes:
        optimizer: Makes a step of the mean; None for the mean itself.
        clip_update: Greatest length of an update; longer ones are shortened to it.
        rule: What stands for the weighted mean of a task's updates; None for that mean.
    """

    optimizer: ServerOptimizer | None = None
    clip_update: float | None = None
    rule: RobustRule | None = None

    def shrink(self, delta: Params) -> float:
        r"""By what an update is multiplied: :math:`\min(1, c / (\|\Delta\| + 10^{-6}))`."""
        if self.clip_update is None:
            return 1.0
        return min(1.0, self.clip_update / (math.sqrt(squared_length(delta)) + GUARD))

    def combined(self, updates: Sequence[Update]) -> Params | None:
        """What the robust rule makes of the updates of one task, each once, by client.

        None where they are too few for it.
        """
        assert self.rule is not None
        if len(updates) < self.rule.fewest:
            return None
        deltas = [each.delta for each in sorted(updates, key=lambda update: update.client)]
        if self.clip_update is not None:
            deltas = [scaled(self.shrink(delta), delta) for delta in deltas]
        return self.rule.combine(deltas)


NO_SERVER = Server()
"""The mean of the updates as they are."""


def check_server(algorithm: Any, server: Server, base: type) -> None:
    """Refuse server options where an algorithm has an aggregation of its own.

    Args:
        algorithm: The record.
        server: Its options.
        base: The class whose aggregation follows them.
    """
    kind = type(algorithm)
    follows = isinstance(algorithm, base) and kind.aggregate is base.aggregate  # type: ignore[attr-defined]
    own = kind.server_step is not base.server_step if follows else False  # type: ignore[attr-defined]
    requirement = "left out for an algorithm that has "
    if server.rule is not None:
        _check_rule(algorithm, server.rule, requirement, follows=follows, base=base)
    if server.clip_update is not None and not follows:
        raise InvalidInput("server.clip-update", server.clip_update, requirement + "its own sums")
    if server.optimizer is not None and (own or not follows):
        name = type(server.optimizer).__name__
        raise InvalidInput("server.optimizer", name, requirement + "steps of its own")


def _check_rule(
    algorithm: Any, rule: RobustRule, requirement: str, *, follows: bool, base: type
) -> None:
    """Refuse a robust rule where updates are not summed, or by weights that it would ignore."""
    key, name, kind = "server.aggregation", type(rule).__name__, type(algorithm)
    if not follows:
        raise InvalidInput(key, name, requirement + "its own sums")
    if kind.coefficients is not base.coefficients:  # type: ignore[attr-defined]
        raise InvalidInput(key, name, requirement + "weights of its own, which it would ignore")
    if algorithm.aggregation == IMPORTANCE:
        requirement = f"left out with aggregation = {IMPORTANCE}, whose weights it would ignore"
        raise InvalidInput(key, name, requirement)


def _check_share(name: str, value: float) -> None:
    """A decay."""
    if not 0.0 <= value < 1.0:
        raise InvalidInput(name, value, "in [0, 1)")
