"""Integers of a given total that minimise a separable convex objective, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace

from fairopt.apportionment.shares import lifted, root_bounds

SPARE_BITS = 64  # of roots beyond those of the total: shares are then known to 2^-60
SLACK_BITS = 32  # shares count as 2^-32 less than they seem to be


def exact_optimum(values: Sequence[int], degree: int, units: int, least: int) -> list[int]:
    r"""The n >= least with sum n = units that minimise an objective of values a, not all zero.

    - degree 1: the largest a_k / n_k, then the next largest, and so on;
    - degree 2: sum a_k / n_k;
    - degree 3: sum sqrt(a_k / n_k).

    a / 0 is more than any number, more for a larger a. Of several optima that with more units for
    lower indices.

    Method: every objective is f_1(n_1) + f_2(n_2) + ... with convex f (degree 1 is the limit of
    sum (a_k / n_k)^p for large p), so the optimum consists of the units with the largest gains
    f(n - 1) - f(n), ties to the lower index. It is not built from nothing. Let x be the real-valued
    optimum of units - S units for S values, and g the gain per unit at x. Convexity says that unit
    n gains more than g if n <= x_k, and only if n < x_k + 1. So at most units - S + S units gain
    more than g: all of them are in the optimum, floor(x_k) units of k among them, and at most
    2 S + 1 of the next largest gains complete it.

    Example:
        >>> exact_optimum([3, 26, 1], 1, 14, 1)
        [2, 11, 1]
    """
    counts = _below_the_optimum(values, degree, units, least)
    kind = UNITS[degree]
    heap = [kind(value, n, k) for k, (value, n) in enumerate(zip(values, counts, strict=True))]
    heap = [unit for unit in heap if unit.value]
    heapify(heap)
    for _ in range(units - sum(counts)):
        unit = heap[0]
        counts[unit.index] += 1
        heapreplace(heap, kind(unit.value, unit.before + 1, unit.index))
    return counts


def _below_the_optimum(values: Sequence[int], degree: int, units: int, least: int) -> list[int]:
    """Counts that no optimum is below."""
    size = len(values)
    total = units - size
    if total < least * size:
        return [least] * size
    roots = root_bounds(values, degree, SPARE_BITS + total.bit_length())
    shares = lifted([(low, low) for low, _ in roots], total, least)
    assert shares is not None  # bounds that are equal leave no doubt
    return [
        max(least, ((share << SLACK_BITS) - whole) // (whole << SLACK_BITS))
        for (share, whole), _ in shares
    ]


class _Unit:
    """One more unit for a task that has `before`; the one that gains most is the smallest."""

    __slots__ = ("before", "index", "value")

    def __init__(self, value: int, before: int, index: int) -> None:
        self.value, self.before, self.index = value, before, index

    def __lt__(self, other: _Unit) -> bool:
        raise NotImplementedError


class _NextLargest(_Unit):
    """Gains the larger of a / n and b / m; of equal ones that which falls further, as n < m."""

    __slots__ = ()

    def __lt__(self, other: _Unit) -> bool:
        mine, theirs = self.value * other.before, other.value * self.before
        if mine != theirs:
            return mine > theirs
        if self.before != other.before:
            return self.before < other.before
        return (-self.value, self.index) < (-other.value, other.index)


class _SumOfRatios(_Unit):
    """Gains a / n - a / (n + 1) = a / (n (n + 1))."""

    __slots__ = ()

    def __lt__(self, other: _Unit) -> bool:
        n, m = self.before, other.before
        mine, theirs = self.value * m * (m + 1), other.value * n * (n + 1)
        if mine != theirs:
            return mine > theirs
        if n == m == 0 and self.value != other.value:
            return self.value > other.value
        return self.index < other.index


class _SumOfRoots(_Unit):
    """Gains sqrt(a / n) - sqrt(a / (n + 1)).

    Its square is a (2 n + 1 - 2 sqrt(N)) / N with N = n (n + 1). With the fractions cleared the
    difference of two squares is p - sqrt(x) + sqrt(y) for whole p, x, y.
    """

    __slots__ = ()

    def __lt__(self, other: _Unit) -> bool:
        a, n, b, m = self.value, self.before, other.value, other.before
        if n == 0 or m == 0:  # a first unit is worth more than any later one
            return (n > 0, -a, self.index) < (m > 0, -b, other.index)
        N, M = n * (n + 1), m * (m + 1)
        p = a * M * (2 * n + 1) - b * N * (2 * m + 1)
        sign = sign_of_roots(p, 4 * b * b * N * N * M, 4 * a * a * M * M * N)
        return sign > 0 or (sign == 0 and self.index < other.index)


UNITS: dict[int, type[_Unit]] = {1: _NextLargest, 2: _SumOfRatios, 3: _SumOfRoots}
"""For each degree the order of its units."""


def sign_of_roots(p: int, y: int, x: int) -> int:
    """The sign of p + sqrt(y) - sqrt(x) for whole numbers, by squaring twice.

    Example:
        >>> sign_of_roots(1, 4, 9), sign_of_roots(1, 4, 10), sign_of_roots(0, 2, 1)
        (0, -1, 1)
    """
    mine, theirs = _sign(p), _sign(y - x)
    if mine * theirs >= 0:
        return mine or theirs
    rest = p * p - x - y  # p^2 > (sqrt y - sqrt x)^2 where this is above -2 sqrt(x y)
    larger = 1 if rest >= 0 and (rest or x * y) else _sign(4 * x * y - rest * rest)
    return mine * larger


def _sign(n: int) -> int:
    """-1, 0 or 1."""
    return (n > 0) - (n < 0)
