"""Integers of some 120 bits as two machine words: sums and differences of floats without rounding.

A number is high * 2^60 + low with 0 <= low < 2^60. Bids become such integers in a common unit, so
every comparison of the capacity auctions is exact and ties are ties.
"""

from __future__ import annotations

from mechanisms.auctions.kernels.jit import compiled

LOW_BITS = 60
MASK = 2**60 - 1
HALF_BITS = 30
HALF_MASK = 2**30 - 1
BITS = 120
"""Size up to which sums, and products with counts below 2^30, do not overflow."""


@compiled("UniTuple(int64, 2)(int64, int64, int64, int64)")
def plus(a: int, b: int, c: int, d: int) -> tuple[int, int]:
    """(a, b) + (c, d)."""
    low = b + d
    return a + c + (low >> LOW_BITS), low & MASK


@compiled("UniTuple(int64, 2)(int64, int64, int64, int64)")
def minus(a: int, b: int, c: int, d: int) -> tuple[int, int]:
    """(a, b) - (c, d)."""
    low = b - d
    return a - c + (low >> LOW_BITS), low & MASK


@compiled("UniTuple(int64, 2)(int64, int64, int64)")
def times(factor: int, a: int, b: int) -> tuple[int, int]:
    """The product factor * (a, b) for 0 <= factor < 2^30."""
    first = (b & HALF_MASK) * factor
    second = (b >> HALF_BITS) * factor + (first >> HALF_BITS)
    low = (first & HALF_MASK) | ((second & HALF_MASK) << HALF_BITS)
    return a * factor + (second >> HALF_BITS), low


@compiled("int64(int64, int64, int64, int64)")
def order(a: int, b: int, c: int, d: int) -> int:
    """Sign of (a, b) - (c, d)."""
    if a != c:
        return 1 if a > c else -1
    return int(b > d) - int(b < d)
