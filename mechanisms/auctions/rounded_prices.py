"""Prices rounded down to multiples of a unit, such as cents, before they are offered.

A client wins a task iff it would win there without a unit and bids at most the rounded price, which
it is paid.

Truthful: a winner's price p is a function f of the others' bids, and who bids less than f wins.
Rounded down, r(f) is a function of the others' bids too. Who bids less than r(f) <= f wins, as it
did before; who bids more than r(f) loses; who bids r(f) gains nothing either way. So a client still
gets its best choice from prices that its own bids do not enter.
Individually rational: no winner bids more than r(f).
Within budget: winners and payments are at most those of before.

Who turns the rounded price down is not replaced, since then losers' bids would enter the prices.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.bids import Auction
from mechanisms.outcome import Outcome, counting_recruits
from mechanisms.price_unit import PriceUnit


def at_rounded_prices(outcome: Outcome, auction: Auction) -> Outcome:
    """The recruits of an outcome that stay at the rounded prices; `level` is their number.

    Example:
        >>> from mechanisms.bids import read_auction
        >>> won = np.array([[True], [True]])
        >>> found = Outcome(won, np.array([[0.99], [0.99]]), np.array([2]))
        >>> at_rounded_prices(found, read_auction([[0.1], [0.95]], 2, unit=0.1)).payments.ravel()
        array([0.9, 0. ])
    """
    if auction.unit is None:
        return outcome
    prices = rounded(outcome.payments, auction)
    stays = np.zeros(prices.shape, dtype=np.bool_)
    asked = outcome.winners if auction.exact else True  # losers need no comparison of fractions
    np.less_equal(auction.bids, prices, where=asked, out=stays)
    stays &= outcome.winners
    payments = np.where(stays, prices, auction.budget * 0)
    return as_paid(counting_recruits(stays, payments), auction.unit)


def rounded(prices: NDArray[Any], auction: Auction) -> NDArray[Any]:
    """Prices rounded down, in the number type of the auction."""
    if auction.unit is None:
        return prices
    return (_exactly if auction.exact else _in_floats)(prices, auction.unit)


def _exactly(prices: NDArray[Any], unit: PriceUnit) -> NDArray[Any]:
    """Exact prices; those that nobody is paid need no rounding."""
    out = np.empty(prices.shape, dtype=object)
    for flat, price in enumerate(prices.flat):
        out.flat[flat] = unit.round_down(price) if price != 0 else Fraction(0)
    return out


def _in_floats(prices: NDArray[Any], unit: PriceUnit) -> NDArray[np.float64]:
    """Float prices: as quotients of integers, or in fractions where these are too large."""
    floats = np.array(prices, dtype=np.float64, order="C")
    quotient = unit.quotient_up_to(float(floats.max()))
    if quotient is None:
        different, which = np.unique(floats, return_inverse=True)
        exact = [float(unit.round_down(Fraction(price))) for price in different.tolist()]
        return np.array(exact)[which].reshape(floats.shape)
    from mechanisms.auctions.kernels.rounding import round_down

    out = np.empty(floats.shape)
    round_down(floats.ravel(), *quotient, out.ravel())
    return out


def as_paid(outcome: Outcome, unit: PriceUnit | None) -> Outcome:
    """The outcome with payments as decimals, where the unit of exact payments is one."""
    if unit is None or unit.exponent is None:
        return outcome
    payments = np.empty(outcome.payments.shape, dtype=object)
    for flat, amount in enumerate(outcome.payments.flat):
        payments.flat[flat] = unit.as_paid(amount)
    return Outcome(outcome.winners, payments, outcome.level)
