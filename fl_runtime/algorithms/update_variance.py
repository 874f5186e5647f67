r"""How much clients disagree about a task, estimated from the latest updates of its buffer.

Symbols: V updates :math:`\Delta_v` (trained minus sent parameters) with mean :math:`\bar\Delta`,
client step size :math:`\eta_c`, local steps :math:`\tau`, and the spread
:math:`S = \sum_v \|\Delta_v - \bar\Delta\|^2`, accumulated in float64 over all entries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from fl_runtime.training.task import LocalTraining, Params, Task

Estimator = Literal["gradient-variance", "relative-variance"]


def gradient_variance(updates: Sequence[Params], client_rate: float, steps: int) -> float:
    r"""Variance of the clients' mean gradients, :math:`S / (V (\eta_c \tau)^2)`.

    An update is about :math:`-\eta_c \tau` times a gradient, so this has the unit of a squared
    gradient. It also holds noise of the minibatches (of order 1 / steps) and of the age of updates.

    Args:
        updates: At least one.
        client_rate: Step size of plain local SGD.
        steps: Local steps of a job.

    Source: FedAST (arXiv 2406.00302), reallocation, as reconstructed here.

    Example:
        >>> points = [(1.0, 0.0), (3.0, 0.0), (2.0, 3.0)]
        >>> round(gradient_variance([{"w": torch.tensor(p)} for p in points], 0.1, 5), 4)
        10.6667
    """
    _, spread = mean_and_spread(updates)
    return spread / (len(updates) * (client_rate * steps) ** 2)


def relative_variance(
    updates: Sequence[Params], client_rate: float, server_rate: float, steps: int
) -> float:
    r"""The released code's score, :math:`\eta_c \eta_s S / (2 V \|\bar\Delta\|^2 (\eta_c\tau)^2)`.

    A noise-to-signal ratio times learning rates: a task near its optimum, whose mean update is
    small, scores high whatever its clients' gradients. Infinite if the mean update is zero.

    Args:
        updates: At least one.
        client_rate: Step size of plain local SGD.
        server_rate: Step size of the server, :math:`\eta_s`.
        steps: Local steps of a job.

    Source: the code released with FedAST, over all V updates of the window (the code drops one) and
    all entries (the code skips biases).

    Example:
        >>> points = [(1.0, 0.0), (3.0, 0.0), (2.0, 3.0)]
        >>> round(relative_variance([{"w": torch.tensor(p)} for p in points], 0.1, 0.1, 5), 7)
        0.0106667
    """
    mean, spread = mean_and_spread(updates)
    signal = float(mean.square().sum())
    if signal == 0.0:
        return math.inf
    scale = client_rate * server_rate / 2.0 / (client_rate * steps) ** 2
    return scale * spread / (len(updates) * signal)


def local_steps(training: LocalTraining, examples: int) -> int:
    """Steps of a job on so many examples."""
    return training.local_epochs * math.ceil(examples / training.batch_size)


@dataclass(frozen=True)
class Watch:
    """What is remembered of one task's updates.

    Attributes:
        client_rate: Step size of its clients.
        steps: Local steps of a job on the first client's examples (shards are of equal size).
        window: The latest updates, oldest first.
        total: Sum of the estimates since the last reallocation.
        count: Their number.
    """

    client_rate: float
    steps: int
    window: tuple[Params, ...] = ()
    total: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, task: Task) -> Watch:
        """Nothing seen yet."""
        return cls(task.training.learning_rate, local_steps(task.training, task.sizes[0]))

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Watch:
        """What a checkpoint holds of it."""
        return cls(**{**tree, "window": tuple(tree["window"])})

    def seen(self, delta: Params, size: int, estimator: Estimator, server_rate: float) -> Watch:
        """After one more update; with an estimate once the window is full.

        An estimate that is no finite number (an overflow, or no mean to compare with) says nothing
        and is not counted.
        """
        window = (*self.window, delta)[-size:]
        after = replace(self, window=window)
        if len(window) < size:
            return after
        if estimator == "gradient-variance":
            found = gradient_variance(window, self.client_rate, self.steps)
        else:
            found = relative_variance(window, self.client_rate, server_rate, self.steps)
        if not math.isfinite(found):
            return after
        return replace(after, total=self.total + found, count=self.count + 1)

    def mean(self) -> float:
        """Mean of the estimates since the last reallocation; there must be some."""
        return self.total / self.count

    def cleared(self) -> Watch:
        """Estimates start afresh; the window goes on."""
        return replace(self, total=0.0, count=0)


def mean_and_spread(updates: Sequence[Params]) -> tuple[Tensor, float]:
    """The mean update as one vector, and S."""
    rows = torch.stack(
        [torch.cat([value.double().flatten() for value in each.values()]) for each in updates]
    )
    mean = rows.mean(dim=0)
    return mean, float((rows - mean).square().sum())
