r"""The hyper weights of FedHCA2: how much of others' learning a model takes, itself learnt.

Symbols: :math:`\alpha_i` weight of the encoder of client i, :math:`\beta_{l,k}` of layer l of
decoder k. They begin alike, are clamped to [0, 1] where they are used, and descend.

Source: FedHCA2 (arXiv 2311.13250), Hyper Aggregation Weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fairopt import InvalidInput
from fl_runtime.algorithms.aggregation import squared_length
from fl_runtime.algorithms.personal import PersonalState
from fl_runtime.training.task import Params


@dataclass(frozen=True)
class HyperState(PersonalState):
    """State of FedHCA2.

    Attributes:
        hyper: Weight and velocity by name: ``"3"`` of the encoder of client 3, ``"3 LAYER TASK"``
            of a layer of its decoder for a task.
        sent: By the same names, what the weight multiplied in the model that the client was last
            sent.
    """

    hyper: Mapping[str, Sequence[float]] = field(default_factory=dict, kw_only=True)
    sent: Mapping[str, Params] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class Descent:
    """Gradient descent with momentum on hyper weights, as PyTorch's SGD does it.

    Attributes:
        rate: Step length >= 0; 0 leaves the weights as they are.
        momentum: In [0, 1).
        decay: L2 penalty >= 0.
        project: Whether weights are brought back into [0, 1] after a step. Released code does not:
            a weight outside has gradient zero and stays dead but for momentum and decay.
        normalise: Whether inner products are cosines, which makes the step independent of the
            number of parameters and the unit of the updates.
    """

    rate: float = 0.01
    momentum: float = 0.9
    decay: float = 1e-4
    project: bool = False
    normalise: bool = False

    def step(self, weight: float, velocity: float, gradient: float) -> tuple[float, float]:
        """Weight and velocity after one step.

        Raises:
            InvalidInput: They overflow.
        """
        velocity = self.momentum * velocity + gradient + self.decay * weight
        moved = weight - self.rate * velocity
        if not (np.isfinite(moved) and np.isfinite(velocity)):
            requirement = "so small that hyper weights stay finite, or used with normalise"
            raise InvalidInput("algorithm.rate", self.rate, requirement)
        return (min(max(moved, 0.0), 1.0) if self.project else moved), velocity

    def gradient(self, weight: float, delta: Params, direction: Params) -> float:
        r"""Slope of a client's loss in its weight, :math:`-\langle \Delta, \tilde U \rangle`.

        The model was sent with `weight` times `direction` in it; what the client then did, `delta`,
        stands for minus the gradient of its loss. Zero where the weight is clamped.
        """
        if not 0.0 <= weight <= 1.0:
            return 0.0
        product = inner(delta, direction)
        if not self.normalise or product == 0.0:
            return -product
        return -product / float(np.sqrt(squared_length(delta) * squared_length(direction)))


def clamp(weight: float) -> float:
    """The share that is added."""
    return min(max(weight, 0.0), 1.0)


def inner(one: Params, two: Params) -> float:
    """Inner product over the entries of the second, accumulated in float64."""
    return float(sum((one[key].double() * value.double()).sum() for key, value in two.items()))


def layers_of(entries: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Entries by the layer they belong to, ``"3"`` for ``"3.weight"`` and ``"3.bias"``.

    Example:
        >>> layers_of(["3.weight", "3.bias", "5.weight"])
        {'3': ('3.weight', '3.bias'), '5': ('5.weight',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    for key in entries:
        layer = key.rpartition(".")[0] or key
        found[layer] = (*found.get(layer, ()), key)
    return found


def owner_of(name: str) -> tuple[int, str, str]:
    """Client, layer and task that a weight is about; no layer and no task for an encoder.

    Example:
        >>> owner_of("3 fuse even or odd"), owner_of("3")
        ((3, 'fuse', 'even or odd'), (3, '', ''))
    """
    client, layer, task = [*name.split(" ", 2), "", ""][:3]
    return int(client), layer, task


def of_clients(shares: Mapping[str, Params]) -> dict[int, dict[str, Params]]:
    """The shares by whom they concern, so that nobody looks through those of all others."""
    found: dict[int, dict[str, Params]] = {}
    for name, share in shares.items():
        found.setdefault(owner_of(name)[0], {})[name] = share
    return found


def joined(shares: Mapping[str, Params], task: str, client: int) -> Params:
    """The shares that concern one model; every entry belongs to one weight."""
    return {
        key: value
        for name, share in shares.items()
        for whose, layer, of in [owner_of(name)]
        if whose == client and (of == task or not layer)
        for key, value in share.items()
    }


WEIGHTS = ("encoder_weight", "decoder_weight")
"""What the mean weights of encoders and decoders are called in the history."""


def weight_figures(hyper: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Mean and range of the clamped weights of encoders and decoders, for the history.

    `num-dead-weights` counts those outside [0, 1], whose gradient is zero.
    """
    figures: dict[str, float] = {}
    for kind, decoders in zip(WEIGHTS, (False, True), strict=True):
        mine = [clamp(weight) for name, (weight, _) in hyper.items() if (" " in name) == decoders]
        if mine:
            figures |= {kind: float(np.mean(mine)), f"min_{kind}": min(mine)}
            figures[f"max_{kind}"] = max(mine)
    dead = sum(not 0.0 <= weight <= 1.0 for weight, _ in hyper.values())
    return {**figures, "num-dead-weights": dead}
