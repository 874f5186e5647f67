"""Exact prices as float payments: rounded down, so that their sum stays within the budget."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from mechanisms.auctions.exact.ranking import Prices, exact_outcome
from mechanisms.bids import Auction
from mechanisms.outcome import Outcome, counting_recruits


def rounded_down(price: Fraction) -> float:
    """Largest float at or below a price.

    Example:
        >>> rounded_down(Fraction(1, 10)) < 0.1 == rounded_down(Fraction(0.1))
        True
    """
    nearest = float(price)
    return nearest if Fraction(nearest) <= price else math.nextafter(nearest, 0.0)


def outcome_of(auction: Auction, prices: Prices) -> Outcome:
    """The outcome in an auction's kind of numbers, from the exact price paid to each recruit.

    A recruit's bid is a float, so that it is paid at least its bid after rounding too.
    """
    if auction.exact:
        return exact_outcome(prices, auction.bids.shape)
    winners, payments = np.zeros(auction.bids.shape, dtype=np.bool_), np.zeros(auction.bids.shape)
    for cell, price in prices.items():
        winners[cell], payments[cell] = True, rounded_down(price)
    return counting_recruits(winners, payments)
