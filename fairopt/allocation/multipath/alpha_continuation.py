r"""Primal-dual interior point for flows that split over paths, finite alpha > 0.

The utility is flat along exchanges between the paths of one flow, and where alpha is large prices
differ by a hundred decades: flows that pay 1e-30 of what their neighbours pay still have rates of
their own, decided by exchanges that the neighbours do not feel. Hence every equation is relative
(`newton`) and the central path is followed in logarithms (`following`), which also says
why complementarity ends far below what the dearest flows feel: below what the cheapest ones do.

A large alpha is reached by way of smaller ones: with weights v^(a / alpha) the prices
lambda^(a / alpha) are nearly right at every a, as rates hardly move between two of them. At the end
straight steps are tried first, then logarithms, then straight steps from where those ended; if all
fail, the way is gone once more with every alpha solved closer. The best point by
`form.violation` is the answer.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocation.multipath.central_path import (
    SOLVED,
    centre,
    lower,
    smallest_target,
    straight,
)
from fairopt.allocation.multipath.initial_point import EASY, WIDEST, at, start
from fairopt.allocation.multipath.log_form import Inside, PathForm, gaps, units, violation
from fairopt.arrays import Array

ROUGHLY = (1e-2, 1e-3)  # complementarity for an alpha on the way; the second if the first fails
HANDOVER = 1e-3  # complementarity at which straight steps take over
FIRST_TRIES = 60  # steps from the start to the path
GROWTH = 2.0  # of alpha, first
QUICK = 4  # steps: an alpha reached in fewer lets the growth rise
FASTER = 1.5  # exponent of the growth then
SLOWER = 0.5  # and where it was not reached
LEAST_GROWTH = 1.01  # where the way to a larger alpha is given up
FLOOR = 0.3  # of the target: complementarity of a link in the next start
ABOVE = 10.0  # times the target: the largest complementarity of a path there


def by_routes(form: PathForm, enough: float = SOLVED) -> tuple[Array, Array, int]:
    """Path rates, link prices and steps: the best point of the routes tried until one will do."""
    found, steps = [], 0
    for roughly in ROUGHLY:
        point, used = _route(form, roughly)
        steps += used
        found.append((violation(form, point.z, point.prices), point))
        if found[-1][0] <= enough:
            break
    point = min(found, key=lambda each: each[0])[1]
    return point.z, point.prices, steps


def _route(form: PathForm, roughly: float) -> tuple[Inside, int]:
    """By way of smaller alpha, each solved to a complementarity, to the end."""
    now = at(form, min(form.alpha, EASY))
    point, steps, _ = centre(now, start(now), WIDEST, FIRST_TRIES)
    point, used, _ = lower(now, point, WIDEST, roughly)
    now, point, more = _raise(form, now, point, roughly)
    steps += used + more
    if now.alpha < form.alpha:
        return point, steps
    point, used = _finish(now, point, roughly)
    return point, steps + used


def _raise(
    form: PathForm, now: PathForm, point: Inside, roughly: float
) -> tuple[PathForm, Inside, int]:
    """The roughly solved problem at the alpha asked for, or at the largest that was reached."""
    steps, growth = 0, GROWTH
    while now.alpha < form.alpha and growth > LEAST_GROWTH:
        then = at(form, min(now.alpha * growth, form.alpha))
        trial, used, reached = centre(then, _next(then, point, then.alpha / now.alpha), roughly)
        steps += used
        if reached:
            now, point = then, trial
            growth = growth**FASTER if used < QUICK else growth
        else:
            growth = growth**SLOWER
    return now, point, steps


def _finish(form: PathForm, point: Inside, roughly: float) -> tuple[Inside, int]:
    """The end of the path from a rough point, by the first of three ways that gets there."""
    point, steps, tau = lower(form, point, roughly, HANDOVER)
    best, used = straight(form, point, tau)
    steps += used
    if violation(form, best.z, best.prices) <= SOLVED:
        return best, steps
    point, used, tau = lower(form, point, tau, smallest_target(point))
    again, more = straight(form, point, tau)
    return min(
        (best, point, again), key=lambda each: violation(form, each.z, each.prices)
    ), steps + used + more


def _next(form: PathForm, point: Inside, growth: float) -> Inside:
    """A start from the point of an alpha that was smaller by a factor: prices to that power."""
    x = form.total(point.z)
    raised = (np.exp(form.log_price(point.z)) / point.pi)[form.owner]
    tau = float(gaps(point, units(form, point))[1].mean())
    highest = form.highest_price((point.pi[form.owner] + point.nu) * raised)
    prices = np.maximum(point.prices**growth, FLOOR * tau * highest / point.s)
    cost = form.transposed @ prices
    pi = form.cheapest(cost)
    pays, extra = (x * pi)[form.owner], cost - pi[form.owner]
    nu = np.maximum(extra, tau * pays / (ABOVE * point.z))
    z = np.minimum(point.z, ABOVE * tau * pays / nu)
    z = z * (x / form.total(z))[form.owner]
    return Inside(z, np.maximum(extra, tau * pays / z), prices, point.s, pi)
