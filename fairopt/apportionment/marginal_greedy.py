"""Integers of a given total that minimise a separable convex objective, exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heapify, heapreplace

from fairopt.apportionment.shares import lifted, relative_roots

SPARE_BITS = 64  # of roots beyond those of the total: shares are then known to 2^-60


def exact_optimum(values: Sequence[Fraction], degree: int, units: int, least: int) -> list[int]:
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
    more than g: all of them are in the optimum, floor(x_k) units of k among them, and the 3 S
    largest gains above these complete it.

    Example:
        >>> exact_optimum([Fraction(3), Fraction(26), Fraction(1)], 1, 14, 1)
        [2, 11, 1]
    """
    counts = _below_the_optimum(values, degree, units, least)
    scale = math.lcm(*(value.denominator for value in values))
    heap = [
        _Unit(int(value * scale), n, k, COMPARISONS[degree])
        for k, (value, n) in enumerate(zip(values, counts, strict=True))
        if value
    ]
    heapify(heap)
    for _ in range(units - sum(counts)):
        unit = heap[0]
        counts[unit.index] += 1
        heapreplace(heap, _Unit(unit.value, unit.before + 1, unit.index, unit.compare))
    return counts


def _below_the_optimum(
    values: Sequence[Fraction], degree: int, units: int, least: int
) -> list[int]:
    """Counts that no optimum is below; one unit of slack pays for the rounding of the roots."""
    size = len(values)
    total = units - size
    if total < least * size:
        return [least] * size
    roots = relative_roots(values, degree, SPARE_BITS + total.bit_length())
    shares = lifted([(low, low) for low, _ in roots], total, least)
    assert shares is not None  # intervals without width leave no doubt
    return [max(least, share.numerator // share.denominator - 1) for share, _ in shares]


@dataclass(frozen=True, slots=True)
class _Unit:
    """One more unit for a task that has `before`; the one that gains most is the smallest."""

    value: int
    before: int
    index: int
    compare: Callable[[int, int, int, int], int]

    def __lt__(self, other: _Unit) -> bool:
        gain = _first_units(self, other) or self.compare(
            self.value, self.before, other.value, other.before
        )
        return gain > 0 or (gain == 0 and self.index < other.index)


def _first_units(unit: _Unit, other: _Unit) -> int:
    """The first unit of a task is worth more than any later one, and more for a larger value."""
    if unit.before and other.before:
        return 0
    return _sign(other.before - unit.before) or _sign(unit.value - other.value)


def _next_largest(a: int, n: int, b: int, m: int) -> int:
    """Which of a / n and b / m is larger; for equal ones, which falls further by one more unit."""
    return _sign(a * m - b * n) or _sign(m - n)


def _sum_of_ratios(a: int, n: int, b: int, m: int) -> int:
    """Which of a / n - a / (n + 1) and b / m - b / (m + 1) is larger."""
    return _sign(a * m * (m + 1) - b * n * (n + 1))


def _sum_of_roots(a: int, n: int, b: int, m: int) -> int:
    r"""Which of sqrt(a / n) - sqrt(a / (n + 1)) and the same of b, m is larger.

    The square of the first is a (2 n + 1 - 2 sqrt(N)) / N with N = n (n + 1). With the fractions
    cleared the difference of the squares is p - sqrt(x) + sqrt(y) for whole p, x, y.
    """
    N, M = n * (n + 1), m * (m + 1)
    p = a * M * (2 * n + 1) - b * N * (2 * m + 1)
    return sign_of_roots(p, 4 * b * b * N * N * M, 4 * a * a * M * M * N)


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


COMPARISONS: dict[int, Callable[[int, int, int, int], int]] = {
    1: _next_largest,
    2: _sum_of_ratios,
    3: _sum_of_roots,
}
"""For each degree the sign of how much more a unit gains for (a, n) than for (b, m); n, m >= 1."""
