r"""Ways along the central path of flows over paths: by logarithms, and by straight steps.

In logarithms complementarity is linear, so a point can be carried over many decades of prices and
of the target tau. Straight steps stay where all is positive; they end more exactly where splits and
prices are not unique. Each gets through where the other does not.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocation.multipath.initial_point import WIDEST
from fairopt.allocation.multipath.log_form import (
    Inside,
    PathForm,
    Units,
    gaps,
    off,
    units,
    violation,
)
from fairopt.allocation.multipath.newton import newton_change
from fairopt.arrays import Array

CENTRED = 0.03  # violation of the equations at a point near enough to the path to go on from
NEARLY = 1.0  # change of a logarithm there
TRIES = 10  # Newton steps towards one point of the path
LOST = 1e12  # violation that no further step mends
GENTLE = 3.0  # change of a logarithm that is made in full; larger ones grow as their logarithm
LONGEST = 20.0  # change of a logarithm in one step
FIRST_RATIO = 0.1  # of two targets on the way down
LEAST_RATIO = 1e-4
SHORTEST = 0.95  # ratio at which the way down is given up
QUICK = 4  # steps: a point reached in fewer lets the ratio shrink
FASTER = 1.5  # exponent of the ratio then
SLOWER = 0.5  # and where a point was not reached

STEPS = 200  # straight ones; 15 to 40 are usual
STAY_INSIDE = 0.99  # of the way to the boundary
LEAST_CENTRING = 0.02  # of the present complementarity
NEAR = 0.1  # violation of the equations above which complementarity waits for them
LEAST = 1e-26  # complementarity aimed at where all pay alike: its root, squared, is below rounding
LEAST_OF_ALL = 1e-150  # leaves products of prices inside float64
ENOUGH = 1e4  # times the least: complementarity reached
EQUATIONS = 1e-12  # violation of the others
SHORT = 1e-8  # a step that shows that rounding is reached
PATIENCE = 10  # steps at the least complementarity
LARGEST_MOVE = 2.0  # change of the logarithm of a flow's price in one straight step
SOLVED = 3e-7  # violation of an answer


def centre(
    form: PathForm, point: Inside, tau: float, tries: int = TRIES, goal: float = CENTRED
) -> tuple[Inside, int, bool]:
    """A point of the path near tau, the steps, whether it was reached; units stay as they are."""
    unit = units(form, point)
    for k in range(tries):
        moved = _by_logarithms(form, point, unit, tau)
        if moved is None:
            return point, k, False
        point, largest = moved
        wrong = off(form, point)
        if not wrong < LOST:
            return point, k + 1, False
        if wrong <= goal and largest <= NEARLY:
            return point, k + 1, True
    return point, tries, False


def _by_logarithms(
    form: PathForm, point: Inside, unit: Units, tau: float
) -> tuple[Inside, float] | None:
    """One Newton step in logarithms, and its largest change before it was shortened."""
    path_gap, link_gap = (np.log(tau / gap) for gap in gaps(point, unit))
    found = newton_change(form, point, path_gap, link_gap)
    if found is None:
        return None
    a, b = _gentle(found.z), _gentle(found.prices)
    of_flow = found.pi + form.alpha * _mean(form, point, found.z - a)
    change = Inside(a, path_gap - a, b, link_gap - b, of_flow)
    largest = max(float(np.abs(part).max()) for part in change)
    length = min(1.0, LONGEST / largest) if largest > 0.0 else 1.0
    moved = (old * np.exp(length * part) for old, part in zip(point, change, strict=True))
    return Inside(*moved), largest


def _gentle(change: Array) -> Array:
    """Changes, those beyond GENTLE cut to a logarithm: there the linear model knows a target."""
    size = np.abs(change)
    beyond = GENTLE + np.log(np.maximum(size, GENTLE) / GENTLE)
    return np.where(size <= GENTLE, change, np.sign(change) * beyond)


def _mean(form: PathForm, point: Inside, change: Array) -> Array:
    """Changes of path rates as those of flow rates."""
    return form.total(point.z * change) / form.total(point.z)


def lower(form: PathForm, point: Inside, tau: float, least: float) -> tuple[Inside, int, float]:
    """Down the path from tau to the least, or as far as it goes: the point, the steps, its tau."""
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


def smallest_target(point: Inside) -> float:
    """Complementarity that the flow with the lowest price feels no more of than the dearest."""
    return max(LEAST * float(point.pi.min() / point.pi.max()), LEAST_OF_ALL)


def straight(form: PathForm, point: Inside, tau: float) -> tuple[Inside, int]:
    """Straight steps to the end of the path: the last point that is solved, else the best."""
    best, lowest, waited = point, np.inf, 0
    least = smallest_target(point)
    for k in range(STEPS):
        unit = units(form, point)
        moved = _within(form, point, unit, tau)
        if moved is None:
            return best, k
        point, length = moved
        now = violation(form, point.z, point.prices)
        if now <= max(lowest, SOLVED):
            best, lowest = point, now
        gap = np.concatenate(gaps(point, unit))
        wrong = off(form, point)
        waited += tau <= least
        if (
            (gap.max() <= ENOUGH * least and wrong <= EQUATIONS)
            or length < SHORT
            or waited > PATIENCE
        ):
            return best, k + 1
        less = 1.0 if wrong > NEAR else max(LEAST_CENTRING, (1.0 - length) ** 2)
        tau = max(min(less * float(gap.mean()), WIDEST), least)
    return best, STEPS


def _within(form: PathForm, point: Inside, unit: Units, tau: float) -> tuple[Inside, float] | None:
    """One step as far as all stays positive, and its length."""
    path_gap, link_gap = (tau / gap - 1.0 for gap in gaps(point, unit))
    change = newton_change(form, point, path_gap, link_gap)
    if change is None:
        return None
    change = change._replace(pi=np.clip(change.pi, -LARGEST_MOVE, LARGEST_MOVE))
    fastest = max(float(np.max(-part, initial=0.0)) for part in change)
    length = min(1.0, STAY_INSIDE / fastest) if fastest > 0.0 else 1.0
    return Inside(
        *(old * (1.0 + length * part) for old, part in zip(point, change, strict=True))
    ), length
