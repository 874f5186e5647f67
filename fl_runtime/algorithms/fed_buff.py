"""Asynchronous arms: one aggregates when its buffer is full, the other at every answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fairopt.errors import InvalidInput
from fl_runtime.algorithms.aggregation import add, weighted_sum
from fl_runtime.algorithms.asynchronous import Asynchronous, AsynchronousState, Kept
from fl_runtime.execution.sequential import Update
from fl_runtime.training.federation import Federation


@dataclass(frozen=True)
class FedBuff(Asynchronous):
    r"""Buffered aggregation: when b updates of a task have arrived, its model takes one step.

    .. math:: x \leftarrow x + \eta \sum_{i \in B} \frac{n_i}{\sum_{j \in B} n_j}
              (1 + s_i)^{-a} \Delta_i

    Symbols: :math:`s_i` versions of the task's model since update i was sent, measured when it
    arrives; :math:`n_i` examples of its client, as in the mean of the synchronous arms.

    Attributes:
        buffer_size: b, one or one per task.
        exponent: a >= 0; 0 gives every update its full weight.
        server_learning_rate: :math:`\eta`.

    Guarantee: with constant delays, all clients in flight, b = number of clients and a = 0, rounds
    are those of federated averaging. With R jobs of one task in flight the mean staleness tends to
    (R - 1) / b.

    Source: FedBuff (arXiv 2106.06639), one buffer per task; the weight by examples is ours, so that
    arms differ in timing only.

    Example:
        >>> FedBuff(buffer_size=0)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: buffer_size = 0, but it must be an integer >= 1, or one per
        task
    """

    buffer_size: int | tuple[int, ...] = 10
    exponent: float = 0.5
    server_learning_rate: float = 1.0

    def _check(self) -> None:
        """Refuse empty buffers, growing weights and steps back."""
        sizes = self.buffer_size if isinstance(self.buffer_size, tuple) else (self.buffer_size,)
        if not sizes or min(sizes) < 1:
            raise InvalidInput("buffer_size", self.buffer_size, "an integer >= 1, or one per task")
        _check_range("exponent", self.exponent, 0.0)
        _check_positive("server_learning_rate", self.server_learning_rate)

    def init(self, federation: Federation, seed: int) -> AsynchronousState:
        """Initial models, if there is a buffer for every task."""
        tasks = len(federation.tasks)
        if isinstance(self.buffer_size, tuple) and len(self.buffer_size) != tasks:
            requirement = f"an integer, or {tasks}, one per task"
            raise InvalidInput("algorithm.buffer-size", list(self.buffer_size), requirement)
        return super().init(federation, seed)

    def take(self, state: AsynchronousState, update: Update) -> AsynchronousState:
        """Into the buffer; when it is full, into the model."""
        age = state.versions[update.task] - update.version
        weight = math.pow(1.0 + age, -self.exponent)
        kept = (*state.buffers[update.task], Kept(weight, update.num_examples, update.delta))
        if len(kept) < self._size(state, update.task):
            return state.keeping(update.task, kept)
        total = sum(each.num_examples for each in kept)
        shares = [
            self.server_learning_rate * each.weight * (each.num_examples / total) for each in kept
        ]
        deltas = [each.delta for each in kept]
        step = weighted_sum(deltas, shares)
        return state.aggregated(update.task, add(state.models[update.task], step))

    def _size(self, state: AsynchronousState, task: str) -> int:
        """Capacity of that task's buffer."""
        if isinstance(self.buffer_size, tuple):
            return self.buffer_size[list(state.models).index(task)]
        return self.buffer_size


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
        _check_range("exponent", self.exponent, 0.0)
        _check_positive("slope", self.slope)
        _check_range("grace", self.grace, 0)

    def rate(self, age: int) -> float:
        """Share of the client's model in the next one."""
        if self.weighting == "polynomial":
            return self.mixing * math.pow(1.0 + age, -self.exponent)
        if self.weighting == "hinge" and age > self.grace:
            return self.mixing / (self.slope * (age - self.grace) + 1.0)
        return self.mixing

    def take(self, state: AsynchronousState, update: Update) -> AsynchronousState:
        """Mix the client's model in."""
        share = self.rate(state.versions[update.task] - update.version)
        with torch.no_grad():
            mixed = {
                key: (1.0 - share) * value + share * (update.payload[key] + update.delta[key])
                for key, value in state.models[update.task].items()
            }
        return state.aggregated(update.task, mixed)


def _check_range(name: str, value: float, least: float) -> None:
    """Refuse what is not a finite number from `least` on."""
    if not least <= value < np.inf:
        raise InvalidInput(name, value, f"finite and >= {least:g}")


def _check_positive(name: str, value: float) -> None:
    """Refuse what is not a finite positive number."""
    if not 0.0 < value < np.inf:
        raise InvalidInput(name, value, "finite and > 0")
