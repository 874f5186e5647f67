"""FedBuff: buffered asynchronous aggregation, one buffer per task."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fairopt.errors import InvalidInput
from fl_runtime.algorithms.aggregation import add, weighted_sum
from fl_runtime.algorithms.asynchronous import (
    Asynchronous,
    AsynchronousState,
    BufferedUpdate,
)
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.stacks import alone
from fl_runtime.validation_errors import check_at_least, check_positive


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

    Guarantee: with R jobs of one task in flight and delays of finite mean, constant ones included,
    the mean staleness tends to (R - 1) / b. With equal constant delays, all n clients in flight,
    b = n and a = 0 the first aggregation is a round of federated averaging; later ones are not, for
    all but one of their updates start from the version before (mean staleness 1 - 1 / n).

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
        check_at_least("exponent", self.exponent, 0.0)
        check_positive("server_learning_rate", self.server_learning_rate)

    def init(self, federation: Federation, seed: int) -> AsynchronousState:
        """Initial models, if there is a buffer for every task."""
        tasks = len(federation.tasks)
        if isinstance(self.buffer_size, tuple) and len(self.buffer_size) != tasks:
            requirement = f"an integer, or {tasks}, one per task"
            raise InvalidInput("algorithm.buffer-size", list(self.buffer_size), requirement)
        return super().init(federation, seed)

    def receive(self, state: AsynchronousState, update: Update) -> AsynchronousState:
        """Buffer it; when the buffer is full, aggregate."""
        age = state.versions[update.task] - update.version
        weight = math.pow(1.0 + age, -self.exponent)
        kept = (
            *state.buffers[update.task],
            BufferedUpdate(weight, update.num_examples, alone(update.delta)),
        )
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
