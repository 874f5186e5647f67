"""Float kernels shared by the rules with one price per task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.exact_comparison import fits, one_fits, share_down
from mechanisms.auctions.kernels.jit import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


UNKNOWN = -1
"""The level lies outside the order statistics that were given."""


@compiled("int64(float64[::1], int64, int64, boolean, int64, float64)")
def share_level(
    b: Floats, below: int, size: int, complete: bool, divisor: int, budget: float
) -> int:
    """Largest k with divisor * k * b_(k) <= budget; b[j] has rank below + j + 1, j < size."""
    low, high = 0, size
    while low < high:
        j = (low + high + 1) // 2
        if one_fits(divisor * (below + j), b[j - 1], budget):
            low = j
        else:
            high = j - 1
    if (low == 0 and below > 0) or (low == size and not complete):
        return UNKNOWN
    return below + low


@compiled("float64(float64, int64, int64, float64)")
def share_price(following: float, k: int, divisor: int, budget: float) -> float:
    """min(b_(k+1), budget / (divisor * k)), rounded down; 0 where nobody is recruited."""
    return min(share_down(divisor * k, budget), following) if k > 0 else 0.0


@compiled(
    "boolean(float64[:, ::1], int64[::1], int64[::1], float64[::1], int64, float64[::1], float64)"
)
def level_fits(
    b: Floats, below: Integers, size: Integers, outside: Floats, k: int, x: Floats, budget: float
) -> bool:
    """Whether k * sum_s b_s(k+1) <= budget; b[s, j] has rank below[s] + j + 1, j < size[s]."""
    for s in range(x.size):
        j = k - below[s]
        x[s] = min(b[s, j], outside[s]) if j < size[s] else outside[s]
    return fits(k, x, x.size, budget)


@compiled("int64(float64[:, ::1], int64[::1], int64[::1], int64, int64, float64[::1], float64)")
def common_level(
    b: Floats, below: Integers, size: Integers, top: int, end: int, outside: Floats, budget: float
) -> int:
    """Largest k <= top with k * sum_s b_s(k+1) <= budget.

    `top` is the last level whose next bids are known, `end` the last level there is.
    """
    x = np.empty(below.size)
    low, high = below.max(), top
    if low > high or (low > 0 and not level_fits(b, below, size, outside, low, x, budget)):
        return UNKNOWN
    while low < high:
        k = (low + high + 1) // 2
        if level_fits(b, below, size, outside, k, x, budget):
            low = k
        else:
            high = k - 1
    return UNKNOWN if low == top and top < end else int(low)


@compiled(
    "void(float64[:, ::1], float64[::1], int64[::1], float64[:, ::1], "
    "boolean[:, ::1], float64[:, ::1])"
)
def recruit(
    bids: Floats,
    cutoff: Floats,
    quota: Integers,
    price: Floats,
    winners: NDArray[np.bool_],
    payments: Floats,
) -> None:
    """Recruit every bid below the cutoff and the first `quota` clients whose bid equals it.

    `price` is one row of pay for all clients, or a row for each.
    """
    clients, tasks = bids.shape
    each = price.shape[0] > 1
    left = quota.copy()
    for i in range(clients):
        for s in range(tasks):
            bid = bids[i, s]
            if bid > cutoff[s] or (bid == cutoff[s] and left[s] == 0):
                continue
            if bid == cutoff[s]:
                left[s] -= 1
            winners[i, s] = True
            payments[i, s] = price[i if each else 0, s]
