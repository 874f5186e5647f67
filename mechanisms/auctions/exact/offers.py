"""The exact form of every leave-one-out rule: one loop, into which a rule puts its offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mechanisms.auctions.exact.integer_scaling import in_integers
from mechanisms.auctions.exact.ranking import (
    Ranking,
    among_cheapest,
    exact_outcome,
    of_others,
    ranked,
)
from mechanisms.bids import Auction
from mechanisms.outcome import Outcome

Offer = Callable[[list[Ranking], int, Auction], tuple[int, Any]]
"""From the others' rankings and a task to the (level, price) that one client meets there."""


def recruit_by_offers(auction: Auction, offer: Offer) -> Outcome:
    """Make every client an offer for every task that its own bids do not enter.

    A client wins a task iff it is among the `level` cheapest and bids at most the price.

    Args:
        auction: With exact bids.
        offer: Level and price; level 0 where nothing is offered.
    """
    auction, unit = in_integers(auction)
    rankings = [ranked(column) for column in auction.bids.T]
    prices = {}
    for client, bids in enumerate(auction.bids):
        others = of_others(rankings, client, bids)
        for task, bid in enumerate(bids):
            level, price = offer(others, task, auction)
            if among_cheapest(others[task], level, bid, client) and bid <= price:
                prices[client, task] = price * unit
    return exact_outcome(prices, auction.bids.shape)
