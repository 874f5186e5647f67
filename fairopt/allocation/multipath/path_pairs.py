r"""Two paths of one flow, compared by the links that only one of them uses.

Links that both use cancel before anything is added. Where alpha is large their price may be 1e50
times that of the rest, and yet the rest decides how the flow splits, and so the rates of flows with
lower prices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.network import grouped


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of paths of one flow.

    Attributes:
        lower, upper: (pairs,) the two paths.
        difference: (pairs, links) the first path less the second.
    """

    lower: Ints
    upper: Ints
    difference: Any

    @cached_property
    def apart(self) -> Any:
        """(pairs, links) what only one of the two paths uses."""
        return abs(self.difference)

    @cached_property
    def counted(self) -> Pairs:
        """The same with a one for every link of a path, as at alpha = inf, where prices are."""
        return Pairs(self.lower, self.upper, self.difference.sign())

    @cached_property
    def only(self) -> tuple[Any, Any]:
        """(pairs, links) what only the first uses, and what only the second."""
        return self.difference.maximum(0).tocsr(), (-self.difference).maximum(0).tocsr()


def pairs_of(paths: Any, owner: Ints) -> Pairs:
    """The pairs of the rows of (paths, links); owners are sorted."""
    count = np.arange(len(owner)) - np.searchsorted(owner, owner)
    upper = np.repeat(np.arange(len(owner)), count)
    start = np.cumsum(count) - count
    lower = np.arange(len(upper)) - start[upper] + (upper - count[upper])
    return Pairs(lower, upper, (paths[lower] - paths[upper]).tocsr())


def grouped_largest(group: Ints, value: Array, least: Array) -> Array:
    """The largest value of every group, or `least`."""
    return np.asarray(grouped.largest(group.astype(np.int64), value, least))


def sums(rows: Any, prices: Array) -> Array:
    """What every row pays."""
    return np.asarray(rows @ prices)


def highest(rows: Any, prices: Array) -> Array:
    """The highest price of every row, 0 without entries: what counts at alpha = inf."""
    entry = rows.tocoo()
    return grouped_largest(entry.row, prices[entry.col], np.zeros(rows.shape[0]))


Cost = Callable[[Any, Array], Array]


def largest_shares(pairs: Pairs, prices: Array, floor: Array, cost: Cost = sums) -> Array:
    """The largest share of each link in what two paths differ by, or in `floor` if that is more."""
    largest = np.zeros(len(prices))
    for only in pairs.only:
        side = np.maximum(cost(only, prices), floor)
        entry = only.tocoo()
        part = entry.data * prices[entry.col] / side[entry.row]
        largest = grouped_largest(entry.col, np.where(prices[entry.col] > 0.0, part, 0.0), largest)
    return largest


def relative_extra_prices(pairs: Pairs, prices: Array, floor: Array) -> Array:
    """(paths,) how much more a path costs than another of its flow, relative to what differs.

    Where `floor` is more than the price of what only that path uses, relative to `floor`.
    """
    paths = int(max(pairs.upper.max(initial=-1), pairs.lower.max(initial=-1))) + 1
    extra = np.zeros(paths)
    first, second = (only @ prices for only in pairs.only)
    for path, price, other in ((pairs.lower, first, second), (pairs.upper, second, first)):
        more = np.where(price > other, (price - other) / np.maximum(price, floor), 0.0)
        extra = grouped_largest(path, more, extra)
    return extra
