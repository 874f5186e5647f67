"""Steps of the rules in which clients are worth something: shares of tasks, cost per value.

Everything is decided in exact numbers, also for float bids, whose payments are then rounded down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from numpy.typing import NDArray

from mechanisms.auctions.exact.ranking import ranked
from mechanisms.bids import Auction, in_fractions

Ranked = list[tuple[Any, int]]
"""Bidding clients as (cost per value, client), cheapest first, ties to the lower index."""
Column = Sequence[Any] | NDArray[Any]
"""Bids of one task, or what its clients are worth."""


def per_task(auction: Auction) -> Iterator[tuple[int, NDArray[Any], Any]]:
    """(task, its bids, its equal share of the budget), in exact numbers."""
    exact = in_fractions(auction)
    share = exact.budget / auction.num_tasks
    for task in range(auction.num_tasks):
        yield task, exact.bids[:, task], share


def by_cost_per_value(bids: Column, values: Column) -> Ranked:
    """Rank one task's bidders by what a unit of their value costs.

    Example:
        >>> by_cost_per_value([3, 1, math.inf, 4], [3, 1, 1, 8])
        [(Fraction(1, 2), 3), (Fraction(1, 1), 0), (Fraction(1, 1), 1)]
    """
    pairs = zip(bids, values, strict=True)
    return ranked([bid * Fraction(1, v) if bid < math.inf else bid for bid, v in pairs])
