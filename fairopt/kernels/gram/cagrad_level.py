"""The level of worst progress at which the nearest point is as far away as the ball allows.

Let mu be the worst progress. The point of {d: <g_k, d> >= mu} nearest to g0 is g0 + G u(mu), where
u(mu) solves the nonnegative programme with q = A r - mu 1. Its distance N(mu) is convex and
increasing, N^2 is piecewise quadratic with N^2' = 2 S, S = sum u, and the optimum is the root of
N(mu) = c |g0|. Here everything is in units of unit gradients: b = 1/d, y = d r, up to two scales.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array
from fairopt.kernels.gram.nonnegative_qp import (
    CAPPED,
    NOT_CONVEX,
    RAY,
    ActiveSet,
    clear,
    nonnegative_minimum,
)
from fairopt.kernels.gram.stationarity import rounding
from fairopt.kernels.jit import helper
from fairopt.kernels.linear import EPS, dot, fill, solve_lower

SMALLEST = 1e-300  # a level that stands for zero where exponents are halved
WIDE = 16.0  # ratio of two levels beyond which exponents are halved
ROOT_STEPS = 100  # 1 to 5 are usual
ROOT_TOLERANCE = 1e-15  # of N against c |g0|, per task: rounding of N itself


class Level(NamedTuple):
    """The problem of the level in units of unit gradients, and the solution at one level.

    Attributes:
        C: (n, n) correlation matrix.
        y: (n,) d r, the reference, up to a scale.
        g: (n,) C y.
        b: (n,) 1 / d up to a scale, 0 for a zero gradient.
        u: (n,) minimiser of u'Cu/2 + q'u over u >= 0.
        ray: (n,) u where no direction has positive progress on every task.
        q: (n,) g - mu b.
        active: The support of u.
    """

    C: Array
    y: Array
    g: Array
    b: Array
    u: Array
    ray: Array
    q: Array
    active: ActiveSet


@helper
def squared_distance(C: Array, q: Array, u: Array) -> float:
    """N^2 as -q'u or u'Cu, whichever has the smaller rounding bound."""
    n = u.shape[0]
    by_price, price_size, total = 0.0, 0.0, 0.0
    for i in range(n):
        by_price -= q[i] * u[i]
        price_size += abs(q[i]) * u[i]
        total += u[i]
    if price_size <= total * total:
        return max(by_price, 0.0)
    quad = 0.0
    for i in range(n):
        quad += u[i] * dot(C[i], u, n) if u[i] != 0.0 else 0.0
    return max(quad, 0.0)


@helper
def curvature_of_square(b: Array, active: ActiveSet, m: int) -> float:
    """Half the second derivative of N^2 on the support: b'C_PP^-1 b."""
    x = active.x
    for a in range(m):
        x[a] = b[active.P[a]]
    solve_lower(active.L, x, m)
    return dot(x, x, m)


@helper
def middle(low: float, high: float) -> float:
    """Halve the interval, by its exponents: with mixed lengths the level may lie decades below."""
    if low < 0.0 < high:
        return 0.0
    if low >= 0.0 and high > WIDE * low:
        return math.sqrt(max(low, SMALLEST)) * math.sqrt(high)
    if high <= 0.0 and low < WIDE * high:
        return -math.sqrt(max(-high, SMALLEST)) * math.sqrt(-low)
    return 0.5 * low + 0.5 * high


@helper
def next_level(
    mu: float, low: float, high: float, N: float, goal: float, S: float, T: float
) -> float:
    """The root of the present quadratic; else a Newton step on N; else the middle."""
    if S > 0.0:
        D = (goal - N) * (goal + N) / S  # divided before multiplied: squares of b may underflow
        bend = 1.0 + T / S * D
        step = D / (1.0 + math.sqrt(bend)) if bend >= 0.0 else math.inf
        if low < mu + step < high:
            return mu + step
        step = (goal - N) * (N / S)
        if low < mu + step < high:
            return mu + step
    return middle(low, high)


@helper
def vanishes(code: int, mu: float, N: float, u: Array) -> bool:
    """Whether u proves that no direction has positive progress on every task."""
    total = 0.0
    for i in range(u.shape[0]):
        total += u[i]
    return code == RAY or (mu > 0.0 and rounding(u.shape[0]) * total * total >= N * N)


@helper
def level_root(
    level: Level, goal: float, terms: float, m: int, blocked: bool, budget: int
) -> tuple[int, int, bool, bool]:
    """Fill u(mu*) and, if no common progress exists, the ray; return (code, steps, blocked, zero).

    `goal` is c |g0|, `terms` is sum |y|, m the size of the support to start from. `blocked`: no
    direction helps all, so mu* <= 0 (on entry: because a gradient is zero, whose vertex is the
    caller's ray). `zero`: mu* = 0 for that reason.
    """
    g, b, u, q = level.g, level.b, level.u, level.q
    n = u.shape[0]
    low, at = math.inf, 0
    for i in range(n):
        if b[i] > 0.0 and g[i] / b[i] < low:
            low, at = g[i] / b[i], i
    mu = 0.0 if blocked else low + goal / b[at]
    testing = blocked  # whether mu = 0 is being tried as the optimum
    high = math.inf
    used = 0
    for _ in range(ROOT_STEPS):
        if testing and low >= 0.0:
            fill(u, 0.0)
            return 0, used, blocked, True
        for i in range(n):
            q[i] = g[i] - mu * b[i]
        sums = terms if mu > 0.0 else math.inf  # at mu <= 0 the minimum exists
        code, m, steps = nonnegative_minimum(
            level.C, q, u, level.active, m, budget - used, True, sums
        )
        used += steps
        if code in (NOT_CONVEX, CAPPED):
            return code, used, blocked, False
        N = math.sqrt(squared_distance(level.C, q, u))
        if not blocked and vanishes(code, mu, N, u):
            for i in range(n):
                level.ray[i] = u[i]
            fill(u, 0.0)
            clear(level.active)
            blocked, testing, mu, m = True, True, 0.0, 0
            continue
        if testing and goal >= N:
            return 0, used, blocked, True
        testing = False
        if abs(N - goal) <= ROOT_TOLERANCE * (n + 2.0) * goal:
            return 0, used, blocked, False
        if goal > N:
            low = mu
        else:
            high = mu
        S = dot(b, u, n)
        T = curvature_of_square(b, level.active, m)
        following = next_level(mu, low, high, N, goal, S, T)
        if abs(following - mu) <= 2.0 * EPS * abs(mu) or not math.isfinite(following):
            return 0, used, blocked, False
        mu = following
    return CAPPED, used, blocked, False
