r"""Steps along the central path of flows over paths: logarithmic ones and linear ones.

In logarithms complementarity is linear, so a point can be carried over many decades of prices and
of the target tau. Linear steps keep everything positive; they end more exactly where splits and
prices are not unique. Each succeeds where the other fails.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocation.multipath.initial_point import WIDEST
from fairopt.allocation.multipath.log_form import (
    Iterate,
    PathForm,
    Units,
    gaps,
    largest_residual,
    units,
    violation,
)
from fairopt.allocation.multipath.newton import newton_change
from fairopt.arrays import Array

CENTRED = 0.03  # residual of the equations at a point near enough to the path
NEARLY = 1.0  # change of a logarithm there
TRIES = 10  # Newton steps towards one point of the path
LOST = 1e12  # residual beyond which the iteration has failed
UNDAMPED = 3.0  # change of a logarithm made in full; of larger ones only the logarithm counts
LONGEST = 20.0  # change of a logarithm in one step
FIRST_RATIO = 0.1  # of two successive targets
LEAST_RATIO = 1e-4
SHORTEST = 0.95  # ratio at which lowering the target is given up
QUICK = 4  # steps: after a point reached in fewer the ratio shrinks
FASTER = 1.5  # exponent of the ratio then
SLOWER = 0.5  # and where a point was not reached

STEPS = 200  # linear ones; 15 to 40 are usual
STAY_INSIDE = 0.99  # of the way to the boundary
LEAST_CENTRING = 0.02  # of the present complementarity
NEAR = 0.1  # residual of the equations above which the complementarity target stays
LEAST = 1e-26  # complementarity aimed at if all prices are equal: its root is below rounding
LEAST_OF_ALL = 1e-150  # keeps products of prices inside float64
ENOUGH = 1e4  # times the least: complementarity reached
EQUATIONS = 1e-12  # residual of the others
SHORT = 1e-8  # step length at which rounding is reached
PATIENCE = 10  # steps at the least complementarity
LARGEST_MOVE = 2.0  # change of the logarithm of a flow's price in one linear step
SOLVED = 3e-7  # violation of an answer


def centre(
    form: PathForm, point: Iterate, tau: float, tries: int = TRIES
) -> tuple[Iterate, int, bool]:
    """A point of the path near tau, the steps, whether it was reached; units stay as they are."""
    unit = units(form, point)
    for k in range(tries):
        moved = _log_step(form, point, unit, tau)
        if moved is None:
            return point, k, False
        point, largest = moved
        residual = largest_residual(form, point)
        if not residual < LOST:
            return point, k + 1, False
        if residual <= CENTRED and largest <= NEARLY:
            return point, k + 1, True
    return point, tries, False


def _log_step(
    form: PathForm, point: Iterate, unit: Units, tau: float
) -> tuple[Iterate, float] | None:
    """One Newton step in logarithms, and its largest change before it was shortened."""
    path_gap, link_gap = (np.log(tau / gap) for gap in gaps(point, unit))
    found = newton_change(form, point, path_gap, link_gap)
    if found is None:
        return None
    a, b = _damped(found.z), _damped(found.prices)
    of_flow = found.pi + form.alpha * _flow_change(form, point, found.z - a)
    change = Iterate(a, path_gap - a, b, link_gap - b, of_flow)
    largest = max(float(np.abs(part).max()) for part in change)
    length = min(1.0, LONGEST / largest) if largest > 0.0 else 1.0
    moved = (old * np.exp(length * part) for old, part in zip(point, change, strict=True))
    return Iterate(*moved), largest


def _damped(change: Array) -> Array:
    """Changes; those beyond UNDAMPED are cut to a logarithm, as the linear model is poor there."""
    size = np.abs(change)
    beyond = UNDAMPED + np.log(np.maximum(size, UNDAMPED) / UNDAMPED)
    return np.where(size <= UNDAMPED, change, np.sign(change) * beyond)


def _flow_change(form: PathForm, point: Iterate, change: Array) -> Array:
    """Changes of path rates as those of flow rates."""
    return form.total(point.z * change) / form.total(point.z)


def reduce_tau(
    form: PathForm, point: Iterate, tau: float, least: float
) -> tuple[Iterate, int, float]:
    """Along the path from tau down to the least, or as far as possible: point, steps, its tau."""
    steps, ratio = 0, FIRST_RATIO
    while tau > least and ratio < SHORTEST:
        target = max(tau * ratio, least)
        trial, used, reached = centre(form, point, target)
        steps += used
        if reached:
            point, tau = trial, target
            ratio = max(ratio**FASTER, LEAST_RATIO) if used < QUICK else ratio
        else:
            ratio = ratio**SLOWER
    return point, steps, tau


def smallest_target(point: Iterate) -> float:
    """Complementarity that is as small for the flow with the lowest price as for the highest."""
    return max(LEAST * float(point.pi.min() / point.pi.max()), LEAST_OF_ALL)


def linear_steps(form: PathForm, point: Iterate, tau: float) -> tuple[Iterate, int]:
    """Linear steps to the end of the path: the last point that is solved, else the best."""
    best, lowest, waited = point, np.inf, 0
    least = smallest_target(point)
    for k in range(STEPS):
        unit = units(form, point)
        moved = _linear_step(form, point, unit, tau)
        if moved is None:
            return best, k
        point, length = moved
        now = violation(form, point.z, point.prices)
        if now <= max(lowest, SOLVED):
            best, lowest = point, now
        gap = np.concatenate(gaps(point, unit))
        residual = largest_residual(form, point)
        waited += tau <= least
        if (
            (gap.max() <= ENOUGH * least and residual <= EQUATIONS)
            or length < SHORT
            or waited > PATIENCE
        ):
            return best, k + 1
        less = 1.0 if residual > NEAR else max(LEAST_CENTRING, (1.0 - length) ** 2)
        tau = max(min(less * float(gap.mean()), WIDEST), least)
    return best, STEPS


def _linear_step(
    form: PathForm, point: Iterate, unit: Units, tau: float
) -> tuple[Iterate, float] | None:
    """One linear step as far as everything stays positive, and its length."""
    path_gap, link_gap = (tau / gap - 1.0 for gap in gaps(point, unit))
    change = newton_change(form, point, path_gap, link_gap)
    if change is None:
        return None
    change = change._replace(pi=np.clip(change.pi, -LARGEST_MOVE, LARGEST_MOVE))
    fastest = max(float(np.max(-part, initial=0.0)) for part in change)
    length = min(1.0, STAY_INSIDE / fastest) if fastest > 0.0 else 1.0
    return Iterate(
        *(old * (1.0 + length * part) for old, part in zip(point, change, strict=True))
    ), length
