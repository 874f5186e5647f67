"""Order statistics in exact numbers: the words in which every rule's exact form is written.

The helpers only compare numbers, so they serve fractions and any other ordered field alike.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.outcome import Outcome, counting_recruits

Ranking = list[tuple[Any, int]]
"""Bidding clients of one task as (bid, client), cheapest first, ties to the lower index."""

Prices = dict[tuple[int, int], Any]
"""Pay of each recruited (client, task)."""


def ranked(bids: Sequence[Any] | NDArray[Any]) -> Ranking:
    """Rank one task's bidders.

    Example:
        >>> ranked([3, 1, math.inf, 1])
        [(1, 1), (1, 3), (3, 0)]
    """
    return sorted((bid, client) for client, bid in enumerate(bids) if bid < math.inf)


def without(ranking: Ranking, client: int, bid: Any) -> Ranking:
    """The ranking of the others, given what the client bids.

    Example:
        >>> without([(1, 1), (1, 3), (3, 0)], 3, 1)
        [(1, 1), (3, 0)]
    """
    if bid == math.inf:
        return ranking
    place = bisect_left(ranking, (bid, client))
    return ranking[:place] + ranking[place + 1 :]


def of_others(rankings: Sequence[Ranking], client: int, bids: Sequence[Any]) -> list[Ranking]:
    """The rankings of all tasks without one client, whose bids are given."""
    return [without(ranking, client, bid) for ranking, bid in zip(rankings, bids, strict=True)]


def kth(ranking: Ranking, k: int, beyond: Any = math.inf) -> Any:
    """k-th cheapest bid, b(k): 0 at k = 0, and `beyond` after the last one."""
    if k == 0:
        return Fraction(0)
    return ranking[k - 1][0] if k <= len(ranking) else beyond


def among_cheapest(others: Ranking, k: int, bid: Any, client: int) -> bool:
    """Whether a bidder joins the k cheapest when it bids `bid` beside these others."""
    return bid < math.inf and bisect_left(others, (bid, client)) < k


def largest(top: int, holds: Callable[[int], bool]) -> int:
    """Largest k in 0..top that holds, for a condition that holds at 0 and, once false, stays so.

    Example:
        >>> largest(100, lambda k: k * k <= 50)
        7
    """
    low, high = 0, top
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def water_level(amounts: Sequence[Any], total: Any) -> Any:
    """Root of sum_t min(x_t, lambda) = r, and `inf` where the sum of all x_t is at most r.

    Example:
        >>> water_level([1, 5, math.inf], Fraction(8)), water_level([1, 2], Fraction(3))
        (Fraction(7, 2), inf)
    """
    left = total
    for filled, amount in enumerate(sorted(amounts)):
        share = left / (len(amounts) - filled)
        if amount > share:
            return share
        left = left - amount
    return math.inf


def exact_outcome(prices: Prices, shape: tuple[int, ...], level: Any = None) -> Outcome:
    """An exact outcome from the price paid to each winning (client, task).

    Args:
        prices: Pay of each recruit.
        shape: (N, S).
        level: (S,) the rule's level; the number of recruits by default.
    """
    winners = np.zeros(shape, dtype=bool)
    payments = np.full(shape, Fraction(0), dtype=object)
    for cell, price in prices.items():
        winners[cell] = True
        payments[cell] = price
    if level is None:
        return counting_recruits(winners, payments)
    return Outcome(winners, payments, np.asarray(level, dtype=np.int64))
