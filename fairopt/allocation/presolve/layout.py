"""Which flows share links: the part of scaling that no capacity, priority or limit enters.

It depends on the routing and on which flows and links are left, and is kept with the routing
(`Routes.made`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fairopt.allocation.presolve.identical_routes import Groups, identical
from fairopt.allocation.presolve.redundant_links import proportional
from fairopt.allocation.routes import Routes
from fairopt.arrays import Array, BoolArray, Ints


@dataclass(frozen=True, eq=False)
class Layout:
    """The shared links and their flows, renumbered; a row stands for links that are proportional.

    Attributes:
        single: Entries of links that only one flow uses.
        unshared: Flows that share no link.
        flows: Flows that do, in the order of the new numbers.
        shared: Links that several flows use.
        row: (shared links,) the row that each belongs to; all entries are those of the first link
            of a row.
        offset: (shared links,) log of the ratio of its entries to them.
        rows: Their number.
        indptr, link, flow: Offsets, rows and flows of the entries, by flow.
        log_entry: Their logarithms.
        relative: The entries over the largest one of their flow.
        log_largest: (flows,) log of that.
    """

    single: Ints
    unshared: Ints
    flows: Ints
    shared: Ints
    row: Ints
    offset: Array
    rows: int
    indptr: Ints
    link: Ints
    flow: Ints
    log_entry: Array
    relative: Array
    log_largest: Array

    def tightest(self, log_capacity: Array) -> tuple[Array, Ints]:
        """(rows,) log capacities in units of their entries, and the links that set them.

        Of links that are equally tight the first counts, as the others keep the price zero.
        """
        room = log_capacity[self.shared] - self.offset
        if self.rows == len(self.shared):
            return room, self.shared
        least = np.full(self.rows, np.inf)
        np.minimum.at(least, self.row, room)
        holds = np.flatnonzero(room == least[self.row])[::-1]  # the first is written last
        link = np.empty(self.rows, dtype=np.int64)
        link[self.row[holds]] = self.shared[holds]
        return least, link

    def totals(self, log_prices: Array) -> Array:
        """(rows,) log of the sum of what the links of each row have, -inf for nothing."""
        total = np.full(self.rows, -np.inf)
        np.logaddexp.at(total, self.row, log_prices[self.shared])
        return total

    @cached_property
    def least_relative(self) -> float:
        """The smallest of `relative`."""
        return float(self.relative.min(initial=1.0))

    @cached_property
    def identical(self) -> Groups | None:
        """Flows of one path, where there are enough of them to be merged."""
        return identical(self.indptr, self.link, self.relative, self.rows)


def lay_out(routes: Routes, kept: BoolArray, limited: BoolArray) -> Layout:
    """The layout of the kept flows on the limited links."""
    links, flows = routes.matrix.shape
    entry = kept[routes.flow] & limited[routes.link]
    users = np.bincount(routes.link[entry], minlength=links)
    several = users > 1
    where = entry & several[routes.link]
    on_shared = np.bincount(routes.flow[where], minlength=flows) > 0
    shared, chosen = np.flatnonzero(several), np.flatnonzero(kept & on_shared)
    row, offset = proportional(_by_link(routes, where), shared)
    first = np.zeros(links, dtype=bool)
    first[shared[np.unique(row, return_index=True)[1]]] = True
    where &= first[routes.link]
    indptr: Any = np.zeros(len(chosen) + 1, dtype=np.int32)
    flow = _number(kept & on_shared)[routes.flow[where]]
    np.cumsum(np.bincount(flow, minlength=len(chosen)), out=indptr[1:])
    data = routes.by_flow.data[where]
    largest = np.maximum.reduceat(data, indptr[:-1]) if len(chosen) else data
    return Layout(
        single=np.flatnonzero(entry & ~several[routes.link]),
        unshared=np.flatnonzero(kept & ~on_shared),
        flows=chosen,
        shared=shared,
        row=row,
        offset=offset,
        rows=int(np.count_nonzero(first)),
        indptr=indptr,
        link=_number(first)[routes.link[where]],
        flow=flow,
        log_entry=routes.log_entry[where],
        relative=data / largest[flow],
        log_largest=np.log(largest),
    )


def _number(chosen: BoolArray) -> Ints:
    """The new numbers of the chosen ones."""
    return np.asarray(np.cumsum(chosen, dtype=np.int32) - np.int32(1))


def _by_link(routes: Routes, where: BoolArray) -> Any:
    """(links, flows) in compressed rows, of some of the entries."""
    if where.all():
        return routes.matrix
    some = routes.by_flow.copy()
    some.data = np.where(where, some.data, 0.0)
    some.eliminate_zeros()
    return some.T.tocsr()
