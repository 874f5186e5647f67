"""Entries of the scaled problem from capacities, in plain numbers.

`fairopt.allocation.presolve.scaling` has the same in logarithms, for capacities whose ratios leave
float64. Arrays must be contiguous, which is not checked here.
"""

from __future__ import annotations

import math

from fairopt.kernels.jit import gufunc

_TYPES = (
    "void(uint32[::1], uint32[::1], float64[::1], float64[::1], float64[::1], float64[::1],"
    " float64, float64[::1], float64[::1])"
)


@gufunc(_TYPES, "(p),(e),(e),(m),(n),(n),()->(e),(n)")
def scaled_entries(  # type: ignore[no-untyped-def]
    indptr, links, relative, per_capacity, log_largest, log_bound, least, part, log_path
):
    """Fill R_li unit_i / c_l and log of the most that the links on its path let a flow have.

    The unit is that, or the bound of the flow if it is less. `relative` are the entries R_li over
    the largest one of their flow, `least` the smallest result.
    """
    for i in range(log_path.size):
        most = 0.0
        for e in range(indptr[i], indptr[i + 1]):
            part[e] = relative[e] * per_capacity[links[e]]
            most = max(most, part[e])
        log_path[i] = -math.log(most) - log_largest[i]
        unit = 1.0 / most
        if log_bound[i] < log_path[i]:
            unit *= math.exp(log_bound[i] - log_path[i])
        for e in range(indptr[i], indptr[i + 1]):
            part[e] = max(part[e] * unit, least)
