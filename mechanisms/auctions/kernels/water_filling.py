"""Float kernel of the leave-one-out auctions, with water-filling caps or without.

Letters: b_t(j) j-th cheapest bid of task t, a_t(j) the same without client i; k level; x, lambda
as in `mechanisms.max_min_fair`. The order statistics come as a window of consecutive ranks
`base, ..., base + 5` around the common level of `level_max_min`, outside which nothing is decided.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.exact_comparison import FITS, UNDECIDED, decide, fits
from mechanisms.auctions.kernels.jit import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WINDOW = 6
"""Ranks k_A-2 ... k_A+3: a(k-1) at the lowest level k_A-1 up to a(k+1) at the highest, k_A+1."""
TOP = 3
"""Row of the highest level that can sell, k_A+1."""
SLOTS = 16384
"""Remembered patterns: all there are for 14 tasks; beyond, a collision only costs time."""
MIXER = 0x9E3779B97F4A7C1
"""Odd multiplier near 2^60 over the golden ratio (multiplicative hashing)."""
PATTERN_BITS = 62
"""Tasks up to which a pattern fits into an integer."""
BELOW = 0
"""Row at and before which a client counts in every a(j) that is looked up, j = 0..4."""
ABOVE = 5
"""Row from which on it counts in none."""


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
    decision = decide(k, total, x.size, budget)
    if decision != UNDECIDED:
        return decision == FITS
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
def window_rank(b: Floats, less: Integers, seen: Integers, base: int, t: int, bid: float) -> int:
    """Row of the window at which a client with one of its bids stands.

    Clients are met in the order of their index, which decides ties.
    """
    for j in range(WINDOW):
        if bid == b[t, j]:
            seen[t, j] += 1
            return int(less[t, j] + seen[t, j] - base)
    return ABOVE


@compiled(
    "float64(float64[:, ::1], int64[::1], int64, int64, float64, boolean, "
    "float64[::1], float64[::1])"
)
def price(
    b: Floats,
    rank: Integers,
    s: int,
    base: int,
    budget: float,
    caps: bool,
    x: Floats,
    scratch: Floats,
) -> float:
    """Price at the highest open level at which the client is cheap enough for task s, or -1."""
    for j in range(TOP, 0, -1):
        k = base + j
        if k < 1 or rank[s] > j:
            break
        if caps:
            offered = offer(b, rank, s, j, k, budget, x, scratch)
        else:
            offered = plain_offer(b, rank, s, j, k, budget, x)
        if offered >= 0.0:
            return offered
    return -1.0


@compiled("int64(int64)")
def slot(pattern: int) -> int:
    """Place of a pattern in the memory of prices; small patterns have their own."""
    if pattern < SLOTS:
        return pattern
    return ((pattern * MIXER) >> 20) & (SLOTS - 1)


@compiled(
    "void(float64[:, ::1], float64[:, ::1], int64[:, ::1], int64, float64, boolean, "
    "boolean[:, ::1], float64[:, ::1], int64[::1])"
)
def leave_one_out(
    bids: Floats,
    b: Floats,
    less: Integers,
    level: int,
    budget: float,
    caps: bool,
    winners: NDArray[np.bool_],
    payments: Floats,
    recruits: Integers,
) -> None:
    """Fill winners, payments and their number, client by client, from the (S, 6) window b.

    `less[t, j]` counts the bids of task t strictly below `b[t, j]`; `level` is k_A. `caps` chooses
    the water-filling offers over the plain ones. Clients that stand in no task inside the window
    share their prices with all that are below it in the same tasks, so these are remembered.
    """
    clients, tasks = bids.shape
    base = level - 2
    seen = np.zeros((tasks, WINDOW), np.int64)
    rank = np.empty(tasks, np.int64)
    x = np.empty(tasks)
    scratch = np.empty(tasks)
    known = np.full(SLOTS, -1, np.int64)
    memory = np.empty((SLOTS, tasks))
    memorable = tasks <= PATTERN_BITS
    for i in range(clients):
        pattern = 0
        ordinary = memorable
        for t in range(tasks):
            bid = bids[i, t]
            if bid < b[t, 0]:
                rank[t] = BELOW
                pattern |= 1 << t
            elif bid > b[t, WINDOW - 1] or bid == np.inf:
                rank[t] = ABOVE
            else:
                rank[t] = window_rank(b, less, seen, base, t, bid)
                if rank[t] <= BELOW:
                    pattern |= 1 << t
                ordinary = ordinary and (rank[t] <= BELOW or rank[t] >= ABOVE)
        if ordinary and pattern == 0:
            continue
        place = slot(pattern) if ordinary else 0
        fresh = not ordinary or known[place] != pattern
        if fresh:
            known[place] = pattern if ordinary else -1
        for s in range(tasks):
            if rank[s] > TOP:
                continue
            if fresh:
                memory[place, s] = price(b, rank, s, base, budget, caps, x, scratch)
            if bids[i, s] <= memory[place, s]:
                winners[i, s] = True
                payments[i, s] = memory[place, s]
                recruits[s] += 1
