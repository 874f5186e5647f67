r"""How much worst progress a direction in a ball can miss, in twice the digits.

The bounds of `progress_gap` for vectors h_k = 2^-e_k g_k whose inner products differ from S =
S_high + S_low by at most E |h_i| |h_j|. With d = sum v_k h_k, g0 = sum y_k h_k and
b_k = 2^-e_k up to a common power of two, the progress of task k is <h_k, d> / b_k, and every x >= 0
proves that no direction in the ball has more worst progress than

.. math:: \frac{\langle x, S y \rangle + c |g_0| \sqrt{x'Sx}}{\sum_k x_k b_k} .

Products are charged E and the rounding of sums, the direction what rounding it once moves it by.
What is not a number, beyond the range of floats, becomes a gap that is not finite.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.double_double import LOST, TWICE, accumulate, add, divide, multiply, root
from fairopt.kernels.double_double_linear import Double, dot, dot_sizes, row
from fairopt.kernels.gram.double_double_cone import cone_of, double_rows
from fairopt.kernels.gram.double_double_qp import Cone
from fairopt.kernels.jit import allocating, gufunc
from fairopt.kernels.linear import EPS

SAFETY = 1.0 + 2.0**-40  # covers the rounding of bounds of errors themselves
SLACK = 64.0 * TWICE  # relative rounding of a few operations on two floats, with room to spare


class Ball(NamedTuple):
    """The ball around the reference, and what is known of it.

    Attributes:
        y: (n,) reference.
        slope: (n,) S y.
        size: (n,) upper bounds of |h_k|.
        b: (n,) 1 / unit of each task, powers of two.
        c: Radius in units of |g0|.
        length: (2,) bounds of |g0|, from below and from above.
    """

    y: Double
    slope: Double
    size: Array
    b: Array
    c: float
    length: Double


@allocating
def lengths(cone: Cone, size: Array) -> None:
    """Fill in upper bounds of |h_k|."""
    for k in range(size.shape[0]):
        size[k] = math.sqrt(cone.S.high[k, k]) * (1.0 + 4.0 * EPS)


@allocating
def weighted(size: Array, x: Double) -> float:
    """Sum of |x_k| |h_k|, an upper bound."""
    total = 0.0
    for k in range(size.shape[0]):
        total += size[k] * abs(x.high[k])
    return total * SAFETY


@allocating
def square(cone: Cone, size: Array, x: Double) -> tuple[float, float, float]:
    """The square x'Sx as two floats, and a bound of its error."""
    n = size.shape[0]
    total, rest, terms = 0.0, 0.0, 0.0
    for k in range(n):
        if x.high[k] == 0.0:
            continue
        high, low = dot(row(cone.S, k), x, n)
        terms += abs(x.high[k]) * dot_sizes(row(cone.S, k), x, n)
        high, low = multiply(high, low, x.high[k], x.low[k])
        total, rest = accumulate(total, rest, high, low)
    S = weighted(size, x)
    return total, rest, (cone.error * S * S + (2.0 * n + 8.0) * TWICE * terms) * SAFETY


@allocating
def longest(cone: Cone, size: Array, x: Double) -> tuple[float, float]:
    """An upper bound of |sum x_k h_k|; an unresolved one is the root of the error."""
    total, rest, error = square(cone, size, x)
    if total <= 0.0:
        total, rest = error, 0.0
    else:
        total, rest = add(total, rest, error + SLACK * total, 0.0)
    return (0.0, 0.0) if total <= 0.0 else root(total, rest)


@allocating
def shortest(cone: Cone, size: Array, x: Double) -> tuple[float, float]:
    """A lower bound of |sum x_k h_k|."""
    total, rest, error = square(cone, size, x)
    total, rest = add(total, rest, -error - SLACK * abs(total), 0.0)
    return root(total, rest) if total > 0.0 else (0.0, 0.0)


@allocating
def reference_length(cone: Cone, ball: Ball, known: Array) -> None:
    """Fill in the bounds of |g0|, no worse than the known ones."""
    high, low = shortest(cone, ball.size, ball.y)
    if high < known[0]:
        high, low = known[0], 0.0
    ball.length.high[0], ball.length.low[0] = high, low
    high, low = longest(cone, ball.size, ball.y)
    if high > known[1]:
        high, low = known[1], 0.0
    ball.length.high[1], ball.length.low[1] = high, low


@allocating
def ball_of(cone: Cone, y: Array, b: Array, c: float, known: Array) -> Ball:
    """The ball, from a reference in floats and bounds of |g0|."""
    n = y.shape[0]
    rows = np.empty((7, n))
    ball = Ball(
        double_rows(rows, 0), double_rows(rows, 1), rows[4], b, c, Double(np.empty(2), np.empty(2))
    )
    lengths(cone, ball.size)
    for k in range(n):
        ball.y.high[k], ball.y.low[k] = y[k] if cone.present[k] else 0.0, 0.0
    for k in range(n):
        ball.slope.high[k], ball.slope.low[k] = dot(row(cone.S, k), ball.y, n)
    reference_length(cone, ball, known)
    return ball


