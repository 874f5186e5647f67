"""Flows over several paths: the method for each alpha, and the status of what it found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.multipath.alpha_continuation import solve_by_continuation
from fairopt.allocation.multipath.central_path import SOLVED
from fairopt.allocation.multipath.interior_point import interior_point
from fairopt.allocation.multipath.lexicographic_stages import solve_in_stages, worth_staging
from fairopt.allocation.multipath.log_form import (
    PathForm,
    drop_negligible_prices,
    path_form,
    violation,
)
from fairopt.allocation.multipath.lp_optimality_check import improvable_flows
from fairopt.allocation.multipath.max_min_levels import largest_total, level_by_level
from fairopt.allocation.multipath.problem import PathProblem, path_residual
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.result import listed
from fairopt.allocation.solve import EXPONENT
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.solution import Status

NO_FLOWS: Ints = np.zeros(0, dtype=np.int64)


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
    """The allocation of a checked problem."""
    closed_path, free_path = problem.by_path.forced, problem.by_path.unlimited
    unlimited = problem.total(free_path.astype(float)) > 0.0
    closed = problem.total((~closed_path).astype(float)) == 0.0
    if unlimited.any():
        return _no_optimum(problem, Status.UNBOUNDED, unlimited, "are limited by nothing")
    if closed.any() and problem.by_path.alpha >= 1.0:
        why = "can only have rate zero, of utility -inf"
        return _no_optimum(problem, Status.INFEASIBLE, closed, why)
    if closed.all():
        none = np.zeros(problem.by_path.flows)
        return _answer(problem, none, _zero_prices(problem), 0, tol, None)
    reduced = _reduce(problem)
    if problem.by_path.alpha == np.inf:
        return _max_min(problem, reduced, tol)
    weight = np.log(problem.priority[reduced.flows])
    weight = weight + (1.0 - problem.by_path.alpha) * reduced.log_unit
    y, log_prices, steps, improvable = _scaled(problem, reduced, weight, tol)
    z = np.zeros(problem.by_path.flows)
    prices = _zero_prices(problem)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        z[reduced.paths] = np.exp(np.log(y) + reduced.log_unit[reduced.owner])
        capacity = problem.by_path.capacity[reduced.links]
        prices[reduced.links] = np.exp(log_prices - np.log(capacity))
    found = _answer(problem, z, prices, steps, tol, reduced)
    if found.ok and len(improvable):
        return _contradicted(found, reduced.flows[improvable])
    return found


def _contradicted(found: PathAllocation, flows: Ints) -> PathAllocation:
    """An answer within tol that the linear programme shows not to be optimal."""
    detail = (
        f" (within tol, but flows {listed(flows)} could have more at no cost to flows with higher"
        " prices, which float64 prices cannot show)"
    )
    return replace(found, status=Status.STEP_LIMIT, detail=detail)


def _scaled(
    problem: PathProblem, reduced: Reduced, weight: Array, tol: float
) -> tuple[Array, Array, int, Ints]:
    """Path rates, log prices, steps and improvable flows of the scaled problem."""
    count = len(reduced.flows)
    if problem.by_path.alpha == 0.0:
        return *largest_total(reduced.A, reduced.owner, weight), NO_FLOWS
    centre = 0.5 * float(weight.max() + weight.min())
    form = path_form(reduced.A, reduced.owner, count, weight - centre, problem.by_path.alpha)
    with np.errstate(all="ignore"):
        found, steps = _best_candidate(form, tol)
        return found.z, np.log(found.prices) + centre, steps, found.improvable


class _Candidate(NamedTuple):
    """The point of a method, its residual, and the flows that the linear programme can improve."""

    z: Array
    prices: Array
    residual: float
    improvable: Ints

    def rank(self, tol: float) -> tuple[float, int, float]:
        """Less is better; within tol improvable flows count before the residual."""
        return max(self.residual, tol), len(self.improvable), self.residual


def _best_candidate(form: PathForm, tol: float) -> tuple[_Candidate, int]:
    """The best answer of interior point, continuation and stages, until one is solved."""
    goal = min(tol, SOLVED)
    z, prices, steps = interior_point(form)
    best = _candidate(form, z, prices, tol)
    if best.residual > goal or len(best.improvable):
        z, prices, more = solve_by_continuation(form)
        best = min(best, _candidate(form, z, prices, tol), key=lambda each: each.rank(tol))
        steps += more
    staged = None
    if (best.residual > tol or len(best.improvable)) and worth_staging(form, best.z):
        staged = solve_in_stages(form, best.z)
    if staged is not None:
        z, prices, more = staged
        best = min(best, _candidate(form, z, prices, tol), key=lambda each: each.rank(tol))
        steps += more
    return best, steps


def _candidate(form: PathForm, z: Array, prices: Array, tol: float) -> _Candidate:
    """An answer without negligible prices; programmes are solved only where its residual is small.

    The residual of the stated problem may be the smaller one, so twice the tolerance counts.
    """
    prices = drop_negligible_prices(form, z, prices)
    residual = violation(form, z, prices)
    improvable = improvable_flows(form, z) if residual <= 2.0 * tol else NO_FLOWS
    return _Candidate(z, prices, residual, improvable)


def _reduce(problem: PathProblem) -> Reduced:
    """Leave out closed paths, unused links and links without a limit."""
    from scipy import sparse

    by_path = problem.by_path
    paths = np.flatnonzero(~by_path.forced)
    flows, owner = np.unique(problem.owner[paths], return_inverse=True)
    part = by_path.by_flow[paths].tocoo()
    kept = np.isfinite(by_path.capacity[part.col])
    row, link, R = part.row[kept], part.col[kept], part.data[kept]
    links, column = np.unique(link, return_inverse=True)
    limit = np.log(by_path.capacity[link]) - np.log(R)
    alone = np.full(len(paths), np.inf)
    np.minimum.at(alone, row, limit)
    unit = np.full(len(flows), -np.inf)
    np.maximum.at(unit, owner, alone)
    entries = (np.exp(unit[owner][row] - limit), (column, row))
    A = sparse.csr_array(entries, shape=(len(links), len(paths)))
    return Reduced(A, owner, unit, paths, links, flows)


def _max_min(problem: PathProblem, reduced: Reduced, tol: float) -> PathAllocation:
    """Level by level; the residual is the largest gap of a level."""
    y, prices, gap, levels = level_by_level(reduced.A, reduced.owner, np.exp(-reduced.log_unit))
    z = np.zeros(problem.by_path.flows)
    z[reduced.paths] = y * np.exp(reduced.log_unit[reduced.owner])
    full = np.zeros(problem.by_path.links)
    full[reduced.links] = prices
    status = Status.OPTIMAL if gap <= tol else Status.STEP_LIMIT
    none = np.zeros(problem.flows)
    return PathAllocation(problem.total(z), full, none, status, gap, levels, path_rates=z)


def _zero_prices(problem: PathProblem) -> Array:
    """Prices of zero, inf on used links without capacity."""
    prices = np.zeros(problem.by_path.links)
    used = problem.by_path.link
    prices[used[problem.by_path.capacity[used] == 0.0]] = np.inf
    return prices


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
    residual = path_residual(problem, z, prices)
    status, detail = Status.OPTIMAL, ""
    if residual > tol:
        status, detail = _why_not(problem, reduced)
    none = np.zeros(problem.flows)
    rates = problem.total(z)
    return PathAllocation(rates, prices, none, status, residual, steps, detail=detail, path_rates=z)


def _why_not(problem: PathProblem, reduced: Reduced | None) -> tuple[Status, str]:
    """STEP_LIMIT, or OUT_OF_RANGE where prices p x^-alpha leave float64 whatever the rates.

    The point that was found does not tell: its rates may be far off. A rate is at most the sum of
    the largest ones on the paths of its flow, and about at least one of them over the number of
    all paths.
    """
    if reduced is None or problem.by_path.alpha == 0.0:
        return Status.STEP_LIMIT, ""
    own = np.bincount(reduced.owner, minlength=len(reduced.flows))
    alpha, base = problem.by_path.alpha, np.log(problem.priority[reduced.flows])
    cheapest = base - alpha * (reduced.log_unit + np.log(own))
    costliest = base - alpha * (reduced.log_unit - np.log(len(reduced.paths)))
    if (cheapest > EXPONENT).any() or (costliest < -EXPONENT).any():
        return Status.OUT_OF_RANGE, " (prices p x^-alpha; use a smaller alpha, or inf)"
    return Status.STEP_LIMIT, ""


def _no_optimum(problem: PathProblem, status: Status, who: BoolArray, why: str) -> PathAllocation:
    """No optimum, and the flows that are the reason."""
    rates = np.where(who, np.inf if status is Status.UNBOUNDED else 0.0, 0.0)
    return PathAllocation(
        rates,
        _zero_prices(problem),
        np.zeros(problem.flows),
        status,
        np.inf,
        0,
        certificate=who.astype(np.float64),
        detail=f" (flows {listed(np.flatnonzero(who))} {why})",
        path_rates=np.zeros(problem.by_path.flows),
    )
