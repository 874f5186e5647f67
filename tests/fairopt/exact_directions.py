"""Projections on the dual cone in exact rational numbers, of the gradients exactly as given.

The method of Lawson and Hanson on fractions: a task enters the support only if the residual makes
progress on it, so it is independent of the support, and every minimum on a support is lower than
the one before. Nothing is shared with the library.
"""

from __future__ import annotations

import math
from fractions import Fraction

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
    """Solution of a regular system, by elimination with pivots that are not zero."""
    n = len(y)
    M = [[*row, value] for row, value in zip(A, y, strict=True)]
    for k in range(n):
        at = next(i for i in range(k, n) if M[i][k] != 0)
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


def length(A, w):
    """|sum w_k g_k| from the exact Gram, to 40 digits before the root."""
    square = sum(
        a * x * y for row, x in zip(A, w, strict=True) for a, y in zip(row, w, strict=True)
    )
    return root(square)


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
