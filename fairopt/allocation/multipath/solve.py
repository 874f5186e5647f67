"""Flows over several paths: the method for each alpha, and the status of what it found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairopt.allocation.bottleneck_prices import with_ties
from fairopt.allocation.multipath.decimal_continuation import Part, solve_in_decimals
from fairopt.allocation.multipath.direct import Direct, solve_directly
from fairopt.allocation.multipath.max_min_certificate import Gains, largest_gains
from fairopt.allocation.multipath.max_min_levels import largest_total, level_by_level
from fairopt.allocation.multipath.polish import GOOD
from fairopt.allocation.multipath.problem import PathProblem, path_residual
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.presolve.scaling import Point
from fairopt.allocation.rate_accuracy import FAINT
from fairopt.allocation.residual import relative_loads
from fairopt.allocation.result import listed
from fairopt.allocation.solve import EXPONENT, fitting, no_optimum, the_others, uncertain_rates
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.solution import Status

LEVEL_SLACK = 1e-8  # relative: HiGHS meets capacities to 1e-10, and levels have errors of that size
ROUNDING = 4.0  # times what a certificate allows for rounding: a bound below it has no other cause
CERTIFIED = 1e-3  # relative error of a rate that is good enough without further checks
MOST_WORK = 1e8  # in decimals, for each of a few starts: half a minute
CHECK_WORK = 1e7  # where float64 meets all conditions: seconds
COMPARABLE = 10.0 * np.log(10.0)  # range of prices within which an exact point is no chance
WIDEST = 600.0  # e-folds between two paths of a flow: float64 ends at 709


@dataclass(frozen=True, eq=False)
class Reduced:
    """Open paths over used links, in units of the largest rate of their flow on one path.

    Attributes:
        A: (links, paths) with capacities 1.
        owner: (paths,) renumbered flows.
        log_unit: (flows,).
        paths, links, flows: Indices in the stated problem.
    """

    A: Any
    owner: Ints
    log_unit: Array
    paths: Ints
    links: Ints
    flows: Ints


def solve(problem: PathProblem, tol: float) -> PathAllocation:
    """The allocation of a checked problem; flows without an optimum are left out and named."""
    if problem.infeasible.any() or problem.unlimited.any():
        return _without_optimum(problem, tol)
    return _solve(problem, tol, np.arange(problem.flows))


def _solve(problem: PathProblem, tol: float, names: Ints) -> PathAllocation:
    """The allocation of a problem that has an optimum; `names` are the numbers of its flows."""
    if problem.closed.all():
        none = np.zeros(problem.by_path.flows)
        return _answer(problem, none, _zero_prices(problem), 0, tol, None)
    reduced = _reduce(problem)
    if problem.by_path.alpha == np.inf:
        return _max_min(problem, reduced, tol, names)
    scaled = _scaled(problem, reduced)
    if problem.by_path.alpha == 0.0:
        return scaled.answer(*largest_total(reduced.A, reduced.owner, scaled.log_weight), tol)
    with np.errstate(all="ignore"):
        found = _finite(scaled, tol, names)
    return _judged(problem, found, names)


@dataclass(frozen=True, eq=False)
class _Scaled:
    """The reduced problem with its log weights, less their centre."""

    problem: PathProblem
    reduced: Reduced
    log_weight: Array
    centre: float

    def answer(self, y: Array, log_prices: Array, steps: int, tol: float) -> PathAllocation:
        """The answer to the stated problem from path rates and log prices of this one."""
        problem, reduced = self.problem, self.reduced
        z = np.zeros(problem.by_path.flows)
        prices = _zero_prices(problem)
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            z[reduced.paths] = np.exp(np.log(y) + reduced.log_unit[reduced.owner])
            capacity = problem.by_path.capacity[reduced.links]
            prices[reduced.links] = np.exp(log_prices + self.centre - np.log(capacity))
        return _answer(problem, z, prices, steps, tol, reduced)

    def solved(self, tol: float) -> tuple[Direct, PathAllocation]:
        """What float64 gives, and the answer with its certified errors."""
        reduced, alpha = self.reduced, self.problem.by_path.alpha
        direct = solve_directly(reduced.A, reduced.owner, self.log_weight, alpha)
        found = self.answer(direct.z, np.log(direct.prices), direct.steps, tol)
        return direct, self.with_error(found, direct.error)

    def with_error(self, found: PathAllocation, error: Array) -> PathAllocation:
        """The answer with certified errors of the rates; those of closed flows are exactly 0."""
        every = np.zeros(self.problem.flows)
        every[self.reduced.flows] = error
        return replace(found, error=every)


def _scaled(problem: PathProblem, reduced: Reduced) -> _Scaled:
    """The log weights of finite alpha."""
    weight = np.log(problem.priority[reduced.flows])
    weight = weight + (1.0 - problem.by_path.alpha) * reduced.log_unit
    centre = 0.5 * float(weight.max() + weight.min())
    return _Scaled(problem, reduced, weight - centre, centre)


def _finite(scaled: _Scaled, tol: float, names: Ints) -> PathAllocation:
    """In float64, and if that is not certified in decimals."""
    direct, found = scaled.solved(tol)
    if found.ok and (direct.error <= CERTIFIED).all():
        return found
    exact = found.ok and _exact(direct, scaled)
    longer = _in_decimals(scaled, tol, found, CHECK_WORK if exact else MOST_WORK)
    if longer is not None and longer.ok:
        return longer
    if found.ok and not exact:
        return _uncertified(found, names, scaled.problem.closed)
    return found


def _in_decimals(
    scaled: _Scaled, tol: float, known: PathAllocation, most_work: float
) -> PathAllocation | None:
    """The answer in decimals, from the one in float64; None where that is too much or fails."""
    problem, reduced = scaled.problem, scaled.reduced

    def roughly(easier: PathProblem) -> tuple[Array, Array]:
        if easier.by_path.alpha == problem.by_path.alpha:
            return known.path_rates, known.prices
        found = _scaled(easier, reduced).solved(tol)[1]
        return found.path_rates, found.prices

    part = Part(reduced.paths, reduced.links, reduced.flows, reduced.owner)
    longer = solve_in_decimals(problem, part, roughly, most_work)
    if longer is None:
        return None
    z, prices = np.zeros(problem.by_path.flows), _zero_prices(problem)
    z[reduced.paths], prices[reduced.links] = longer.z, longer.prices
    found = _answer(problem, z, prices, known.iterations + longer.steps, tol, reduced)
    return scaled.with_error(found, longer.error)


def _exact(direct: Direct, scaled: _Scaled) -> bool:
    """Whether all conditions are met, and prices are near enough for that to mean something."""
    log_price = scaled.log_weight - scaled.problem.by_path.alpha * np.log(
        np.bincount(scaled.reduced.owner, direct.z)
    )
    return direct.residual <= GOOD and float(np.ptp(log_price)) < COMPARABLE


def _judged(problem: PathProblem, found: PathAllocation, names: Ints) -> PathAllocation:
    """The answer, ROUNDING_LIMITED where flows carry too little to be seen beside their links."""
    alpha = problem.by_path.alpha
    if not (found.ok and 0.0 < alpha < 1.0):
        return found
    with np.errstate(divide="ignore", invalid="ignore"):
        faint = np.log(found.rates) - problem.log_most < np.log(FAINT)
    faint &= ~problem.closed & ~(found.error <= CERTIFIED)
    if not faint.any():
        return found
    return replace(
        found,
        status=Status.ROUNDING_LIMITED,
        certificate=faint.astype(np.float64),
        detail=uncertain_rates(names[faint]),
    )


def _uncertified(found: PathAllocation, names: Ints, closed: BoolArray) -> PathAllocation:
    """An answer within tol whose rates may be wrong: they pay too little beside others."""
    unsure = np.flatnonzero(~(found.error <= CERTIFIED) & ~closed)
    known = found.error[unsure]
    most = f"up to {known.max():.0%}" if np.isfinite(known).all() else "any amount"
    detail = (
        f" (within tol, but rates of flows {listed(names[unsure])} may be off by {most}, which"
        " float64 prices cannot show)"
    )
    return replace(found, status=Status.STEP_LIMIT, detail=detail)


def _reduce(problem: PathProblem) -> Reduced:
    """Leave out closed paths, unused links and links without a limit.

    And paths that carry at most e^-WIDEST of what another path of their flow can.
    """
    from scipy import sparse

    by_path = problem.by_path
    narrow = problem.log_alone < problem.log_most[problem.owner] - WIDEST
    paths = np.flatnonzero(~(by_path.forced | narrow))
    flows, owner = _renumbered(problem.owner[paths], problem.flows)
    unit = np.maximum.reduceat(
        problem.log_alone[paths], np.searchsorted(owner, np.arange(len(flows)))
    )
    chosen = np.zeros(by_path.flows, dtype=bool)
    chosen[paths] = True
    kept = np.isfinite(by_path.log_limit) & chosen[by_path.flow]
    links, column = _renumbered(by_path.link[kept], by_path.links)
    number = np.cumsum(chosen) - 1
    row = number[by_path.flow[kept]]
    entry = np.exp(unit[owner][row] - by_path.log_limit[kept])
    start = np.searchsorted(row, np.arange(len(paths) + 1))
    rows = sparse.csr_array((entry, column, start), shape=(len(paths), len(links)))
    return Reduced(rows.T.tocsr(), owner, unit, paths, links, flows)


def _renumbered(numbers: Ints, most: int) -> tuple[Ints, Ints]:
    """The different numbers below `most` in increasing order, and the place of each."""
    seen = np.zeros(most, dtype=bool)
    seen[numbers] = True
    return np.flatnonzero(seen), np.asarray((np.cumsum(seen) - 1)[numbers])


def _max_min(problem: PathProblem, reduced: Reduced, tol: float, names: Ints) -> PathAllocation:
    """Level by level; OPTIMAL also needs that no flow could have more than tol beyond its rate."""
    levels = level_by_level(reduced.A, reduced.owner, reduced.log_unit)
    z, prices = np.zeros(problem.by_path.flows), _zero_prices(problem)
    unit = reduced.log_unit[reduced.owner]
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        z[reduced.paths] = np.exp(np.log(levels.y) + unit)
        full = reduced.A @ levels.y >= 1.0 - LEVEL_SLACK
        prices[reduced.links] = np.where(full, np.exp(-levels.log_first), 0.0)
    prices = _decided(problem, reduced, z, prices)
    found = _answer(problem, z, prices, len(levels.prices), tol, reduced)
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


def _zero_prices(problem: PathProblem) -> Array:
    """Prices of zero, inf on used links without capacity."""
    return np.where(problem.by_path.closed, np.inf, 0.0)


def _answer(
    problem: PathProblem,
    z: Array,
    prices: Array,
    steps: int,
    tol: float,
    reduced: Reduced | None,
) -> PathAllocation:
    """The point with its residual and status."""
    z, prices = np.nan_to_num(z, nan=0.0), np.nan_to_num(prices, nan=0.0, posinf=np.inf)
    if (relative_loads(problem.by_path, z) > 1.0 + tol).any():
        z = fitting(problem.by_path, z)
    residual = path_residual(problem, z, prices)
    status, detail = Status.OPTIMAL, ""
    if residual > tol:
        status, detail = _why_not(problem, reduced)
    none = np.zeros(problem.flows)
    return PathAllocation(
        problem.total(z),
        prices,
        none,
        status,
        residual,
        steps,
        detail=detail,
        path_rates=z,
        error=np.where(problem.closed, 0.0, np.inf),
    )


def _why_not(problem: PathProblem, reduced: Reduced | None) -> tuple[Status, str]:
    """STEP_LIMIT, or OUT_OF_RANGE where prices p x^-alpha leave float64 whatever the rates.

    The point that was found does not tell: its rates may be far off. A rate is at most the sum of
    the largest ones on the paths of its flow, and about at least one of them over the number of
    all paths.
    """
    if reduced is None or problem.by_path.alpha in (0.0, np.inf):
        return Status.STEP_LIMIT, ""
    own = np.bincount(reduced.owner, minlength=len(reduced.flows))
    alpha, base = problem.by_path.alpha, np.log(problem.priority[reduced.flows])
    cheapest = base - alpha * (reduced.log_unit + np.log(own))
    costliest = base - alpha * (reduced.log_unit - np.log(len(reduced.paths)))
    if (cheapest > EXPONENT).any() or (costliest < -EXPONENT).any():
        return Status.OUT_OF_RANGE, " (prices p x^-alpha; use a smaller alpha, or inf)"
    return Status.STEP_LIMIT, ""


def _without_optimum(problem: PathProblem, tol: float) -> PathAllocation:
    """Infeasible or unbounded, with the flows that are the reason; the others are solved."""
    kept = ~(problem.infeasible | problem.unlimited)
    z = np.where(problem.by_path.unlimited, np.inf, 0.0)
    prices, steps, others = np.zeros(problem.by_path.links), 0, ""
    error = np.zeros(problem.flows)
    if kept.any():
        rest = _solve(problem.restricted(kept), tol, np.flatnonzero(kept))
        z[kept[problem.owner]] = rest.path_rates
        prices, steps, others = rest.prices, rest.iterations, the_others(rest)
        error[kept] = rest.error
    prices = np.where(problem.by_path.closed, np.inf, prices)
    status, certificate, who = no_optimum(problem.infeasible, problem.unlimited)
    return PathAllocation(
        problem.total(z),
        prices,
        np.zeros(problem.flows),
        status,
        np.inf,
        steps,
        certificate=certificate,
        detail=f" ({who}{others})",
        path_rates=z,
        error=error,
    )
