"""Float kernels shared by the rules with one price per task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.kernels.compiled import compiled
from mechanisms.kernels.exact import fits, one_fits, share_down

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@compiled("int64(float64[::1], int64, float64)")
def share_level(b: Floats, divisor: int, budget: float) -> int:
    """Largest k with divisor * k * b_(k) <= budget, for sorted asks b."""
    low, high = 0, b.size
    while low < high:
        k = (low + high + 1) // 2
        if b[k - 1] < np.inf and one_fits(divisor * k, b[k - 1], budget):
            low = k
        else:
            high = k - 1
    return low


@compiled("float64(float64[::1], int64, int64, float64)")
def share_price(b: Floats, k: int, divisor: int, budget: float) -> float:
    """min(b_(k+1), budget / (divisor * k)), rounded down; 0 where nobody is recruited."""
    if k == 0:
        return 0.0
    share = share_down(divisor * k, budget)
    return min(share, b[k]) if k < b.size else share


@compiled("int64(float64[:, ::1], float64[::1], float64)")
def common_level(b: Floats, outside: Floats, budget: float) -> int:
    """Largest k <= N with k * sum_s b_s(k+1) <= budget, for sorted rows b of shape (S, N)."""
    tasks, clients = b.shape
    x = np.empty(tasks)
    low, high = 0, clients
    while low < high:
        k = (low + high + 1) // 2
        for s in range(tasks):
            x[s] = min(b[s, k], outside[s]) if k < clients else outside[s]
        if fits(k, x, tasks, budget):
            low = k
        else:
            high = k - 1
    return low


@compiled(
    "void(float64[:, ::1], float64[::1], int64[::1], float64[::1], "
    "boolean[:, ::1], float64[:, ::1])"
)
def recruit(
    asks: Floats,
    cutoff: Floats,
    quota: Integers,
    price: Floats,
    winners: NDArray[np.bool_],
    payments: Floats,
) -> None:
    """Recruit every ask below the cutoff and the first `quota` clients that ask exactly it."""
    clients, tasks = asks.shape
    left = quota.copy()
    for i in range(clients):
        for s in range(tasks):
            ask = asks[i, s]
            if ask > cutoff[s] or (ask == cutoff[s] and left[s] == 0):
                continue
            if ask == cutoff[s]:
                left[s] -= 1
            winners[i, s] = True
            payments[i, s] = price[s]
