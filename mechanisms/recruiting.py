"""Steps that several float rules share; the compiled parts are loaded on the first call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.bids import Auction
from mechanisms.outcome import Outcome

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def recruit_cheapest(asks: Floats, columns: Floats, level: Integers, price: Floats) -> Outcome:
    """Recruit the `level[s]` cheapest clients of every task at one price per task.

    Args:
        asks: (N, S) asks.
        columns: (S, N) the same, each task sorted.
        level: (S,) recruits per task; each has that many finite asks.
        price: (S,) pay of every recruit.
    """
    from mechanisms.kernels.shares import recruit

    winners, payments = empty_tables(asks.shape)
    cutoff = np.array([b[k - 1] if k else -1.0 for b, k in zip(columns, level, strict=True)])
    below = [np.searchsorted(b, v) for b, v in zip(columns, cutoff, strict=True)]
    recruit(asks, cutoff, level - np.array(below, dtype=np.int64), price, winners, payments)
    return Outcome(winners, payments, level)


def sorted_columns(asks: Floats) -> Floats:
    """(S, N) asks of each task, cheapest first."""
    columns = np.array(asks.T, order="C", copy=True)
    columns.sort(axis=1)
    return columns


def empty_tables(shape: tuple[Any, ...]) -> tuple[NDArray[np.bool_], Floats]:
    """Nobody recruited, nothing paid."""
    return np.zeros(shape, dtype=np.bool_), np.zeros(shape)


def pay_asks(asks: Floats, columns: Floats, level: Integers) -> Outcome:
    """Recruit the `level[s]` cheapest clients of every task, each paid what it asks."""
    chosen = recruit_cheapest(asks, columns, level, np.zeros(level.size))
    payments = np.where(chosen.winners, asks, 0.0)
    return Outcome(chosen.winners, payments, level)


def leave_one_out(auction: Auction, *, caps: bool) -> Outcome:
    """The leave-one-out rules on float64 asks, with water-filling caps or without.

    Only the levels next to the common level of `level_max_min` decide, hence one window of six
    order statistics per task and one pass over the clients.
    """
    from mechanisms.kernels.shares import common_level
    from mechanisms.kernels.water_filling import WINDOW, leave_one_out

    columns = sorted_columns(auction.asks)
    level = common_level(columns, auction.outside, auction.budget)
    window = rank_window(columns, auction.outside, level - 2, WINDOW)
    less = np.array([np.searchsorted(b, row) for b, row in zip(columns, window, strict=True)])
    winners, payments = empty_tables(auction.asks.shape)
    leave_one_out(auction.asks, window, less, level, auction.budget, caps, winners, payments)
    return Outcome(winners, payments, np.asarray(winners.sum(axis=0, dtype=np.int64)))


def rank_window(columns: Floats, outside: Floats, first: int, width: int) -> Floats:
    """(S, width) asks b_s(first), ...: 0 before rank 1, `outside` after the last."""
    clients = columns.shape[1]
    window = np.zeros((columns.shape[0], width))
    for j, rank in enumerate(range(first, first + width)):
        if rank > 0:
            window[:, j] = np.minimum(columns[:, rank - 1], outside) if rank <= clients else outside
    return window
