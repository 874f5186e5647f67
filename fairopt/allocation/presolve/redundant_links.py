"""Redundant links: another link has the same flows in the same proportions and is as tight.

The prices of two such links are not unique (only their sum is, where both are full) and the
systems of every method are singular, so only the tightest of them gets a row, and the others keep
the price zero. Which links are proportional depends on the routing alone, which of them is the
tightest on the capacities.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.arrays import Array, BoolArray, Ints

ALIKE = 1e-9  # relative: weighted sums that differ by more belong to different rows
SAME = 1e-13  # relative: entries that differ by the rounding of products only


def proportional(routing: Any, links: Ints) -> tuple[Ints, Array]:
    """For each of the links the number of its class, and log of its entries over the first's.

    Classes are numbered by their first links. Links are told apart by their number of entries,
    their first and last flow and one weighted sum; only those that agree in all of these are
    compared.

    Example:
        >>> from scipy import sparse
        >>> R = sparse.csr_array([[1.0, 2.0], [1.0, 1.0], [2.0, 4.0]])
        >>> row, offset = proportional(R, np.arange(3))
        >>> row, np.exp(offset).round(9)
        (array([0, 1, 0]), array([1., 1., 2.]))
    """
    rows = routing if len(links) == routing.shape[0] else routing[links]
    of, offset = np.arange(len(links)), np.zeros(len(links))
    for run in _alike(rows):
        _join(rows, run, of, offset)
    _, row = np.unique(of, return_inverse=True)
    return row, offset


def _alike(rows: Any) -> list[Ints]:
    """Runs of rows that may be proportional, each in increasing order."""
    if not rows.shape[0]:
        return []
    start, stop = rows.indptr[:-1], rows.indptr[1:]
    first, last = rows.indices[start], rows.indices[stop - 1]
    part = rows.data / np.repeat(np.maximum.reduceat(rows.data, start), stop - start)
    total = np.add.reduceat(part, start)
    ratio = np.add.reduceat(part * _flow_weights(rows.shape[1])[rows.indices], start) / total
    order = np.lexsort((ratio, last, first, stop - start))
    before, after = order[:-1], order[1:]
    alike = (stop - start)[before] == (stop - start)[after]
    alike &= (first[before] == first[after]) & (last[before] == last[after])
    alike &= np.abs(ratio[before] - ratio[after]) <= ALIKE * np.abs(ratio[after])
    return _runs(order, alike)


def _flow_weights(flows: int) -> Array:
    """A different number in [1, 2) for every flow: the fractional parts of multiples of a root."""
    golden = 0.5 * (np.sqrt(5.0) - 1.0)
    return np.asarray(1.0 + np.modf(golden * np.arange(1, flows + 1))[0])


def _runs(order: Ints, alike: BoolArray) -> list[Ints]:
    """Maximal runs of rows that agree in all of these."""
    if not alike.any():
        return []
    cuts = np.flatnonzero(~alike) + 1
    return [np.sort(run) for run in np.split(order, cuts) if len(run) > 1]


def _join(rows: Any, run: Ints, of: Ints, offset: Array) -> None:
    """Give every row of a run the first one that it is proportional to."""
    firsts: list[int] = []
    for row in run:
        for first in firsts:
            ratio = _ratio(rows, row, first)
            if ratio is not None:
                of[row], offset[row] = first, np.log(ratio)
                break
        else:
            firsts.append(row)


def _ratio(rows: Any, row: int, other: int) -> float | None:
    """The ratio of two rows that have the same flows in the same proportions, else None."""
    mine = slice(rows.indptr[row], rows.indptr[row + 1])
    its = slice(rows.indptr[other], rows.indptr[other + 1])
    if not np.array_equal(rows.indices[mine], rows.indices[its]):
        return None
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        ratio = rows.data[mine] / rows.data[its]
        same = ratio.min() > 0.0 and np.ptp(ratio) <= SAME * ratio.max()
    return float(ratio[0]) if same else None
