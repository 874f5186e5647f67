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

    Args:
        auction: With exact bids.
        offer: Level and price; level 0 where nothing is offered.
    """
    auction, unit = in_integers(auction)
    rankings = [ranked(column) for column in auction.bids.T]
    prices = {}
    for client, bids in enumerate(auction.bids):
        others = of_others(rankings, client, bids)
        for task in range(auction.num_tasks):
            price = accepted_price(others, client, task, auction, offer)
            if price is not None:
                prices[client, task] = price * unit
    return exact_outcome(prices, auction.bids.shape)


def accepted_price(
    others: list[Ranking], client: int, task: int, auction: Auction, offer: Offer
) -> Any:
    """What one client is paid for one task; None where it is not recruited.

    It wins iff it is among the `level` cheapest and bids at most the price. Proofs for all real
    bids run this function for one cell at a time, because the paths of several cells multiply.
    """
    level, price = offer(others, task, auction)
    bid = auction.bids[client, task]
    if among_cheapest(others[task], level, bid, client) and bid <= price:
        return price
    return None
