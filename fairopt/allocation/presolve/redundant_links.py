"""Redundant links: another link has the same flows in the same proportions and is as tight.

The prices of two such links are not unique (only their sum is, where both are full) and the
systems of every method are singular, so one of them is left out and keeps the price zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.arrays import Array, BoolArray, Ints

ALIKE = 1e-9  # relative: weighted sums that differ by more belong to different rows
SAME = 1e-13  # relative: entries that differ by the rounding of their logarithms only


def redundant(by_link: Any) -> BoolArray:
    """Rows of A that are at most as tight as a row they are proportional to (the first, if equal).

    Rows are told apart by their number of entries, their first and last flow and one weighted sum;
    only those that agree in all of these are compared.
    """
    start, stop = by_link.indptr[:-1], by_link.indptr[1:]
    first, last = by_link.indices[start], by_link.indices[stop - 1]
    total = np.asarray(by_link @ np.ones(by_link.shape[1]))
    ratio = np.asarray(by_link @ _flow_weights(by_link.shape[1])) / total
    order = np.lexsort((np.arange(len(start)), -total, ratio, last, first, stop - start))
    drop = np.zeros(len(start), dtype=bool)
    before, after = order[:-1], order[1:]
    alike = (stop - start)[before] == (stop - start)[after]
    alike &= (first[before] == first[after]) & (last[before] == last[after])
    alike &= np.abs(ratio[before] - ratio[after]) <= ALIKE * np.abs(ratio[after])
    for group in _runs(order, alike):
        _drop_dominated(by_link, group, total, drop)
    return drop


def _flow_weights(flows: int) -> Array:
    """A different number in [1, 2) for every flow: the fractional parts of multiples of a root."""
    golden = 0.5 * (np.sqrt(5.0) - 1.0)
    return np.asarray(1.0 + np.modf(golden * np.arange(1, flows + 1))[0])


def _runs(order: Ints, alike: BoolArray) -> list[Ints]:
    """Maximal runs of rows that agree in all of these."""
    if not alike.any():
        return []
    cuts = np.flatnonzero(~alike) + 1
    return [run for run in np.split(order, cuts) if len(run) > 1]


def _drop_dominated(by_link: Any, group: Ints, total: Array, drop: BoolArray) -> None:
    """Mark the rows of a group that a tighter one is proportional to."""
    kept: list[int] = []
    for row in sorted(group, key=lambda link: (-total[link], link)):
        if any(_proportional(by_link, row, other) for other in kept):
            drop[row] = True
        else:
            kept.append(row)


def _proportional(by_link: Any, row: int, other: int) -> bool:
    """Whether two rows have the same flows in the same proportions."""
    mine = slice(by_link.indptr[row], by_link.indptr[row + 1])
    its = slice(by_link.indptr[other], by_link.indptr[other + 1])
    if not np.array_equal(by_link.indices[mine], by_link.indices[its]):
        return False
    ratio = by_link.data[mine] / by_link.data[its]
    return bool(np.ptp(ratio) <= SAME * ratio.max())
