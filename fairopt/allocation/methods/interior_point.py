r"""Primal-dual interior point, for problems that ascent and Newton did not solve.

Variables are the rates y, prices lambda and slacks s = 1 - A y > 0; flows at a bound of the
problem also have a price mu of it and a distance t = 1 - y > 0. Stationarity is kept in logarithms,

.. math:: \alpha \log y_i + \log q_i = \log v_i, \qquad q = A'\lambda + \mu,

so the Newton block of the rates is y / (alpha q) and never y^(-alpha - 1). Complementarity aims at
lambda_l s_l = tau k_l, where k_l is the least q_i / A_li on link l, its highest possible price:
prices of one problem differ by a hundred decades where alpha is large, and a target that is small
for the flow with the highest price on a link could be the whole price of its cheapest flow.

A large alpha is reached by continuation from smaller ones: with weights v^(a / alpha) the prices
lambda^(a / alpha) are nearly right at every a, as rates hardly move between two of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairopt.allocation.methods.newton_system import RIDGE, factorised_solve, normal_matrix
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array, BoolArray

STEPS = 200  # for one alpha; 12 to 25 are usual, 150 at alpha = 0.01
STAY_INSIDE = 0.99  # of the way to the boundary
ENOUGH = 1e-12  # the mean complementarity at which Newton's method can take over
ROUGHLY = 1e-4  # the same for an intermediate alpha
EASY = 2.0  # alpha that is solved from any start
GROWTH = 2.0  # from one alpha to the next
LEAST_SHARE = 0.1  # of the prices of users that a limit has at a start
LEAST_SLACK = 0.05  # of a limit at a start
WIDEST = 0.1  # complementarity: at 1 a link that is the only one of its users would be empty
LEAST_CENTRING = 0.05  # of the present complementarity, aimed at after a full step
NEAR = 1.0  # residual of the equations above which the complementarity target stays
VANISHING = 1e-30  # complementarity far below the equations: the iteration has failed
LARGEST_MOVE = 2.0  # largest change of a logarithm in one step
LARGEST_LOG = 600.0  # keeps first prices inside float64


@dataclass(eq=False)
class _Point:
    """The iterate; mu and t count only where `bounded`."""

    y: Array
    prices: Array
    s: Array
    mu: Array
    t: Array


def interior_point(scaled: Scaled) -> tuple[Array, int]:
    """Prices near the optimum and the steps taken."""
    alpha = scaled.alpha
    easier = [alpha / GROWTH**k for k in range(1, 20) if alpha / GROWTH**k >= EASY]
    stages = [*easier[::-1], alpha]
    point, steps, last = None, 0, stages[0]
    for stage in stages:
        now = replace(scaled, alpha=stage, log_weight=scaled.log_weight * (stage / alpha))
        start = _cold_start(now) if point is None else _warm_start(now, point, stage / last)
        point, used = _follow_path(now, start, ENOUGH if stage == alpha else ROUGHLY)
        last, steps = stage, steps + used
    assert point is not None
    return point.prices, steps


def _follow_path(scaled: Scaled, point: _Point, goal: float) -> tuple[_Point, int]:
    """The central path from an interior point to its end, and the steps."""
    tau = WIDEST
    for k in range(STEPS):
        q = scaled.by_flow @ point.prices + point.mu
        highest = _highest_price(scaled, q)
        found = _direction(scaled, point, q, highest, tau)
        if found is None:
            return point, k
        length = _step(scaled, point, *found)
        gap = float(np.mean(point.prices * point.s / highest))
        off = _largest_residual(scaled, point)
        if max(gap, off) <= goal or gap < VANISHING:
            return point, k
        less = 1.0 if off > NEAR else max(LEAST_CENTRING, (1.0 - length) ** 2)
        tau = min(less * gap, WIDEST)
    return point, STEPS


def _cold_start(scaled: Scaled) -> _Point:
    """Rates that fill no link more than half, and the largest possible prices at them."""
    crowd = scaled.by_link @ np.ones(scaled.flows)
    fullest = np.maximum.reduceat(crowd[scaled.link], scaled.by_flow.indptr[:-1])
    y = 0.5 / np.maximum(fullest, 1.0)
    q = np.exp(np.clip(scaled.log_weight - scaled.alpha * np.log(y), -LARGEST_LOG, LARGEST_LOG))
    mu = np.where(scaled.bounded, LEAST_SHARE * q, 0.0)
    return _with_slack(scaled, y, _highest_price(scaled, q), mu)


def _warm_start(scaled: Scaled, point: _Point, growth: float) -> _Point:
    """A start from the point of an alpha that was smaller by a factor."""
    prices = point.prices**growth
    mu = np.where(scaled.bounded, point.mu**growth, 0.0)
    q = scaled.by_flow @ prices + mu
    mu = np.where(scaled.bounded, np.maximum(mu, LEAST_SHARE * q), 0.0)
    prices = np.maximum(prices, LEAST_SHARE * _highest_price(scaled, scaled.by_flow @ prices + mu))
    y = np.exp((scaled.log_weight - np.log(scaled.by_flow @ prices + mu)) / scaled.alpha)
    highest = max(1.0, float((scaled.by_link @ y).max()))
    return _with_slack(scaled, y / ((1.0 + LEAST_SLACK) * highest), prices, mu)


def _with_slack(scaled: Scaled, y: Array, prices: Array, mu: Array) -> _Point:
    """The strictly feasible point with these rates and prices."""
    s = np.maximum(1.0 - scaled.by_link @ y, LEAST_SLACK)
    return _Point(y, prices, s, mu, np.maximum(1.0 - y, LEAST_SLACK))


def _largest_residual(scaled: Scaled, point: _Point) -> float:
    """The largest residual of stationarity and of A y + s = 1."""
    q = scaled.by_flow @ point.prices + point.mu
    stationary = scaled.log_weight - scaled.alpha * np.log(point.y) - np.log(q)
    primal = 1.0 - scaled.by_link @ point.y - point.s
    return float(max(np.abs(stationary).max(), np.abs(primal).max()))


def _highest_price(scaled: Scaled, q: Array) -> Array:
    """The highest possible price of each link: the lowest q_i / A_li of its users."""
    A = scaled.by_link
    return np.asarray(1.0 / np.maximum.reduceat(A.data / q[A.indices], A.indptr[:-1]))


def _direction(
    scaled: Scaled, point: _Point, q: Array, highest: Array, tau: float
) -> tuple[Array, Array, Array, Array] | None:
    """Changes of y, prices, s and mu, or None where the system cannot be solved."""
    alpha, bounded = scaled.alpha, scaled.bounded
    off = np.clip(
        scaled.log_weight - alpha * np.log(point.y) - np.log(q), -LARGEST_MOVE, LARGEST_MOVE
    )
    pull = np.where(bounded, tau * q / point.t - point.mu, 0.0)
    K = 1.0 / (alpha / point.y + np.where(bounded, point.mu / (point.t * q), 0.0))
    target = scaled.by_link @ (K * (off - pull / q))
    target += tau * highest / point.prices - (1.0 - scaled.by_link @ point.y)
    barrier = point.s / point.prices
    scale = 1.0 / np.sqrt(scaled.squared @ (K / q) + barrier)
    if not (np.isfinite(scale).all() and np.isfinite(target).all()):
        return None
    H = normal_matrix(scaled, K / q, np.arange(scaled.links), scale)
    H[np.diag_indices_from(H)] += scale * scale * barrier + RIDGE
    d_prices = scale * factorised_solve(H, scale * target)
    if not np.isfinite(d_prices).all():
        return None
    dy = K * (off - (scaled.by_flow @ d_prices + pull) / q)
    ds = 1.0 - scaled.by_link @ (point.y + dy) - point.s
    return dy, d_prices, ds, pull + np.where(bounded, point.mu / point.t * dy, 0.0)


def _step(
    scaled: Scaled, point: _Point, dy: Array, d_prices: Array, ds: Array, d_mu: Array
) -> float:
    """Move as far as all stay positive; one length, as stationarity couples rates and prices."""
    bounded = scaled.bounded
    pairs = [(point.y, dy), (point.s, ds), (point.prices, d_prices)]
    held = [(point.t, -dy), (point.mu, d_mu)]
    length = min(
        [step_length(*pair) for pair in pairs] + [step_length(*pair, bounded) for pair in held]
    )
    point.y = point.y + length * dy
    point.s = point.s + length * ds
    point.t = np.where(bounded, point.t - length * dy, 1.0)
    point.prices = point.prices + length * d_prices
    point.mu = np.where(bounded, point.mu + length * d_mu, 0.0)
    return length


def step_length(value: Array, change: Array, where: BoolArray | bool = True) -> float:
    """The longest step, at most 1, that keeps values positive."""
    ratio = np.max(-change / value, initial=0.0, where=where)
    return min(1.0, STAY_INSIDE / ratio) if ratio > 0.0 else 1.0
