"""alpha = inf: the max-min fair rates by progressive filling.

All rates rise together; when a link is full (or a flow at its bound) its flows keep their rate and
the others go on. A full link is found through a heap of levels: freezing flows only raises the
level at which other links fill, so a level noted earlier is a lower bound and is computed afresh,
from the rates themselves, when it comes up.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocation.method_result import MethodResult
from fairopt.allocation.presolve.scaling import Scaled


def progressive_filling(scaled: Scaled) -> MethodResult:
    """Max-min fair rates; log prices are -log of the level of a bottleneck, -inf elsewhere."""
    from fairopt.kernels.network.progressive_filling import fill_progressively

    middle = float(np.median(scaled.log_unit))
    A, unit = scaled.by_link, np.exp(scaled.log_unit - middle)
    by_link = A.indptr.view(np.uint32), A.indices.view(np.uint32), A.data / unit[A.indices]
    capped = np.flatnonzero(scaled.bounded)
    rising = capped[np.argsort(unit[capped], kind="stable")]
    with np.errstate(all="ignore"):
        rates, held, level, rounds = fill_progressively(
            *by_link, *scaled.rows[:2], unit, rising, np.empty(scaled.links)
        )
        log_bound = np.where(held, 0.0, -np.inf)  # y = 1, in units of the flow
        y = np.minimum(rates / unit, 1.0)
        return MethodResult(y, -np.log(level) - middle, log_bound, int(rounds))
