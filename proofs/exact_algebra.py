"""Vectors and matrices of exact fractions, as lists."""

from __future__ import annotations

from fractions import Fraction

Row = list[Fraction]
Matrix = list[Row]


def dot(x: Row, y: Row) -> Fraction:
    """Inner product.

    Example:
        >>> dot([Fraction(1, 2), Fraction(1)], [Fraction(2), Fraction(3)])
        Fraction(4, 1)
    """
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


def times(A: Matrix, x: Row) -> Row:
    """A x."""
    return [dot(row, x) for row in A]
