"""alpha = inf: the max-min fair rates by progressive filling.

All rates rise together; when a link is full (or a flow at its bound) its flows keep their rate and
the others go on. A full link is found through a heap of levels: freezing flows only raises the
level at which other links fill, so a level noted earlier is a lower bound and is computed afresh,
from the rates themselves, when it comes up.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt.allocating.found import Found
from fairopt.allocating.scaling import Scaled
from fairopt.checks import Array, BoolArray, Ints

SAME_LEVEL = 1e-14  # relative: levels nearer than rounding are one level


@dataclass(eq=False)
class _Filling:
    """What has been frozen so far, in units of one common rate."""

    rows: Any
    rates: Array
    frozen: BoolArray
    stale: BoolArray

    def entries(self, link: int) -> tuple[Ints, Array]:
        """Flows and coefficients of a link."""
        part = slice(self.rows.indptr[link], self.rows.indptr[link + 1])
        return self.rows.indices[part], self.rows.data[part]

    def level(self, link: int) -> float:
        """The common rate at which the link is full; inf if all its flows are frozen."""
        flows, size = self.entries(link)
        open_part = size[~self.frozen[flows]].sum()
        if open_part == 0.0:
            return np.inf
        return float(max(1.0 - size @ self.rates[flows], 0.0) / open_part)


def water_filling(scaled: Scaled) -> Found:
    """Max-min fair rates; log prices are -log of the level of a bottleneck, -inf elsewhere."""
    middle = float(np.median(scaled.log_unit))
    rows = scaled.by_link.copy()
    rows.data = rows.data * np.exp(middle - scaled.log_unit)[rows.indices]
    filling = _Filling(
        rows,
        np.zeros(scaled.flows),
        np.zeros(scaled.flows, dtype=bool),
        np.zeros(scaled.links, dtype=bool),
    )
    log_prices = np.full(scaled.links, -np.inf)
    log_bound = np.full(scaled.flows, -np.inf)
    rounds = _fill(scaled, filling, np.exp(scaled.log_unit - middle), log_prices, log_bound)
    y = np.minimum(filling.rates * np.exp(middle - scaled.log_unit), 1.0)
    return Found(y, log_prices - middle, log_bound, rounds)


def _fill(
    scaled: Scaled, filling: _Filling, unit: Array, log_prices: Array, log_bound: Array
) -> int:
    """Freeze level by level; the number of levels."""
    columns = scaled.by_flow
    heap = [(filling.level(link), link) for link in range(scaled.links)]
    heapq.heapify(heap)
    bounds = [(float(unit[i]), int(i)) for i in np.flatnonzero(scaled.bounded)]
    bounds.sort(reverse=True)
    rounds = 0
    while heap or bounds:
        if bounds and (not heap or bounds[-1][0] <= heap[0][0]):
            rate, flow = bounds.pop()
            if not filling.frozen[flow]:
                log_bound[flow] = 0.0  # y = 1, in units of the flow
                _freeze(filling, columns, np.array([flow]), rate)
                rounds += 1
            continue
        level, link = heapq.heappop(heap)
        if filling.stale[link]:
            filling.stale[link] = False
            fresh = filling.level(link)
            if fresh > level * (1.0 + SAME_LEVEL):
                heapq.heappush(heap, (fresh, link))
                continue
            level = fresh
        if np.isfinite(level):
            flows, _ = filling.entries(link)
            log_prices[link] = -np.log(level)
            _freeze(filling, columns, flows[~filling.frozen[flows]], level)
            rounds += 1
    return rounds


def _freeze(filling: _Filling, columns: Any, flows: Ints, rate: float) -> None:
    """Fix the rates of flows and mark the links they use."""
    filling.rates[flows] = rate
    filling.frozen[flows] = True
    filling.stale[columns[flows].indices] = True
