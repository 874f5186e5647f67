"""Exact prices as float payments: rounded down, so that their sum stays within the budget."""

from __future__ import annotations

import numpy as np

from mechanisms.auctions.exact.ranking import Prices, exact_outcome
from mechanisms.auctions.floats.rounding import rounded_down
from mechanisms.bids import Auction
from mechanisms.outcome import Outcome, counting_recruits


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
