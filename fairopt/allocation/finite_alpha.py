"""Finite alpha > 0: ascent to the neighbourhood, Newton to the end, interior point if both fail.

The interior point needs 12 to 100 factorisations, ascent and Newton mostly three; at alpha below
about 0.3 ascent becomes slow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairopt.allocation.method_result import MethodResult
from fairopt.allocation.methods.demand import Demand, demand_at, largest_log_part, log_price_bounds
from fairopt.allocation.methods.dual_ascent import ascend
from fairopt.allocation.methods.hot_start import Factor, Tracked, factor_at, track
from fairopt.allocation.methods.interior_point import interior_point
from fairopt.allocation.methods.newton import DENSE, polish
from fairopt.allocation.methods.progressive_filling import progressive_filling
from fairopt.allocation.presolve.identical_routes import Groups, merge
from fairopt.allocation.presolve.layout import Layout
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array
from fairopt.blas_threads import one_thread

CHUNKS = (60, 60, 120)  # steps of ascent between two attempts of Newton's method
MORE_CHUNKS = (240, 480, 960)  # after the interior point, or instead of it
FIRST_GOAL = 0.003  # violation at which Newton's method is tried; a tenth of it after a failure
NEWTON_STEPS = 20
WIDE = 300.0  # e-folds between flow prices that are close to the range of float64
SHARPER = 1e-3  # of the tolerance: rates come from prices, whose errors paths add up
SHARPEST = 2e-15  # a load is not known better
BELOW_BOUND = 40.0  # e-folds under its upper bound at which a price of zero is started


@dataclass(eq=False)
class Series:
    """What one answer leaves to the next: a factor of Newton's matrix on the links of a layout."""

    layout: Layout | None = None
    factor: Factor | None = None

    def factor_for(self, layout: Layout) -> None:
        """Forget a factor of other links."""
        if self.layout is not layout:
            self.layout, self.factor = layout, None


def solve(
    scaled: Scaled,
    identical: Groups | None,
    tol: float,
    log_start: Array | None,
    series: Series | None,
) -> MethodResult:
    """The best point found, from log prices of the scaled problem if given.

    A factor of the series is used, and one is left there for the next problem.
    """
    merged = merge(scaled, identical)
    if merged is None:
        return _solve(scaled, tol, log_start, series)
    return merged.split(_solve(merged.scaled, tol, log_start, series))


def _solve(
    scaled: Scaled, tol: float, log_start: Array | None, series: Series | None
) -> MethodResult:
    """The best point the three methods find."""
    goal = max(SHARPER * tol, SHARPEST)
    with np.errstate(all="ignore"), one_thread(scaled.links):
        steps = 0
        if log_start is not None:
            known = None if series is None else series.factor
            result, found = _warm_start(scaled, log_start, known, goal)
            steps = found.steps
            if found.violation <= goal:
                if series is not None:
                    series.factor = found.factor
                return result
        bound = log_price_bounds(scaled)
        centre = _log_price_centre(scaled, bound)
        centred = _centred(scaled, centre)
        demand, violation, more = _cold_start(centred, bound - centre, goal)
        if series is not None:
            series.factor = factor_at(centred, demand) if violation <= goal else None
        return _result(centred, demand, centre, steps + more)


def _centred(scaled: Scaled, centre: float) -> Scaled:
    """The same with all prices, and so the weights, in a unit of e^centre."""
    return replace(scaled, log_weight=scaled.log_weight - centre)


