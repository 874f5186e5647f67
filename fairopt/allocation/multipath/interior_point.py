r"""Primal-dual interior point for flows that split over paths, in prices: fast, tried first.

The equations are those of `multipath.log_form`.
The utility is flat along exchanges between the paths of one flow, so the Newton system is written
as C diag(omega) C' + diag(s / lambda) with one column of C per flow (its mean path) and one
per pair of its paths (their difference): every weight is positive, nothing cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.allocation.methods.interior_point import step_length
from fairopt.allocation.methods.newton_system import RIDGE, factorised_solve
from fairopt.allocation.multipath.initial_point import (
    EASY,
    LEAST_SHARE,
    LEAST_SLACK,
    WIDEST,
    at_alpha,
    initial_point,
    iterate_at,
)
from fairopt.allocation.multipath.log_form import Iterate, PathForm, Units, gaps, units
from fairopt.arrays import Array

STEPS = 100  # for one alpha
LEAST_CENTRING = 0.02  # of the present complementarity
NEAR = 1.0  # residual of the equations above which the complementarity target stays
LEAST = 1e-17  # complementarity aimed at
ENOUGH = 1e-14  # complementarity relative to the prices: rates of unused paths are negligible
EQUATIONS = 1e-12  # residual of the others
ROUGHLY = 1e-3  # both, for an intermediate alpha
PROXIMAL = 1e-6  # of pi / x: keeps exchanges between used paths of equal price from being free
SHORT = 1e-8  # step length at which rounding is reached
PATIENCE = 10  # steps at the least complementarity aimed at, after which rounding is reached
GROWTH = 2.0  # from one alpha to the next
INWARD = 0.9  # weight of the previous split in the next start
LARGEST_MOVE = 2.0  # largest change of a logarithm in one step


def interior_point(form: PathForm) -> tuple[Array, Array, int]:
    """Path rates, link prices and steps; a large alpha is reached through smaller ones."""
    smaller = [form.alpha / GROWTH**k for k in range(1, 20)]
    stages = [*(alpha for alpha in smaller[::-1] if alpha >= EASY), form.alpha]
    point, steps, last = None, 0, stages[0]
    for stage in stages:
        now = at_alpha(form, stage)
        first = initial_point(now) if point is None else _warm_start(now, point, stage / last)
        point, used = _follow_path(now, first, stage == form.alpha)
        last, steps = stage, steps + used
    assert point is not None
    return point.z, point.prices, steps


def _follow_path(form: PathForm, point: Iterate, to_the_end: bool) -> tuple[Iterate, int]:
    """The central path from an interior point to its end, and the steps."""
    tau = WIDEST
    gap_goal, goal = (ENOUGH, EQUATIONS) if to_the_end else (ROUGHLY, ROUGHLY)
    waited = 0
    for k in range(STEPS):
        unit = units(form, point)
        change = _direction(form, point, unit, tau)
        if change is None:
            return point, k
        point, length = _step(point, change)
        gap = np.concatenate(gaps(point, unit)[::-1])
        residual = _largest_residual(form, point)
        waited += tau <= LEAST
        if (gap.max() <= gap_goal and residual <= goal) or length < SHORT or waited > PATIENCE:
            return point, k
        less = 1.0 if residual > NEAR else max(LEAST_CENTRING, (1.0 - length) ** 2)
        tau = max(min(less * float(gap.mean()), WIDEST), LEAST)
    return point, STEPS


def _warm_start(form: PathForm, point: Iterate, growth: float) -> Iterate:
    """A start from the point of an alpha that was smaller by a factor."""
    known = point.prices**growth
    prices = np.maximum(known, LEAST_SHARE * form.highest_price(form.transposed @ known))
    cost = form.transposed @ prices
    pi = np.minimum.reduceat(cost, form.first)
    x = np.exp((form.log_weight - np.log(pi)) / form.alpha)
    users = pi[form.owner]
    even = 1.0 / np.bincount(form.owner)[form.owner]
    share = INWARD * point.z / form.total(point.z)[form.owner] + (1.0 - INWARD) * even
    share = np.minimum(share, LEAST_SHARE * users / np.maximum(cost - users, LEAST_SHARE * users))
    z = share * (x / form.total(share))[form.owner]
    z = z / ((1.0 + LEAST_SLACK) * max(1.0, float((form.A @ z).max())))
    return iterate_at(form, z, prices, pi)


def _residuals(form: PathForm, point: Iterate) -> tuple[Array, Array, Array]:
    """Right-hand sides of the three equations that are not complementarity."""
    stationary = form.log_price(point.z) - np.log(point.pi)
    dual = point.nu + point.pi[form.owner] - form.transposed @ point.prices
    return stationary, dual, 1.0 - form.A @ point.z - point.s


def _largest_residual(form: PathForm, point: Iterate) -> float:
    """The largest relative residual of these equations."""
    stationary, dual, primal = _residuals(form, point)
    relative = dual / (point.pi[form.owner] + point.nu)
    return float(max(np.abs(part).max() for part in (stationary, relative, primal)))


def _direction(form: PathForm, point: Iterate, unit: Units, tau: float) -> Iterate | None:
    """Changes of z, nu, prices, s and pi, or None where the system cannot be solved."""
    owner, z, nu, pi = form.owner, point.z, point.nu, point.pi
    stationary, dual, primal = _residuals(form, point)
    stationary = np.clip(stationary, -LARGEST_MOVE, LARGEST_MOVE)
    D = 1.0 / (nu / z + PROXIMAL * (pi / form.total(z))[owner])
    S = form.total(D)
    stiff = form.alpha * pi / form.total(z)
    e = (tau * unit.path - z * nu) / z + dual
    grown = pi * stationary / (1.0 + S * stiff)
    k = stiff / (1.0 + S * stiff)

    def rates(extra: Array) -> Array:
        """Change of z for given extra prices, without that of the weights."""
        return np.asarray(D * (extra - (k * form.total(D * extra))[owner]))

    fixed = rates(e) + D * grown[owner]
    target = form.A @ fixed + tau * unit.link / point.prices - point.s - primal
    d_prices = _normal_solve(form, D, S, stiff, point.s / point.prices, target)
    if not np.isfinite(d_prices).all():
        return None
    push = e - form.transposed @ d_prices
    dpi = grown - k * form.total(D * push)
    dz = D * (push + dpi[owner])
    dnu = (tau * unit.path - z * nu - nu * dz) / z
    return Iterate(dz, dnu, d_prices, primal - form.A @ dz, dpi)


def _normal_solve(
    form: PathForm, D: Array, S: Array, stiff: Array, barrier: Array, target: Array
) -> Array:
    """Solve (C diag(omega) C' + diag(barrier)) d = target."""
    lower, upper = form.pairs.lower, form.pairs.upper
    mean = form.A.copy()
    share = D / S[form.owner]
    weight = np.sqrt(S / (1.0 + S * stiff))[form.owner] * share
    mean.data = mean.data * weight[mean.indices]
    mean = mean @ _gather(form)
    exchange = form.pairs.difference.T.tocsr()
    each = np.sqrt(D[lower] * share[upper])
    exchange.data = exchange.data * each[exchange.indices]
    H = np.asarray((mean @ mean.T + exchange @ exchange.T).toarray())
    scale = 1.0 / np.sqrt(np.diagonal(H) + barrier)
    if not (np.isfinite(scale).all() and np.isfinite(target).all()):
        return np.full(len(target), np.nan)
    H *= scale[:, None] * scale
    H[np.diag_indices_from(H)] += scale * scale * barrier + RIDGE
    return scale * factorised_solve(H, scale * target)


def _gather(form: PathForm) -> Any:
    """(paths, flows) with a 1 where a path belongs to a flow."""
    from scipy import sparse

    paths = len(form.owner)
    entries = (np.ones(paths), (np.arange(paths), form.owner))
    return sparse.csr_array(entries, shape=(paths, form.flows))


def _step(point: Iterate, change: Iterate) -> tuple[Iterate, float]:
    """Move as far as all stay positive; one length, as stationarity couples rates and prices."""
    length = min(step_length(value, part) for value, part in zip(point, change, strict=True))
    moved = (value + length * part for value, part in zip(point, change, strict=True))
    return Iterate(*moved), length
