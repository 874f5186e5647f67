"""Whole numbers from shares and ratios, counted as the decimals that somebody wrote.

In binary 0.29 x 100 is 28.999999999999996 and 21 / 0.7 is 30.000000000000004, so a plain floor or
ceiling is off by one where the decimals give a whole number.
"""

from __future__ import annotations

import math
import sys

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


def _slack(number: float) -> float:
    """What rounding can have added to or taken from it."""
    return max(DECIMAL_SLACK, ULPS * sys.float_info.epsilon * abs(number))
