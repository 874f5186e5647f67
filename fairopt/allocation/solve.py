"""The method for each alpha, and the status of what it found."""

from __future__ import annotations

import numpy as np

from fairopt.allocation.finite_alpha import solve as solve_finite
from fairopt.allocation.method_result import MethodResult
from fairopt.allocation.methods.linear_programme import linear_programme
from fairopt.allocation.methods.progressive_filling import progressive_filling
from fairopt.allocation.presolve.scaling import Point, Scaling, scale, unscale
from fairopt.allocation.problem import Problem
from fairopt.allocation.residual import measure_residuals
from fairopt.allocation.result import Allocation, listed
from fairopt.arrays import Array
from fairopt.solution import Status

EXPONENT = 690.0  # prices are kept within e^690 of 1, a little inside float64


def solve(problem: Problem, tol: float, start: Array | None) -> Allocation:
    """The allocation of a checked problem."""
    scaling = scale(problem)
    found = _solve_scaled(scaling, tol, start)
    point, steps = _point(scaling, found), found.iterations
    if problem.unlimited.any() or (problem.alpha >= 1.0 and problem.forced.any()):
        return _no_optimum(problem, point or _max_min(scaling), steps)
    if point is None:
        return _without_prices(scaling, steps)
    residual = measure_residuals(problem, *point).worst
    if residual > tol and (detail := _range_exceeded(scaling)):
        return _out_of_range(scaling, detail, steps)
    status, detail = Status.OPTIMAL, ""
    if residual > tol:
        detail = _vanishing_rates(problem, point.rates)
        status = Status.OUT_OF_RANGE if detail else Status.STEP_LIMIT
    return Allocation(*point, status, residual, steps, detail=detail)


NO_FLOWS = MethodResult(np.zeros(0), np.zeros(0), np.zeros(0), 0)


def _solve_scaled(scaling: Scaling, tol: float, start: Array | None) -> MethodResult:
    """The scaled answer; where the linear programme gives up, max-min rates without prices."""
    scaled = scaling.scaled
    if scaled is None:
        return NO_FLOWS
    alpha = scaling.problem.alpha
    if alpha == np.inf:
        return progressive_filling(scaled)
    if alpha == 0.0:
        return linear_programme(scaled) or _unpriced(progressive_filling(scaled))
    return solve_finite(scaled, tol, _log_start(scaling, start))


def _unpriced(found: MethodResult) -> MethodResult:
    """The same rates with prices of zero."""
    nothing = np.full(len(found.log_prices), -np.inf)
    return MethodResult(found.rates, nothing, np.full(len(found.rates), -np.inf), found.iterations)


def _log_start(scaling: Scaling, start: Array | None) -> Array | None:
    """Start prices of the scaled problem, in logarithms."""
    if start is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.log(start[scaling.links]) + np.log(scaling.problem.capacity[scaling.links])
    return np.where(np.isnan(scaled), -np.inf, scaled)


def _point(scaling: Scaling, found: MethodResult) -> Point | None:
    """The point of the stated problem; None if a number of it is missing."""
    point = unscale(scaling, found.rates, found.log_prices, found.log_bound_prices)
    return None if any(np.isnan(array).any() for array in point) else point


def _without_prices(scaling: Scaling, steps: int) -> Allocation:
    """The max-min rates, where numbers of the point are missing."""
    detail = _range_exceeded(scaling)
    if detail:
        return _out_of_range(scaling, detail, steps)
    return Allocation(*_max_min(scaling), Status.STEP_LIMIT, np.inf, steps)


def _max_min(scaling: Scaling) -> Point:
    """Max-min rates, which exist for every alpha, with prices of zero."""
    problem = scaling.problem
    found = NO_FLOWS if scaling.scaled is None else _unpriced(progressive_filling(scaling.scaled))
    point = unscale(scaling, found.rates, found.log_prices, found.log_bound_prices)
    return Point(point.rates, np.zeros(problem.links), np.zeros(problem.flows))


def _out_of_range(scaling: Scaling, detail: str, steps: int) -> Allocation:
    """Max-min rates without prices, and why."""
    return Allocation(*_max_min(scaling), Status.OUT_OF_RANGE, np.inf, steps, detail=detail)


def _no_optimum(problem: Problem, point: Point, steps: int) -> Allocation:
    """Infeasible or unbounded, with the flows that are the reason."""
    infeasible = problem.alpha >= 1.0 and bool(problem.forced.any())
    who = problem.forced if infeasible else problem.unlimited
    status = Status.INFEASIBLE if infeasible else Status.UNBOUNDED
    why = "can only have rate zero, of utility -inf" if infeasible else "are limited by nothing"
    return Allocation(
        *point,
        status,
        np.inf,
        steps,
        certificate=who.astype(np.float64),
        detail=f" (flows {listed(np.flatnonzero(who))} {why})",
    )


def _vanishing_rates(problem: Problem, rates: Array) -> str:
    """Which rates are too small for the digits of a float64; nothing if none is.

    They tend to zero with alpha as (p / q)^(1 / alpha), long before alpha = 0.
    """
    if not 0.0 < problem.alpha < np.inf:
        return ""
    small = np.flatnonzero(~problem.forced & (rates < np.finfo(float).tiny))
    if not len(small):
        return ""
    return (
        f" (at alpha = {problem.alpha:g} the rates of flows {listed(small)} are below 2e-308 and"
        " have lost their digits; use a larger alpha, or 0)"
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
