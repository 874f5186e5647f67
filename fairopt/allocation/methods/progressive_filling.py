"""alpha = inf: the max-min fair rates by progressive filling.

All rates rise together; when a link is full (or a flow at its bound) its flows keep their rate and
the others go on. A full link is found through a heap of levels: freezing flows only raises the
level at which other links fill, so a level noted earlier is a lower bound and is computed afresh,
from the rates themselves, when it comes up.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocation.method_result import MethodResult
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array

WIDEST = 690.0  # e-folds of a unit from their middle: float64 ends a little beyond


def progressive_filling(scaled: Scaled) -> MethodResult:
    """Max-min fair rates; log prices are -log of the level of a bottleneck, -inf elsewhere."""
    from fairopt.kernels.network.progressive_filling import fill_progressively

    centre = middle(scaled.log_unit)
    A, unit = scaled.by_link, np.exp(np.clip(scaled.log_unit - centre, -WIDEST, WIDEST))
    by_link = A.indptr.view(np.uint32), A.indices.view(np.uint32), A.data / unit[A.indices]
    capped = np.flatnonzero(scaled.bounded)
    rising = capped[np.argsort(unit[capped], kind="stable")]
    with np.errstate(all="ignore"):
        rates, held, level, rounds = fill_progressively(
            *by_link, *scaled.rows[:2], unit, rising, np.empty(scaled.links)
        )
        log_bound = np.where(held, 0.0, -np.inf)  # y = 1, in units of the flow
        y = np.minimum(rates / unit, 1.0)
        return MethodResult(y, -np.log(level) - centre, log_bound, int(rounds))


def middle(log_unit: Array) -> float:
    """The median; where that leaves a unit outside float64, half way between the ends."""
    median = float(np.median(log_unit))
    low, high = float(log_unit.min()), float(log_unit.max())
    return median if max(high - median, median - low) <= WIDEST else 0.5 * (low + high)
