"""A point of the stated problem with its residual, and the status that follows from it."""

from __future__ import annotations

import numpy as np

from fairopt.allocation.multipath.problem import PathProblem, path_residual
from fairopt.allocation.multipath.reduced import Reduced
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.residual import relative_loads
from fairopt.allocation.solve import EXPONENT, fitting
from fairopt.arrays import Array
from fairopt.solution import Status


def zero_prices(problem: PathProblem) -> Array:
    """Prices of zero, inf on used links without capacity."""
    return np.where(problem.by_path.closed, np.inf, 0.0)


def answer(
    problem: PathProblem,
    z: Array,
    prices: Array,
    steps: int,
    tol: float,
    reduced: Reduced | None,
) -> PathAllocation:
    """The point with its residual and status."""
    z, prices = np.nan_to_num(z, nan=0.0), np.nan_to_num(prices, nan=0.0, posinf=np.inf)
    if (relative_loads(problem.by_path, z) > 1.0 + tol).any():
        z = fitting(problem.by_path, z)
    residual = path_residual(problem, z, prices)
    status, detail = Status.OPTIMAL, ""
    if residual > tol:
        status, detail = _why_not(problem, reduced)
    none = np.zeros(problem.flows)
    return PathAllocation(
        problem.total(z),
        prices,
        none,
        status,
        residual,
        steps,
        detail=detail,
        path_rates=z,
        error=np.where(problem.closed, 0.0, np.inf),
    )


def _why_not(problem: PathProblem, reduced: Reduced | None) -> tuple[Status, str]:
    """STEP_LIMIT, or OUT_OF_RANGE where prices p x^-alpha leave float64 whatever the rates.

    The point that was found does not tell: its rates may be far off. A rate is at most the sum of
    the largest ones on the paths of its flow, and about at least one of them over the number of
    all paths.
    """
    if reduced is None or problem.by_path.alpha in (0.0, np.inf):
        return Status.STEP_LIMIT, ""
    own = np.bincount(reduced.owner, minlength=len(reduced.flows))
    alpha, base = problem.by_path.alpha, np.log(problem.priority[reduced.flows])
    cheapest = base - alpha * (reduced.log_unit + np.log(own))
    costliest = base - alpha * (reduced.log_unit - np.log(len(reduced.paths)))
    if (cheapest > EXPONENT).any() or (costliest < -EXPONENT).any():
        return Status.OUT_OF_RANGE, " (prices p x^-alpha; use a smaller alpha, or inf)"
    return Status.STEP_LIMIT, ""
