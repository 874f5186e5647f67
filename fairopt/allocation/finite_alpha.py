"""Finite alpha > 0: ascent to the neighbourhood, Newton to the end, interior point if both fail.

The interior point needs 12 to 100 factorisations, ascent and Newton mostly three; at alpha below
about 0.3 ascent becomes slow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairopt.allocation.method_result import Found
from fairopt.allocation.methods.demand import Response, alone_log_prices, largest_log_part, respond
from fairopt.allocation.methods.dual_ascent import ascend
from fairopt.allocation.methods.interior_point import interior_point
from fairopt.allocation.methods.newton import DENSE, polish
from fairopt.allocation.methods.progressive_filling import water_filling
from fairopt.allocation.presolve.identical_routes import merge
from fairopt.allocation.presolve.scaling import Scaled
from fairopt.arrays import Array
from fairopt.blas_threads import one_thread

CHUNKS = (60, 60, 120)  # steps of ascent between two attempts of Newton's method
MORE_CHUNKS = (240, 480, 960)  # after the interior point, or instead of it
FIRST_GOAL = 0.003  # violation at which Newton's method is tried; a tenth of it after a failure
NEWTON_STEPS = 20
WIDE = 300.0  # e-folds between flow prices that leave little room in float64
SHARPER = 1e-3  # of the tolerance: rates come from prices, whose errors paths add up
SHARPEST = 2e-15  # a load is not known better
BELOW_ALONE = 40.0  # e-folds under its upper bound at which a price of zero is started


def solve(scaled: Scaled, tol: float, log_start: Array | None) -> Found:
    """The best point found, from log prices of the scaled problem if given."""
    merged = merge(scaled)
    if merged is None:
        return _solve(scaled, tol, log_start)
    return merged.split(_solve(merged.scaled, tol, log_start))


def _solve(scaled: Scaled, tol: float, log_start: Array | None) -> Found:
    """The best point the three methods find."""
    goal = max(SHARPER * tol, SHARPEST)
    alone = alone_log_prices(scaled)
    quiet = np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")
    with quiet, one_thread(scaled.links):
        steps = 0
        if log_start is not None:
            found, left, steps = _warm(scaled, _usable(log_start, alone, scaled.alpha), goal)
            if left <= goal:
                return found
        centre = _middle(scaled, alone)
        centred = _centred(scaled, centre)
        response, _, more = _alternate(centred, alone - centre, goal)
        return _found(centred, response, centre, steps + more)


def _centred(scaled: Scaled, centre: float) -> Scaled:
    """The same with all prices, and so the weights, in a unit of e^centre."""
    return replace(scaled, log_weight=scaled.log_weight - centre)


def _warm(scaled: Scaled, log_prices: Array, goal: float) -> tuple[Found, float, int]:
    """What Newton's method makes of start prices, how far it is from optimal, and the steps.

    Ascent takes over near the answer only; a start that is not near must not cost the answer.
    """
    centre = _middle(scaled, log_prices)
    centred, theta = _centred(scaled, centre), log_prices - centre
    response, left, steps = polish(centred, np.exp(theta), goal, NEWTON_STEPS)
    if left > goal:
        search = _Search(response, left, steps)
        _turns(centred, theta, goal, search, CHUNKS[:1], FIRST_GOAL)
        response, left, steps = search.best, search.left, search.steps
    return _found(centred, response, centre, steps), left, steps


def _usable(log_start: Array, alone: Array, alpha: float) -> Array:
    """Start prices below their upper bounds; those of zero become too small to matter."""
    quiet = alone - BELOW_ALONE * max(1.0, alpha)
    return np.minimum(np.where(np.isfinite(log_start), log_start, quiet), alone)


def _middle(scaled: Scaled, log_prices: Array) -> float:
    """The middle of the logarithms of the flow prices: the unit of all prices.

    Where they differ a lot the max-min rates, which are near at large alpha, say it better.
    """
    log_price = largest_log_part(scaled, log_prices)
    if np.ptp(log_price) > WIDE:
        log_price = scaled.log_weight - scaled.alpha * np.log(water_filling(scaled).rates)
    return float(0.5 * (log_price.max() + log_price.min()))


@dataclass(eq=False)
class _Search:
    """The best response so far, how far it is from optimal, and the steps of all methods."""

    best: Response
    left: float = np.inf
    steps: int = 0

    def take(self, found: tuple[Response, float, int]) -> None:
        """Note what an attempt found."""
        self.steps += found[2]
        if found[1] < self.left:
            self.best, self.left = found[:2]


def _alternate(scaled: Scaled, theta: Array, goal: float) -> tuple[Response, float, int]:
    """Ascent and Newton in turns, then the interior point, then longer turns."""
    search = _Search(respond(scaled, np.exp(theta)))
    theta, aim = _turns(scaled, theta, goal, search, CHUNKS, FIRST_GOAL)
    if search.left > goal and scaled.links <= DENSE:
        inside, used = interior_point(scaled)
        search.steps += used
        search.take(polish(scaled, inside, goal, NEWTON_STEPS))
    if search.left > goal:
        _turns(scaled, theta, goal, search, MORE_CHUNKS, aim)
    return search.best, search.left, search.steps


def _turns(
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
        if search.left <= goal:
            break
        if found[1] < aim:
            theta = np.maximum(np.log(found[0].prices), theta - BELOW_ALONE)
        aim *= 0.1
    return theta, aim


def _found(scaled: Scaled, response: Response, centre: float, steps: int) -> Found:
    """The answer, without prices that are smaller than the room of their link."""
    quiet = response.share < 1.0 - response.load
    final = respond(scaled, np.where(quiet, 0.0, response.prices))
    weight = np.where(scaled.bounded, scaled.log_weight, -np.inf)
    missing = -np.expm1(np.minimum(np.log(final.flow_price) - weight, 0.0))
    return Found(
        final.rates,
        np.log(final.prices) + centre,
        weight + np.log(missing) + centre,
        steps,
    )
