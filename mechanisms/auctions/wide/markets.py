"""Assignment auctions on wide integers: exact decisions at the speed of compiled loops.

A table of floats, or of fractions with a handy common denominator, is a table of integers in a
small unit. Where these have too many bits the exact form takes over.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.exact.integer_scaling import in_integers
from mechanisms.auctions.exact.ranking import Prices
from mechanisms.auctions.wide.words import (
    BITS,
    Integers,
    lowest_exponent,
    numbers,
    words,
    words_of_floats,
)
from mechanisms.bids import Auction

ROSTER = 32
"""Cheapest movers that are remembered for each arc: a path takes a few, a search all."""
STANDING = 5
"""Parts of a market that do not change: costs, queues and capacities."""
MOST_PLACES = 2**28
"""Counts of places that products of wide integers take."""


class Markets:
    """A table of bids as it goes into the kernels, and what comes back, in one small unit.

    Args:
        cost: (N, S, 2) wide integers.
        offered: (N, S) which cells are bids.
        capacity: (N,) most tasks of each client.
        budget: In the same unit, an integer or a Fraction.
        unit: What one of the integers is worth.
    """

    def __init__(
        self,
        cost: Integers,
        offered: NDArray[np.bool_],
        capacity: Integers,
        budget: Any,
        unit: Fraction,
    ) -> None:
        self._cost, self._offered, self._capacity = cost, offered, capacity
        self._budget, self._unit = budget, unit
        tasks = offered.shape[1]
        self._words = words(np.array([int(budget // 1)], dtype=object))[0]
        nodes = (tasks + 1, tasks + 1)
        self._moves = (
            np.empty((*nodes, 2), dtype=np.int64),
            np.empty(nodes, dtype=np.bool_),
            np.empty(nodes, dtype=np.int64),
            np.empty((*nodes, 4 * (tasks + 1)), dtype=np.int64),
            np.empty(nodes, dtype=np.int64),
        )
        self._queue = self._queues()
        self._rank = np.empty_like(self._queue)
        places = np.broadcast_to(np.arange(len(offered)), self._queue.shape)
        np.put_along_axis(self._rank, self._queue, places, axis=1)
        self._rank = np.ascontiguousarray(self._rank.T)
        self._steps = np.empty(((tasks + 1) ** 2, 3), dtype=np.int64)
        self._scratch = np.zeros((5, 12 * (tasks + 1)), dtype=np.int64)

    def _queues(self) -> Integers:
        """(S, N) clients from the cheapest on; those without a bid come last."""
        keys = (self._cost[..., 1], self._cost[..., 0], ~self._offered)
        order = np.lexsort([key.T for key in keys], axis=1)
        return np.ascontiguousarray(order, dtype=np.int64)

    def open(self) -> tuple[Any, ...]:
        """A market in which nobody works yet."""
        from mechanisms.auctions.kernels.assignment import open_market

        clients, tasks = self._offered.shape
        market = (
            self._cost,
            self._offered,
            self._queue,
            self._rank,
            self._capacity,
            np.zeros((clients, tasks), dtype=np.bool_),
            np.zeros(clients, dtype=np.int64),
            np.zeros((tasks, clients), dtype=np.int64),
            np.zeros((clients, tasks), dtype=np.int64),
            np.zeros(tasks, dtype=np.int64),
            np.zeros((tasks + 1, tasks + 1, 2), dtype=np.int64),
            np.zeros((tasks + 1, tasks + 1), dtype=np.int64),
            np.zeros(tasks, dtype=np.int64),
            np.zeros((tasks, tasks + 1, ROSTER), dtype=np.int64),
            np.zeros((tasks, tasks + 1), dtype=np.int64),
            np.ones((tasks, tasks + 1), dtype=np.bool_),
        )
        open_market(market)
        return market

    def filled(self, weights: Integers, level: int) -> tuple[Any, ...]:
        """The cheapest assignment of a level that can be filled."""
        from mechanisms.auctions.kernels.clearing_levels import raise_level

        market = self.open()
        for _ in range(level):
            raise_level(market, self._moves, weights, self._steps, self._scratch)
        return market

    def one_level_up(self, market: tuple[Any, ...], weights: Integers) -> tuple[Any, ...]:
        """Another market that starts where one stands, with the next level filled."""
        from mechanisms.auctions.kernels.clearing_levels import raise_level

        higher = (*market[:STANDING], *(part.copy() for part in market[STANDING:]))
        raise_level(higher, self._moves, weights, self._steps, self._scratch)
        return higher

    def level(self, weights: Integers, *, bundles: bool) -> int:
        """K."""
        from mechanisms.auctions.kernels.clearing_levels import largest_level

        top = int(self._capacity.sum()) // int(weights.sum())
        rows = np.zeros((3 * weights.size, 3), dtype=np.int64)
        market, moves = self.open(), self._moves
        of = (weights, self._words, bundles, top, self._steps, self._scratch, rows)
        return int(largest_level(market, moves, *of))

    def pay_bids(self) -> Prices:
        """Cheapest assignment of equally many clients per task that the budget pays for."""
        from mechanisms.auctions.kernels.clearing_levels import affordable_level

        tasks = self._offered.shape[1]
        top = int(self._capacity.sum()) // tasks
        of = (self._words, top, self._steps, self._scratch)
        level = affordable_level(self.open(), self._moves, *of)
        market = self.filled(np.ones(tasks, dtype=np.int64), level)
        cells = np.argwhere(market[5])
        amounts = numbers(self._cost[cells[:, 0], cells[:, 1]])
        pairs = zip(cells.tolist(), amounts, strict=True)
        return self._in_money({(i, s): amount for (i, s), amount in pairs})

    def single_task_prices(self, weights: Integers) -> Prices:
        """Pay of every recruit where a client does one task at most."""
        from mechanisms.auctions.kernels import clearing_levels as kernel
        from mechanisms.auctions.kernels.assignment import shortest_paths

        level = self.level(weights, bundles=False)
        if level < 1:
            return {}
        clients, tasks = self._offered.shape
        below = self.filled(weights, level - 1)
        here = self.one_level_up(below, weights)
        shortest_paths(below, self._moves, self._scratch[4])
        clearing = numbers(self._moves[0][tasks, :tasks])
        kind, answers = np.zeros(clients, dtype=np.int64), np.zeros((clients, 5), dtype=np.int64)
        rows = np.zeros((4 * tasks, 3), dtype=np.int64)
        points = np.zeros((2 * tasks**2 + 1, 3), dtype=np.int64)
        of = (weights, self._words, level, self._steps, self._scratch, rows, points)
        kernel.single_offers(here, self._moves, *of, kind, answers)
        price, spent = numbers(answers[:, :2]), numbers(answers[:, 2:4])
        paid: Prices = {}
        for client in np.flatnonzero(kind).tolist():
            source = below if kind[client] == kernel.BELOW else here
            for task in np.flatnonzero(source[5][client]).tolist():
                if kind[client] == kernel.BELOW:
                    paid[client, task] = clearing[task]
                elif kind[client] == kernel.CLEARING:
                    paid[client, task] = price[client]
                else:
                    room = Fraction(self._budget - spent[client]) / int(answers[client, 4])
                    paid[client, task] = price[client] + room
        return self._in_money(paid)

    def _in_money(self, paid: Prices) -> Prices:
        """Amounts in money."""
        return {cell: amount * self._unit for cell, amount in paid.items()}

    def bundle_prices(self, weights: Integers) -> Prices:
        """Pay of every recruit where a client does several tasks."""
        from mechanisms.auctions.kernels.clearing_levels import bundle_offers

        level = self.level(weights, bundles=True)
        if level < 1:
            return {}
        below = self.filled(weights, level - 1)
        here = self.one_level_up(below, weights)
        above = self.one_level_up(here, weights)
        won = np.zeros(self._offered.shape, dtype=np.bool_)
        paid = np.zeros((*won.shape, 2), dtype=np.int64)
        of = (weights, self._words, level, self._steps, self._scratch)
        bundle_offers(below, here, above, self._moves, *of, won, paid)
        cells = np.argwhere(won).tolist()
        amounts = numbers(paid[won])
        paid_for = {(i, s): amount for (i, s), amount in zip(cells, amounts, strict=True)}
        return self._in_money(paid_for)


def in_words(auction: Auction, capacity: Sequence[int], places: int) -> Markets | None:
    """An auction in wide integers; None where they are too narrow for it.

    Args:
        auction: Float or exact bids.
        capacity: (N,) most tasks of each client.
        places: Most places that a level can have.
    """
    offered = np.asarray(auction.bids < np.inf, dtype=np.bool_)
    if auction.exact:
        whole, unit = in_integers(auction)
        amounts = np.where(offered, whole.bids, 0)
        if not all(type(amount) is int for amount in amounts.flat):
            return None
        budget, bits = whole.budget, max(amount.bit_length() for amount in amounts.flat)
        to_words = words
    else:
        amounts = np.where(offered, auction.bids, 0.0)
        exponent = lowest_exponent(amounts)
        unit = Fraction(2) ** exponent
        budget = Fraction(auction.budget) / unit
        bits = max(0, int(np.frexp(amounts.max())[1]) - exponent)
        to_words = functools.partial(words_of_floats, exponent=exponent)
    tasks = offered.shape[1]
    counts = (places + tasks) * 4 * (tasks + 1) * tasks  # of bids in a spend bound, at most
    if max(bits + counts.bit_length(), int(budget).bit_length()) > BITS or places >= MOST_PLACES:
        return None
    return Markets(to_words(amounts), offered, np.array(capacity, dtype=np.int64), budget, unit)
