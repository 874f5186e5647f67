"""The record of an allocation on a polytope."""

from __future__ import annotations

from dataclasses import dataclass

from fairopt.allocation.answer import Answer
from fairopt.arrays import Array
from fairopt.solution import Status


@dataclass(frozen=True, eq=False)
class PolytopeAllocation(Answer):
    """Utilities, the point that gives them, prices, a status and what is proven.

    Attributes:
        utilities: (n,) x = T z; inf where nothing limits it.
        point: (k,) z; where several give the same utilities, one of them.
        prices: (m,) lambda >= 0 of G z <= h, the gain in total utility per unit of h; at alpha =
            inf (levels, m), those of every level in which utilities settle, lowest first.
        equality_prices: (e,) nu of A z = b, of any sign; at alpha = inf (levels, e).
        utility_prices: (n,) q, what a unit of x is worth: p (x / w)^-alpha / w; at alpha = inf
            (levels, n) the prices of (T z) / w in every level.
        error: (n,) certified relative error: the exact x_i lies in
            [x_i / (1 + error_i), x_i (1 + error_i)]. At alpha = inf the largest relative gain that
            is possible without taking from a utility that is not larger; inf at alpha = 0, where
            optimal utilities need not be unique.
        status: OPTIMAL, STEP_LIMIT, INFEASIBLE, UNBOUNDED or OUT_OF_RANGE.
        residual: The larger of violation and duality gap, both relative, recomputed from the point
            as returned; inf where the problem has no optimum.
        iterations: Newton steps, or linear programmes at alpha = 0 and inf.
        certificate: (n,) 1 for utilities that can only be zero (INFEASIBLE) or that nothing limits
            (UNBOUNDED), else None.
        farkas: (m + e + n,) where no z meets the constraints and T z >= 0: multipliers lambda >= 0,
            nu, pi >= 0 with G' lambda + A' nu - T' pi >= 0 and h' lambda + b' nu < 0. Else None.
        detail: What the sentence adds for this problem.
    """

    utilities: Array
    point: Array
    prices: Array
    equality_prices: Array
    utility_prices: Array
    error: Array
    status: Status
    residual: float
    iterations: int
    certificate: Array | None = None
    farkas: Array | None = None
    detail: str = ""

    def __str__(self) -> str:
        return self._screen("PolytopeAllocation", "utilities", "point", "prices", "error")
