"""Whole numbers from shares and ratios, counted as the decimals that somebody wrote.

In binary 0.29 x 100 is 28.999999999999996 and 21 / 0.7 is 30.000000000000004, so a plain floor or
ceiling is off by one where the decimals give a whole number.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from fractions import Fraction

DECIMAL_SLACK = 1e-9
"""Far above the rounding of a product of a decimal and a count, far below its distance from any
other whole number: a share with d decimals and a count give multiples of 10^-d."""

ULPS = 4.0
"""Of a large number: the decimal, the product and the slack itself are rounded once each."""


def whole_down(number: float) -> int:
    """The number rounded down, unless it is a whole number but for rounding.

    Example:
        >>> whole_down(0.29 * 100), whole_down(28.99)
        (29, 28)
    """
    return math.floor(number + _slack(number))


def whole_up(number: float) -> int:
    """The number rounded up, unless it is a whole number but for rounding.

    Example:
        >>> whole_up(21 / 0.7), whole_up(30.01)
        (30, 31)
    """
    return math.ceil(number - _slack(number))


def largest_remainders(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers of that total in proportion to the shares, by largest remainders.

    In exact arithmetic of the shares' shortest decimals; equal remainders go to the lower index.

    Args:
        shares: Positive numbers, of any sum.
        total: What is shared out.

    Example:
        >>> largest_remainders([0.7, 0.1, 0.2], 15)  # remainders 0.5, 0.5, 0 of 10.5, 1.5, 3
        [11, 1, 3]
    """
    written = [Fraction(repr(float(share))) for share in shares]
    exact = [share * total / sum(written) for share in written]
    whole = [math.floor(each) for each in exact]
    order = sorted(range(len(exact)), key=lambda index: whole[index] - exact[index])
    first = set(order[: total - sum(whole)])
    return [count + (index in first) for index, count in enumerate(whole)]


def _slack(number: float) -> float:
    """What rounding can have added to or taken from it."""
    return max(DECIMAL_SLACK, ULPS * sys.float_info.epsilon * abs(number))
