"""Prices at alpha = inf: 1 / rate of the flows whose bottleneck a link is, else 0.

A bottleneck of a flow is a full link on which no flow has more. So a full link is one for the flow
with the largest rate on it, and its price is one over that rate; the same for a flow's own bound.
Over several paths this is said of links whose load the flow rates decide, whatever the split; links
that are full in every best split for another reason get the price of the level that they set
(`fairopt.allocation.multipath.max_min_levels`).

A method names a bottleneck for every flow. Where a flow has several, as on proportional links, the
others are found here, so that a price does not depend on the method.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairopt.allocation.presolve.scaling import Point
from fairopt.allocation.problem import Problem
from fairopt.arrays import Array, BoolArray, Ints

FULL = 1e-12  # relative: a link with less slack is full, as loads are sums of many rates


def with_ties(problem: Problem, point: Point, slack: float) -> Point:
    """The point of max-min rates with the prices of every bottleneck: less slack is full."""
    rates = point.rates
    load = problem.routing @ rates
    full = (load > 0.0) & np.isfinite(problem.capacity)
    full &= load >= problem.capacity * (1.0 - slack)
    prices = _add(point.prices, full, lambda links: largest_rates(problem, rates)[links])
    bounded = (rates > 0.0) & (rates >= problem.upper * (1.0 - slack))
    return Point(rates, prices, _add(point.upper_prices, bounded, lambda flows: rates[flows]))


def _add(prices: Array, full: BoolArray, rate: Callable[[Ints], Array]) -> Array:
    """The prices, and one over the rate where something is full and there is none."""
    missing = np.flatnonzero(full & (prices == 0.0))
    if not len(missing):
        return prices
    added = prices.copy()
    with np.errstate(over="ignore"):
        added[missing] = 1.0 / rate(missing)
    return added


def largest_rates(problem: Problem, rates: Array) -> Array:
    """(links,) the largest rate on each link, 0 on an unused one."""
    largest = np.zeros(problem.links)
    np.maximum.at(largest, problem.link, rates[problem.flow])
    return largest
