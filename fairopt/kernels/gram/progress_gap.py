"""How much worst progress a direction in a ball can miss, for every matrix within an error.

Maximise min_k <g_k, d> over |d - g0| <= c |g0|. The dual value v'Ar + c |g0| |G v| of any convex v
bounds what can be reached, the worst progress of a direction that is surely inside the ball is
reached; their difference is the gap. Every product is charged what the error of the matrix and
rounding can do to it, and a length what its square is known to: an unresolved length counts as the
root of that, never as zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array
from fairopt.kernels.jit import helper
from fairopt.kernels.linear import EPS

SAFETY = 1.0 + 2.0**-40  # covers the rounding of roots and sums in the bounds themselves


class Ball(NamedTuple):
    """The problem, and what is known of its reference.

    Attributes:
        A: (n, n) Gram matrix as given.
        r: (n,) reference weights.
        d: (n,) lengths of the gradients.
        Ar: (n,) products of the gradients with g0.
        c: Radius in units of |g0|.
        e: Largest error of an entry of A in units of d_i d_j, with the rounding of sums.
    """

    A: Array
    r: Array
    d: Array
    Ar: Array
    c: float
    e: float


@helper
def size(d: Array, w: Array) -> float:
    """Sum of d |w|."""
    total = 0.0
    for i in range(d.shape[0]):
        total += d[i] * abs(w[i])
    return total


@helper
def product(A: Array, i: int, w: Array) -> float:
    """Row i of the symmetric part of A times w."""
    total = 0.0
    for j in range(w.shape[0]):
        total += (0.5 * A[i, j] + 0.5 * A[j, i]) * w[j]
    return total


@helper
def square(A: Array, w: Array) -> float:
    """The square w'Aw."""
    total = 0.0
    for i in range(w.shape[0]):
        total += w[i] * product(A, i, w)
    return total


@helper
def reference_length(ball: Ball) -> tuple[float, float]:
    """Fill Ar; return a lower and an upper bound of |g0|."""
    total, S = 0.0, size(ball.d, ball.r)
    for i in range(ball.r.shape[0]):
        ball.Ar[i] = product(ball.A, i, ball.r)
        total += ball.r[i] * ball.Ar[i]
    error = ball.e * S * S
    return math.sqrt(max(total - error, 0.0)) / SAFETY, math.sqrt(max(total, 0.0) + error) * SAFETY


@helper
def pull_inside(ball: Ball, w: Array, low: float, move: Array) -> float:
    """Move w towards the reference until it is surely inside; return its largest distance.

    Rounding counts twice more than in a bound, so that whoever adds up in another order agrees.
    """
    n = w.shape[0]
    for i in range(n):
        move[i] = w[i] - ball.r[i]
    S = size(ball.d, move)
    e = ball.e + 2.0 * (n + 2.0) * EPS
    off = math.sqrt(max(square(ball.A, move), 0.0) + e * S * S) * SAFETY
    radius = ball.c * low
    if off > radius:
        share = radius / off
        for i in range(n):
            w[i] = ball.r[i] + share * move[i]
        off = radius
    return off


@helper
def reached(ball: Ball, w: Array) -> float:
    """A lower bound of the worst progress of w."""
    S, worst = size(ball.d, w), math.inf
    for i in range(w.shape[0]):
        worst = min(worst, product(ball.A, i, w) - ball.e * ball.d[i] * S)
    return worst


@helper
def reachable(ball: Ball, v: Array, high: float) -> float:
    """An upper bound of the worst progress of any direction in the ball, by convex v."""
    S, along = size(ball.d, v), 0.0
    for i in range(v.shape[0]):
        along += v[i] * ball.Ar[i]
    length = math.sqrt(max(square(ball.A, v), 0.0) + ball.e * S * S)
    return along + ball.e * S * size(ball.d, ball.r) + ball.c * high * length * SAFETY


@helper
def relative_gap(lower: float, upper: float, low: float, unit: int) -> float:
    """Their difference over max(|upper|, |g0|^2), the reference in units 2^unit; zero if it is."""
    gap, square = max(upper - lower, 0.0), math.ldexp(low * low, unit)
    size = max(abs(upper), square) if math.isfinite(square) else abs(upper)
    return gap / size if gap > 0.0 else gap
