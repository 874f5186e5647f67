r"""Which common direction several tasks take: methods by name, with the step always defined.

A method (FairGrad and its rivals) gives weights w for the Gram matrix A of K updates; the direction
is :math:`d = \sum_k w_k \Delta_k`. Two things are settled here for training:

* **Length.** FairGrad fixes the direction but its length follows the scale of the gradients in its
  own way (for alpha > 1 it grows as they shrink; released code clips it). With `length = "mean"`
  d is rescaled to the length of the mean update, so that methods differ in direction alone, a
  single task gives its own update, and the step size keeps its meaning. `"own"` leaves d as it is.
* **No answer.** At a Pareto stationary point the step is zero, since no direction helps all tasks.
  Where the solver is not ok for another reason (undecided at this precision, out of steps or range,
  a Gram matrix that is not finite) the step is the mean; projections (UPGrad, FairGrad at alpha 0)
  are undecided only if twice the digits do not determine them either (`Direction.solve_double`).
  The returned status says which; callers count it.

Source: rescaling and fallbacks are decisions of this project, not of the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt.choices import choose
from fairopt.dual_cone_double_gram import squared_length
from fairopt.exact_projection import two_floats
from fairopt.solution import GOOD, Solution, Status, worst
from fairopt.torch import (
    DWA,
    FAMO,
    IMTLG,
    IMTLL,
    RLW,
    AlignedMTL,
    ConflictAverse,
    FairGrad,
    GradVac,
    Mean,
    Method,
    MethodState,
    MinNorm,
    Uncertainty,
    UPGrad,
)
from fairopt.torch.loss_methods import AtLosses
from fairopt.torch.methods import PreciseGram
from fl_runtime.training.method_memory import MethodMemory, memory_of, state_of
from fl_runtime.training.pcgrad import PCGrad

Table = Mapping[str, Any]

ROUNDING = 1e-12
"""Squared length of d, relative to that of its parts, below which d is rounding in float64."""


def _fair_grad(table: Table, tasks: Sequence[str], seed: int) -> Method:
    """FairGrad with the priorities of the tasks that are present."""
    priority = table.get("priority")
    return FairGrad(table["alpha"], priority and [priority[task] for task in tasks])


def _state(table: Table, tasks: Sequence[str]) -> MethodState:
    """What the table says that the method remembers of the tasks that are present."""
    return state_of(table.get("memory", {}), tasks)


METHODS: Mapping[str, Callable[[Table, Sequence[str], int], Method]] = {
    "fair-grad": _fair_grad,
    "mean": lambda table, tasks, seed: Mean(),
    "min-norm": lambda table, tasks, seed: MinNorm(),
    "pcgrad": lambda table, tasks, seed: PCGrad(seed),
    "conflict-averse": lambda table, tasks, seed: ConflictAverse(table["c"]),
    "upgrad": lambda table, tasks, seed: UPGrad(),
    "gradvac": lambda table, tasks, seed: GradVac(table["beta"], seed, state=_state(table, tasks)),
    "aligned-mtl": lambda table, tasks, seed: AlignedMTL(),
    "imtl-g": lambda table, tasks, seed: IMTLG(),
}
"""Names in a job's `joint` table; each takes the table, the names of the tasks, and a seed."""

