"""Projections on the dual cone in exact rational numbers, of the gradients exactly as given.

The method of Lawson and Hanson on fractions: a task enters the support only if the residual makes
progress on it, so it is independent of the support, and every minimum on a support is lower than
the one before. Nothing is shared with the library.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import mpmath
import numpy as np


def exact_gram(G):
    """Inner products of the rows as fractions."""
    rows = [[Fraction(x) for x in row] for row in np.asarray(G, dtype=np.float64).tolist()]
    A = [[Fraction(0)] * len(rows) for _ in rows]
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[: i + 1]):
            A[i][j] = A[j][i] = sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))
    return A


def solve(A, y):
    """Solution of a square system by elimination; None if it is singular."""
    n = len(y)
    M = [[*row, value] for row, value in zip(A, y, strict=True)]
    for k in range(n):
        at = next((i for i in range(k, n) if M[i][k] != 0), None)
        if at is None:
            return None
        M[k], M[at] = M[at], M[k]
        for i in range(k + 1, n):
            if M[i][k] != 0:
                factor = M[i][k] / M[k][k]
                M[i] = [a - factor * b for a, b in zip(M[i], M[k], strict=True)]
    x = [Fraction(0)] * n
    for k in reversed(range(n)):
        x[k] = (M[k][n] - sum(M[k][j] * x[j] for j in range(k + 1, n))) / M[k][k]
    return x


def exact_multipliers(A, q):
    """The u >= 0 with the lowest u'Au/2 + q'u."""
    n = len(q)
    u, support = [Fraction(0)] * n, []
    while True:
        prices = [q[j] + sum(A[j][i] * u[i] for i in support) for j in range(n)]
        outside = [j for j in range(n) if j not in support and prices[j] < 0]
        if not outside:
            return u
        support.append(min(outside, key=lambda j: float(prices[j]) / math.sqrt(float(A[j][j]))))
        while True:
            x = solve([[A[i][j] for j in support] for i in support], [-q[i] for i in support])
            if all(value > 0 for value in x):
                for i, value in zip(support, x, strict=True):
                    u[i] = value
                break
            t = min(
                u[i] / (u[i] - value) for i, value in zip(support, x, strict=True) if value <= 0
            )
            for i, value in zip(support, x, strict=True):
                u[i] += t * (value - u[i])
            support = [i for i in support if u[i] > 0]


def exact_projection(A, reference):
    """Weights w = r + u of the projection of sum r_k g_k, as fractions, from the exact Gram."""
    r = [Fraction(float(x)) for x in reference]
    q = [sum(a * x for a, x in zip(row, r, strict=True)) for row in A]
    scaled = [k for k in range(len(r)) if A[k][k] > 0]
    B = [[A[i][j] for j in scaled] for i in scaled]
    u = exact_multipliers(B, [q[k] for k in scaled])
    w = list(r)
    for k, value in zip(scaled, u, strict=True):
        w[k] += value
    return w


def square_of(A, w):
    """|sum w_k g_k|^2 from the exact Gram."""
    return sum(a * x * y for row, x in zip(A, w, strict=True) for a, y in zip(row, w, strict=True))


def length(A, w):
    """|sum w_k g_k| from the exact Gram, to 40 digits before the root."""
    return root(square_of(A, w))


def root(square):
    """Square root of a fraction, accurate beyond the range of floats in between."""
    if square <= 0:
        return 0.0
    shift = (square.numerator.bit_length() - square.denominator.bit_length()) // 2 * 2
    scaled = square / Fraction(2) ** shift
    return math.sqrt(float(scaled)) * 2.0 ** (shift // 2)


def distance(A, weights, exact, reference):
    """|d - P| / |g0| of float weights (one or two floats each) from the exact projection.

    Where g0 is zero: |d - P| over the largest gradient.
    """
    off = [
        sum((Fraction(float(x)) for x in np.atleast_1d(w)), Fraction(0)) - e
        for w, e in zip(weights, exact, strict=True)
    ]
    size = length(A, [Fraction(float(x)) for x in reference])
    if size == 0.0:
        size = max(root(A[k][k]) for k in range(len(A))) or 1.0
    return length(A, off) / size


def exact_upgrad(A, reference):
    """sum_k r_k P(g_k) as fractions."""
    n = len(A)
    total = [Fraction(0)] * n
    for k, share in enumerate(reference):
        unit = [1.0 if i == k else 0.0 for i in range(n)]
        for i, value in enumerate(exact_projection(A, unit)):
            total[i] += Fraction(float(share)) * value
    return total


def best_worst_progress(A, c, reference, digits=60):
    """Max over |d - g0| <= c |g0| of min_k <g_k, d>, and |g0|, from the exact Gram; few tasks.

    The dual value v'Ar + c |g0| |G v| is convex in v, and its minimum is a vertex, a combination
    that vanishes, or equal progress on an independent support: all supports are tried, and the
    least value is the optimum.
    """
    n = len(A)
    r = [Fraction(float(x)) for x in reference]
    q = [sum(a * x for a, x in zip(row, r, strict=True)) for row in A]
    square = sum(x * y for x, y in zip(r, q, strict=True)) * Fraction(float(c)) ** 2
    with mpmath.workdps(digits):
        radius = mpmath.sqrt(_real(square))
        best = min(_real(q[k]) + radius * mpmath.sqrt(_real(A[k][k])) for k in range(n))
        for v in [_vanishing(A), *_equal_progress(A, q, square)]:
            if v is not None:
                along = sum(x * _real(y) for x, y in zip(v, q, strict=True))
                best = min(best, along + radius * mpmath.sqrt(max(_quadratic(A, v), 0)))
        norm = mpmath.sqrt(_real(sum(x * y for x, y in zip(r, q, strict=True))))
        return best, norm


def _real(x):
    """A fraction as a number of many digits."""
    return mpmath.mpf(x.numerator) / x.denominator


def _quadratic(A, v):
    """The square v'Av in many digits."""
    rows = (sum(_real(a) * x for a, x in zip(row, v, strict=True)) for row in A)
    return sum(x * y for x, y in zip(v, rows, strict=True))