@allocating
def reached(cone: Cone, ball: Ball, v: Double, moved: float) -> tuple[float, float]:
    """A lower bound of the worst progress of what lies within `moved` of sum v_k h_k."""
    n = ball.b.shape[0]
    S = weighted(ball.size, v)
    worst, rest = math.inf, 0.0
    for k in range(n):
        high, low = 0.0, 0.0
        if cone.present[k]:
            high, low = dot(row(cone.S, k), v, n)
            terms = dot_sizes(row(cone.S, k), v, n)
            error = ball.size[k] * (cone.error * S + moved) + (n + 4.0) * TWICE * terms
            error = error * SAFETY + LOST if S > 0.0 else 0.0
            high, low = add(high, low, -error, 0.0)
            high, low = high / ball.b[k], low / ball.b[k]
        if not (high > worst or (high == worst and low >= rest)):
            worst, rest = high, low
        if math.isnan(worst):
            break
    return worst, rest


@allocating
def reachable(cone: Cone, ball: Ball, x: Double) -> tuple[float, float]:
    """An upper bound of the worst progress of any direction in the ball, by x >= 0; inf for 0."""
    n = ball.b.shape[0]
    along, rest, terms = 0.0, 0.0, 0.0
    total, total_low = 0.0, 0.0
    for k in range(n):
        if x.high[k] == 0.0:
            continue
        high, low = multiply(x.high[k], x.low[k], ball.slope.high[k], ball.slope.low[k])
        along, rest = accumulate(along, rest, high, low)
        terms += abs(x.high[k]) * dot_sizes(row(cone.S, k), ball.y, n)
        total, total_low = accumulate(total, total_low, x.high[k] * ball.b[k], x.low[k] * ball.b[k])
    if not total > 0.0:
        return math.inf, 0.0
    error = cone.error * weighted(ball.size, x) * weighted(ball.size, ball.y)
    error = (error + (2.0 * n + 8.0) * TWICE * terms) * SAFETY
    high, low = longest(cone, ball.size, x)
    high, low = multiply(high, low, ball.length.high[1], ball.length.low[1])
    high, low = multiply(high, low, ball.c, 0.0)
    error += (n * TWICE + SLACK) * (abs(along) + high)
    high, low = add(high, low, along, rest)
    high, low = add(high, low, error, 0.0)
    return divide(high, low, total, total_low)


@allocating
def overshoot(cone: Cone, ball: Ball, v: Double, moved: float, off: Double) -> float:
    """How far outside the ball it can be, in units of |g0|; fill `off` with v - y."""
    for k in range(ball.b.shape[0]):
        off.high[k], off.low[k] = add(v.high[k], v.low[k], -ball.y.high[k], -ball.y.low[k])
    high, low = longest(cone, ball.size, off)
    high, low = add(high, low, moved * SAFETY, 0.0)
    radius, radius_low = multiply(ball.length.high[0], ball.length.low[0], ball.c, 0.0)
    high, _ = add(high, low, -radius, -radius_low)
    return 0.0 if high <= 0.0 else high / ball.length.high[0] * SAFETY


@gufunc(
    "void(float64[:,:], float64[:,:], float64, float64[:], float64[:], float64, float64[:],"
    " float64[:], float64[:], float64, float64[:,:], float64[:,:], float64, float64, float64[:],"
    " int64[:])",
    "(n,n),(n,n),(),(n),(n),(),(t),(n),(n),(),(m,n),(m,n),(),()->(),()",
)
def double_double_progress_gap(
    high: Array,
    low: Array,
    error: float,
    y: Array,
    b: Array,
    c: float,
    known: Array,
    v: Array,
    v_low: Array,
    moved: float,
    x: Array,
    x_low: Array,
    ceiling: float,
    unit: float,
    gap: Array,
    best: Ints,
) -> None:
    """The certified gap of every direction within `moved` of d, relative, and the best x.

    `known` holds bounds of |g0|, (0, inf) if there are none; `ceiling` one of what can be reached
    (inf if none); `unit` is the unit of |g0|^2 in that of progress. The number of the best x is -1
    if the ceiling is lower.
    """
    n = y.shape[0]
    cone = cone_of(high, low, error)
    ball = ball_of(cone, y, b, c, known)
    rows = np.empty((2, n))
    upper, rest, best[0] = ceiling, 0.0, -1
    for i in range(x.shape[0]):
        bound, bound_low = reachable(cone, ball, Double(x[i], x_low[i]))
        if bound < upper or (bound == upper and bound_low < rest):
            upper, rest, best[0] = bound, bound_low, i
    lower, lower_low = reached(cone, ball, Double(v, v_low), moved)
    missed, _ = add(upper, rest, -lower, -lower_low)
    scale = max(abs(upper), ball.length.high[0] * ball.length.high[0] * unit)
    outside = overshoot(cone, ball, Double(v, v_low), moved, double_rows(rows, 0))
    gap[0] = (0.0 if missed <= 0.0 else missed / scale) * SAFETY + outside
    if math.isnan(gap[0]):
        gap[0] = math.inf
