r"""Which common direction several tasks take: methods by name, with the step always defined.

A method (FairGrad and its rivals) gives weights w for the Gram matrix A of K updates; the direction
is :math:`d = \sum_k w_k \Delta_k`. Two things are settled here for training:

* **Length.** FairGrad fixes the direction but its length follows the scale of the gradients in its
  own way (for alpha > 1 it grows as they shrink; released code clips it). With `length = "mean"`
  d is rescaled to the length of the mean update, so that methods differ in direction alone, a
  single task gives its own update, and the step size keeps its meaning. `"own"` leaves d as it is.
* **No answer.** At a Pareto stationary point the step is zero, since no direction helps all tasks.
  Where the solver is not ok for another reason (undecided at this precision, out of steps or range,
  a Gram matrix that is not finite) the step is the mean. The returned status says which; callers
  count it.

Source: rescaling and fallbacks are decisions of this project, not of the papers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt.choices import choose
from fairopt.solution import Solution, Status
from fairopt.torch import ConflictAverse, FairGrad, Mean, Method, MinNorm, UPGrad
from fl_runtime.training.pcgrad import PCGrad

Table = Mapping[str, Any]

ROUNDING = 1e-12
"""Squared length of d, relative to that of its parts, below which d is rounding in float64."""


def _fair_grad(table: Table, tasks: Sequence[str], seed: int) -> Method:
    """FairGrad with the priorities of the tasks that are present."""
    priority = table.get("priority")
    return FairGrad(table["alpha"], priority and [priority[task] for task in tasks])


METHODS: Mapping[str, Callable[[Table, Sequence[str], int], Method]] = {
    "fair-grad": _fair_grad,
    "mean": lambda table, tasks, seed: Mean(),
    "min-norm": lambda table, tasks, seed: MinNorm(),
    "pcgrad": lambda table, tasks, seed: PCGrad(seed),
    "conflict-averse": lambda table, tasks, seed: ConflictAverse(table["c"]),
    "upgrad": lambda table, tasks, seed: UPGrad(),
}
"""Names in a job's `joint` table; each takes the table, the names of the tasks, and a seed."""


@dataclass(frozen=True)
class Direction:
    """A method whose step is always defined; itself a method for `fairopt.torch.aggregate`.

    Attributes:
        method: The record that solves.
        length: "mean" or "own".

    Example:
        >>> Direction(FairGrad(2.0)).solve([[4.0]]).weights  # one task keeps its own update
        array([1.])
        >>> Direction(FairGrad(2.0)).solve([[1.0, -1.0], [-1.0, 1.0]]).weights
        array([0., 0.])
    """

    method: Method
    length: str = "mean"

    @classmethod
    def of(cls, table: Table, tasks: Sequence[str], seed: int) -> Direction:
        """The record behind a table with `method`, its parameters, and `length`."""
        maker = choose("method", str(table["method"]), METHODS)
        return cls(maker(table, tasks, seed), str(table["length"]))

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """Weights of the step, and a status that is not ok where the method had no answer."""
        A = np.asarray(gram, dtype=np.float64)
        if not np.isfinite(A).all():
            return _mean_instead(len(A), Status.OUT_OF_RANGE)
        solution = self.method.solve(A, gram_error=gram_error)
        if solution.status == Status.PARETO_STATIONARY or self._vanishes(A, solution, gram_error):
            stationary = Status.PARETO_STATIONARY
            return replace(solution, weights=np.zeros(len(A)), status=stationary)
        if not solution.ok:
            return _mean_instead(len(A), Status(int(solution.status)))
        return replace(solution, weights=solution.weights * self._factor(A, solution.weights))

    def _vanishes(self, A: np.ndarray[Any, Any], solution: Solution, error: float | None) -> bool:
        """Whether d is nothing but rounding that a rescaled step would blow up."""
        if self.length == "own" or not solution.ok or isinstance(self.method, Mean):
            return False
        parts = float(np.abs(solution.weights) @ np.sqrt(np.diag(A))) ** 2
        return _square(A, solution.weights) <= max(error or 0.0, ROUNDING) * parts

    def _factor(self, A: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> float:
        """What makes d as long as the mean update."""
        if self.length == "own" or isinstance(self.method, Mean):
            return 1.0
        return float(np.sqrt(_square(A, np.full(len(A), 1.0 / len(A))) / _square(A, weights)))


def outcome(status: object) -> str:
    """What a step was: `decided`, `stationary` (zero) or `undecided` (the mean).

    Example:
        >>> outcome(Status.PARETO_STATIONARY)
        'stationary'
    """
    if status in (Status.OPTIMAL, Status.ROUNDING_LIMITED):
        return "decided"
    return "stationary" if status == Status.PARETO_STATIONARY else "undecided"


def _mean_instead(count: int, status: Status) -> Solution:
    """Equal weights where there is no answer."""
    return Solution(np.full(count, 1.0 / count), status, float("inf"), 0)


def _square(A: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> float:
    """Squared length of a combination."""
    return max(float(weights @ A @ weights), 0.0)
