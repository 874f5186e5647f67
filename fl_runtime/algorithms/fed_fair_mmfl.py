"""FedFairMMFL: underperforming tasks get more clients, by an alpha-fair rule."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fairopt import InvalidInput, client_task_probabilities, learning_progress
from fairopt.learning_progress import SHORTEST
from fl_runtime.algorithms.base import ServerState, check_comparable, check_priority, unlike_losses
from fl_runtime.algorithms.one_task_per_client import OneTaskPerClient
from fl_runtime.algorithms.synchronous import Probabilities
from fl_runtime.training.federation import Federation

CURVES = ""
"""Where a server remembers the errors of all tasks; no task has that name."""


@dataclass(frozen=True)
class FedFairMMFL(OneTaskPerClient):
    r"""Alpha-fair allocation: underperforming tasks get more clients.

    Problem: minimise :math:`\sum_s f_s(w_s)^\alpha`. A client trains task s with probability
    proportional to :math:`a_s f_s^{\alpha-1}` over the tasks it agreed to.

    Attributes:
        alpha: Power of the loss, in [1, inf]; 1 ignores the losses (with equal priorities it is
            the random allocation), inf sends every client to its worst task.
        signal: What stands for :math:`f_s`: validation `loss`, of tasks with different losses over
            that of the initial model; validation `error` (of the score, on the task's scale: of
            accuracies the share of misclassified examples); or `progress`, what a task's latest
            training has removed of that error (`fairopt.learning_progress`): a task that cannot be
            learnt then does not swallow the clients, and a bad task is not helped for being bad. It
            differs between tasks by more than errors do: alpha = 2 is enough.
        priority: One positive weight per task, or empty for equal weights.
        aggregation: See `Synchronous`. With `data-weighted` or `plain` means fairness decides how
            many clients train a task; with `importance` the expected step of every task that has a
            chance (for alpha > 1 one whose signal is not zero) is that of full participation, and
            fairness decides its variance.

    In the first round nothing is known and the allocation is uniform; by progress it is until
    every open task has been trained and measured often enough (`fairopt.learning_progress.SHORTEST`
    times).

    Source: FedFairMMFL (arXiv 2404.13841), allocation rule; measured here on a validation split
    that is never reported. The signal `progress` is ours.

    Example:
        >>> FedFairMMFL(alpha=0.5)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: alpha = 0.5, but it must be a number in [1, inf]
    """

    alpha: float = 3.0
    signal: Literal["loss", "error", "progress"] = "error"
    priority: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.alpha >= 1.0:
            raise InvalidInput("alpha", self.alpha, "a number in [1, inf]")
        if self.alpha == math.inf and self.aggregation == "importance":
            requirement = "finite with importance: a task that is nobody's worst has no chance"
            raise InvalidInput("alpha", self.alpha, requirement)

    def init(self, federation: Federation, seed: int) -> ServerState:
        """Initial models, if the priorities fit the tasks, and the signal is in one unit."""
        check_priority(self.priority, len(federation.tasks))
        check_comparable(self.signal, federation.tasks)
        return super().init(federation, seed)

    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """Alpha-fair shares of the latest validation measurements."""
        signals = self._measured(state, federation)
        return client_task_probabilities(
            np.ones(len(federation.tasks)) if signals is None else signals,
            1.0 if signals is None else self.alpha,
            eligible=federation.eligible,
            priority=np.array(self.priority) if self.priority and signals is not None else None,
        )

    def concluded(self, before: ServerState, after: ServerState) -> ServerState:
        """By progress, the errors of models that were replaced are remembered."""
        if self.signal != "progress":
            return after
        curves = dict(before.memory.get(CURVES, {}))
        for task, error in before.validation_error.items():
            if after.models[task] is not before.models[task]:
                curves[task] = [*curves.get(task, ()), error]
        return replace(after, memory={**after.memory, CURVES: curves})

    def _measured(self, state: ServerState, federation: Federation) -> NDArray[np.float64] | None:
        """(num_tasks,) latest signals, in one unit; None while too little is known."""
        tasks = federation.tasks
        if state.server_round == 0:
            return None
        if self.signal == "progress":
            return _progress(state, federation)
        if self.signal == "error":
            return np.array([state.validation_error[task.name] for task in tasks])
        losses = np.array([state.validation_loss[task.name] for task in tasks])
        if not unlike_losses(tasks):
            return losses
        return np.asarray(losses / np.array([task.initial_loss for task in tasks]))


def _progress(state: ServerState, federation: Federation) -> NDArray[np.float64] | None:
    """(num_tasks,) progress, zero of closed tasks; None while an open one has too few errors."""
    curves, unfinished = state.memory.get(CURVES, {}), federation.open_tasks
    found = np.zeros(len(federation.tasks))
    for place, task in enumerate(federation.tasks):
        if task.name in unfinished:
            errors = [*curves.get(task.name, ()), state.validation_error[task.name]]
            if len(errors) < SHORTEST:
                return None
            found[place] = learning_progress(errors)
    return found
