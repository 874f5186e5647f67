"""The record of an allocation: rates, dual prices, a status and a residual."""

from __future__ import annotations

from dataclasses import dataclass

from fairopt.allocation.answer import Answer
from fairopt.arrays import Array, Ints
from fairopt.solution import Status

NAMED = 5  # links or flows a sentence lists


@dataclass(frozen=True, eq=False)
class Allocation(Answer):
    """Rates and prices, with the status and the residual of the point.

    Attributes:
        rates: (flows,) x; inf for a flow that nothing limits.
        prices: (links,) lambda >= 0, the gain in total utility per unit of capacity; inf on a used
            link without capacity. At alpha = inf, over one path or several, the limit of
            lambda^(1 / alpha): 1 / rate of the flows whose bottleneck the link is, else 0
            (`fairopt.allocation.bottleneck_prices`).
        upper_prices: (flows,) the same for the bounds `upper`.
        status: OPTIMAL, ROUNDING_LIMITED, STEP_LIMIT, INFEASIBLE, UNBOUNDED or OUT_OF_RANGE.
        residual: `allocation_residual` of the point as returned: inf where the problem has no
            optimum; `detail` then has the residual of the other flows.
        iterations: Steps of all methods together.
        certificate: (flows,) 1 for flows that can only have rate zero (INFEASIBLE), that nothing
            limits (UNBOUNDED: a direction in which the problem never ends), or whose rates float64
            does not fix (ROUNDING_LIMITED), else None.
        detail: What the sentence adds for this problem.

    Example:
        >>> from fairopt import alpha_fair_allocation
        >>> print(alpha_fair_allocation([[1, 1, 0], [1, 0, 1]], [1.0, 2.0], alpha=1.0))
        Allocation: solved: the residual is at or below the tolerance
          rates        [0.42264973 0.57735027 1.57735027]
          prices       [1.73205081 0.6339746 ]
          upper_prices [0. 0. 0.]
          residual     ...
          iterations   ...
    """

    rates: Array
    prices: Array
    upper_prices: Array
    status: Status
    residual: float
    iterations: int
    certificate: Array | None = None
    detail: str = ""

    def __str__(self) -> str:
        return self._screen("Allocation", "rates", "prices", "upper_prices")


def listed(numbers: Ints) -> str:
    """The first few of them.

    Example:
        >>> import numpy as np
        >>> listed(np.arange(7))
        '0, 1, 2, 3, 4, ...'
    """
    more = ", ..." if len(numbers) > NAMED else ""
    return ", ".join(str(i) for i in numbers[:NAMED]) + more
