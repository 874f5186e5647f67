"""Exact comparisons of sums of floats: an auction's ties are decided, not rounded.

Every test of every rule has the form `k * (x_1 + ... + x_m) <= B` with non-negative floats. A
plain sum decides it unless both sides agree to within the rounding of that sum; then the sum is
repeated without rounding, as an expansion of non-overlapping floats (Shewchuk 1997, "Adaptive
precision floating-point arithmetic", Theorem 10; the form used is the one of `math.fsum`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.jit import compiled

ULP = 2.0**-52
"""Twice the unit roundoff: bounds below use it in place of 2^-53 as their safety factor."""
PARTIALS = 48
"""Non-overlapping float64 parts of any sum: 2098 bits of exponent range over 53 is below 41."""

FITS = 1
EXCEEDS = 0
UNDECIDED = -1


@compiled("int64(float64[::1], int64, float64)")
def add_exactly(partials: NDArray[np.float64], count: int, x: float) -> int:
    """Add x to an expansion in place; returns its new length. The last part carries the sign."""
    kept = 0
    for j in range(count):
        y = partials[j]
        if abs(x) < abs(y):
            x, y = y, x
        high = x + y
        low = y - (high - x)
        if low != 0.0:
            partials[kept] = low
            kept += 1
        x = high
    if x != 0.0:
        partials[kept] = x
        kept += 1
    return kept


@compiled("int64(float64[::1], int64, int64, float64)")
def add_multiple(partials: NDArray[np.float64], count: int, k: int, x: float) -> int:
    """Add k * x to an expansion by doubling, which never rounds; k >= 0."""
    while k > 0:
        if k & 1:
            count = add_exactly(partials, count, x)
        k >>= 1
        x *= 2.0
    return count


@compiled("int64(int64, float64, int64, float64)")
def decide(k: int, total: float, terms: int, budget: float) -> int:
    """Decide k * total <= budget where total is a plain float sum of so many terms >= 0."""
    spend = k * total
    if spend == np.inf:
        return EXCEEDS
    gap = budget - spend
    slack = (terms + 3) * ULP * spend
    if gap > slack:
        return FITS
    if gap < -slack:
        return EXCEEDS
    return UNDECIDED


@compiled("boolean(int64, float64[::1], int64, float64)")
def fits(k: int, x: NDArray[np.float64], terms: int, budget: float) -> bool:
    """Whether k * (x[0] + ... + x[terms - 1]) <= budget, exactly."""
    total = 0.0
    for j in range(terms):
        total += x[j]
    decision = decide(k, total, terms, budget)
    if decision != UNDECIDED:
        return decision == FITS
    partials = np.empty(PARTIALS)
    count = add_exactly(partials, 0, -budget)
    for j in range(terms):
        count = add_multiple(partials, count, k, x[j])
    return count == 0 or partials[count - 1] < 0.0


@compiled("boolean(int64, float64, float64)")
def one_fits(k: int, x: float, budget: float) -> bool:
    """Whether k * x <= budget, exactly."""
    decision = decide(k, x, 1, budget)
    if decision != UNDECIDED:
        return decision == FITS
    single = np.empty(1)
    single[0] = x
    return fits(k, single, 1, budget)


@compiled("float64(int64, float64)")
def share_down(k: int, budget: float) -> float:
    """Largest float y with k * y <= budget."""
    y = budget / k
    while not one_fits(k, y, budget):
        y = np.nextafter(y, 0.0)
    while one_fits(k, np.nextafter(y, np.inf), budget):
        y = np.nextafter(y, np.inf)
    return y
