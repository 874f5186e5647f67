"""Proportional shares of a total with a floor for everybody, between fractions that are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

Bounds = tuple[int, int]
"""What a number lies between; the same where it is known exactly."""
Ratio = tuple[int, int]
"""Numerator >= 0 and denominator > 0."""


def root_bounds(values: Sequence[int], degree: int, bits: int) -> list[Bounds]:
    """Numbers in proportion to the roots of values >= 0, not all zero: exact or within 1.

    The largest is exactly the largest value times 2^bits, so whatever has a rational ratio to it is
    exact too.

    Example:
        >>> root_bounds([2, 8, 5], 2, 0)
        [(4, 4), (8, 8), (6, 7)]
    """
    unit = max(values) ** (degree - 1) << degree * bits
    result = []
    for value in values:
        low = whole_root(value * unit, degree)
        result.append((low, low if low**degree == value * unit else low + 1))
    return result


def whole_root(n: int, degree: int) -> int:
    """The largest whole number whose power is at most n >= 0.

    Example:
        >>> [whole_root(26, degree) for degree in (1, 2, 3)]
        [26, 5, 2]
    """
    if degree == 1 or n == 0:
        return n
    if degree == 2:
        return math.isqrt(n)
    guess = 1 << -(-n.bit_length() // degree)  # not below the root, and Newton falls from there
    while True:
        better = ((degree - 1) * guess + n // guess ** (degree - 1)) // degree
        if better >= guess:
            return guess
        guess = better


def lifted(weights: Sequence[Bounds], total: int, least: int) -> list[tuple[Ratio, Ratio]] | None:
    """Shares of the total in proportion to weights, but `least` for whoever would have less.

    Weights are at least zero and the largest is known exactly. None if others are known too badly
    to tell whose share is below.

    Example:
        >>> lifted([(1, 1), (6, 6), (6, 6)], 26, 4)  # 4 and half of 22
        [((4, 1), (4, 1)), ((132, 12), (132, 12)), ((132, 12), (132, 12))]
    """
    free = list(range(len(weights)))
    while True:
        rest = total - least * (len(weights) - len(free))
        bottom = sum(weights[k][0] for k in free)
        top = sum(weights[k][1] for k in free)
        shares = {}
        for k in free:
            low, high = weights[k]
            share = (rest * low, top - high + low), (rest * high, bottom - low + high)
            if share[0][0] >= least * share[0][1]:
                shares[k] = share
            elif share[1][0] >= least * share[1][1]:
                return None
        if len(shares) == len(free):
            floor = (least, 1), (least, 1)
            return [shares.get(k, floor) for k in range(len(weights))]
        free = list(shares)
