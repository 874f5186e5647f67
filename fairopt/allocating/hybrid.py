"""Finite alpha > 0: ascent to the neighbourhood, Newton to the end, interior point if both fail."""

from __future__ import annotations

import numpy as np

from fairopt.allocating.dual_ascent import ascend
from fairopt.allocating.found import Found
from fairopt.allocating.interior_point import interior_point
from fairopt.allocating.newton import polish
from fairopt.allocating.response import Response, alone_log_prices, largest_share, respond
from fairopt.allocating.scaling import Scaled
from fairopt.allocating.water_filling import water_filling
from fairopt.checks import Array

CHUNKS = (60, 60, 120, 240, 480, 960)  # steps of ascent between two attempts of Newton's method
FIRST_GOAL = 0.003  # violation at which Newton's method is tried; a tenth of it after a failure
NEWTON_STEPS = 20
WIDE = 300.0  # e-folds between flow prices that leave little room in float64
SHARPER = 1e-3  # of the tolerance: rates come from prices, whose errors paths add up
SHARPEST = 2e-15  # a load is not known better
BELOW_ALONE = 40.0  # e-folds under its upper bound at which a price of zero is started


def solve(scaled: Scaled, tol: float, log_start: Array | None) -> Found:
    """The best point the three methods find, from log prices of the scaled problem if given."""
    goal = max(SHARPER * tol, SHARPEST)
    alone = alone_log_prices(scaled)
    log_prices = alone if log_start is None else _usable(log_start, alone, scaled.alpha)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        centre = _middle(scaled, log_prices)
        log_weight = scaled.log_weight - centre
        if log_start is not None:
            warm = polish(scaled, log_weight, np.exp(log_prices - centre), goal, NEWTON_STEPS)
            if warm[1] <= goal:
                return _found(scaled, log_weight, warm[0], centre, warm[2])
        theta = log_prices - centre
        response, steps = _alternate(scaled, log_weight, theta, goal)
        return _found(scaled, log_weight, response, centre, steps)


def _usable(log_start: Array, alone: Array, alpha: float) -> Array:
    """Start prices below their upper bounds; those of zero become too small to matter."""
    quiet = alone - BELOW_ALONE * max(1.0, alpha)
    return np.minimum(np.where(np.isfinite(log_start), log_start, quiet), alone)


def _middle(scaled: Scaled, log_prices: Array) -> float:
    """The middle of the logarithms of the flow prices: the unit of all prices.

    Where they differ a lot the max-min rates, which are near at large alpha, say it better.
    """
    entry = np.log(scaled.by_flow.data) + log_prices[scaled.link]
    log_price = np.maximum.reduceat(entry, scaled.by_flow.indptr[:-1])
    log_price = np.maximum(log_price, scaled.log_weight)
    if np.ptp(log_price) > WIDE:
        log_price = scaled.log_weight - scaled.alpha * np.log(water_filling(scaled).rates)
    return float(0.5 * (log_price.max() + log_price.min()))


def _alternate(
    scaled: Scaled, log_weight: Array, theta: Array, goal: float
) -> tuple[Response, int]:
    """Ascent and Newton in turns, then the interior point."""
    aim, steps = FIRST_GOAL, 0
    best, best_left = respond(scaled, log_weight, np.exp(theta)), np.inf
    for chunk in CHUNKS:
        theta, used = ascend(scaled, log_weight, theta, chunk, aim)
        found, left, newton = polish(scaled, log_weight, np.exp(theta), goal, NEWTON_STEPS)
        steps += used + newton
        if left < best_left:
            best, best_left = found, left
        if left <= goal:
            return best, steps
        if left < aim:
            theta = np.maximum(np.log(found.prices), theta - BELOW_ALONE)
        aim *= 0.1
    inside, used = interior_point(scaled, log_weight, np.exp(theta))
    found, left, newton = polish(scaled, log_weight, inside, goal, NEWTON_STEPS)
    return (found if left < best_left else best), steps + used + newton


def _found(
    scaled: Scaled, log_weight: Array, response: Response, centre: float, steps: int
) -> Found:
    """The answer, without prices that are smaller than the room of their link."""
    share = largest_share(scaled, response)
    quiet = share < 1.0 - response.load
    final = respond(scaled, log_weight, np.where(quiet, 0.0, response.prices))
    weight = np.where(scaled.bounded, log_weight, -np.inf)
    missing = -np.expm1(np.minimum(np.log(final.flow_price) - weight, 0.0))
    return Found(
        final.rates,
        np.log(final.prices) + centre,
        weight + np.log(missing) + centre,
        steps,
    )
