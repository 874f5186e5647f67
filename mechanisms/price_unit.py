"""The smallest coin: prices that are whole multiples of a unit.

Given as a float, a unit means its shortest decimal text, 0.01 one hundredth, and its multiples are
the floats nearest to theirs, such as 0.29, since a table of floats holds asks of 0.29 as well.
Given as a `Decimal`, a `Fraction` or an integer, it means itself; then multiples are exact in an
exact auction.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

FLOATS = (float, np.floating)
"""Types of floats."""
WHOLE_FLOATS = 2**53
"""Integers up to it are floats."""
MULTIPLES = 2**51
"""Multiples up to which the float nearest to a price over its unit is off by less than one."""


@dataclass(frozen=True)
class PriceUnit:
    """Multiples of a unit, to which prices are rounded down.

    Args:
        size: One unit.
        binary: Whether its multiples are the floats nearest to the exact ones.
        exponent: Power of ten of its last digit, where payments are decimals.
        scale: What one unit of money is counted as.

    Example:
        >>> PriceUnit(Fraction(1, 4)).round_down(Fraction(5, 6))
        Fraction(3, 4)
    """

    size: Fraction
    binary: bool = False
    exponent: int | None = None
    scale: Fraction = Fraction(1)

    def scaled(self, factor: int) -> PriceUnit:
        """The same multiples where all money is counted in a smaller unit."""
        return replace(self, scale=self.scale * factor)

    def multiple(self, count: int) -> Any:
        """A multiple as a Fraction; `inf` beyond the floats."""
        exact = count * self.size
        return self.scale * (_nearest(exact) if self.binary else exact)

    def round_down(self, price: Any) -> Any:
        """Largest multiple at most a price, which is an exact number >= 0."""
        return self.multiple(self._count(price))

    def _count(self, price: Any) -> int:
        """Which multiple that is; for numbers that are no fractions, by comparisons alone."""
        if isinstance(price, numbers.Rational):
            near = int(Fraction(price) // (self.scale * self.size))
            for count in (near + 1, near, near - 1):  # nearest floats may lie on the other side
                if self.multiple(count) <= price < self.multiple(count + 1):
                    return count
        low, high = 0, 1
        while self.multiple(high) <= price:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.multiple(middle) <= price else (low, middle)
        return low

    def quotient_up_to(self, price: float) -> tuple[int, int] | None:
        """(units, parts): the unit as a quotient by which floats can be rounded down, or None.

        Multiples up to the price are then quotients of two integers below 2^53, and so the nearest
        floats. None where there are more multiples, or more digits, than that.
        """
        units, parts = self.size.numerator, self.size.denominator
        most = Fraction(price) / self.size + 1
        fits = most <= MULTIPLES and most * units <= WHOLE_FLOATS and parts <= WHOLE_FLOATS
        return (units, parts) if fits else None

    def as_paid(self, amount: Fraction) -> Any:
        """A multiple as it is paid: a decimal with the digits of the unit, or as it is.

        Example:
            >>> PriceUnit(Fraction(1, 100), exponent=-2).as_paid(Fraction(37, 10))
            Decimal('3.70')
        """
        if self.exponent is None:
            return amount
        digits = amount / Fraction(10) ** self.exponent
        assert digits.denominator == 1, "a multiple of the unit"
        return Decimal((0, tuple(map(int, str(digits.numerator))), self.exponent))


def as_written(given: Any, exact: Any) -> Any:
    """What a finite number says: a float its shortest decimal text, any other its exact value.

    Example:
        >>> as_written(0.1, Fraction(0.1)), as_written(1, Fraction(1))
        (Fraction(1, 10), Fraction(1, 1))
    """
    return Fraction(str(given)) if isinstance(given, FLOATS) else exact


def _nearest(amount: Fraction) -> Any:
    """The float nearest to an amount, exactly."""
    try:
        return Fraction(float(amount))
    except OverflowError:
        return math.inf
