"""Exact numbers as floats that are surely not larger."""

from __future__ import annotations

import math
from fractions import Fraction


def rounded_down(value: Fraction) -> float:
    """Largest float at or below a number.

    Example:
        >>> rounded_down(Fraction(1, 10)) < 0.1 == rounded_down(Fraction(0.1))
        True
    """
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)
