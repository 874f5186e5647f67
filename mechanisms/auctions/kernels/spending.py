"""Float kernels that spend a budget step by step and never lose a cent to rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.exact_comparison import PARTIALS, ULP, add_exactly
from mechanisms.auctions.kernels.jit import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


UNKNOWN = -1
"""The level lies outside the order statistics that were given."""


@compiled("int64(float64[:, ::1], float64[:, ::1], int64[::1], int64[::1], float64[::1], int64)")
def add_smaller(
    bids: Floats, b: Floats, below: Integers, size: Integers, partials: Floats, count: int
) -> int:
    """Add the max(below) cheapest bids of every task to an expansion; UNKNOWN if it gets above 0.

    Those before b[s, 0] are the ones that are smaller, wherever they stand in the table.
    """
    clients, tasks = bids.shape
    first = np.zeros(tasks)
    for s in range(tasks):
        if below.max() - below[s] > size[s] or size[s] == 0:
            return UNKNOWN
        first[s] = b[s, 0] if below[s] > 0 else 0.0
    for i in range(clients):
        for s in range(tasks):
            if bids[i, s] < first[s]:
                count = add_exactly(partials, count, bids[i, s])
        if count > 0 and partials[count - 1] > 0.0:
            return UNKNOWN
    for s in range(tasks):
        for j in range(below.max() - below[s]):
            count = add_exactly(partials, count, b[s, j])
            if count > 0 and partials[count - 1] > 0.0:
                return UNKNOWN
    return count


@compiled("int64(float64[:, ::1], float64[:, ::1], int64[::1], int64[::1], boolean[::1], float64)")
def affordable_rounds(
    bids: Floats,
    b: Floats,
    below: Integers,
    size: Integers,
    complete: NDArray[np.bool_],
    budget: float,
) -> int:
    """Largest k with sum_s sum_{j <= k} b_s(j) <= budget.

    b[s, j] has rank below[s] + j + 1, j < size[s], and no bid comes after them where `complete[s]`.
    `bids` (N, S) are all of them: those that come before b[s, 0] are added from there.
    """
    tasks = below.size
    partials = np.empty(PARTIALS)
    count = add_exactly(partials, 0, -budget)
    if below.max() > 0:
        count = add_smaller(bids, b, below, size, partials, count)
        if count == UNKNOWN:
            return UNKNOWN
    k = below.max()
    while True:
        for s in range(tasks):
            j = k - below[s]
            if j == size[s]:
                return k if complete[s] else UNKNOWN
            count = add_exactly(partials, count, b[s, j])
            if count > 0 and partials[count - 1] > 0.0:  # at once, so that nothing overflows
                return int(k)
        k += 1


@compiled("void(float64[::1], int64[::1], float64, boolean[::1])")
def spend_in_order(bids: Floats, order: Integers, budget: float, chosen: NDArray[np.bool_]) -> None:
    """Mark bids in the given order that fit into what is left of the budget."""
    partials = np.empty(PARTIALS)
    trial = np.empty(PARTIALS)
    count = add_exactly(partials, 0, -budget)
    for cell in order:
        if bids[cell] == np.inf:
            continue
        trial[:count] = partials[:count]
        size = add_exactly(trial, count, bids[cell])
        if size == 0 or trial[size - 1] < 0.0:
            partials[:size] = trial[:size]
            count = size
            chosen[cell] = True


@compiled("boolean(float64[::1], float64[::1], int64, float64[::1])")
def list_fits(prices: Floats, partials: Floats, count: int, trial: Floats) -> bool:
    """Whether a sum of prices is at most the money left, which the expansion holds as -left.

    The largest part of an expansion is the whole of it to within its last bit.
    """
    total = 0.0
    for s in range(prices.size):
        total += prices[s]
    left = -partials[count - 1] if count > 0 else 0.0
    slack = ULP * ((prices.size + 3) * total + 2.0 * left)
    if total < np.inf and abs(left - total) > slack:
        return left > total
    trial[:count] = partials[:count]
    for s in range(prices.size):
        count = add_exactly(trial, count, prices[s])
        if count > 0 and trial[count - 1] > 0.0:  # at once, so that nothing overflows
            return False
    return True


@compiled(
    "void(float64[:, ::1], float64[:, ::1], float64, boolean[:, ::1], float64[:, ::1], int64[::1])"
)
def offer_in_order(
    bids: Floats,
    prices: Floats,
    budget: float,
    winners: NDArray[np.bool_],
    payments: Floats,
    recruits: Integers,
) -> None:
    """Serve the clients, in order, whose whole list of prices fits into the money left.

    `prices` has one row for all clients, or a row for each. Winners, payments and the number of
    recruits of each task are filled.
    """
    clients, tasks = bids.shape
    partials = np.empty(PARTIALS)
    trial = np.empty(PARTIALS)
    count = add_exactly(partials, 0, -budget)
    for i in range(clients):
        row = min(i, len(prices) - 1)
        if not list_fits(prices[row], partials, count, trial):
            continue
        for s in range(tasks):
            if bids[i, s] <= prices[row, s]:
                count = add_exactly(partials, count, prices[row, s])
                winners[i, s] = True
                payments[i, s] = prices[row, s]
                recruits[s] += 1
