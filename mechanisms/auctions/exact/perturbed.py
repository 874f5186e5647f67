"""Numbers with a second component that counts only where the first ones are equal.

The capacity auctions need such pairs twice: a cost and what breaks its ties, and the value and the
slope of a piecewise linear function just to the right of a point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True, slots=True)
class Perturbed:
    """The number value + part * epsilon for an infinitely small epsilon > 0.

    Args:
        value: Of any ordered field: an integer, a Fraction, a traced number.
        part: An integer.

    Example:
        >>> Perturbed(3, 1) < Perturbed(3, 2) < Perturbed(4, -9)
        True
        >>> 2 * Perturbed(3, 1) - Perturbed(1, 1)
        Perturbed(value=5, part=1)
    """

    value: Any
    part: int = 0

    def __add__(self, other: Perturbed) -> Perturbed:
        return Perturbed(self.value + other.value, self.part + other.part)

    def __sub__(self, other: Perturbed) -> Perturbed:
        return Perturbed(self.value - other.value, self.part - other.part)

    def __neg__(self) -> Perturbed:
        return Perturbed(-self.value, -self.part)

    def __rmul__(self, factor: int) -> Perturbed:
        return Perturbed(factor * self.value, factor * self.part)


def least(numbers: Iterable[Perturbed | None]) -> Perturbed | None:
    """Smallest of some numbers, None standing for infinity.

    Example:
        >>> least([None, Perturbed(2), Perturbed(1)])
        Perturbed(value=1, part=0)
    """
    return min((number for number in numbers if number is not None), default=None)
