"""The record that every K x K solver returns: weights, status, residual and certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt.arrays import Array
from fairopt.errors import NotSolved


class Status(IntEnum):
    """How a solve ended; each member carries the sentence a person reads.

    Example:
        >>> Status.OPTIMAL.sentence
        'solved: the residual is at or below the tolerance'
    """

    OPTIMAL = 0
    PARETO_STATIONARY = 1
    UNDECIDED = 2
    STEP_LIMIT = 3
    INFEASIBLE = 4
    UNBOUNDED = 5
    OUT_OF_RANGE = 6
    ROUNDING_LIMITED = 7
    NOT_FINITE = 8

    @property
    def sentence(self) -> str:
        """One line in plain words."""
        return _SENTENCES[self]

    @property
    def advice(self) -> str:
        """What a person can do about it."""
        return _ADVICE[self]


_SENTENCES = (
    "solved: the residual is at or below the tolerance",
    "Pareto stationary: a convex combination of the gradients vanishes, no direction helps all",
    "undecided: the input is too imprecise to tell Pareto stationary from not, or to fix weights",
    "stopped at the step limit: this is the best point found",
    "infeasible: no point meets the constraints",
    "unbounded: something that nothing limits",
    "out of range: the exact answer is not representable in float64 or the dtype of the updates",
    "solved as far as float64 can show: the residual is at its rounding floor",
    "not finite: a gradient holds NaN or inf, so there is no direction",
)
_ADVICE = (
    "nothing",
    "stop here or change the tasks; the certificate shows the vanishing combination",
    "compute the Gram matrix more precisely or pass a smaller gram_error if it is justified",
    "raise max_iterations, loosen tol or pass a start",
    "relax the constraints",
    "limit what is unlimited",
    "rescale the priorities or gradients, or use alpha in [0, 200] or inf",
    "nothing",
    "skip the step; with a GradScaler it is skipped and the scale lowered, else look at the loss",
)
_MEMBERS = tuple(Status)
_BY_RANK = np.array(
    [
        Status.OPTIMAL,
        Status.ROUNDING_LIMITED,
        Status.PARETO_STATIONARY,
        Status.UNDECIDED,
        Status.STEP_LIMIT,
        Status.OUT_OF_RANGE,
        Status.UNBOUNDED,
        Status.INFEASIBLE,
        Status.NOT_FINITE,
    ]
)
_RANK = np.argsort(_BY_RANK)  # place of every status in that order
GOOD = (Status.OPTIMAL, Status.ROUNDING_LIMITED)


@dataclass(frozen=True, eq=False)
class Solution:
    """The answer to a K x K problem, or to a batch of them.

    Attributes:
        weights: (..., K); the direction is d = sum_k weights[k] g_k.
        status: `Status`; for a batch an integer array of its values. All numbers below have its
            shape.
        residual: Relative and scale-free violation of the problem by `weights` as returned
            (recomputed from the Gram matrix, 0 is exact, inf where there is no answer).
        iterations: Steps used.
        certificate: (..., K) convex v with ||sum_k v_k g_k|| ~ 0 where (nearly) stationary, NaN
            rows elsewhere; None if nowhere.
        dual: (..., K) simplex multipliers where the problem has them, else None.
        floor: The smallest residual that half an ulp in the weights can already cause (FairGrad);
            at 1 residuals are counted in such half ulps.
        worst: Index of the task with the largest residual (FairGrad; -1 elsewhere).
        gram_error: The precision of the Gram matrix that was assumed, or observed if worse.
        direction_error: A bound of |d - d*| / |g0| for every set of gradients whose Gram matrix is
            within `gram_error`, from the weights as returned (projections on the dual cone; NaN
            where a solver gives none).
        low: (..., K) second float of the weights where one float each costs more than the accuracy
            asked for: d = sum_k (weights[k] + low[k]) g_k. None where one is enough, zeros where it
            is for some problems of a batch.
        direction: (D,) d itself, summed in twice the digits and rounded once, from the solvers that
            see the gradients; there `direction_error`, if it is a number, is that of `direction`.
        tasks: Names of the tasks where the caller gave some, as `fairopt.torch.backward` takes a
            dictionary of losses.

    Example:
        >>> from fairopt import fairgrad
        >>> print(fairgrad([[1.0, 0.0], [0.0, 4.0]], alpha=1.0))
        Solution: solved: the residual is at or below the tolerance
          weights    [1.  0.5]
          residual   ...
          iterations ...
    """

    weights: Array
    status: Status | NDArray[np.int64]
    residual: float | Array
    iterations: int | NDArray[np.int64]
    certificate: Array | None = None
    dual: Array | None = None
    floor: float | Array = 0.0
    worst: int | NDArray[np.int64] = -1
    gram_error: float | Array = 0.0
    direction_error: float | Array = math.nan
    low: Array | None = None
    direction: Array | None = None
    tasks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Give numbers of a batch its shape, also those that a solver does not compute."""
        shape = np.shape(self.status)
        for name in ("floor", "worst", "gram_error", "direction_error"):
            value = getattr(self, name)
            if np.shape(value) != shape:
                object.__setattr__(self, name, np.broadcast_to(value, shape).copy())

    @property
    def ok(self) -> bool:
        """OPTIMAL or ROUNDING_LIMITED, everywhere for a batch."""
        return bool(np.isin(self.status, GOOD).all())

    @property
    def by_task(self) -> dict[str, Any]:
        """The weights by name of the task; by its number where there are no names."""
        names = self.tasks or tuple(map(str, range(self.weights.shape[-1])))
        weights = np.moveaxis(self.weights, -1, 0)
        return {name: w if w.ndim else float(w) for name, w in zip(names, weights, strict=True)}

    @property
    def sentence(self) -> str:
        """The status of the first problem without an answer (else of the first), with numbers."""
        index = self._first_bad() or (0,) * np.ndim(self.status)
        if np.size(self.status) == 0:
            return "an empty batch"
        status = _MEMBERS[int(np.asarray(self.status)[index])]
        if status is Status.PARETO_STATIONARY:
            return status.sentence + self._alone(index)
        return status.sentence + _numbers(status, *self._facts(index), self.tasks)

    def require(self) -> Solution:
        """This solution if it is an answer.

        Raises:
            NotSolved: With the first bad index, the sentence, the residual if there is one, and
                what to do.
        """
        if self.ok:
            return self
        index = self._first_bad()
        status = _MEMBERS[int(np.asarray(self.status)[index])]
        where = f"problem {index if len(index) > 1 else index[0]}: " if index else ""
        residual = float(np.asarray(self.residual)[index])
        left = f" (residual {residual:.2g})" if math.isfinite(residual) else ""
        raise NotSolved(f"{where}{self.sentence}{left}; {status.advice}")

    def _first_bad(self) -> tuple[int, ...]:
        """Index of the first problem without an answer."""
        bad = np.argwhere(~np.isin(self.status, GOOD))
        return tuple(int(i) for i in bad[0]) if len(bad) else ()

    def stationary_alone(self, index: tuple[int, ...] = ()) -> int | None:
        """The task that is stationary by itself and so stops all others, if one is.

        Args:
            index: Of the problem in a batch.
        """
        status = _MEMBERS[int(np.asarray(self.status)[index])]
        if status is not Status.PARETO_STATIONARY or self.certificate is None:
            return None
        single = self.certificate[index] == 1.0
        return int(np.argmax(single)) if single.sum() == 1 else None

    def _alone(self, index: tuple[int, ...]) -> str:
        """Which task is stationary by itself, if one is."""
        k = self.stationary_alone(index)
        if k is None:
            return ""
        return f" (that of task {k if self.tasks is None else repr(self.tasks[k])} alone)"

    def _facts(self, index: tuple[int, ...]) -> tuple[int, float, float]:
        """Worst task, floor and Gram error of one problem."""
        worst, floor, error = (
            np.asarray(x)[index] if np.ndim(x) else x
            for x in (self.worst, self.floor, self.gram_error)
        )
        return int(worst), float(floor), float(error)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Solution):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def __str__(self) -> str:
        rows = [f"Solution: {self.sentence}"]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("weights", "residual", "iterations", "certificate", "dual"):
                rows += [] if value is None else [f"  {field.name:<10} {_short(value)}"]
        return "\n".join(rows)


