"""The quadratic problems in fractions, by trying every support: the reference implementation.

A minimiser with affinely independent gradients on its support always exists, and on such a support
it solves a nonsingular linear system; the optimality conditions then say which support is right.
`projection` finds the support of `dual_cone` by an active set, for gradients with all the digits of
floats, whose fractions are long.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

from proofs.exact_algebra import Matrix, Row, dot, times


def min_norm(A: Matrix) -> Row:
    """Convex v with the smallest v'Av.

    Example:
        >>> min_norm([[Fraction(1), Fraction(0)], [Fraction(0), Fraction(4)]])
        [Fraction(4, 5), Fraction(1, 5)]
    """
    for support in _supports(len(A)):
        bordered = [[A[i][j] for j in support] + [Fraction(-1)] for i in support]
        bordered.append([Fraction(1)] * len(support) + [Fraction(0)])
        found = solve(bordered, [Fraction(0)] * len(support) + [Fraction(1)])
        if found is None or min(found[:-1]) < 0:
            continue
        v = _spread(found[:-1], support, len(A))
        if all(slope >= found[-1] for slope in times(A, v)):
            return v
    raise ArithmeticError("no support is optimal: the matrix is not positive semidefinite")


def dual_cone(A: Matrix, reference: Row) -> Row:
    """Weights of the non-conflicting direction nearest to G r: <g_k, d> >= 0.

    Example:
        >>> one = Fraction(1)
        >>> dual_cone([[one, -one], [-one, 4 * one]], [one, 0 * one])
        [Fraction(1, 1), Fraction(1, 4)]
    """
    slopes = times(A, reference)
    for support in ((), *_supports(len(A))):
        found = solve([[A[i][j] for j in support] for i in support], [-slopes[i] for i in support])
        if found is None or (found and min(found) < 0):
            continue
        u = _spread(found, support, len(A))
        w = [r + x for r, x in zip(reference, u, strict=True)]
        if all(slope >= 0 for slope in times(A, w)):
            return w
    raise ArithmeticError("no support is optimal: the matrix is not positive semidefinite")


def projection(A: Matrix, reference: Row) -> Row:
    """The weights of `dual_cone`, or others of the same direction where they are not unique.

    Example:
        >>> one = Fraction(1)
        >>> projection([[one, -one], [-one, 4 * one]], [one, 0 * one])
        [Fraction(1, 1), Fraction(1, 4)]
    """
    u = multipliers(A, times(A, reference))
    return [r + x for r, x in zip(reference, u, strict=True)]


def multipliers(A: Matrix, slopes: Row) -> Row:
    """The u >= 0 with the smallest u'Au/2 + slopes'u, by the method of Lawson and Hanson.

    A task enters the support only where the objective falls, so it is independent of those inside,
    and every minimum on a support is lower than the one before: no support repeats.
    """
    u = [Fraction(0)] * len(A)
    support: list[int] = []
    while True:
        prices = [slope + x for slope, x in zip(slopes, times(A, u), strict=True)]
        outside = [k for k, price in enumerate(prices) if price < 0 and k not in support]
        if not outside:
            return u
        support.append(max(outside, key=lambda k: prices[k] ** 2 / A[k][k]))
        u, support = _minimum_on(A, slopes, u, support)


def _minimum_on(A: Matrix, slopes: Row, u: Row, support: list[int]) -> tuple[Row, list[int]]:
    """From u towards the minimiser on its support, leaving out every task that reaches zero."""
    while True:
        found = solve([[A[i][j] for j in support] for i in support], [-slopes[i] for i in support])
        if found is None:
            raise ArithmeticError("a dependent support: the matrix is not positive semidefinite")
        target = _spread(found, tuple(support), len(A))
        if all(target[i] > 0 for i in support):
            return target, support
        share = min(u[i] / (u[i] - target[i]) for i in support if target[i] <= 0)
        u = [x + share * (y - x) for x, y in zip(u, target, strict=True)]
        support = [i for i in support if u[i] > 0]


def stationary(A: Matrix) -> bool:
    """Whether a convex combination of the gradients vanishes.

    Example:
        >>> stationary([[Fraction(1), Fraction(-1)], [Fraction(-1), Fraction(1)]])
        True
    """
    return square(A, min_norm(A)) == 0


def square(A: Matrix, v: Row) -> Fraction:
    """V'Av."""
    return dot(v, times(A, v))


def root_below(square: Fraction) -> Fraction:
    """A square root, rounded down in its hundredth binary place.

    Example:
        >>> root_below(Fraction(9, 4))
        Fraction(3, 2)
        >>> 0 < 2 - root_below(Fraction(2)) ** 2 < Fraction(1, 2**98)
        True
    """
    if square <= 0:
        return Fraction(0)
    half = (square.numerator.bit_length() - square.denominator.bit_length()) // 2 - 100
    return math.isqrt(int(square / Fraction(4) ** half)) * Fraction(2) ** half


def solve(A: Matrix, b: Row) -> Row | None:
    """Solution of A x = b by elimination, None if A is singular.

    Example:
        >>> solve([[Fraction(2)]], [Fraction(1)])
        [Fraction(1, 2)]
    """
    rows = [[*row, right] for row, right in zip(A, b, strict=True)]
    for column in range(len(rows)):
        pivot = next((i for i in range(column, len(rows)) if rows[i][column]), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [x / rows[column][column] for x in rows[column]]
        for i, row in enumerate(rows):
            if i != column and row[column]:
                factor = row[column]
                rows[i] = [x - factor * y for x, y in zip(row, rows[column], strict=True)]
    return [row[-1] for row in rows]


def _supports(K: int) -> Iterator[tuple[int, ...]]:
    """Nonempty sets of tasks, small ones first."""
    for size in range(1, K + 1):
        yield from itertools.combinations(range(K), size)


def _spread(values: Row, support: tuple[int, ...], K: int) -> Row:
    """Values on a support, zeros elsewhere."""
    full = [Fraction(0)] * K
    for place, value in zip(support, values, strict=True):
        full[place] = value
    return full