LOSS_METHODS: Mapping[str, Callable[[Table, int, MethodState], Any]] = {
    "rlw": lambda table, seed, state: RLW(seed, state=state),
    "dwa": lambda table, seed, state: DWA(table["temperature"], state=state),
    "uw": lambda table, seed, state: Uncertainty(table["rate"], state=state),
    "imtl-l": lambda table, seed, state: IMTLL(table["rate"], state=state),
    "famo": lambda table, seed, state: FAMO(table["rate"], table["decay"], state=state),
}
"""Further names, of methods that weigh losses; each takes the table, a seed, and a state."""


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
    def of(
        cls, table: Table, tasks: Sequence[str], seed: int, losses: Sequence[float] = ()
    ) -> Direction:
        """The record behind a table with `method`, its parameters, `length`, and perhaps `memory`.

        Args:
            table: The table.
            tasks: Names of the tasks that are present.
            seed: Of what is drawn.
            losses: Theirs, where the method weighs losses.
        """
        name, length = str(table["method"]), str(table["length"])
        if name in LOSS_METHODS:
            method = LOSS_METHODS[name](table, seed, _state(table, tasks))
            return cls(AtLosses(method, dict(zip(tasks, losses, strict=True))), length)
        return cls(choose("method", name, METHODS)(table, tasks, seed), length)

    def remembered(self, tasks: Sequence[str], before: MethodMemory) -> MethodMemory:
        """What the method remembers after it has solved; as before if it remembers nothing."""
        state = getattr(_innermost(self.method), "state", None)
        return before if state is None else memory_of(state, tasks, before)

    def end_epoch(self) -> None:
        """Close an epoch, for methods that know such."""
        end = getattr(_innermost(self.method), "end_epoch", None)
        if end is not None:
            end()

    @property
    def update(self) -> Callable[[Mapping[str, float]], None] | None:
        """What wants to know the losses by task after the step, if the method learns from them."""
        return getattr(_innermost(self.method), "update", None)

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """Weights of the step, and a status that is not ok where the method had no answer."""
        A = np.asarray(gram, dtype=np.float64)
        if not np.isfinite(A).all():
            return _mean_instead(len(A), Status.OUT_OF_RANGE)
        solution = self.method.solve(A, gram_error=gram_error)
        if solution.status == Status.PARETO_STATIONARY or self._vanishes(A, solution, gram_error):
            return _stationary(solution)
        if not solution.ok:
            return _undecided(solution)
        return replace(solution, weights=solution.weights * self._factor(A, solution.weights))

    def solve_double(self, gram: PreciseGram) -> Solution | None:
        """The same with twice the digits, where the method has them; None elsewhere."""
        solve = getattr(self.method, "solve_double", None)
        solution: Solution | None = None if solve is None else solve(gram)
        if solution is None or solution.status == Status.PARETO_STATIONARY:
            return solution
        if not solution.ok:
            return _undecided(solution)
        if self.length == "own":
            return solution
        high, low, error = gram()
        sizes = np.sqrt(np.diag(high))
        square = squared_length(high, low, solution.weights, solution.low)
        rounding = error * float(np.abs(solution.weights) @ sizes) ** 2
        if square <= max(rounding, (float(solution.direction_error) * sizes.sum()) ** 2):
            return _stationary(solution)
        mean = squared_length(high, low, np.full(len(high), 1.0 / len(high)), None)
        weights, second = _times(solution, math.sqrt(float(mean / square)))
        return replace(solution, weights=weights, low=second)

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


def _innermost(method: Any) -> Any:
    """The record that decides, within those that scale updates or bring losses."""
    inner = getattr(method, "method", None)
    return method if inner is None else _innermost(inner)


def outcome(status: ArrayLike) -> str:
    """What a step was: `decided`, `stationary` (zero) or `undecided` (the mean).

    Args:
        status: A `Status`, or those of a batch: then what its worst member was.

    Example:
        >>> outcome(Status.PARETO_STATIONARY)
        'stationary'
        >>> outcome([Status.PARETO_STATIONARY, Status.ROUNDING_LIMITED, Status.STEP_LIMIT])
        'undecided'
    """
    found = worst(status)
    if found in GOOD:
        return "decided"
    return "stationary" if found == Status.PARETO_STATIONARY else "undecided"


def _stationary(solution: Solution) -> Solution:
    """No step, since no direction helps all tasks."""
    zero = np.zeros_like(solution.weights)
    return replace(solution, weights=zero, low=None, status=Status.PARETO_STATIONARY)


def _undecided(solution: Solution) -> Solution:
    """The mean, with the status of the answer that is none."""
    return _mean_instead(len(solution.weights), Status(int(solution.status)))


def _mean_instead(count: int, status: Status) -> Solution:
    """Equal weights where there is no answer."""
    return Solution(np.full(count, 1.0 / count), status, float("inf"), 0)


def _times(solution: Solution, factor: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The weights times a factor, each as two floats."""
    second = np.zeros_like(solution.weights) if solution.low is None else solution.low
    pairs = zip(solution.weights.tolist(), second.tolist(), strict=True)
    return two_floats([(Fraction(a) + Fraction(b)) * Fraction(factor) for a, b in pairs])


def _square(A: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> float:
    """Squared length of a combination."""
    return max(float(weights @ A @ weights), 0.0)
