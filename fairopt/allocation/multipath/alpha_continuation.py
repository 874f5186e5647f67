r"""Primal-dual interior point for flows that split over paths, finite alpha > 0.

The utility is flat along exchanges between the paths of one flow, and where alpha is large prices
differ by a hundred decades: flows whose price is 1e-30 of that of others still have rates of their
own, decided by exchanges that hardly change what the others pay. Hence every equation is relative
(`multipath.newton`), the central path is followed in logarithms (`multipath.central_path`), and
complementarity ends far below what matters to the high-price flows: below what matters to the
cheapest ones.

A large alpha is reached by continuation from smaller ones: with weights v^(a / alpha) the prices
lambda^(a / alpha) are nearly right at every a, as rates hardly move between two of them. At the end
linear steps are tried first, then logarithmic ones, then linear steps from where those ended; if
all fail, the continuation is repeated with every alpha solved more closely. The answer is the best
point by `log_form.violation`.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocation.multipath.central_path import (
    SOLVED,
    centre,
    linear_steps,
    reduce_tau,
    smallest_target,
)
from fairopt.allocation.multipath.initial_point import EASY, WIDEST, at_alpha, initial_point
from fairopt.allocation.multipath.log_form import Iterate, PathForm, gaps, units, violation
from fairopt.arrays import Array

ROUGHLY = (1e-2, 1e-3)  # complementarity at intermediate alphas; the second if the first fails
HANDOVER = 1e-3  # complementarity at which linear steps take over
FIRST_TRIES = 60  # steps from the initial point to the path
GROWTH = 2.0  # of alpha, first
QUICK = 4  # steps: after an alpha reached in fewer the growth rises
FASTER = 1.5  # exponent of the growth then
SLOWER = 0.5  # and where it was not reached
LEAST_GROWTH = 1.01  # below it the continuation is given up
FLOOR = 0.3  # of the target: complementarity of a link in the next start
ABOVE = 10.0  # times the target: the largest complementarity of a path there


def solve_by_continuation(form: PathForm, enough: float = SOLVED) -> tuple[Array, Array, int]:
    """Path rates, link prices and steps: the best of the continuations until one is solved."""
    found, steps = [], 0
    for roughly in ROUGHLY:
        point, used = _continuation(form, roughly)
        steps += used
        found.append((violation(form, point.z, point.prices), point))
        if found[-1][0] <= enough:
            break
    point = min(found, key=lambda each: each[0])[1]
    return point.z, point.prices, steps


def _continuation(form: PathForm, roughly: float) -> tuple[Iterate, int]:
    """Through smaller alphas, each solved to a complementarity, to the end."""
    now = at_alpha(form, min(form.alpha, EASY))
    point, steps, _ = centre(now, initial_point(now), WIDEST, FIRST_TRIES)
    point, used, _ = reduce_tau(now, point, WIDEST, roughly)
    now, point, more = _raise_alpha(form, now, point, roughly)
    steps += used + more
    if now.alpha < form.alpha:
        return point, steps
    point, used = _finish(now, point, roughly)
    return point, steps + used


def _raise_alpha(
    form: PathForm, now: PathForm, point: Iterate, roughly: float
) -> tuple[PathForm, Iterate, int]:
    """The problem and its rough solution at the alpha asked for, or at the largest reached."""
    steps, growth = 0, GROWTH
    while now.alpha < form.alpha and growth > LEAST_GROWTH:
        then = at_alpha(form, min(now.alpha * growth, form.alpha))
        start = _warm_start(then, point, then.alpha / now.alpha)
        trial, used, reached = centre(then, start, roughly)
        steps += used
        if reached:
            now, point = then, trial
            growth = growth**FASTER if used < QUICK else growth
        else:
            growth = growth**SLOWER
    return now, point, steps


def _finish(form: PathForm, point: Iterate, roughly: float) -> tuple[Iterate, int]:
    """The end of the path from a rough point: the first of three attempts that is solved."""
    point, steps, tau = reduce_tau(form, point, roughly, HANDOVER)
    best, used = linear_steps(form, point, tau)
    steps += used
    if violation(form, best.z, best.prices) <= SOLVED:
        return best, steps
    point, used, tau = reduce_tau(form, point, tau, smallest_target(point))
    again, more = linear_steps(form, point, tau)
    return min(
        (best, point, again), key=lambda each: violation(form, each.z, each.prices)
    ), steps + used + more


def _warm_start(form: PathForm, point: Iterate, growth: float) -> Iterate:
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
    return Iterate(z, np.maximum(extra, tau * pays / z), prices, point.s, pi)
