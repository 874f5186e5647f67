"""A menu of exact prices less a fee, as the floats with which compiled passes decide exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.floats.rounding import rounded_down

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

EPS = 2.0**-52
TINY = 2.0**-1074
"""Smallest float, for rounding where floats have fewer digits."""


@dataclass(frozen=True, eq=False)
class FloatMenu:
    """Prices and fee in floats.

    Args:
        price: (S,) largest float at or below each price: a bid is at most one if at most the other.
        terms: (S + 1, 3) each price and, last, the fee as a negative number: two floats whose sum
            is at or below it, and by how much at most.
        slack: Bound of the rounding of prices less bids less fee in plain floats.
        pay_slack: By how much floats may pay too much where a fee is taken from gains.
    """

    price: Floats
    terms: Floats
    slack: float
    pay_slack: float


def menu_in_floats(prices: Sequence[Fraction], fee: Fraction) -> FloatMenu:
    """A menu for compiled passes.

    Example:
        >>> menu = menu_in_floats([Fraction(1, 3)], Fraction(1, 4))
        >>> Fraction(menu.price[0]) <= Fraction(1, 3), menu.terms[1].tolist()
        (True, [-0.25, 0.0, 0.0])
    """
    total, charge = float(sum(prices)), float(fee)
    steps = 4 * (len(prices) + 2)
    return FloatMenu(
        price=np.array([rounded_down(price) for price in prices]),
        terms=np.array([_terms(value) for value in (*prices, -fee)]),
        slack=steps * (EPS * (total + charge) + TINY),
        pay_slack=steps * EPS * (float(sum(prices) - fee) + 2 * charge) if fee else 0.0,
    )


def with_need(terms: Floats, need: Fraction) -> Floats:
    """The terms and, after the fee, an amount that is needed, as a negative number."""
    return np.vstack([terms, _terms(-need)])


def count_takers(bids: Floats, menu: FloatMenu) -> tuple[Integers, Integers]:
    """(S + 1,) clients that take each task, last any; and those that floats cannot decide."""
    from mechanisms.auctions.kernels.menus import count_takers as kernel

    takers, close = np.zeros(len(menu.terms), dtype=np.int64), np.empty(len(bids), dtype=np.int64)
    undecided = kernel(bids, menu.price, menu.terms, menu.slack, takers, close)
    return takers, close[:undecided]


def _terms(value: Fraction) -> tuple[float, float, float]:
    """Two floats whose sum is at or below a number, and how far at most; 0 where it is the same."""
    high = float(value)
    rest = value - Fraction(high)
    low = rounded_down(rest)
    missing = 0.0 if rest == Fraction(low) else math.nextafter(low, math.inf) - low
    return high, low, missing
