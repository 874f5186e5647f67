"""Flows over several paths: the method for each alpha, and the status of what it found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fairopt.allocation.multipath.answers import answer, zero_prices
from fairopt.allocation.multipath.decimal_continuation import Part, solve_in_decimals
from fairopt.allocation.multipath.direct import Direct, solve_directly, solve_from
from fairopt.allocation.multipath.max_min import max_min
from fairopt.allocation.multipath.max_min_levels import largest_total
from fairopt.allocation.multipath.polish import GOOD
from fairopt.allocation.multipath.presolve import Presolved, presolve
from fairopt.allocation.multipath.problem import PathProblem
from fairopt.allocation.multipath.reduced import Reduced, Shape, reduce
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.rate_accuracy import FAINT
from fairopt.allocation.result import listed
from fairopt.allocation.solve import no_optimum, the_others, uncertain_rates
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.solution import Status

CERTIFIED = 1e-3  # relative error of a rate that is good enough without further checks
MOST_WORK = 1e8  # in decimals, for each of a few starts: half a minute
CHECK_WORK = 1e7  # where float64 meets all conditions: seconds
COMPARABLE = 10.0 * np.log(10.0)  # range of prices within which an exact point is no chance
OVERLOAD = 1e-12  # relative: more shows that a link that was left out has come to matter

Start = tuple[Array, Array]
"""Path rates and link prices."""


@dataclass(eq=False)
class Series:
    """What one answer leaves to the next: the links, paths and limits that decided.

    Attributes:
        shape: What they were chosen from; nothing is left to problems of another.
        small: The presolved problem.
    """

    shape: Shape | None = None
    small: Presolved | None = None


def solve(
    problem: PathProblem, tol: float, start: Start | None = None, series: Series | None = None
) -> PathAllocation:
    """The allocation of a checked problem; flows without an optimum are left out and named.

    A start is an answer to a similar problem; without one the series has no effect.
    """
    series = Series() if series is None else series
    if problem.infeasible.any() or problem.unlimited.any():
        return _without_optimum(problem, tol, start, series)
    return _solve(problem, tol, start, series, np.arange(problem.flows))


def _solve(
    problem: PathProblem, tol: float, start: Start | None, series: Series, names: Ints
) -> PathAllocation:
    """The allocation of a problem that has an optimum; `names` are the numbers of its flows."""
    if problem.closed.all():
        none = np.zeros(problem.by_path.flows)
        return answer(problem, none, zero_prices(problem), 0, tol, None)
    reduced = reduce(problem)
    if problem.by_path.alpha == np.inf:
        return max_min(problem, reduced, tol, names)
    scaled = _scaled(problem, reduced)
    if problem.by_path.alpha == 0.0:
        return scaled.answer(*largest_total(reduced.A, reduced.owner, scaled.log_weight), tol)
    with np.errstate(all="ignore"):
        near, steps = (None, 0) if start is None else _resumed(scaled, tol, start, series)
        found = _finite(scaled, tol, series, names) if near is None else near
    found = replace(found, iterations=found.iterations + steps)
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
        prices = zero_prices(problem)
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            z[reduced.paths] = np.exp(np.log(y) + reduced.log_unit[reduced.owner])
            capacity = problem.by_path.capacity[reduced.links]
            prices[reduced.links] = np.exp(log_prices + self.centre - np.log(capacity))
        return answer(problem, z, prices, steps, tol, reduced)

    def solved(self, tol: float) -> tuple[Direct, PathAllocation]:
        """What float64 gives, and the answer with its certified errors."""
        reduced, alpha = self.reduced, self.problem.by_path.alpha
        direct = solve_directly(reduced.rows.T, reduced.owner, self.log_weight, alpha)
        return direct, self.certified(direct, tol)

    def certified(self, direct: Direct, tol: float) -> PathAllocation:
        """The answer to the stated problem with its certified errors."""
        found = self.answer(direct.z, np.log(direct.prices), direct.steps, tol)
        return self.with_error(found, direct.error)

    def start(self, start: Start) -> Start:
        """Path rates and prices of this problem, 0 where the stated ones are no numbers."""
        reduced = self.reduced
        z, prices = start[0][reduced.paths], start[1][reduced.links]
        y = z * np.exp(-reduced.log_unit[reduced.owner])
        lam = prices * self.problem.by_path.capacity[reduced.links] * np.exp(-self.centre)
        y, lam = (np.where(np.isfinite(a) & (a > 0.0), a, 0.0) for a in (y, lam))
        return y, lam

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


def _resumed(
    scaled: _Scaled, tol: float, start: Start, series: Series
) -> tuple[PathAllocation | None, int]:
    """The answer near a start if it is found and every rate is certified; steps in vain."""
    reduced, alpha = scaled.reduced, scaled.problem.by_path.alpha
    A, near, steps = reduced.rows.T, scaled.start(start), 0
    for small in _presolved(scaled, series):
        direct = solve_from(A, reduced.owner, scaled.log_weight, alpha, small, near)
        if direct.residual > GOOD:
            return None, steps + direct.steps
        near = direct.z, direct.prices
        fits = float((A @ direct.z).max()) <= 1.0 + OVERLOAD
        if fits and (direct.error <= CERTIFIED).all():
            found = scaled.certified(direct, tol)
            if found.ok:
                series.shape, series.small = reduced.shape, small
                return found, steps
        steps += direct.steps
    return None, steps


def _presolved(scaled: _Scaled, series: Series) -> Iterator[Presolved]:
    """What decided the last time, then what decides now."""
    reduced, alpha = scaled.reduced, scaled.problem.by_path.alpha
    if series.small is not None and series.shape is reduced.shape:
        yield series.small.renewed(reduced.rows, scaled.log_weight, alpha)
    yield presolve(reduced.rows.T, reduced.owner, scaled.log_weight, alpha)


def _finite(scaled: _Scaled, tol: float, series: Series, names: Ints) -> PathAllocation:
    """In float64, and if that is not certified in decimals."""
    direct, found = scaled.solved(tol)
    series.shape, series.small = scaled.reduced.shape, direct.small
    if found.ok and (direct.error <= CERTIFIED).all():
        return found
    exact = found.ok and _exact(direct, scaled)
    longer = _in_decimals(scaled, tol, found, CHECK_WORK if exact else MOST_WORK)
    if longer is not None and longer.ok:
        return longer
    if exact:
        return found
    return _uncertified(found, names, scaled.problem.closed)


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
    z, prices = np.zeros(problem.by_path.flows), zero_prices(problem)
    z[reduced.paths], prices[reduced.links] = longer.z, longer.prices
    found = answer(problem, z, prices, known.iterations + longer.steps, tol, reduced)
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
    """An answer whose rates may be wrong, though it may be within tol: some pay too little."""
    unsure = np.flatnonzero(~(found.error <= CERTIFIED) & ~closed)
    if not found.ok:
        told = f" (rates of flows {listed(names[unsure])} are not certified)" if len(unsure) else ""
        return replace(found, detail=found.detail + told)
    known = found.error[unsure]
    most = f"up to {known.max():.0%}" if np.isfinite(known).all() else "any amount"
    detail = (
        f" (within tol, but rates of flows {listed(names[unsure])} may be off by {most}, which"
        " float64 prices cannot show)"
    )
    return replace(found, status=Status.STEP_LIMIT, detail=detail)


def _without_optimum(
    problem: PathProblem, tol: float, start: Start | None, series: Series
) -> PathAllocation:
    """Infeasible or unbounded, with the flows that are the reason; the others are solved."""
    kept = ~(problem.infeasible | problem.unlimited)
    z = np.where(problem.by_path.unlimited, np.inf, 0.0)
    prices, steps, others = np.zeros(problem.by_path.links), 0, ""
    error = np.zeros(problem.flows)
    if kept.any():
        near = None if start is None else (start[0][kept[problem.owner]], start[1])
        rest = _solve(problem.restricted(kept), tol, near, series, np.flatnonzero(kept))
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
