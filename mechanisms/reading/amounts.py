"""Amounts of money as people write and read them: decimals, fractions, integers, or nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fairopt.errors import InvalidInput

LARGEST = Fraction(10) ** 300
"""Amounts of money beyond it are typing errors, and near the end of the floats."""
EXPONENTS = 1000
"""Decimal exponents beyond it are not multiplied out."""


def number(text: str, argument: str, *, infinite: bool = True) -> Any:
    """An exact number >= 0 from text; empty text is infinite, which means no bid.

    Args:
        text: Such as "2", "0.1", "1e-3" or "1/3".
        argument: What to call it in an error.
        infinite: Whether empty text is accepted.

    Raises:
        InvalidInput: It is no number, negative, or so large or small that no float is near it.

    Example:
        >>> number("0.1", "bid"), number(" ", "bid")
        (Fraction(1, 10), inf)
    """
    plain = text.strip()
    if not plain and infinite:
        return math.inf
    requirement = "a number >= 0 such as 2, 0.1 or 1/3" + (", or empty" if infinite else "")
    try:
        value = _fraction(plain)
    except (ValueError, ArithmeticError) as error:
        raise InvalidInput(argument, text, requirement) from error
    if value < 0:
        raise InvalidInput(argument, text, requirement)
    if value and not 1 / LARGEST <= value <= LARGEST:
        raise InvalidInput(argument, text, "0, or between 1e-300 and 1e300")
    return value


def _fraction(text: str) -> Fraction:
    """A fraction from text; a huge exponent never becomes a huge integer."""
    if "/" in text:
        return Fraction(text)
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    if value and abs(value.adjusted()) > EXPONENTS:
        return (-1 if value < 0 else 1) * LARGEST * 10
    return Fraction(value)


def is_amount(cell: str) -> bool:
    """Whether a cell may be an ask; an empty one is none.

    Example:
        >>> is_amount("0.1"), is_amount(""), is_amount("ann")
        (True, False, False)
    """
    try:
        return number(cell, "", infinite=False) is not None
    except InvalidInput:
        return False


def amount(value: Any) -> str:
    """A number for people: exact where it is short, else rounded and marked.

    A fraction that is the float nearest to a short decimal counts as that decimal.

    Example:
        >>> amount(Fraction(25, 2)), amount(Fraction(25, 3)), amount(Fraction(7))
        ('12.5', '~8.33333', '7')
        >>> amount(Fraction(0.1))
        '0.1'
    """
    try:
        short = f"{float(value):.6g}"
    except OverflowError:
        return str(value)
    if value == math.inf or value in (float(short), Fraction(short)):
        return short
    return f"~{short}"


def amounts(values: Iterable[Any]) -> str:
    """Numbers for people, in brackets.

    Example:
        >>> amounts([Fraction(1, 2), math.inf])
        '(0.5, inf)'
    """
    return f"({', '.join(map(amount, values))})"
