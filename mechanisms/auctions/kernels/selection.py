"""Float kernel that gathers the bids around a wanted rank, in one pass and without sorting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.jit import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@compiled(
    "boolean(float64[:, ::1], float64[::1], float64[::1], int64[::1], int64[::1], float64[:, ::1])"
)
def gather(
    bids: Floats, low: Floats, high: Floats, below: Integers, size: Integers, kept: Floats
) -> bool:
    """Count the bids below `low[s]` and keep those in [low[s], high[s]]; False if space runs out.

    `below`, `size` (S,) and `kept` (S, space) are filled; bids that are `inf` are no bids.
    """
    clients, tasks = bids.shape
    space = kept.shape[1]
    for i in range(clients):
        for s in range(tasks):
            bid = bids[i, s]
            if bid < low[s]:
                below[s] += 1
            elif bid <= high[s] and bid < np.inf:
                if size[s] == space:
                    return False
                kept[s, size[s]] = bid
                size[s] += 1
    return True
