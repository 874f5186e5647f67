"""The record of an allocation over several paths."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fairopt.allocation.result import Allocation
from fairopt.arrays import Array


@dataclass(frozen=True, eq=False)
class PathAllocation(Allocation):
    """An `Allocation` of flows whose rates are sums over paths.

    Attributes:
        path_rates: (paths,) z; where several splits give the same flow rates, one of them.
        error: (flows,) certified relative errors of the rates: the optimal ones are within them,
            whatever the solver did (`fairopt.allocation.multipath.certificate`). inf where nothing
            is certified: at alpha = 0, and for flows that pay less than the rounding of what the
            others pay. At alpha = inf what each flow could gain, relative, while the others keep
            their rates or, where they have more than it, at least as much as it has (per weight):
            0 for all is the definition of max-min
            (`fairopt.allocation.multipath.max_min_certificate`).
    """

    path_rates: Array = field(default_factory=lambda: np.zeros(0))
    error: Array = field(default_factory=lambda: np.zeros(0))
