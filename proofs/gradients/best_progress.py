"""The best worst-case progress in a ball, to sixty digits, by trying every support.

The dual value v'Ar + c |g0| |G v| is convex on the simplex. Its minimum is a vertex, a combination
that vanishes, or equal progress on an independent support, which solves a quadratic equation. Every
value is an upper bound of what a direction in the ball can reach; a direction that reaches the
least of them shows that it is the optimum, so the enumeration need not be trusted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

from proofs.exact_algebra import Matrix, Row, dot, times
from proofs.gradients import exact

DIGITS = 200
"""Twice those that are proved, as lengths are roots, and those that cancel where units differ."""
PROVED = 60
"""Digits to which the best direction must reach the bound."""

Reals = list[Any]
"""Numbers of many digits."""


@dataclass(frozen=True)
class Ball:
    """All d with |d - g0| <= c |g0|, g0 = sum_k r_k g_k."""

    A: Matrix
    r: Row
    c: Fraction

    @cached_property
    def slopes(self) -> Row:
        """The products <g_k, g0>."""
        return times(self.A, self.r)

    @cached_property
    def square(self) -> Fraction:
        """|g0|^2."""
        return dot(self.r, self.slopes)

    @cached_property
    def radius(self) -> Any:
        """Its radius, c |g0|."""
        return real(self.c) * root(self.square)

    @cached_property
    def entries(self) -> list[Reals]:
        """The Gram matrix to many digits."""
        return [[real(a) for a in row] for row in self.A]


def best_progress(ball: Ball) -> Any:
    """The largest min_k <g_k, d> over the ball, as a number of many digits.

    Raises:
        ArithmeticError: No direction is found that reaches the bound.

    Example:
        >>> one = Fraction(1)
        >>> float(best_progress(Ball([[one]], [one], one / 2)))
        1.5
    """
    upper, v = min(_values(ball), key=lambda value: value[0])
    lower = max(_reached(ball, v))
    size = max(abs(upper), real(ball.square))
    if not upper - lower <= size * _context().mpf(10) ** -PROVED:
        raise ArithmeticError(f"the best direction found reaches {lower}, the bound is {upper}")
    return upper


def shortfall(ball: Ball, weights: Row) -> tuple[Any, Any]:
    """(gap, overshoot) of weights: lost worst progress, and how far outside the ball they are.

    The gap is relative to max(|best|, |g0|^2), the overshoot to |g0|; inf where these are zero.
    """
    best, square = best_progress(ball), real(ball.square)
    lost = best - real(min(times(ball.A, weights)))
    off = [w - x for w, x in zip(weights, ball.r, strict=True)]
    outside = root(exact.square(ball.A, off)) - ball.radius
    return _over(lost, max(abs(best), square)), _over(max(outside, 0), _context().sqrt(square))


def real(x: Fraction) -> Any:
    """A fraction to many digits."""
    return _context().mpf(x.numerator) / x.denominator


def root(square: Fraction) -> Any:
    """A square root to many digits."""
    return _context().sqrt(real(square))


def _values(ball: Ball) -> Iterator[tuple[Any, Reals]]:
    """Dual values and their multipliers."""
    slopes = [real(s) for s in ball.slopes]
    for v in _candidates(ball):
        yield _along(v, slopes) + ball.radius * _length(ball, v), v


def _candidates(ball: Ball) -> Iterator[Reals]:
    """The multipliers that may be optimal."""
    A, K = ball.A, len(ball.A)
    for k in range(K):
        yield [_context().mpf(int(i == k)) for i in range(K)]
    shortest = exact.min_norm(A)
    if exact.square(A, shortest) == 0:
        yield [real(x) for x in shortest]
    for size in range(2, K + 1):
        for support in itertools.combinations(range(K), size):
            yield from _equal_progress(ball, support)


def _equal_progress(ball: Ball, support: tuple[int, ...]) -> Iterator[Reals]:
    """Convex v on a support whose direction has one progress mu on all of it, on the sphere."""
    B = [[ball.A[i][j] for j in support] for i in support]
    q = [ball.slopes[i] for i in support]
    x, y = exact.solve(B, [Fraction(1)] * len(support)), exact.solve(B, q)
    if x is None or y is None:
        return
    # u = mu x - y and u'Bu = c^2 |g0|^2
    a, b, rest = sum(x, Fraction(0)), sum(y, Fraction(0)), dot(q, y) - ball.c**2 * ball.square
    if b * b < a * rest:
        return
    for sign in (1, -1):
        mu = (real(b) + sign * root(b * b - a * rest)) / real(a)
        u = [mu * real(s) - real(t) for s, t in zip(x, y, strict=True)]
        if min(u) >= 0 and sum(u) > 0:
            v = [_context().mpf(0)] * len(ball.A)
            for i, value in zip(support, u, strict=True):
                v[i] = value / sum(u)
            yield v


def _reached(ball: Ball, v: Reals) -> Iterator[Any]:
    """Worst progress of directions in the ball: that of v, zero, the reference, its projection."""
    slopes, length = [real(s) for s in ball.slopes], _length(ball, v)
    yield min(slopes)
    u = exact.multipliers(ball.A, ball.slopes)
    if ball.c >= 1 or exact.square(ball.A, u) <= ball.c**2 * ball.square:
        yield _context().mpf(0)
    if length > 0:
        more = [_along(row, v) for row in ball.entries]
        yield min(s + ball.radius / length * m for s, m in zip(slopes, more, strict=True))


def _along(x: Reals, y: Reals) -> Any:
    """An inner product."""
    return sum(a * b for a, b in zip(x, y, strict=True))


def _length(ball: Ball, v: Reals) -> Any:
    """|G v|."""
    square = _along(v, [_along(row, v) for row in ball.entries])
    return _context().sqrt(max(square, 0))


def _over(x: Any, unit: Any) -> Any:
    """A quotient; zero over zero is zero."""
    if x <= 0:
        return _context().mpf(0)
    return x / unit if unit > 0 else _context().inf


@cache
def _context() -> Any:
    """Of its own, so that nobody else's precision is touched."""
    from mpmath.ctx_mp import MPContext

    context = MPContext()
    context.dps = DIGITS
    return context
