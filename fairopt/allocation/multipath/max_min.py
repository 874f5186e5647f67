"""Max-min fairness over several paths: the answer of all levels, and what is proven of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairopt.allocation.bottleneck_prices import with_ties
from fairopt.allocation.multipath.answers import answer, zero_prices
from fairopt.allocation.multipath.max_min_certificate import Gains, largest_gains
from fairopt.allocation.multipath.max_min_levels import level_by_level
from fairopt.allocation.multipath.problem import PathProblem
from fairopt.allocation.multipath.reduced import Reduced
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.presolve.scaling import Point
from fairopt.allocation.result import listed
from fairopt.arrays import Array, Ints
from fairopt.solution import Status

LEVEL_SLACK = 1e-8  # relative: HiGHS meets capacities to 1e-10, and levels have errors of that size
ROUNDING = 4.0  # times what a certificate allows for rounding: a bound below it has no other cause


def max_min(problem: PathProblem, reduced: Reduced, tol: float, names: Ints) -> PathAllocation:
    """Level by level; OPTIMAL also needs that no flow could have more than tol beyond its rate."""
    levels = level_by_level(reduced.A, reduced.owner, reduced.log_unit)
    z, prices = np.zeros(problem.by_path.flows), zero_prices(problem)
    unit = reduced.log_unit[reduced.owner]
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        z[reduced.paths] = np.exp(np.log(levels.y) + unit)
        full = reduced.A @ levels.y >= 1.0 - LEVEL_SLACK
        prices[reduced.links] = np.where(full, np.exp(-levels.log_first), 0.0)
    prices = _decided(problem, reduced, z, prices)
    found = answer(problem, z, prices, len(levels.prices), tol, reduced)
    with np.errstate(under="ignore", divide="ignore"):
        y = np.exp(np.log(found.path_rates[reduced.paths]) - unit)
    gains = largest_gains(reduced.A, reduced.owner, reduced.log_unit, y, levels.prices)
    error = np.zeros(problem.flows)
    error[reduced.flows] = gains.most
    return _proven(replace(found, error=error), gains, reduced.flows, names, tol)


def _proven(
    found: PathAllocation, gains: Gains, flows: Ints, names: Ints, tol: float
) -> PathAllocation:
    """The status that follows from what flows could gain."""
    more = ~(gains.most <= tol)
    if not (found.ok and more.any()):
        return found
    beyond = ~(gains.most <= tol + ROUNDING * gains.rounding)
    named = flows[beyond if beyond.any() else more]
    most = float(found.error[named].max())
    which = f" (flows {listed(names[named])} could have up to {most:.1g} times more, for all that"
    if beyond.any():
        return replace(found, status=Status.STEP_LIMIT, detail=f"{which} is proven)")
    certificate = np.zeros(len(found.error))
    certificate[named] = 1.0
    return replace(
        found,
        status=Status.ROUNDING_LIMITED,
        certificate=certificate,
        detail=f"{which} float64 shows of them beside what others pay)",
    )


def _decided(problem: PathProblem, reduced: Reduced, z: Array, prices: Array) -> Array:
    """Prices also of other bottlenecks among links that only flows with one open path use."""
    several = np.bincount(reduced.owner)[reduced.owner] > 1
    split = np.zeros(problem.by_path.flows, dtype=bool)
    split[reduced.paths[several]] = True
    open_link = np.ones(problem.by_path.links, dtype=bool)
    open_link[problem.by_path.link[split[problem.by_path.flow]]] = False
    point = Point(z, prices, np.zeros(len(z)))
    return np.where(open_link, with_ties(problem.by_path, point, LEVEL_SLACK).prices, prices)
