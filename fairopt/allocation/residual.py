"""How far rates and prices are from optimal: no solver is imported here.

Everything is relative, and where products could leave float64 it is compared in logarithms, so
capacities of 1e-300 and 1e300 are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairopt.allocation.problem import Problem
from fairopt.arrays import Array, BoolArray

LARGEST = 1e70  # of numbers, and of their inverses, whose products of four stay within float64


@dataclass(frozen=True)
class Residuals:
    """The three relative violations; a point is optimal if all are zero."""

    stationarity: float
    feasibility: float
    slackness: float

    @property
    def worst(self) -> float:
        """The largest of them; inf where anything is not a number."""
        values = np.array([self.stationarity, self.feasibility, self.slackness])
        return float(np.where(np.isnan(values), np.inf, values).max())


INFINITE = Residuals(np.inf, np.inf, np.inf)


def measure_residuals(
    problem: Problem, rates: Array, prices: Array, upper_prices: Array
) -> Residuals:
    """Stationarity, feasibility and slackness of any point, as `allocation_residual` defines."""
    if _impossible(problem, rates, prices, upper_prices):
        return INFINITE
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        look = _plain_look if _moderate(problem, rates, prices, upper_prices) else _look
        seen = look(problem, rates, prices, upper_prices)
        feasible = max(_most(seen.loads - 1.0), _most(_ratio(rates, problem.upper) - 1.0))
        if problem.alpha == 0.0:
            return Residuals(
                _dual_shortfall(problem, seen.log_price),
                feasible,
                _gap(problem, rates, prices, upper_prices),
            )
        return Residuals(
            _stationarity(problem, rates, seen.log_price),
            feasible,
            _slackness(problem, rates, seen, upper_prices),
        )


class _Seen(NamedTuple):
    """What a point means: loads over capacities, flow prices, largest shares of links in them."""

    loads: Array
    log_price: Array
    share: Array


def _moderate(problem: Problem, rates: Array, prices: Array, upper_prices: Array) -> bool:
    """Whether products of all of these stay within float64."""
    numbers = (problem.by_flow.data, problem.capacity, rates, prices, upper_prices)
    return all(_within(array) for array in numbers)


def _within(array: Array) -> bool:
    """Whether all that is neither 0 nor inf is within `LARGEST` and its inverse."""
    some = array[(array > 0.0) & np.isfinite(array)]
    return not len(some) or bool(some.max() <= LARGEST and some.min() >= 1.0 / LARGEST)


def _plain_look(problem: Problem, rates: Array, prices: Array, upper_prices: Array) -> _Seen:
    """Loads, prices and shares in plain numbers."""
    from fairopt.kernels.network.prices_and_loads import prices_and_loads

    by_flow, free = problem.by_flow, ~problem.forced
    rows = by_flow.indptr.view(np.uint32), by_flow.indices.view(np.uint32), by_flow.data
    point = [np.ascontiguousarray(array) for array in (free, rates, upper_prices, prices)]
    q, load, share = prices_and_loads(*rows, *point, not np.isfinite(problem.alpha))
    if not (q[free] > 0.0).all():  # a flow that pays nothing has no shares
        return _look(problem, rates, prices, upper_prices)
    loads = np.divide(load, problem.capacity, out=np.zeros_like(load), where=load > 0.0)
    return _Seen(loads, np.log(q), np.where(share < 0.0, prices > 0.0, share))


def _look(problem: Problem, rates: Array, prices: Array, upper_prices: Array) -> _Seen:
    """The same in logarithms, for numbers of any size."""
    loads = relative_loads(problem, rates)
    log_price, entry_share = flow_prices(problem, prices, upper_prices)
    free = ~problem.forced
    kept = slice(None) if free.all() else free[problem.flow]
    share = np.zeros(problem.links)
    np.maximum.at(share, problem.link[kept], entry_share[kept])
    idle = (share == 0.0) & (prices > 0.0)
    if idle.any():
        share[idle & ~_used(problem, kept)] = 1.0
    return _Seen(loads, log_price, share)


def _impossible(problem: Problem, x: Array, prices: Array, upper_prices: Array) -> bool:
    """Negative or missing numbers, a rate where there can be none, no optimum to be near."""
    if problem.unlimited.any() or problem.infeasible.any():
        return True
    given = (x, prices, upper_prices)
    bad = any(np.isnan(a).any() or (a < 0.0).any() for a in given) or not np.isfinite(x).all()
    return bool(bad or (x[problem.forced] > 0.0).any())


def _most(values: Array) -> float:
    """The largest positive entry, or 0."""
    return float(np.max(values, initial=0.0))


def _ratio(part: Array, whole: Array) -> Array:
    """The ratio part / whole, where 0 of 0 is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=part > 0.0)


