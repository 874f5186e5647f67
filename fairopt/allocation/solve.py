"""The method for each alpha, and the status of what it found."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.bottleneck_prices import FULL, with_ties
from fairopt.allocation.finite_alpha import Series
from fairopt.allocation.finite_alpha import solve as solve_finite
from fairopt.allocation.method_result import MethodResult
from fairopt.allocation.methods.linear_programme import linear_programme
from fairopt.allocation.methods.progressive_filling import progressive_filling
from fairopt.allocation.presolve.scaling import Point, Scaling, scale, unscale
from fairopt.allocation.problem import Problem, start_prices
from fairopt.allocation.rate_accuracy import uncertain_flows
from fairopt.allocation.residual import Residuals, measure_residuals, relative_loads
from fairopt.allocation.result import Allocation, listed
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.solution import Status

EXPONENT = 690.0  # prices are kept within e^690 of 1, a little inside float64


def solve_from(
    problem: Problem,
    tol: object,
    start: Allocation | ArrayLike | None,
    series: Series | None = None,
) -> Allocation:
    """The allocation of a checked problem, from the start and with the tolerance of a caller."""
    limit = checks.tolerance(tol)
    prices = start.prices if isinstance(start, Allocation) else start
    known = None if prices is None else start_prices(prices, problem.links)
    return solve(problem, limit, known, series)


def solve(
    problem: Problem, tol: float, start: Array | None, series: Series | None = None
) -> Allocation:
    """The allocation of a checked problem; flows without an optimum are left out and named."""
    if problem.infeasible.any() or problem.unlimited.any():
        return _without_optimum(problem, tol, start, series)
    return _solve(problem, tol, start, series, np.arange(problem.flows))


def _solve(
    problem: Problem, tol: float, start: Array | None, series: Series | None, names: Ints
) -> Allocation:
    """The allocation of a problem that has an optimum; `names` are the numbers of its flows."""
    scaling = scale(problem)
    found = _solve_scaled(scaling, tol, start, series)
    point, steps = _point(scaling, found, tol), found.iterations
    if point is None:
        return _without_prices(scaling, steps)
    residuals = measure_residuals(problem, *point)
    if residuals.feasibility > tol:
        point = point._replace(rates=fitting(problem, point.rates))
        residuals = measure_residuals(problem, *point)
    if residuals.worst <= tol:
        return _solved(scaling, found, point, residuals, names)
    if detail := _range_exceeded(scaling):
        return _out_of_range(scaling, detail, steps)
    detail = _vanishing_rates(problem, point.rates, names)
    status = Status.OUT_OF_RANGE if detail else Status.STEP_LIMIT
    return Allocation(*point, status, residuals.worst, steps, detail=detail)


def _solved(
    scaling: Scaling, found: MethodResult, point: Point, residuals: Residuals, names: Ints
) -> Allocation:
    """An answer: OPTIMAL, or ROUNDING_LIMITED where float64 does not fix every rate."""
    status, detail, certificate = Status.OPTIMAL, "", None
    if scaling.scaled is not None and 0.0 < scaling.problem.alpha < np.inf:
        uncertain = scaling.flows[uncertain_flows(scaling.scaled, found, residuals)]
        if len(uncertain):
            status, detail = Status.ROUNDING_LIMITED, uncertain_rates(names[uncertain])
            certificate = np.zeros(scaling.problem.flows)
            certificate[uncertain] = 1.0
    return Allocation(
        *point, status, residuals.worst, found.iterations, certificate=certificate, detail=detail
    )


def uncertain_rates(flows: Ints) -> str:
    """Which rates float64 does not fix."""
    return (
        f" (flows {listed(flows)} fill so little of a full link that its load does not fix their"
        " rates: these may be wrong by factors)"
    )


NO_FLOWS = MethodResult(np.zeros(0), np.zeros(0), np.zeros(0), 0)


def _solve_scaled(
    scaling: Scaling, tol: float, start: Array | None, series: Series | None
) -> MethodResult:
    """The scaled answer; where the linear programme gives up, max-min rates without prices."""
    scaled = scaling.scaled
    if scaled is None:
        return NO_FLOWS
    alpha = scaling.problem.alpha
    if alpha == np.inf:
        return progressive_filling(scaled)
    if alpha == 0.0:
        return linear_programme(scaled) or _unpriced(progressive_filling(scaled))
    layout, log_start = scaling.layout, _log_start(scaling, start)
    if series is not None:
        series.factor_for(layout)
    return solve_finite(scaled, layout.identical, tol, log_start, series)


def _unpriced(found: MethodResult) -> MethodResult:
    """The same rates with prices of zero."""
    nothing = np.full(len(found.log_prices), -np.inf)
    return MethodResult(found.rates, nothing, np.full(len(found.rates), -np.inf), found.iterations)


def _log_start(scaling: Scaling, start: Array | None) -> Array | None:
    """Start prices of the scaled problem, in logarithms; a row has those of all its links."""
    if start is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.log(start) + np.log(scaling.problem.capacity)
        return scaling.layout.totals(np.where(np.isnan(scaled), -np.inf, scaled))


def _point(scaling: Scaling, found: MethodResult, tol: float) -> Point | None:
    """The point of the stated problem; None if a number of it is missing."""
    point = unscale(scaling, found.rates, found.log_prices, found.log_bound_prices)
    if any(np.isnan(array).any() for array in point) or not np.isfinite(point.rates).all():
        return None
    if np.isfinite(scaling.problem.alpha):
        return point
    return with_ties(scaling.problem, point, min(FULL, tol))


def fitting(problem: Problem, rates: Array) -> Array:
    """The rates, those on overloaded links reduced by the largest overload on their path."""
    over = np.maximum(relative_loads(problem, rates), 1.0)
    most = np.ones(problem.flows)
    np.maximum.at(most, problem.flow, over[problem.link])
    return np.minimum(rates / most, problem.upper)


def _without_prices(scaling: Scaling, steps: int) -> Allocation:
    """The max-min rates, where numbers of the point are missing."""
    detail = _range_exceeded(scaling)
    if detail:
        return _out_of_range(scaling, detail, steps)
    return Allocation(*_max_min(scaling), Status.STEP_LIMIT, np.inf, steps)


def _max_min(scaling: Scaling) -> Point:
    """Max-min rates, which exist for every alpha, without prices, at most the largest float."""
    problem = scaling.problem
    found = NO_FLOWS if scaling.scaled is None else _unpriced(progressive_filling(scaling.scaled))
    point = unscale(scaling, found.rates, found.log_prices, found.log_bound_prices)
    rates = np.minimum(point.rates, np.finfo(np.float64).max)
    return Point(rates, np.zeros(problem.links), np.zeros(problem.flows))


def _out_of_range(scaling: Scaling, detail: str, steps: int) -> Allocation:
    """Max-min rates without prices, and why."""
    return Allocation(*_max_min(scaling), Status.OUT_OF_RANGE, np.inf, steps, detail=detail)


def _without_optimum(
    problem: Problem, tol: float, start: Array | None, series: Series | None
) -> Allocation:
    """Infeasible or unbounded, with the flows that are the reason; the others are solved."""
    infeasible, unlimited = problem.infeasible, problem.unlimited
    kept = np.flatnonzero(~(infeasible | unlimited))
    rates, bounds = np.where(unlimited, np.inf, 0.0), np.zeros(problem.flows)
    bounds[infeasible & (problem.upper == 0.0)] = np.inf
    prices, steps, others = np.zeros(problem.links), 0, ""
    if len(kept):
        rest = _solve(problem.restricted(kept), tol, start, series, kept)
        rates[kept], bounds[kept] = rest.rates, rest.upper_prices
        prices, steps, others = rest.prices, rest.iterations, the_others(rest)
    prices = np.where(problem.closed, np.inf, prices)
    status, certificate, who = no_optimum(infeasible, unlimited)
    detail = f" ({who}{others})"
    return Allocation(rates, prices, bounds, status, np.inf, steps, certificate, detail)


def no_optimum(infeasible: BoolArray, unlimited: BoolArray) -> tuple[Status, Array, str]:
    """The status where some flows have no optimum, its certificate, and who they are.

    No point at all is worse than no end: INFEASIBLE where there are both.
    """
    who = [
        f"flows {listed(np.flatnonzero(flows))} {why}"
        for flows, why in (
            (infeasible, "can only have rate zero, of utility -inf"),
            (unlimited, "are limited by nothing"),
        )
        if flows.any()
    ]
    reason = infeasible if infeasible.any() else unlimited
    status = Status.INFEASIBLE if infeasible.any() else Status.UNBOUNDED
    return status, reason.astype(np.float64), "; ".join(who)


def the_others(rest: Allocation) -> str:
    """What became of the flows that have an optimum."""
    if rest.status is Status.OPTIMAL:
        return f"; the others are solved, residual {rest.residual:.1g}"
    return f"; the others: {rest.sentence}"


def _vanishing_rates(problem: Problem, rates: Array, names: Ints) -> str:
    """Which rates are too small for the digits of a float64; nothing if none is.

    They tend to zero with alpha as (p / q)^(1 / alpha), long before alpha = 0; at alpha = inf it is
    their unit that is too large.
    """
    if problem.alpha == 0.0:
        return ""
    small = np.flatnonzero(~problem.forced & (rates < np.finfo(float).tiny))
    if not len(small):
        return ""
    what = "a smaller unit" if problem.alpha == np.inf else "a larger alpha, or 0"
    return (
        f" (at alpha = {problem.alpha:g} the rates of flows {listed(names[small])} are below 2e-308"
        f" and have lost their digits; use {what})"
    )


def _range_exceeded(scaling: Scaling) -> str:
    """Why float64 cannot hold the prices; nothing if it can."""
    problem = scaling.problem
    if not 0.0 < problem.alpha < np.inf:
        return ""
    highest = _highest_alpha(scaling)
    if problem.alpha <= highest:
        return ""
    return (
        f" (prices p x^-alpha: with these rates and this unit float64 holds them up to alpha ="
        f" {highest:.3g}, then only alpha = inf; the rates given are the max-min ones, which differ"
        f" by a few parts in {problem.alpha:.2g})"
    )


def _highest_alpha(scaling: Scaling) -> float:
    """The alpha at which a price at the max-min rates, which are near, leaves float64."""
    problem = scaling.problem
    kept = ~(problem.forced | problem.unlimited)
    rates = _max_min(scaling).rates[kept]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rate, log_priority = np.log(rates), np.log(problem.priority[kept])
        room = np.where(log_rate < 0.0, EXPONENT - log_priority, EXPONENT + log_priority)
        each = np.where(log_rate == 0.0, np.inf, room / np.abs(log_rate))
    return float(np.min(np.where(np.isnan(each), 0.0, each), initial=np.inf))
