"""Exact auctions in whole numbers: the same decisions as in fractions, several times faster."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.bids import Auction

LARGEST_BITS = 4096
"""Of a common denominator: float64 bids need at most 1074 bits, decimals few; thirds, sevenths,
elevenths and so on of many clients together can need more, and then fractions are faster."""


def in_integers(auction: Auction) -> tuple[Auction, Fraction]:
    """The auction with all money in a smaller unit, so that every amount is an integer.

    Rules that add and compare take integers as they take fractions. Where the numbers are of
    another kind, as when a single bid is traced, or have no handy common denominator, the auction
    comes back as it was.

    Args:
        auction: With exact bids.

    Returns:
        (auction, unit): amounts there, times `unit`, are amounts here. The budget stays a
        `Fraction`, so that shares of it are exact.

    Example:
        >>> from mechanisms.bids import read_auction
        >>> bids = np.array([[Fraction(1, 2)], [Fraction(2, 3)]], dtype=object)
        >>> whole, unit = in_integers(read_auction(bids, 3))
        >>> whole.bids.tolist(), whole.budget, unit
        ([[3], [4]], Fraction(18, 1), Fraction(1, 6))
    """
    amounts = [*auction.bids.flat, *auction.outside, auction.budget]
    finite = [value for value in amounts if not isinstance(value, float)]  # the only float is inf
    if not all(isinstance(value, Fraction | int) for value in finite):
        return auction, Fraction(1)
    factor = math.lcm(*{value.denominator for value in finite})
    if factor.bit_length() > LARGEST_BITS:
        return auction, Fraction(1)
    bids, outside = (whole(table, factor) for table in (auction.bids, auction.outside))
    coin = None if auction.unit is None else auction.unit.scaled(factor)
    return Auction(bids, auction.budget * factor, outside, coin), Fraction(1, factor)


def whole(table: NDArray[Any], factor: int) -> NDArray[Any]:
    """Amounts times a factor that makes them integers; `inf` stays.

    Example:
        >>> whole(np.array([Fraction(1, 2), math.inf], dtype=object), 4).tolist()
        [2, inf]
    """
    cells = [x if x == math.inf else x.numerator * (factor // x.denominator) for x in table.flat]
    out = np.empty(table.shape, dtype=object)
    out.ravel()[:] = cells
    return out
