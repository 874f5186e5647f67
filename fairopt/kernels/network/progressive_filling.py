"""Progressive filling as one loop; `fairopt.allocation.methods.progressive_filling` explains.

Arrays must be contiguous, which is not checked here.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, BoolArray, Ints
from fairopt.kernels.jit import gufunc, helper

SAME_LEVEL = 1e-14  # relative: levels nearer than rounding are one level


@helper
def level_of(
    link: int, indptr: Array, flows: Array, entries: Array, rates: Array, frozen: BoolArray
) -> float:
    """The common rate at which a link is full; inf if all its flows are frozen.

    Both sums are compensated: a link may have a million users.
    """
    used, used_low, moving, moving_low = 0.0, 0.0, 0.0, 0.0
    for e in range(indptr[link], indptr[link + 1]):
        if frozen[flows[e]]:
            term = entries[e] * rates[flows[e]] - used_low
            total = used + term
            used_low = (total - used) - term
            used = total
        else:
            term = entries[e] - moving_low
            total = moving + term
            moving_low = (total - moving) - term
            moving = total
    return max(1.0 - used, 0.0) / moving if moving > 0.0 else math.inf


@helper
def sink(heap: Ints, size: int, at: int, level: Array) -> None:
    """Let the link at a place of the heap of smallest levels find its place below."""
    link = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and level[heap[child + 1]] < level[heap[child]]:
            child += 1
        if level[heap[child]] >= level[link]:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = link


@helper
def freeze(
    flow: int, rate: float, indptr: Array, links: Array, rates: Array, frozen: BoolArray,
    stale: BoolArray,
) -> None:  # fmt: skip
    """Fix the rate of a flow and mark the links it uses."""
    rates[flow] = rate
    frozen[flow] = True
    for e in range(indptr[flow], indptr[flow + 1]):
        stale[links[e]] = True


_TYPES = (
    "void(uint32[::1], uint32[::1], float64[::1], uint32[::1], uint32[::1], float64[::1],"
    " int64[::1], float64[::1], float64[::1], boolean[::1], float64[::1], int64[::1])"
)


@gufunc(_TYPES, "(r),(e),(e),(c),(e),(n),(k),(m)->(n),(n),(m),()")
def fill_progressively(  # type: ignore[no-untyped-def]
    indptr, flows, entries, starts, links, bound, order, level, rates, capped, filled, rounds
):
    """Fill rates, whether its bound holds a flow, at which rate a link held one, and the rounds.

    A is given by link (indptr, flows, entries) and by flow (starts, links); `order` lists the flows
    with a bound by rising bound; `level` is overwritten.
    """
    n, m = rates.size, level.size
    frozen, stale = np.empty(n, dtype=np.bool_), np.empty(m, dtype=np.bool_)
    heap, size, next_bound = np.empty(m, dtype=np.int64), m, 0
    rounds[0] = 0
    for i in range(n):
        rates[i], capped[i], frozen[i] = 0.0, False, False
    for l in range(m):
        filled[l], stale[l], heap[l] = math.inf, False, l
        level[l] = level_of(l, indptr, flows, entries, rates, frozen)
    for at in range(m - 1, -1, -1):
        sink(heap, size, at, level)
    while size or next_bound < order.size:
        if next_bound < order.size and (not size or bound[order[next_bound]] <= level[heap[0]]):
            flow = order[next_bound]
            next_bound += 1
            if not frozen[flow]:
                capped[flow] = True
                freeze(flow, bound[flow], starts, links, rates, frozen, stale)
                rounds[0] += 1
            continue
        link = heap[0]
        if stale[link]:
            stale[link] = False
            noted, level[link] = level[link], level_of(link, indptr, flows, entries, rates, frozen)
            if level[link] > noted * (1.0 + SAME_LEVEL):
                sink(heap, size, 0, level)
                continue
        size -= 1
        heap[0] = heap[size]
        if size:
            sink(heap, size, 0, level)
        if level[link] < math.inf:
            filled[link] = level[link]
            rounds[0] += 1
            for e in range(indptr[link], indptr[link + 1]):
                if not frozen[flows[e]]:
                    freeze(flows[e], level[link], starts, links, rates, frozen, stale)
