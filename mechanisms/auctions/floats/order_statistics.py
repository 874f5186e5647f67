"""Sorted bids of every task, or only the stretch of them around the ranks that decide.

A rule needs a few neighbouring order statistics. In a large auction they are found as in the
selection algorithm of Floyd and Rivest (1975): a sample says between which values they lie, one
pass keeps the bids between these values and counts those below. Whether the stretch was wide
enough is seen afterwards; if not, everything is sorted, so the answer never hangs on the sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SMALL = 8_192
"""Clients up to which sorting everything is as fast."""
SPREAD = 3.0
"""Half width of the stretch in units of sqrt(sample size): at least six standard deviations."""
SPACE = 3.0
"""Room for the stretch, relative to the expected number of bids in it; ties can overflow it."""


@dataclass(frozen=True, eq=False)
class OrderStatistics:
    """Consecutive order statistics of every task.

    Args:
        rows: (S, L) sorted bids, padded with `inf`; entry [s, j] has rank below[s] + j + 1.
        below: (S,) bids that come before.
        size: (S,) bids in each row.
        complete: (S,) whether no finite bid comes after.
    """

    rows: Floats
    below: Integers
    size: Integers
    complete: NDArray[np.bool_]

    def covers(self, first: int, last: int) -> bool:
        """Whether the ranks first..last of every task are known (0 and below, and past the end)."""
        starts = (self.below < max(first, 1)).all()
        ends = (self.complete | (self.below + self.size >= last)).all()
        return bool(starts and ends)

    def window(self, first: int | Integers, width: int, outside: Floats) -> Floats:
        """(S, width) bids b_s(first), ...: 0 before rank 1, `outside` after the last.

        `first` is one rank for all tasks or (S,) of them.
        """
        ranks = np.reshape(first, (-1, 1)) + np.arange(width)
        index = ranks - self.below[:, np.newaxis] - 1
        inside = (index >= 0) & (index < self.size[:, np.newaxis])
        found = np.take_along_axis(self.rows, np.clip(index, 0, self.rows.shape[1] - 1), axis=1)
        values = np.where(inside, np.minimum(found, outside[:, np.newaxis]), outside[:, np.newaxis])
        return np.ascontiguousarray(np.where(ranks < 1, 0.0, values))

    def count_below(self, values: Floats) -> Integers:
        """(S, width) number of bids strictly below each of the given (S, width) values."""
        found = [np.searchsorted(row, each) for row, each in zip(self.rows, values, strict=True)]
        return np.array(found, dtype=np.int64) + np.where(values > 0, self.below[:, np.newaxis], 0)


def everything(bids: Floats) -> OrderStatistics:
    """All bids, sorted."""
    rows = np.array(bids.T, order="C", copy=True)
    rows.sort(axis=1)
    tasks = len(rows)
    size = np.array([np.searchsorted(row, np.inf) for row in rows], dtype=np.int64)
    none, whole = np.zeros(tasks, dtype=np.int64), np.ones(tasks, dtype=np.bool_)
    return OrderStatistics(rows, none, size, whole)


def stretch(bids: Floats, guess: Callable[[Floats, float], Integers]) -> OrderStatistics | None:
    """The bids around a guessed rank of every task, or None where that is not worth while.

    Args:
        bids: (N, S) bids.
        guess: `guess(sample, ratio)`: from the sorted sample (S, m), each bid of which stands for
            `ratio` bids, the (S,) sample ranks around which to look.
    """
    clients = len(bids)
    if clients <= SMALL:
        return None
    sample = np.ascontiguousarray(bids[:: _step(clients)].T)
    return _gathered(bids, np.sort(sample, axis=1), guess)


def stretch_of_all(
    bids: Floats, guess: Callable[[Floats, float], Integers]
) -> OrderStatistics | None:
    """The same for the bids of all tasks together, as if there were one task of N * S clients."""
    cells = bids.reshape(-1, 1)
    if len(cells) <= SMALL:
        return None
    step = _step(len(cells))
    while math.gcd(step, bids.shape[1]) > 1:  # or the sample would know some tasks only
        step += 1
    return _gathered(cells, np.sort(cells[::step].T, axis=1), guess)


def _step(count: int) -> int:
    """Every how manieth of so many bids is in the sample."""
    root: float = count ** (1 / 3)
    return max(1, round(root / 1.6))


def _gathered(
    bids: Floats, sample: Floats, guess: Callable[[Floats, float], Integers]
) -> OrderStatistics | None:
    """The bids around a guessed rank of a sorted sample; None where they need too much room."""
    from mechanisms.auctions.kernels.selection import gather

    tasks, ratio = bids.shape[1], len(bids) / sample.shape[1]
    middle = guess(sample, ratio)
    reach = int(SPREAD * sample.shape[1] ** 0.5)
    low, high = _bounds(sample, middle - reach, middle + reach)
    kept = np.empty((tasks, int(SPACE * 2 * reach * ratio)))
    below, size = np.zeros(tasks, dtype=np.int64), np.zeros(tasks, dtype=np.int64)
    if not gather(bids, low, high, below, size, kept):
        return None
    rows = np.array(kept[:, : max(1, int(size.max()))])
    for row, count in zip(rows, size, strict=True):
        row[count:] = np.inf
    rows.sort(axis=1)
    return OrderStatistics(rows, below, size, np.isinf(high))


def _bounds(sample: Floats, first: Integers, last: Integers) -> tuple[Floats, Floats]:
    """(S,) values at two sample ranks; 0 and inf beyond the ends."""
    width = sample.shape[1]
    tasks = np.arange(len(sample))
    low = np.where(first < 1, 0.0, sample[tasks, np.clip(first - 1, 0, width - 1)])
    high = np.where(last > width, np.inf, sample[tasks, np.clip(last - 1, 0, width - 1)])
    return np.where(np.isinf(low), 0.0, low), high
