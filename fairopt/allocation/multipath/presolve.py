"""A smaller problem with the same answer: no link or path that decides nothing.

- A link that limits one flow as a whole (its paths all use it alike) is a limit of that flow.
- A link is dropped if another has all its users, with entries that are at least as large; in real
  networks links in series are half of all.
- A link that its users cannot fill is dropped, if it has several: of a link with one user,
  rounding of what that user can have decides whether it fits, and it could be overloaded.
- A path left without links takes all that its flow may have; the flow is then settled.
- Of paths of one flow over the same links one is kept.

Each can make others possible, so all are repeated until little changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairopt.allocation.multipath.link_space import SplitForm
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.kernels.network import grouped
from fairopt.kernels.network import path_system as kernels

CANNOT_FILL = 1.0 - 1e-12  # of a link: what users have together below it
ROUNDS = 20
WORTH_ANOTHER = 0.9  # of the entries left: a round that drops fewer is the last
MOST_COMPARED = 4000  # links: beyond, comparing all pairs takes more memory than it saves


@dataclass(frozen=True, eq=False)
class Presolved:
    """What is left, and what is needed to return.

    Attributes:
        form: The smaller problem, or None if every flow is settled.
        paths, links, flows: Where its parts stand in the whole problem.
        place: The entries of the form among those of the whole problem, by path.
        limit_link: (all flows,) the link that is the limit of a flow, -1 for none.
        limit_place: (all flows,) an entry of it.
        limit: (all flows,) the limit, inf for none.
        settled: Paths that carry all of their flow.
        settled_flow: Their flows.
    """

    form: SplitForm | None
    paths: Ints
    links: Ints
    flows: Ints
    place: Ints
    limit_link: Ints
    limit_place: Ints
    limit: Array
    settled: Ints
    settled_flow: Ints

    def renewed(self, rows: Any, log_weight: Array, alpha: float) -> Presolved:
        """The same with other numbers in the same places.

        Whether what was left out still decides nothing is for the caller to see from the answer.
        """
        held = np.flatnonzero(self.limit_place >= 0)
        limit = np.full(len(self.limit), np.inf)
        limit[held] = 1.0 / rows.data[self.limit_place[held]]
        form = self.form
        if form is not None:
            numbers = log_weight[self.flows], alpha, limit[self.flows]
            form = form.renewed(rows.data[self.place], *numbers)
        return replace(self, form=form, limit=limit)


@dataclass
class _Entries:
    """The entries that are left, by path: link, path, value, and their places among all."""

    link: Ints
    path: Ints
    value: Array
    place: Ints
    links: int

    def keep(self, which: BoolArray) -> None:
        """Drop the others."""
        if not which.all():
            self.link, self.path = self.link[which], self.path[which]
            self.value, self.place = self.value[which], self.place[which]

    @property
    def users(self) -> Ints:
        """(links,) entries of each link."""
        return np.bincount(self.link, minlength=self.links)


def presolve(A: Any, owner: Ints, log_weight: Array, alpha: float) -> Presolved:
    """The smaller problem of A z <= 1.

    Args:
        A: (links, paths) `scipy.sparse.csr_array`, all entries > 0.
        owner: (paths,).
        log_weight: (flows,).
        alpha: Finite and > 0.
    """
    rows = A.T.tocsr()
    paths, links = rows.shape
    flows = len(log_weight)
    of_entry = np.repeat(np.arange(paths), np.diff(rows.indptr))
    everywhere = np.arange(len(rows.data))
    entries = _Entries(rows.indices.astype(np.int64), of_entry, rows.data, everywhere, links)
    limit, limit_link = np.full(flows, np.inf), np.full((2, flows), -1)
    alive, settled = np.ones(paths, dtype=bool), np.zeros(paths, dtype=bool)
    mix = np.random.default_rng(0).random(links)
    for _ in range(ROUNDS):
        before = len(entries.link)
        _take_limits(entries, owner, alive, limit, limit_link)
        entries.keep(~_covered(entries, paths)[entries.link])
        entries.keep(~_slack(entries, owner, limit)[entries.link])
        _settle(entries, owner, alive, settled, limit)
        alive &= ~_repeated(entries, owner, alive, mix)
        entries.keep(alive[entries.path])
        if len(entries.link) > WORTH_ANOTHER * before or not len(entries.link):
            break
    chosen = np.flatnonzero(settled)
    form, paths_left, links_left, flows_left = _form(
        entries, owner, alive, log_weight, alpha, limit
    )
    left = paths_left, links_left, flows_left, entries.place
    return Presolved(form, *left, limit_link[0], limit_link[1], limit, chosen, owner[chosen])


def _take_limits(
    entries: _Entries, owner: Ints, alive: BoolArray, limit: Array, limit_link: Ints
) -> None:
    """Links that all paths of one flow use alike become limits, `limit_link` them and an entry."""
    flow, none = owner[entries.path].astype(np.float64), np.full(entries.links, -np.inf)
    last, most = (grouped.largest(entries.link, each, none) for each in (flow, entries.value))
    only, least = (-grouped.largest(entries.link, -each, none) for each in (flow, entries.value))
    used = entries.users > 0
    only, last = np.where(used, only, len(limit)).astype(int), np.where(used, last, -1).astype(int)
    paths = np.append(np.bincount(owner[alive], minlength=len(limit)), 0)
    whole = (only == last) & (least == most) & (entries.users == paths[only])
    link = np.flatnonzero(whole)
    room = 1.0 / most[link]
    tighter = room < limit[only[link]]
    np.minimum.at(limit, only[link], room)
    held = tighter & (room == limit[only[link]])
    place = np.empty(entries.links, dtype=np.int64)
    place[entries.link] = entries.place
    limit_link[:, only[link[held]]] = link[held], place[link[held]]
    entries.keep(~whole[entries.link])


def _covered(entries: _Entries, paths: int) -> BoolArray:
    """Links that another one holds below their capacity."""
    if entries.links > MOST_COMPARED:
        return np.zeros(entries.links, dtype=bool)
    start = np.searchsorted(entries.path, np.arange(paths + 1)).astype(np.uint32)
    users = entries.users.astype(np.float64)
    return np.asarray(
        kernels.covered_links(start, entries.link.astype(np.uint32), entries.value, users)
    )


def _slack(entries: _Entries, owner: Ints, limit: Array) -> BoolArray:
    """Links that their users cannot fill."""
    most = limit[owner].copy()
    most = -grouped.largest(entries.path, -1.0 / entries.value, -most)
    load = np.bincount(entries.link, entries.value * most[entries.path], entries.links)
    users = entries.users
    alone = users[entries.link] == 1
    fits = entries.value[alone] * limit[owner[entries.path[alone]]] <= 1.0
    drop = (users > 1) & (load < CANNOT_FILL)
    drop[entries.link[alone][fits]] = True
    return np.asarray(drop)


def _equal_runs(
    begin: Ints, count: Ints, one: Ints, other: Ints, numbers: Ints, values: Array
) -> BoolArray:
    """Whether pairs of runs of entries agree in everything."""
    equal = count[one] == count[other]
    one, other = one[equal], other[equal]
    if len(one):
        length = count[one]
        first = np.cumsum(length) - length
        inside = np.arange(int(length.sum())) - np.repeat(first, length)
        a, b = (np.repeat(begin[runs], length) + inside for runs in (one, other))
        agree = (numbers[a] == numbers[b]) & (values[a] == values[b])
        equal[equal] = np.logical_and.reduceat(agree, first)
    return np.asarray(equal)


def _settle(
    entries: _Entries, owner: Ints, alive: BoolArray, settled: BoolArray, limit: Array
) -> None:
    """Flows with a path without links have all that they may on it."""
    bare = alive.copy()
    bare[entries.path] = False
    chosen = np.flatnonzero(bare)
    flow, first = np.unique(owner[chosen], return_index=True)
    settled[chosen[first]] = True
    done = np.zeros(len(limit), dtype=bool)
    done[flow] = True
    alive &= ~done[owner]
    entries.keep(alive[entries.path])


def _repeated(entries: _Entries, owner: Ints, alive: BoolArray, mix: Array) -> BoolArray:
    """Paths over the same links as an earlier one of their flow."""
    path, link, value = entries.path, entries.link, entries.value
    again = np.zeros(len(alive), dtype=bool)
    if not len(path):
        return again
    begin = np.flatnonzero(np.diff(path, prepend=-1))
    which = path[begin]
    key = np.add.reduceat(mix[link] * value, begin)
    by_key = np.lexsort((which, key, owner[which]))
    same = (key[by_key][1:] == key[by_key][:-1]) & (
        owner[which][by_key][1:] == owner[which][by_key][:-1]
    )
    count = np.diff(np.append(begin, len(path)))
    one, other = by_key[:-1][same], by_key[1:][same]
    again[which[other]] = _equal_runs(begin, count, one, other, link, value)
    return again


def _form(
    entries: _Entries,
    owner: Ints,
    alive: BoolArray,
    log_weight: Array,
    alpha: float,
    limit: Array,
) -> tuple[SplitForm | None, Ints, Ints, Ints]:
    """What is left, renumbered."""
    from scipy import sparse

    paths, links = np.flatnonzero(alive), np.flatnonzero(entries.users)
    flows, of = np.unique(owner[paths], return_inverse=True)
    if not len(paths):
        return None, paths, links, flows
    number = np.zeros(entries.links, dtype=np.int32)
    number[links] = np.arange(len(links), dtype=np.int32)
    start = np.searchsorted(entries.path, np.append(paths, len(alive))).astype(np.int32)
    rows = sparse.csr_array(
        (entries.value, number[entries.link], start), shape=(len(paths), len(links))
    )
    return SplitForm(rows, of, log_weight[flows], alpha, limit[flows]), paths, links, flows


def restored(
    small: Presolved, A: Any, log_weight: Array, alpha: float, z: Array, prices: Array, mu: Array
) -> tuple[Array, Array]:
    """Path rates and link prices of the whole problem; `mu` are prices of limits."""
    full_z, full_prices = np.zeros(A.shape[1]), np.zeros(A.shape[0])
    full_z[small.paths], full_prices[small.links] = z, prices
    done = small.settled_flow
    full_z[small.settled] = small.limit[done]
    pay = np.zeros(len(log_weight))
    pay[done] = np.exp(log_weight[done] - alpha * np.log(small.limit[done]))
    pay[small.flows] = mu
    held = np.flatnonzero(pay > 0.0)
    full_prices[small.limit_link[held]] = pay[held] * small.limit[held]
    return full_z, full_prices
