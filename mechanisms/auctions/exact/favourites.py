"""What a client takes from a list of prices when it can do a limited number of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def favourites(bids: Sequence[Any], prices: Sequence[Any], most: int) -> list[int]:
    """The tasks of largest gain, at most so many, none at a loss; ties to the dearer task.

    Example:
        >>> favourites([1, 0, 5], [3, 1, 9], 2)
        [0, 2]
    """
    wanted = [task for task, bid in enumerate(bids) if bid <= prices[task]]
    by_gain = sorted(wanted, key=lambda s: (prices[s] - bids[s], prices[s]), reverse=True)
    return sorted(by_gain[:most])


def largest_sum(prices: Sequence[Any], most: int) -> Any:
    """What the dearest so many tasks cost.

    Example:
        >>> largest_sum([3, 1, 9], 2)
        12
    """
    return sum(sorted(prices, reverse=True)[:most])
