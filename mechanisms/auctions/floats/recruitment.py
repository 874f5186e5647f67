"""Steps that several float rules share; the compiled parts are loaded on the first call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.floats.order_statistics import (
    OrderStatistics,
    everything,
    stretch,
    stretch_of_all,
)
from mechanisms.bids import Auction
from mechanisms.outcome import Outcome, counting_recruits

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def around_common_level(auction: Auction, reach: int) -> tuple[int, OrderStatistics]:
    """Level of `level_max_min`, and the order statistics up to `reach` ranks around it."""

    def guess(sample: Floats, ratio: float) -> Integers:
        ranks = np.arange(1, sample.shape[1] + 1)
        bids = np.minimum(sample, auction.outside[:, np.newaxis]).sum(axis=0)
        level = np.count_nonzero(ratio * ranks * bids <= auction.budget)
        return np.full(len(sample), level)

    part = stretch(auction.bids, guess)
    level = -1 if part is None else _common_level(auction, part)
    if part is not None and level >= 0 and part.covers(level - reach, level + reach):
        return level, part
    whole = everything(auction.bids)
    return _common_level(auction, whole), whole


def _common_level(auction: Auction, stats: OrderStatistics) -> int:
    """Largest affordable common level, -1 where it is not among the order statistics."""
    from mechanisms.auctions.kernels.shares import common_level

    clients = auction.num_clients
    last = np.where(stats.complete, clients, stats.below + stats.size - 1)
    of = (stats.rows, stats.below, stats.size, int(last.min()), clients)
    return int(common_level(*of, auction.outside, auction.budget))


def recruit_cheapest(
    auction: Auction, stats: OrderStatistics, level: Integers, price: Floats
) -> Outcome:
    """Recruit the `level[s]` cheapest clients of every task, or all of them, at one price each.

    Args:
        auction: Float bids.
        stats: Order statistics that know the rank `level[s]` of every task.
        level: (S,) recruits wanted.
        price: (S,) pay of every recruit.
    """
    from mechanisms.auctions.kernels.shares import recruit

    winners, payments = empty_tables(auction.bids.shape)
    recruit(auction.bids, *_cutoffs(stats, level), price[np.newaxis], winners, payments)
    return Outcome(winners, payments, level)


def _cutoffs(stats: OrderStatistics, level: Integers) -> tuple[Floats, Integers]:
    """(S,) the bid of rank `level[s]`, and how many of the bids that equal it are recruited."""
    index = np.clip(level - stats.below - 1, 0, stats.rows.shape[1] - 1)
    cutoff = np.take_along_axis(stats.rows, index[:, np.newaxis], axis=1)
    cutoff = np.where((level > 0)[:, np.newaxis], cutoff, -1.0)
    quota = level - stats.count_below(cutoff)[:, 0]
    everybody = level > stats.below + stats.size
    cutoff[everybody], quota[everybody] = np.inf, 0
    return cutoff[:, 0].copy(), quota


def buy_cheapest(bids: Floats, budget: float, *, together: bool) -> Outcome:
    """Buy the k cheapest bids at what they ask, for the largest k that the budget pays.

    Args:
        bids: (N, S) bids.
        budget: Money available.
        together: k bids of all tasks together, ties to the lower client, then to the lower task;
            else k of every task.

    Returns:
        `Outcome` whose level is k for every task, or the recruits of each where bought together.
    """
    from mechanisms.auctions.kernels.shares import recruit

    table = bids.reshape(-1, 1) if together else bids
    level, stats = _affordable(bids, budget, together=together)
    levels = np.full(table.shape[1], level)
    winners, payments = empty_tables(table.shape)
    recruit(table, *_cutoffs(stats, levels), table, winners, payments)
    if together:
        return counting_recruits(winners.reshape(bids.shape), payments.reshape(bids.shape))
    return Outcome(winners, payments, levels)


def _affordable(bids: Floats, budget: float, *, together: bool) -> tuple[int, OrderStatistics]:
    """Largest k at which the k cheapest bids cost at most the budget, and what it was found on."""

    def guess(sample: Floats, ratio: float) -> Integers:
        with np.errstate(over="ignore"):
            costs = np.cumsum(sample.sum(axis=0)) * ratio
        return np.full(len(sample), np.count_nonzero(costs <= budget))

    table = bids.reshape(-1, 1) if together else bids
    part = stretch_of_all(bids, guess) if together else stretch(bids, guess)
    level = -1 if part is None else _rounds(table, part, budget)
    if part is not None and level >= 0:
        return level, part
    whole = everything(table)
    return _rounds(table, whole, budget), whole


def _rounds(bids: Floats, stats: OrderStatistics, budget: float) -> int:
    """Rounds that the budget pays, -1 where they end outside the order statistics."""
    from mechanisms.auctions.kernels.spending import affordable_rounds

    of = (stats.rows, stats.below, stats.size, stats.complete)
    return int(affordable_rounds(bids, *of, budget))


def leave_one_out(auction: Auction, *, caps: bool) -> Outcome:
    """The leave-one-out rules on float64 bids, with water-filling caps or without.

    Only the levels next to the common level of `level_max_min` decide, hence one window of six
    order statistics per task and one pass over the clients.
    """
    from mechanisms.auctions.kernels import water_filling as kernel

    level, stats = around_common_level(auction, reach=kernel.WINDOW // 2)
    window = stats.window(level - 2, kernel.WINDOW, auction.outside)
    less = stats.count_below(window)
    winners, payments = empty_tables(auction.bids.shape)
    recruits = np.zeros(auction.num_tasks, dtype=np.int64)
    tables = (winners, payments, recruits)
    kernel.leave_one_out(auction.bids, window, less, level, auction.budget, caps, *tables)
    return Outcome(*tables)


def empty_tables(shape: tuple[int, ...]) -> tuple[NDArray[np.bool_], Floats]:
    """Nobody recruited, nothing paid."""
    return np.zeros(shape, dtype=np.bool_), np.zeros(shape)