def relative_loads(problem: Problem, rates: Array) -> Array:
    """(R x)_l / c_l; 0 on a link that nothing loads."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = np.exp(np.log(rates)[problem.flow] - problem.log_limit)
    if (rates == 0.0).any():
        share[(rates == 0.0)[problem.flow]] = 0.0
    load = np.bincount(problem.link, share, minlength=problem.links)
    return load.astype(np.float64, copy=False)


def flow_prices(problem: Problem, prices: Array, upper_prices: Array) -> tuple[Array, Array]:
    """Logarithm of (R' prices + upper_prices)_i, and the share of every entry in it.

    At alpha = inf the largest price on the path takes the place of the sum.
    """
    entry, own = np.log(prices)[problem.link], np.log(upper_prices)
    if not np.isfinite(problem.alpha):
        top = np.maximum(_column_max(problem, entry), own)
        return top, np.exp(entry - top[problem.flow])
    entry = entry + problem.log_entry
    top = np.maximum(_column_max(problem, entry), own)
    shift = np.where(np.isfinite(top), top, 0.0)
    part = np.exp(entry - shift[problem.flow])
    total = np.bincount(problem.flow, part, problem.flows) + np.exp(own - shift)
    return np.asarray(np.log(total) + shift), part / total[problem.flow]


def _column_max(problem: Problem, entry: Array) -> Array:
    """The largest entry of every flow, -inf without entries."""
    result = np.full(problem.flows, -np.inf)
    indptr = problem.by_flow.indptr
    used = np.flatnonzero(np.diff(indptr))
    if len(used):
        result[used] = np.maximum.reduceat(entry, indptr[used])
    return result


def _stationarity(problem: Problem, x: Array, log_price: Array) -> float:
    """Largest relative distance of a rate from the demand at its price (of prices, alpha < 1)."""
    free = ~problem.forced
    if not np.isfinite(problem.alpha):
        off = np.log(x[free]) + log_price[free]
    else:
        wanted = np.log(problem.priority[free]) - log_price[free]
        off = (problem.alpha * np.log(x[free]) - wanted) / max(1.0, problem.alpha)
    return _most(np.where(np.isnan(off), np.inf, np.abs(np.expm1(off))))


def _slackness(problem: Problem, x: Array, seen: _Seen, upper_prices: Array) -> float:
    """Largest min(unused share of a limit, share of the limit's price in the price of a flow)."""
    free = ~problem.forced
    unused = np.where(np.isfinite(problem.capacity), np.maximum(1.0 - seen.loads, 0.0), 1.0)
    own_share = np.exp(np.log(upper_prices) - seen.log_price)[free]
    own_unused = np.maximum(1.0 - _ratio(x, problem.upper), 0.0)[free]
    return max(
        _most(np.minimum(unused, seen.share)[problem.capacity > 0.0]),
        _most(np.minimum(own_unused, own_share)),
    )


def _used(problem: Problem, kept: BoolArray | slice) -> BoolArray:
    """Links on the path of a flow that can have a rate."""
    used = np.zeros(problem.links, dtype=bool)
    used[problem.link[kept]] = True
    return used


def _dual_shortfall(problem: Problem, log_price: Array) -> float:
    """By how much the price of a flow is below its priority, relatively."""
    short = -np.expm1(log_price - np.log(problem.priority))
    return _most(short[~problem.forced])


def _gap(problem: Problem, x: Array, prices: Array, upper_prices: Array) -> float:
    """|c'prices + upper'upper_prices - p'x| relative to the larger side."""
    free = ~problem.forced
    use = (problem.capacity > 0.0) & (prices > 0.0)
    own = free & (upper_prices > 0.0)
    dual = np.concatenate(
        [
            np.log(prices[use]) + np.log(problem.capacity[use]),
            np.log(upper_prices[own]) + np.log(problem.upper[own]),
        ]
    )
    primal = (np.log(problem.priority) + np.log(x))[free & (x > 0.0)]
    top = max(dual.max(initial=-np.inf), primal.max(initial=-np.inf))
    if not np.isfinite(top):
        return 0.0 if top < 0.0 else np.inf
    high, low = float(np.exp(dual - top).sum()), float(np.exp(primal - top).sum())
    return abs(high - low) / max(high, low)
