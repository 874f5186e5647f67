r"""Primal-dual interior point, for what ascent and Newton did not finish.

Variables are the rates y, prices lambda and unused parts s = 1 - A y > 0; flows at a bound of the
problem also have a price mu of it and a distance t = 1 - y > 0. Stationarity is kept in logarithms,

.. math:: \alpha \log y_i + \log q_i = \log v_i, \qquad q = A'\lambda + \mu,

so the Newton block of the rates is y / (alpha q) and never y^(-alpha - 1). Complementarity aims at
lambda_l s_l = tau k_l, where k_l is the mean flow price on link l: prices of one problem differ by
a hundred decades where alpha is large, and so must their targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairopt.allocating.newton import DENSE, RIDGE, factorised_solve, normal_matrix
from fairopt.allocating.response import respond
from fairopt.allocating.scaling import Scaled
from fairopt.checks import Array, BoolArray

STEPS = 300  # about 2 alpha steps are needed at alpha = 100
STAY_INSIDE = 0.99  # of the way to the boundary
ENOUGH = 1e-12  # the mean complementarity at which Newton's method can take over
START_ROOM = 0.05  # least unused part of a link at the start
LEAST_CENTRING = 0.05  # of the present complementarity, aimed at after a full step
NEAR = 1.0  # violation of the equations above which complementarity waits for them
VANISHING = 1e-30  # complementarity far below the equations: the iteration is lost
LARGEST_MOVE = 2.0  # change of a logarithm that one step may ask for


@dataclass(eq=False)
class _Point:
    """The iterate; mu and t count only where `bounded`."""

    y: Array
    prices: Array
    s: Array
    mu: Array
    t: Array


def interior_point(scaled: Scaled, log_weight: Array, prices: Array) -> tuple[Array, int]:
    """Prices near the optimum, from any prices > 0; the steps taken."""
    if scaled.links > DENSE:
        return prices, 0
    point = _start(scaled, log_weight, prices)
    tau = 1.0
    for k in range(STEPS):
        q = scaled.by_flow @ point.prices + point.mu
        level = _level(scaled, point, q)
        found = _direction(scaled, log_weight, point, q, level, tau)
        if found is None:
            return point.prices, k
        length = _step(scaled, point, *found)
        gap = float(np.mean(point.prices * point.s / level))
        off = _off(scaled, log_weight, point)
        if max(gap, off) <= ENOUGH or gap < VANISHING:
            return point.prices, k
        tau = gap * (1.0 if off > NEAR else max(LEAST_CENTRING, (1.0 - length) ** 2))
    return point.prices, STEPS


def _off(scaled: Scaled, log_weight: Array, point: _Point) -> float:
    """How far stationarity and A y + s = 1 are from holding."""
    q = scaled.by_flow @ point.prices + point.mu
    stationary = log_weight - scaled.alpha * np.log(point.y) - np.log(q)
    primal = 1.0 - scaled.by_link @ point.y - point.s
    return float(max(np.abs(stationary).max(), np.abs(primal).max()))


def _start(scaled: Scaled, log_weight: Array, prices: Array) -> _Point:
    """A point inside all limits, with prices no smaller than a small share of their users'."""
    response = respond(scaled, log_weight, prices)
    shrink = 1.0 / (max(float(response.load.max()), 1.0) * (1.0 + START_ROOM))
    y = np.maximum(response.rates * shrink, np.finfo(float).tiny)
    s = np.maximum(1.0 - scaled.by_link @ y, START_ROOM)
    q = response.flow_price
    mu = np.where(scaled.bounded, np.maximum(np.exp(log_weight) - q, START_ROOM * q), 0.0)
    point = _Point(y, prices, s, mu, np.maximum(1.0 - y, START_ROOM))
    point.prices = np.maximum(prices, START_ROOM * _level(scaled, point, q + mu))
    return point


def _level(scaled: Scaled, point: _Point, q: Array) -> Array:
    """The mean price of the flows on each link, weighed by what they send."""
    return np.asarray((scaled.by_link @ (point.y * q)) / (scaled.by_link @ point.y))


def _direction(
    scaled: Scaled, log_weight: Array, point: _Point, q: Array, level: Array, tau: float
) -> tuple[Array, Array, Array, Array] | None:
    """Changes of y, prices, s and mu, or None where the system cannot be solved."""
    alpha, bounded = scaled.alpha, scaled.bounded
    off = np.clip(log_weight - alpha * np.log(point.y) - np.log(q), -LARGEST_MOVE, LARGEST_MOVE)
    pull = np.where(bounded, tau * q / point.t - point.mu, 0.0)
    K = 1.0 / (alpha / point.y + np.where(bounded, point.mu / (point.t * q), 0.0))
    target = scaled.by_link @ (K * (off - pull / q))
    target += tau * level / point.prices - (1.0 - scaled.by_link @ point.y)
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
    """Move as far as all stay positive; the smaller of both lengths."""
    bounded = scaled.bounded
    primal = min(_length(point.y, dy), _length(point.s, ds), _length(point.t, -dy, bounded))
    dual = min(_length(point.prices, d_prices), _length(point.mu, d_mu, bounded))
    point.y = point.y + primal * dy
    point.s = point.s + primal * ds
    point.t = np.where(bounded, point.t - primal * dy, 1.0)
    point.prices = point.prices + dual * d_prices
    point.mu = np.where(bounded, point.mu + dual * d_mu, 0.0)
    return min(primal, dual)


def _length(value: Array, change: Array, where: BoolArray | bool = True) -> float:
    """The longest step, at most 1, that keeps values positive."""
    ratio = np.max(-change / value, initial=0.0, where=where)
    return min(1.0, STAY_INSIDE / ratio) if ratio > 0.0 else 1.0
