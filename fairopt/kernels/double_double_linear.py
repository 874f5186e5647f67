"""Small dense linear algebra in twice the digits, on rows of preallocated arrays.

Rounding: a `dot` of n terms errs by at most (n + 2) `TWICE` times the sum of the sizes of its
terms (one for each addition, two for a product); a factor L of an (m, m) matrix M with diagonal at
most 1, built from `dot`, `add`, `divide` and `root`, satisfies |L L' - M| <= (m + 7) `TWICE` entry
by entry.
"""

from __future__ import annotations

from typing import NamedTuple

from fairopt.arrays import Array
from fairopt.kernels.double_double import accumulate, add, divide, multiply
from fairopt.kernels.jit import allocating


class Double(NamedTuple):
    """Numbers as unevaluated sums of two floats, a vector or a matrix.

    Attributes:
        high: The rounded numbers.
        low: What rounding took from them.
    """

    high: Array
    low: Array


@allocating
def row(M: Double, i: int) -> Double:
    """Row i, not a copy."""
    return Double(M.high[i], M.low[i])


@allocating
def fill_double(y: Double, value: float) -> None:
    """Set every entry."""
    for k in range(y.high.shape[0]):
        y.high[k], y.low[k] = value, 0.0


@allocating
def copy_double(source: Double, target: Double) -> None:
    """Copy a vector."""
    for k in range(source.high.shape[0]):
        target.high[k], target.low[k] = source.high[k], source.low[k]


@allocating
def dot(a: Double, b: Double, n: int) -> tuple[float, float]:
    """Sum of a[k] b[k] over the first n entries."""
    total, rest = 0.0, 0.0
    for k in range(n):
        high, low = multiply(a.high[k], a.low[k], b.high[k], b.low[k])
        total, rest = accumulate(total, rest, high, low)
    return total, rest


@allocating
def dot_sizes(a: Double, b: Double, n: int) -> float:
    """Sum of |a[k] b[k]| over the first n entries."""
    size = 0.0
    for k in range(n):
        size += abs(a.high[k] * b.high[k])
    return size


@allocating
def solve_factored(L: Double, y: Double, n: int) -> None:
    """Overwrite y by the solution x of L L' x = y."""
    for i in range(n):
        high, low = dot(row(L, i), y, i)
        high, low = add(y.high[i], y.low[i], -high, -low)
        y.high[i], y.low[i] = divide(high, low, L.high[i, i], L.low[i, i])
    for i in range(n - 1, -1, -1):
        y.high[i], y.low[i] = divide(y.high[i], y.low[i], L.high[i, i], L.low[i, i])
        for k in range(i):
            high, low = multiply(L.high[i, k], L.low[i, k], -y.high[i], -y.low[i])
            y.high[k], y.low[k] = accumulate(y.high[k], y.low[k], high, low)
