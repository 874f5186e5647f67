"""One record per method: anything with `.solve(gram) -> Solution` can take its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import GRAM_ERROR, Array
from fairopt.conflict_averse import conflict_averse
from fairopt.dual_cone import default_accuracy, dual_cone_projection, upgrad
from fairopt.dual_cone_double_gram import dual_cone_from_double_gram, upgrad_from_double_gram
from fairopt.errors import InvalidInput
from fairopt.fairgrad import fairgrad
from fairopt.fairgrad_double_gram import fairgrad_sum_from_double_gram
from fairopt.min_norm import min_norm
from fairopt.solution import Solution, Status

RESCALES = ("none", "1+c", "1+c2")


class Method(Protocol):
    """Anything that turns a Gram matrix into a `Solution`."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """Weights of the direction for a (..., K, K) Gram matrix."""


PreciseGram = Callable[[], tuple[Array, Array, float]]
"""Call it for a (K, K) Gram matrix as (high, low, error): its entries are high_ij + low_ij within
error |g_i| |g_j|. It is formed by the first call, which is costly, and kept."""


class PreciseMethod(Method, Protocol):
    """A method that can do more with a Gram matrix of twice the digits.

    `aggregate` asks any method that has a `solve_double`, where its `solve` was UNDECIDED.
    """

    def solve_double(self, gram: PreciseGram) -> Solution | None:
        """A solution of one problem, `low` included if it needs that; None if this cannot help."""


def for_tasks(method: Method, tasks: Sequence[int], K: int) -> Method:
    """The method for some of K tasks: what it knows per task is restricted to them.

    A method of your own that holds one number per task says how by a `for_tasks` of its own.
    """
    restrict = getattr(method, "for_tasks", None)
    if len(tasks) == K or restrict is None:
        return method
    chosen: Method = restrict(list(tasks), K)
    return chosen


def of_tasks(name: str, values: ArrayLike | None, tasks: Sequence[int], K: int) -> Array | None:
    """The entries of some tasks; a single number stands for all."""
    if values is None or np.ndim(values) == 0:
        return None if values is None else np.asarray(values, dtype=np.float64)
    array = np.asarray(values, dtype=np.float64)
    if array.shape[-1] != K:
        raise InvalidInput(name, array.tolist(), f"{K} numbers, one per task")
    return array[..., list(tasks)]


def solved(method: Method, gram: Array) -> Solution:
    """What a method finds for one matrix or a batch of them, which it may write into.

    Raises:
        InvalidInput: for a method that returns something else than a `Solution` of K weights.
    """
    found = method.solve(gram.copy(), gram_error=GRAM_ERROR)
    if not isinstance(found, Solution) or np.shape(found.weights) != gram.shape[:-1]:
        what = found.weights if isinstance(found, Solution) else found
        requirement = f"a record whose `solve` returns a Solution of {gram.shape[-1]} weights"
        raise InvalidInput("method", f"one that returned {what}", requirement)
    return found


def checked_method(method: object) -> None:
    """Refuse what cannot solve: a name, or a record without its parentheses."""
    if isinstance(method, type) or not callable(getattr(method, "solve", None)):
        raise InvalidInput("method", method, "a record with `solve`, such as FairGrad(2.0)")


def _graded(found: Solution) -> Solution:
    """Called ok as `solve` would: these solvers aim at 1e-6, which is more than is asked here."""
    enough = found.direction_error <= default_accuracy(np.asarray(found.gram_error))
    if found.status in (Status.UNDECIDED, Status.STEP_LIMIT) and enough:
        return replace(found, status=Status.OPTIMAL)
    return found


@dataclass(frozen=True)
class FairGrad:
    """`fairopt.fairgrad` with fixed alpha and priorities.

    Args:
        alpha: In [0, inf], how evenly progress is shared: 0 is the sum of the gradients (projected
            on the non-conflicting directions), 1 proportional fairness (Nash-MTL), 2 minimum
            potential delay, inf max-min (MGDA).
        priority: (K,) > 0, one for each task; ones by default.
    """

    alpha: float
    priority: ArrayLike | None = None

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The alpha-fair weights."""
        return fairgrad(gram, self.alpha, priority=self.priority, gram_error=gram_error)

    def solve_double(self, gram: PreciseGram) -> Solution | None:
        """The projected sum of the gradients; None unless alpha is 0."""
        stacked = self.priority is not None and np.ndim(self.priority) > 1
        if np.ndim(self.alpha) or self.alpha != 0.0 or stacked:
            return None
        return _graded(fairgrad_sum_from_double_gram(*gram(), self.priority))

    def for_tasks(self, tasks: Sequence[int], K: int) -> FairGrad:
        """With the priorities of these tasks."""
        return replace(self, priority=of_tasks("priority", self.priority, tasks, K))


@dataclass(frozen=True)
class ConflictAverse:
    """`fairopt.conflict_averse` around the mean, divided by 1 + c or 1 + c^2 on request.

    Released code (CAGrad, FedHCA2) divides by 1 + c^2 by default; the equations do not.
    """

    c: float
    rescale: str = "none"

    def __post_init__(self) -> None:
        checks.choice("rescale", self.rescale, RESCALES)

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The conflict-averse weights; residual and dual are those before rescaling."""
        solution = conflict_averse(gram, self.c, gram_error=gram_error)
        divisor = {"none": 1.0, "1+c": 1.0 + self.c, "1+c2": 1.0 + self.c**2}[self.rescale]
        return replace(solution, weights=solution.weights / divisor)


@dataclass(frozen=True)
class MinNorm:
    """`fairopt.min_norm` (MGDA)."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The min-norm weights."""
        return min_norm(gram, gram_error=gram_error)


@dataclass(frozen=True)
class DualCone:
    """`fairopt.dual_cone_projection` of a reference combination, the mean by default."""

    reference: ArrayLike | None = None

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The weights of the projection."""
        K = np.shape(gram)[-1]
        reference = np.full(K, 1.0 / K) if self.reference is None else self.reference
        return dual_cone_projection(gram, reference, gram_error=gram_error)

    def solve_double(self, gram: PreciseGram) -> Solution | None:
        """The same with twice the digits; None for a stack of references."""
        if self.reference is not None and np.ndim(self.reference) != 1:
            return None
        reference = None if self.reference is None else np.asarray(self.reference, dtype=np.float64)
        return _graded(dual_cone_from_double_gram(*gram(), reference))

    def for_tasks(self, tasks: Sequence[int], K: int) -> DualCone:
        """With the reference of these tasks."""
        return replace(self, reference=of_tasks("reference", self.reference, tasks, K))


@dataclass(frozen=True)
class UPGrad:
    """`fairopt.upgrad`: the mean of the projections of every gradient."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The UPGrad weights."""
        return upgrad(gram, gram_error=gram_error)

    def solve_double(self, gram: PreciseGram) -> Solution:
        """The same with twice the digits."""
        return _graded(upgrad_from_double_gram(*gram()))


@dataclass(frozen=True)
class Mean:
    """Plain linear scalarisation: 1 / K for every task, whatever the matrix."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """Equal weights."""
        A, _ = checks.gram_matrix(gram)
        checks.all_where("gram", A, np.isfinite(A), "finite")
        shape = A.shape[:-2]
        weights = np.full(A.shape[:-1], 1.0 / A.shape[-1])
        if not shape:
            return Solution(weights, Status.OPTIMAL, 0.0, 0)
        zeros = np.zeros(shape, dtype=np.int64)
        return Solution(weights, zeros, np.zeros(shape), zeros)