def _vanishing(A):
    """A convex combination of the gradients that is exactly zero, or None."""
    ones = [[a + 1 for a in row] for row in A]
    v = exact_multipliers(ones, [Fraction(-1)] * len(A))
    zero = all(sum(a * x for a, x in zip(row, v, strict=True)) == 0 for row in A)
    return [_real(x) for x in v] if zero and sum(v) == 1 else None


def _equal_progress(A, q, square):
    """Convex v with equal progress mu on an independent support, at the distance of the radius."""
    n = len(A)
    for size in range(2, n + 1):
        for support in combinations(range(n), size):
            B = [[A[i][j] for j in support] for i in support]
            x, y = solve(B, [Fraction(1)] * size), solve(B, [q[i] for i in support])
            if x is None:
                continue
            a, b = sum(x), sum(y)
            d = sum(q[i] * value for i, value in zip(support, y, strict=True))
            inside = b * b - a * (d - square)  # a mu^2 - 2 b mu + d = radius^2
            if inside < 0:
                continue
            for sign in (1, -1):
                mu = (_real(b) + sign * mpmath.sqrt(_real(inside))) / _real(a)
                u = [mu * _real(s) - _real(t) for s, t in zip(x, y, strict=True)]
                if sum(u) > 0 and min(u) >= 0:
                    v = [mpmath.mpf(0)] * n
                    for i, value in zip(support, u, strict=True):
                        v[i] = value / sum(u)
                    yield v


def progress_shortfall(A, c, reference, weights, digits=60):
    """(gap, overshoot): how much worst progress is lost, and how far outside the ball, relative.

    The gap is in units of max(|best|, |g0|^2), the overshoot in units of |g0|. Weights are floats
    or fractions. `A` may hold further vectors behind the tasks, a direction itself say, whose
    weights follow those of the tasks.
    """
    n = len(reference)
    best, norm = best_worst_progress([row[:n] for row in A[:n]], c, reference, digits)
    with mpmath.workdps(digits):
        w = [Fraction(x) for x in weights]
        r = [Fraction(float(x)) for x in reference] + [Fraction(0)] * (len(A) - n)
        worst = _real(min(sum(a * x for a, x in zip(row, w, strict=True)) for row in A[:n]))
        off = mpmath.sqrt(_real(square_of(A, [x - y for x, y in zip(w, r, strict=True)])))
        if norm == 0:
            return float(abs(best - worst)), float(off)
        gap = (best - worst) / max(abs(best), norm * norm)
        return float(gap), float(max(off - mpmath.mpf(float(c)) * norm, 0) / norm)
