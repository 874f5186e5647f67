r"""The best worst progress in a ball, in exact integers: the last stage, for small gradients.

The level of worst progress as in `fairopt.kernels.gram.cagrad_level`: the point of {d: <g_k, d> >=
mu} nearest to g0 is g0 + sum_k u_k n_k, where u solves a nonnegative programme, and the optimum is
the level where its distance N is c |g0|. With g_k = 2^e_k n_k the programme has integers for
coefficients,

.. math:: \min_{u \ge 0} \; u'Mu/2 + (A y - \mu b)'u, \qquad M = A + 2^{-p} \mathrm{diag}(A),
          \quad y_k = 2^{e_k} r_k, \quad b_k = 2^{-e_k} ,

and is solved without rounding. The shift makes M definite, and costs at most 2^(-p/2) c |g0| max
|g_k| of progress. Levels are multiples of a small power of two, and the one taken has N <= c |g0|.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from fairopt.arrays import Array
from fairopt.exact_projection import (
    ExactGram,
    Matrix,
    eliminate,
    integers,
    nonnegative_minimum,
    power,
)

PLACES = 64  # binary places of progress in units of |g0|^2, of levels and of the shift
DIGITS = 128  # of square roots
ROOT_STEPS = 200  # 3 are usual; the bisection of a bad bracket takes about 120
INSIDE = 1 - Fraction(1, 2**49)  # share of the radius used: half an ulp must not leave the ball
LARGEST_TASKS = 16  # beyond, three solves take seconds


@dataclass(frozen=True)
class ExactBall:
    """The ball |d - g0| <= c |g0|.

    Attributes:
        exact: The gradients.
        y: g0 = sum_k y_k n_k.
        slope: A y.
        b: Units of progress, 2^-e_k.
        square: |g0|^2.
        c: Radius.
    """

    exact: ExactGram
    y: list[Fraction]
    slope: list[Fraction]
    b: list[Fraction]
    square: Fraction
    c: Fraction


@dataclass(frozen=True)
class _Programme:
    """The programme in integers: M times 2^p, and the levels as multiples of 2^-places."""

    ball: ExactBall
    M: Matrix
    p: int
    places: int
    cap: int


@dataclass(frozen=True)
class _Nearest:
    """One level.

    Attributes:
        u: Multipliers.
        missing: How far N^2 is below its goal.
        slope: Half its derivative.
        step: From the level to the root of its present quadratic.
        steps: Of the active set.
    """

    u: list[Fraction]
    missing: Fraction
    slope: Fraction
    step: Fraction
    steps: int


def exact_ball(exact: ExactGram, reference: Array, c: float) -> ExactBall:
    """The ball around sum_k r_k g_k."""
    y = [Fraction(float(r)) * power(e) for r, e in zip(reference, exact.exponents, strict=True)]
    slope = times(exact.gram, y)
    b = [power(-e) for e in exact.exponents]
    return ExactBall(exact, y, slope, b, dot(y, slope), Fraction(c))


def small_enough(ball: ExactBall) -> bool:
    """Whether the level is offered for a problem of this size; no level is needed at g0 = 0."""
    return len(ball.y) <= LARGEST_TASKS or ball.square == 0


def best_in_ball(
    ball: ExactBall, support: Sequence[int], stationary: bool, cap: int
) -> tuple[list[Fraction], int]:
    """Multipliers u >= 0 of the direction sum_k (y_k + u_k) n_k, and the steps.

    Args:
        ball: The problem.
        support: Tasks that are likely to have multipliers; they only save time.
        stationary: Whether a convex combination of the gradients vanishes.
        cap: Largest number of steps of each programme.

    Raises:
        OutOfSteps: beyond the cap.

    Example:
        >>> import numpy as np
        >>> from fairopt.exact_projection import exact_gram
        >>> ball = exact_ball(exact_gram(np.eye(2)), np.array([1.0, 0.0]), 1.0)
        >>> u, _ = best_in_ball(ball, [], False, 9)
        >>> [round(float(y + x), 3) for y, x in zip(ball.y, u, strict=True)]
        [1.0, 1.0]
    """
    least = min(x / y for x, y in zip(ball.slope, ball.b, strict=True))
    nothing = [Fraction(0)] * len(ball.y)
    if ball.c == 0 or ball.square == 0 or (stationary and least >= 0):
        return nothing, 0
    programme = _programme(ball, cap)
    unit = power(programme.places)
    low, best = math.floor(least * unit), nothing
    high = low + math.floor(_furthest(ball) * unit) + 2
    level, testing = 0, stationary and high > 0
    active, total = list(support), 0
    for _ in range(ROOT_STEPS):
        if not low < level < high:
            level = (low + high) // 2
        if level == low:
            break
        found = _nearest(programme, level, active)
        active, total = [k for k, x in enumerate(found.u) if x], total + found.steps
        if found.missing < 0:
            high = level
        else:
            low, best = level, found.u
            if testing:
                break
        testing = False
        if 0 <= found.missing * unit <= 2 * found.slope:
            break  # N^2 is convex, so one unit above it is beyond its goal
        level = math.floor(level + found.step * unit)
    return best, total


def _programme(ball: ExactBall, cap: int) -> _Programme:
    """The shift and the unit of levels from the sizes of the problem."""
    A = ball.exact.gram
    largest = max(A[k][k] / x**2 for k, x in enumerate(ball.b))
    p = max(2 * PLACES + _exponent(ball.c**2 * largest / ball.square), PLACES)
    M = [[a << p for a in row] for row in A]
    for k, row in enumerate(M):
        row[k] += A[k][k]
    return _Programme(ball, M, p, PLACES - _exponent(ball.square), cap)


def _furthest(ball: ExactBall) -> Fraction:
    """More than the optimum can be above the worst progress of g0: c |g0| max |g_k|."""
    A = ball.exact.gram
    largest = max(A[k][k] / x**2 for k, x in enumerate(ball.b))
    return 2 * ball.c * root(ball.square * largest, up=True)


def _nearest(programme: _Programme, level: int, support: list[int]) -> _Nearest:
    """Solve at one level."""
    ball, M, p = programme.ball, programme.M, programme.p
    mu = level * power(-programme.places)
    q = [s - mu * x for s, x in zip(ball.slope, ball.b, strict=True)]
    unit = math.lcm(*(x.denominator for x in q))
    numbers, denominator, steps = nonnegative_minimum(
        M, [int(x * unit) for x in q], support, programme.cap
    )
    factor = power(p) / (unit * denominator)
    u = [x * factor for x in numbers]
    missing = (INSIDE * ball.c) ** 2 * ball.square + dot(q, u)
    slope = dot(ball.b, u)
    if slope == 0:
        return _Nearest(u, missing, slope, Fraction(0), steps)
    active = [k for k, x in enumerate(u) if x]
    unit = math.lcm(*(x.denominator for x in ball.b))
    kept, numbers, denominator = eliminate(M, [int(x * unit) for x in ball.b], active)
    bend = sum(ball.b[k] * x for k, x in zip(kept, numbers, strict=True))
    part, ratio = missing / slope, bend * power(p) / (unit * denominator) / slope
    inside = 1 + ratio * part
    step = part / (1 + root(inside)) if inside >= 0 else part / 2
    return _Nearest(u, missing, slope, step, steps)


def least_task(ball: ExactBall) -> list[Fraction]:
    """Multipliers of the first task of least progress under the reference."""
    progress = [x / y for x, y in zip(ball.slope, ball.b, strict=True)]
    least = progress.index(min(progress))
    return [Fraction(int(k == least)) for k in range(len(progress))]


def reachable(ball: ExactBall, u: Sequence[Fraction], stationary: bool) -> Fraction:
    """A bound of the worst progress of every direction in the ball, by u >= 0, not all zero."""
    A = ball.exact.gram
    length = root(dot(u, times(A, u)), up=True) * root(ball.square, up=True)
    bound = (dot(u, ball.slope) + ball.c * length) / dot(u, ball.b)
    return min(bound, Fraction(0)) if stationary else bound


def gap_of_weights(ball: ExactBall, weights: Sequence[Fraction], upper: Fraction) -> float:
    """The gap of sum_k w_k g_k to a bound of what can be reached, and its overshoot, relative."""
    A = ball.exact.gram
    v = [w / x for w, x in zip(weights, ball.b, strict=True)]
    off = [x - y for x, y in zip(v, ball.y, strict=True)]
    progress = [s / x for s, x in zip(times(A, v), ball.b, strict=True)]
    return _relative(ball, min(progress), dot(off, times(A, off)), upper)


def gap_of_direction(ball: ExactBall, direction: Array, upper: Fraction) -> float:
    """The same of a direction in floats."""
    rows = ball.exact.rows
    assert rows is not None
    numbers, e = integers(direction)
    progress = [x * power(e) / y for x, y in zip((rows @ numbers).tolist(), ball.b, strict=True)]
    unit = max(math.lcm(*(y.denominator for y in ball.y)), power(-e).numerator)
    off = numbers * int(power(e) * unit) - [int(y * unit) for y in ball.y] @ rows
    return _relative(ball, min(progress), Fraction(int(off @ off), unit**2), upper)


def _relative(ball: ExactBall, worst: Fraction, off: Fraction, upper: Fraction) -> float:
    """The gap over max(|upper|, |g0|^2), with the overshoot over |g0|."""
    gap = max(upper - worst, Fraction(0))
    outside = max(root(off, up=True) - ball.c * root(ball.square), Fraction(0))
    if off <= ball.c**2 * ball.square:
        outside = Fraction(0)
    if ball.square == 0:
        return 0.0 if gap == outside == 0 else math.inf
    total = gap / max(abs(upper), ball.square) + outside / root(ball.square)
    return math.ldexp(*_rounded_up(total))


def _rounded_up(x: Fraction) -> tuple[float, int]:
    """A number slightly above x as f 2^e."""
    e = _exponent(x) if x else 0
    return float(x * power(-e)) * (1.0 + 2.0**-50), min(e, 1000)


def root(x: Fraction, up: bool = False) -> Fraction:
    """The square root from below, or from above, to DIGITS binary digits."""
    if x == 0:
        return x
    s = DIGITS - _exponent(x) // 2
    return (math.isqrt(math.floor(x * power(2 * s))) + up) * power(-s)


def times(A: Matrix, v: Sequence[Fraction]) -> list[Fraction]:
    """The matrix times a vector."""
    unit = math.lcm(*(x.denominator for x in v))
    numbers = [int(x * unit) for x in v]
    return [Fraction(sum(a * x for a, x in zip(row, numbers, strict=True)), unit) for row in A]


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    """The inner product."""
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _exponent(x: Fraction) -> int:
    """The e with 2^(e - 2) < x < 2^e."""
    return x.numerator.bit_length() - x.denominator.bit_length() + 1
