"""One record per method: anything with `.solve(gram) -> Solution` can take its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.conflict_averse import conflict_averse
from fairopt.dual_cone import dual_cone_projection, upgrad
from fairopt.fairgrad import fairgrad
from fairopt.min_norm import min_norm
from fairopt.solution import Solution, Status

RESCALES = ("none", "1+c", "1+c2")


class Method(Protocol):
    """Anything that turns a Gram matrix into a `Solution`."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """Weights of the direction for a (..., K, K) Gram matrix."""


@dataclass(frozen=True)
class FairGrad:
    """`fairopt.fairgrad` with fixed alpha and priorities."""

    alpha: float
    priority: ArrayLike | None = None

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The alpha-fair weights."""
        return fairgrad(gram, self.alpha, priority=self.priority, gram_error=gram_error)


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


@dataclass(frozen=True)
class UPGrad:
    """`fairopt.upgrad`: the mean of the projections of every gradient."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The UPGrad weights."""
        return upgrad(gram, gram_error=gram_error)


@dataclass(frozen=True)
class Mean:
    """Plain linear scalarisation: 1 / K for every task, whatever the matrix."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """Equal weights."""
        A, _ = checks.gram_matrix(gram)
        shape = A.shape[:-2]
        weights = np.full(A.shape[:-1], 1.0 / A.shape[-1])
        if not shape:
            return Solution(weights, Status.OPTIMAL, 0.0, 0)
        zeros = np.zeros(shape, dtype=np.int64)
        return Solution(weights, zeros, np.zeros(shape), zeros)
