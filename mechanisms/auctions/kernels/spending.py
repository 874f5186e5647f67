"""Float kernels that spend a budget step by step and never lose a cent to rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.exact_comparison import PARTIALS, add_exactly
from mechanisms.auctions.kernels.jit import compiled

Floats = NDArray[np.float64]


@compiled("int64(float64[:, ::1], float64)")
def affordable_rounds(b: Floats, budget: float) -> int:
    """Largest k with sum_s sum_{j <= k} b_s(j) <= budget, for sorted rows b of shape (S, N)."""
    tasks, clients = b.shape
    partials = np.empty(PARTIALS)
    count = add_exactly(partials, 0, -budget)
    for k in range(clients):
        for s in range(tasks):
            if b[s, k] == np.inf:
                return int(k)
            count = add_exactly(partials, count, b[s, k])
            if count > 0 and partials[count - 1] > 0.0:  # at once, so that nothing overflows
                return int(k)
    return int(clients)


@compiled("void(float64[::1], int64[::1], float64, boolean, boolean[::1])")
def spend_in_order(
    bids: Floats, order: NDArray[np.int64], budget: float, skip: bool, chosen: NDArray[np.bool_]
) -> None:
    """Mark bids in the given order while their sum stays within the budget.

    The first bid that does not fit ends the scan, or is passed over where `skip` is set.
    """
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
        elif not skip:
            return


@compiled("void(float64[:, ::1], boolean[:, ::1], float64, boolean[::1])")
def offer_in_order(
    prices: Floats, accepted: NDArray[np.bool_], budget: float, offered: NDArray[np.bool_]
) -> None:
    """Mark the clients, in order, whose whole list of prices fits into the money left."""
    clients, tasks = prices.shape
    partials = np.empty(PARTIALS)
    trial = np.empty(PARTIALS)
    count = add_exactly(partials, 0, -budget)
    for i in range(clients):
        trial[:count] = partials[:count]
        size = count
        for s in range(tasks):
            size = add_exactly(trial, size, prices[i, s])
            if size > 0 and trial[size - 1] > 0.0:  # at once, so that nothing overflows
                break
        if size == 0 or trial[size - 1] < 0.0:
            offered[i] = True
            for s in range(tasks):
                if accepted[i, s]:
                    count = add_exactly(partials, count, prices[i, s])
