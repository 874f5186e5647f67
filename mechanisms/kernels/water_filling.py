"""Float kernel of the leave-one-out auctions, with water-filling caps or without.

Letters: b_t(j) j-th cheapest ask of task t, a_t(j) the same without client i; k level; x, lambda
as in `mechanisms.max_min_fair`. The order statistics come as a window of consecutive ranks
`base, ..., base + 5` around the common level of `level_max_min`, outside which nothing is decided.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.kernels.compiled import compiled
from mechanisms.kernels.exact import FITS, UNDECIDED, decide, fits

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WINDOW = 6
"""Ranks k_A-2 ... k_A+3: a(k-1) at the lowest level k_A-1 up to a(k+1) at the highest, k_A+1."""
BELOW = -1
ABOVE = WINDOW + 1


@compiled("float64(float64[:, ::1], int64[::1], int64, int64)")
def other(b: Floats, rank: Integers, t: int, j: int) -> float:
    """a_t(j) from the window: the next rank where the client itself is among the j cheapest."""
    return float(b[t, j + 1] if rank[t] <= j else b[t, j])


@compiled("boolean(int64, float64[::1], float64, float64[::1], float64)")
def capped_fits(k: int, x: Floats, cap: float, scratch: Floats, budget: float) -> bool:
    """Whether k * sum_t min(x_t, cap) <= budget, which says cap <= lambda(x, budget / k)."""
    total = 0.0
    for t in range(x.size):
        total += min(x[t], cap)
    verdict = decide(k, total, x.size, budget)
    if verdict != UNDECIDED:
        return verdict == FITS
    for t in range(x.size):
        scratch[t] = min(x[t], cap)
    return fits(k, scratch, x.size, budget)


@compiled("float64(int64, float64[::1], float64[::1], float64)")
def water_level_down(k: int, x: Floats, scratch: Floats, budget: float) -> float:
    """Largest float <= lambda(x, budget / k), where that is finite."""
    r = budget / k
    level = r / x.size
    while True:
        left, free = r, x.size
        for t in range(x.size):
            if x[t] <= level:
                left -= x[t]
                free -= 1
        if free == 0 or left / free <= level:
            break
        level = left / free
    while not capped_fits(k, x, level, scratch, budget):
        level = np.nextafter(level, 0.0)
    while capped_fits(k, x, np.nextafter(level, np.inf), scratch, budget):
        level = np.nextafter(level, np.inf)
    return level


@compiled(
    "float64(float64[:, ::1], int64[::1], int64, int64, int64, float64, float64[::1], float64[::1])"
)
def offer(
    b: Floats,
    rank: Integers,
    s: int,
    j: int,
    k: int,
    budget: float,
    x: Floats,
    scratch: Floats,
) -> float:
    """Price of task s at level k (row j of the window), or -1 where the level is closed."""
    highest = other(b, rank, s, j - 1)
    for t in range(x.size):
        if t == s:
            x[t] = other(b, rank, t, j)
        else:
            x[t] = other(b, rank, t, j + 1)
            highest = max(highest, other(b, rank, t, j))
    if highest == np.inf or not capped_fits(k, x, highest, scratch, budget):
        return -1.0
    if x[s] < np.inf and capped_fits(k, x, x[s], scratch, budget):
        return float(x[s])
    return water_level_down(k, x, scratch, budget)


@compiled("float64(float64[:, ::1], int64[::1], int64, int64, int64, float64, float64[::1])")
def plain_offer(
    b: Floats, rank: Integers, s: int, j: int, k: int, budget: float, x: Floats
) -> float:
    """a_s(k) where k (a_s(k) + sum of the others' a_t(k+1)) <= budget, or -1."""
    for t in range(x.size):
        x[t] = other(b, rank, t, j if t == s else j + 1)
    return float(x[s]) if fits(k, x, x.size, budget) else -1.0


@compiled("int64(float64[:, ::1], int64[:, ::1], int64[:, ::1], int64, int64, float64)")
def window_rank(b: Floats, less: Integers, seen: Integers, base: int, t: int, ask: float) -> int:
    """Row of the window at which a client stands; clients are met in the order of their index."""
    if ask > b[t, WINDOW - 1] or ask == np.inf:
        return ABOVE
    if ask < b[t, 0]:
        return BELOW
    for j in range(WINDOW):
        if ask == b[t, j]:
            seen[t, j] += 1
            return int(min(less[t, j] + seen[t, j] - base, ABOVE))
    return ABOVE


@compiled(
    "void(float64[:, ::1], float64[:, ::1], int64[:, ::1], int64, float64, boolean, "
    "boolean[:, ::1], float64[:, ::1])"
)
def leave_one_out(
    asks: Floats,
    b: Floats,
    less: Integers,
    level: int,
    budget: float,
    caps: bool,
    winners: NDArray[np.bool_],
    payments: Floats,
) -> None:
    """Fill winners and payments, client by client, from the window b of shape (S, 6).

    `less[t, j]` counts the asks of task t strictly below `b[t, j]`; `level` is k_A. `caps` chooses
    the water-filling offers over the plain ones.
    """
    clients, tasks = asks.shape
    base = level - 2
    seen = np.zeros((tasks, WINDOW), np.int64)
    rank = np.empty(tasks, np.int64)
    x = np.empty(tasks)
    scratch = np.empty(tasks)
    for i in range(clients):
        for t in range(tasks):
            rank[t] = window_rank(b, less, seen, base, t, asks[i, t])
        for s in range(tasks):
            for j in range(3, 0, -1):
                k = base + j
                if k < 1 or rank[s] > j:
                    break
                if caps:
                    price = offer(b, rank, s, j, k, budget, x, scratch)
                else:
                    price = plain_offer(b, rank, s, j, k, budget, x)
                if price >= 0.0:
                    if asks[i, s] <= price:
                        winners[i, s] = True
                        payments[i, s] = price
                    break
