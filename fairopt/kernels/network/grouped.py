"""Maxima of groups of numbers: `numpy.maximum.at` takes twenty times as long.

Arrays must be contiguous, which is not checked here.
"""

from __future__ import annotations

from fairopt.kernels.jit import gufunc
from fairopt.kernels.linear import copy

_LARGEST = "void(int64[::1], float64[::1], float64[::1], float64[::1])"


@gufunc(_LARGEST, "(e),(e),(g)->(g)")
def largest(group, value, least, found):  # type: ignore[no-untyped-def]
    """Fill the largest value of every group, or `least` if that is more or the value is NaN."""
    copy(least, found)
    for k in range(group.size):
        if value[k] > found[group[k]]:
            found[group[k]] = value[k]
