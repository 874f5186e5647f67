"""Flows over several paths: the method for each alpha, and the status of what it found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.bottleneck_prices import with_ties
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
from fairopt.allocation.presolve.scaling import Point
from fairopt.allocation.rate_accuracy import FAINT
from fairopt.allocation.residual import relative_loads
from fairopt.allocation.result import listed
from fairopt.allocation.solve import EXPONENT, fitting, no_optimum, the_others, uncertain_rates
from fairopt.arrays import Array, Ints
from fairopt.solution import Status

LEVEL_SLACK = 1e-8  # relative: HiGHS meets capacities to 1e-10, and levels have errors of that size
WIDEST = 600.0  # e-folds between two paths of a flow: float64 ends at 709
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
        return _contradicted(found, names[reduced.flows[improvable]])
    return _judged(problem, found, names)


def _judged(problem: PathProblem, found: PathAllocation, names: Ints) -> PathAllocation:
    """The answer, ROUNDING_LIMITED where flows carry too little to be seen beside their links."""
    alpha = problem.by_path.alpha
    if not (found.ok and 0.0 < alpha < 1.0):
        return found
    with np.errstate(divide="ignore", invalid="ignore"):
        faint = np.log(found.rates) - problem.log_most < np.log(FAINT)
    faint &= ~problem.closed
    if not faint.any():
        return found
    return replace(
        found,
        status=Status.ROUNDING_LIMITED,
        certificate=faint.astype(np.float64),
        detail=uncertain_rates(names[faint]),
    )


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
    """Leave out closed paths, unused links and links without a limit.

    And paths that carry at most e^-WIDEST of what another path of their flow can.
    """
    from scipy import sparse

    by_path = problem.by_path
    narrow = problem.log_alone < problem.log_most[problem.owner] - WIDEST
    paths = np.flatnonzero(~(by_path.forced | narrow))
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
    """Level by level; OPTIMAL also needs a small gap of every level."""
    levels = level_by_level(reduced.A, reduced.owner, reduced.log_unit)
    z, prices = np.zeros(problem.by_path.flows), _zero_prices(problem)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        z[reduced.paths] = np.exp(np.log(levels.y) + reduced.log_unit[reduced.owner])
        full = reduced.A @ levels.y >= 1.0 - LEVEL_SLACK
        prices[reduced.links] = np.where(full, np.exp(levels.log_prices), 0.0)
    prices = _decided(problem, reduced, z, prices)
    found = _answer(problem, z, prices, levels.count, tol, reduced)
    if found.ok and not levels.gap <= tol:
        detail = f" (a level has a gap of {levels.gap:.1g})"
        return replace(found, status=Status.STEP_LIMIT, detail=detail)
    return found


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
    rates = problem.total(z)
    return PathAllocation(rates, prices, none, status, residual, steps, detail=detail, path_rates=z)


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
    if kept.any():
        rest = _solve(problem.restricted(kept), tol, np.flatnonzero(kept))
        z[kept[problem.owner]] = rest.path_rates
        prices, steps, others = rest.prices, rest.iterations, the_others(rest)
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
    )
