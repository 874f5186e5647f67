"""Presolve, central path, polish and certificate: the fast way, tried first at finite alpha > 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.multipath.certificate import rate_errors
from fairopt.allocation.multipath.interior import (
    LOG_STEPS,
    WARM_STEPS,
    Point,
    follow_path,
    log_phase,
    reach_path,
)
from fairopt.allocation.multipath.link_space import SplitForm
from fairopt.allocation.multipath.polish import GOOD, Polished, polish, resume
from fairopt.allocation.multipath.presolve import Presolved, presolve, restored
from fairopt.allocation.multipath.warm_start import carried, inside, point_near
from fairopt.arrays import Array, Ints
from fairopt.blas_threads import one_thread

GOALS = ((1e-11, 20), (1e-14, 200))
"""Complementarity on the central path, and changes of sides that a polish may make, in turn."""

NEARER = (1e-2, 1e-4, 1e-6)
"""Complementarities that are reached in logarithms where the path is not followed otherwise."""

NEAR_GAP = 1e-3  # complementarity at which the path is joined from the answer of a similar problem
ROUGH = 1e-6  # residual beyond which the central path ends nearer to the optimum


class Direct(NamedTuple):
    """What was found in float64.

    Attributes:
        z: (paths,) rates.
        prices: (links,).
        error: (flows,) certified errors of flow rates.
        residual: Of the conditions of optimality of the presolved problem.
        steps: Newton steps.
        small: The presolved problem.
    """

    z: Array
    prices: Array
    error: Array
    residual: float
    steps: int
    small: Presolved


def solve_directly(A: Any, owner: Ints, log_weight: Array, alpha: float) -> Direct:
    """The best point of A z <= 1; the arguments are those of `presolve`."""
    return _direct(A, owner, log_weight, alpha, presolve(A, owner, log_weight, alpha), _solve)


def solve_from(
    A: Any,
    owner: Ints,
    log_weight: Array,
    alpha: float,
    small: Presolved,
    start: tuple[Array, Array],
) -> Direct:
    """The same from path rates and prices of a similar problem; the residual tells if it failed."""

    def near(form: SplitForm) -> Polished:
        return _solve_near(form, point_near(form, *carried(small, *start)))

    return _direct(A, owner, log_weight, alpha, small, near)


def _direct(
    A: Any,
    owner: Ints,
    log_weight: Array,
    alpha: float,
    small: Presolved,
    method: Callable[[SplitForm], Polished],
) -> Direct:
    """The answer of a method to the presolved problem, carried back and certified."""
    none = np.zeros(0)
    z, prices, mu, residual, steps = none, none, none, 0.0, 0
    if small.form is not None:
        limits = np.zeros(small.form.flows)
        with np.errstate(all="ignore"), one_thread(small.form.links):
            found = method(small.form)
        limits[small.form.limited] = found.mu
        z, prices, mu, residual, steps = found._replace(mu=limits)
    z, prices = restored(small, A, log_weight, alpha, z, prices, mu)
    error = rate_errors(A, owner, log_weight, alpha, z, prices)
    return Direct(z, prices, error, residual, steps, small)


def _solve(form: SplitForm) -> Polished:
    """The polished end of the central path, or its best point.

    At a small alpha rates on the path may rise by decades while complementarity falls, which a
    predictor does not see: then the path is followed in logarithms first.
    """
    point, steps, reached = reach_path(form)
    best, end = Polished(point.z, point.prices, point.mu, np.inf, 0), point
    for gaps in ((), NEARER) if reached else ():
        for gap in gaps:
            point, used, reached = log_phase(form, point, gap, LOG_STEPS)
            steps += used
        if reached:
            best, end = _ended(form, point, best)
        if best.residual < ROUGH:
            break
    return _the_better(best._replace(steps=best.steps + steps), end)


def _solve_near(form: SplitForm, point: Point) -> Polished:
    """From a point near the answer: by full steps, and if they fail on a shorter central path."""
    found = resume(form, point)
    if found.residual <= GOOD:
        return found
    beside, steps, reached = log_phase(form, inside(form, point, NEAR_GAP), NEAR_GAP, WARM_STEPS)
    found = found._replace(residual=np.inf, steps=found.steps + steps)
    return _ended(form, beside, found)[0] if reached else found


def _ended(form: SplitForm, point: Point, best: Polished) -> tuple[Polished, Point]:
    """The best polished end of the path from a point of it, and the end itself."""
    steps = best.steps
    for goal, flips in GOALS:
        point, used = follow_path(form, point, goal)
        found = polish(form, point, flips)
        steps += used + found.steps
        if found.residual <= best.residual:
            best = found
        if best.residual <= GOOD:
            break
    return best._replace(steps=steps), point


def _the_better(found: Polished, point: Point) -> Polished:
    """The polished point, or that of the central path if polishing has failed."""
    if found.residual < ROUGH:
        return found
    return Polished(point.z, point.prices, point.mu, np.inf, found.steps)