def _warm_start(
    scaled: Scaled, log_start: Array, factor: Factor | None, goal: float
) -> tuple[MethodResult, Tracked]:
    """The result of Newton's method from start prices.

    Ascent takes over near the answer only; a start that is not near must not cost the answer.
    """
    centre = 0.0 if _moderate(scaled, log_start) else _log_price_centre(scaled, log_start)
    centred = _centred(scaled, centre)
    found = track(centred, np.exp(log_start - centre), goal, factor)
    if found.violation > goal:
        search = _Search(*found[:3])
        bound = log_price_bounds(scaled)
        negligible = bound - BELOW_BOUND * max(1.0, scaled.alpha)
        theta = np.clip(np.log(search.best.prices) + centre, negligible, bound) - centre
        _ascent_and_newton(centred, theta, goal, search, CHUNKS[:1], FIRST_GOAL)
        found = Tracked(search.best, search.violation, search.steps, None)
    return _result(centred, found.demand, centre, found.steps), found


def _moderate(scaled: Scaled, log_prices: Array) -> bool:
    """Whether prices and weights are far from the ends of float64, in any unit."""
    some = log_prices[np.isfinite(log_prices)]
    return all(np.abs(array).max(initial=0.0) < WIDE / 3.0 for array in (some, scaled.log_weight))


def _log_price_centre(scaled: Scaled, log_prices: Array) -> float:
    """The middle of the logarithms of the flow prices: the unit of all prices.

    Where they differ a lot it is computed from the max-min rates, which are near at large alpha.
    """
    log_price = largest_log_part(scaled, log_prices)
    if np.ptp(log_price) > WIDE:
        log_price = scaled.log_weight - scaled.alpha * np.log(progressive_filling(scaled).rates)
    return float(0.5 * (log_price.max() + log_price.min()))


@dataclass(eq=False)
class _Search:
    """The best demand so far, its violation, and the steps of all methods."""

    best: Demand
    violation: float = np.inf
    steps: int = 0

    def take(self, found: tuple[Demand, float, int]) -> None:
        """Count the steps of an attempt; keep its demand if it is better."""
        self.steps += found[2]
        if found[1] < self.violation:
            self.best, self.violation = found[:2]


def _cold_start(scaled: Scaled, theta: Array, goal: float) -> tuple[Demand, float, int]:
    """Ascent and Newton in turns, then the interior point, then longer turns of ascent."""
    search = _Search(demand_at(scaled, np.exp(theta)))
    theta, aim = _ascent_and_newton(scaled, theta, goal, search, CHUNKS, FIRST_GOAL)
    if search.violation > goal and scaled.links <= DENSE:
        prices, used = interior_point(scaled)
        search.steps += used
        search.take(polish(scaled, prices, goal, NEWTON_STEPS))
    if search.violation > goal:
        _ascent_and_newton(scaled, theta, goal, search, MORE_CHUNKS, aim)
    return search.best, search.violation, search.steps


def _ascent_and_newton(
    scaled: Scaled,
    theta: Array,
    goal: float,
    search: _Search,
    chunks: tuple[int, ...],
    aim: float,
) -> tuple[Array, float]:
    """Ascent and Newton in turns; where they stopped, and the next aim of ascent."""
    for chunk in chunks:
        theta, used = ascend(scaled, theta, chunk, aim)
        search.steps += used
        found = polish(scaled, np.exp(theta), goal, NEWTON_STEPS)
        search.take(found)
        if search.violation <= goal:
            break
        if found[1] < aim:
            theta = np.maximum(np.log(found[0].prices), theta - BELOW_BOUND)
        aim *= 0.1
    return theta, aim


def _result(scaled: Scaled, demand: Demand, centre: float, steps: int) -> MethodResult:
    """The result, without prices whose share is smaller than the slack of their link."""
    negligible = (demand.share < 1.0 - demand.load) & (demand.prices > 0.0)
    final = demand
    if negligible.any():
        final = demand_at(scaled, np.where(negligible, 0.0, demand.prices))
    weight = np.where(scaled.bounded, scaled.log_weight, -np.inf)
    missing = -np.expm1(np.minimum(np.log(final.flow_price) - weight, 0.0))
    return MethodResult(
        final.rates,
        np.log(final.prices) + centre,
        weight + np.log(missing) + centre,
        steps,
    )
