"""Proportional shares of a total with a floor for everybody, as intervals of fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

Interval = tuple[Fraction, Fraction]
"""What a number lies between; both ends are the same where it is known exactly."""


def relative_roots(values: Sequence[Fraction], degree: int, bits: int) -> list[Interval]:
    """The roots of values >= 0, not all zero, over the largest root: exact or 2^-bits wide.

    Example:
        >>> relative_roots([Fraction(1), Fraction(4)], 2, 8)[0]
        (Fraction(1, 2), Fraction(1, 2))
        >>> relative_roots([Fraction(1), Fraction(2)], 2, 8)[0]
        (Fraction(181, 256), Fraction(91, 128))
    """
    top = max(values)
    return [_root(value / top, degree, bits) for value in values]


def _root(x: Fraction, degree: int, bits: int) -> Interval:
    """Between which fractions a root lies."""
    above, below = whole_root(x.numerator, degree), whole_root(x.denominator, degree)
    if above**degree == x.numerator and below**degree == x.denominator:
        return Fraction(above, below), Fraction(above, below)
    low = whole_root((x.numerator << degree * bits) // x.denominator, degree)
    return Fraction(low, 1 << bits), Fraction(low + 1, 1 << bits)


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


def lifted(weights: Sequence[Interval], total: int, least: int) -> list[Interval] | None:
    """Shares of the total in proportion to weights, but `least` for whoever would have less.

    Weights are at least zero and the largest is 1. None if they are too wide to tell who is below.

    Example:
        >>> one, three = Fraction(1, 6), Fraction(1)
        >>> lifted([(one, one), (three, three), (three, three)], 26, 4)[1]
        (Fraction(11, 1), Fraction(11, 1))
    """
    free = set(range(len(weights)))
    while True:
        rest = total - least * (len(weights) - len(free))
        low = sum((weights[k][0] for k in free), Fraction(0))
        high = sum((weights[k][1] for k in free), Fraction(0))
        share = {
            k: (
                rest * weights[k][0] / (high - weights[k][1] + weights[k][0]),
                rest * weights[k][1] / (low - weights[k][0] + weights[k][1]),
            )
            for k in free
        }
        below = {k for k in free if share[k][1] < least}
        if any(share[k][0] < least for k in free - below):
            return None
        if not below:
            floor = Fraction(least), Fraction(least)
            return [share.get(k, floor) for k in range(len(weights))]
        free -= below
