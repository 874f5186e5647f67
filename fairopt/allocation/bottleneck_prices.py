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

import numpy as np

from fairopt.allocation.presolve.scaling import Point
from fairopt.allocation.problem import Problem
from fairopt.allocation.residual import relative_loads
from fairopt.arrays import Array

FULL = 1e-12  # relative: a link with less slack is full, as loads are sums of many rates


def with_ties(problem: Problem, point: Point, slack: float) -> Point:
    """The point of max-min rates with the prices of every bottleneck: less slack is full."""
    with np.errstate(divide="ignore", over="ignore"):
        full = relative_loads(problem, point.rates) >= 1.0 - slack
        wanted = np.where(full, 1.0 / largest_rates(problem, point.rates), 0.0)
        bounded = (point.rates > 0.0) & (point.rates >= problem.upper * (1.0 - slack))
        own = np.where(bounded, 1.0 / point.rates, 0.0)
    prices = np.where(point.prices > 0.0, point.prices, wanted)
    upper_prices = np.where(point.upper_prices > 0.0, point.upper_prices, own)
    return Point(point.rates, prices, upper_prices)


def largest_rates(problem: Problem, rates: Array) -> Array:
    """(links,) the largest rate on each link, 0 on an unused one."""
    largest = np.zeros(problem.links)
    np.maximum.at(largest, problem.link, rates[problem.flow])
    return largest