def single(weights: Array, status: Any, residual: Any, iterations: Any, **others: Any) -> Solution:
    """The solution of one problem from a kernel's scalars, several times faster than __init__."""
    solution = object.__new__(Solution)
    solution.__dict__.update(
        weights=weights,
        status=_MEMBERS[status],
        residual=float(residual),
        iterations=int(iterations),
        certificate=None,
        dual=None,
        floor=0.0,
        worst=-1,
        gram_error=0.0,
        direction_error=math.nan,
        low=None,
        direction=None,
        tasks=None,
    )
    solution.__dict__.update(others)
    return solution


def worst(status: ArrayLike, axis: int | None = None) -> Any:
    """The status by which weights can be used least; the only place that orders statuses.

    From best to worst: OPTIMAL and ROUNDING_LIMITED are answers; PARETO_STATIONARY is a proven
    fact with weights of zero; UNDECIDED weights are exact for some matrix with these digits;
    STEP_LIMIT is an unfinished point; OUT_OF_RANGE has an answer and no weights; UNBOUNDED and
    INFEASIBLE have none, and the last is helped by no other input but by another problem;
    NOT_FINITE is no problem at all.

    Args:
        status: `Status` values of any shape, not empty.
        axis: Axis to reduce, default all.

    Returns:
        A `Status`, or an integer array of its values.

    Example:
        >>> worst([Status.ROUNDING_LIMITED, Status.STEP_LIMIT])
        <Status.STEP_LIMIT: 3>
        >>> worst([[Status.OPTIMAL, Status.ROUNDING_LIMITED]], axis=1)
        array([7])
    """
    rank = _RANK[np.asarray(status, dtype=np.int64)].max(axis=axis)
    found = _BY_RANK[rank]
    return found if np.ndim(found) else _MEMBERS[int(found)]


def _numbers(
    status: Status, worst: int, floor: float, error: float, tasks: tuple[str, ...] | None
) -> str:
    """What a sentence adds for this problem."""
    task = f"task {worst}" if tasks is None or worst < 0 else f"task {tasks[worst]!r}"
    if status is Status.NOT_FINITE:
        return f" (first that of {task})" if worst >= 0 else ""
    if status is Status.ROUNDING_LIMITED and floor >= 1.0:
        return f" of half ulps of the weights, met by {task}; the weights are proven to 1e-6"
    if status is Status.ROUNDING_LIMITED:
        return f" of {floor:.1e}, met by {task}" if worst >= 0 else ""
    if status is Status.UNDECIDED:
        return f" (its entries are known within {error:.1e} for unit gradients)"
    return ""


def _same(left: Any, right: Any) -> bool:
    """Equality of two fields, NaN equal to NaN."""
    if left is None or right is None:
        return left is right
    return bool(np.array_equal(left, right, equal_nan=True))


def _short(value: Any) -> str:
    """A value on at most a few lines."""
    if np.ndim(value) == 0:
        return f"{value:.3g}"
    with np.printoptions(threshold=24, edgeitems=3, precision=6):
        return str(value).replace("\n", "\n             ")
