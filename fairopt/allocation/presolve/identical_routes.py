r"""Many flows over few paths: identical paths become one flow, whose rate the flows then share.

Flows with the same entries pay the same price q and have rates :math:`(v_i / q)^{1/\alpha}`: in
fixed proportions. One flow with :math:`v^{1/\alpha} = \sum_i v_i^{1/\alpha}` takes their place, and
flow i gets the share :math:`(v_i / v)^{1/\alpha}` of its rate. Flows with a bound of their own stay
single. At alpha = 0 a split would be one of many, at alpha = inf prices mean something else, and
both are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.method_result import MethodResult
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array, BoolArray, Ints

CROWDED = 50  # flows per link from which on merging is tried
FEW = 0.5  # of the flows: more different paths than this are left as they are


class Groups(NamedTuple):
    """One flow of every path, and for each flow the number of its path.

    Attributes:
        first: (paths,) flows.
        group: (flows,) paths.
        entries: Where the entries of the first flows are among all.
    """

    first: Ints
    group: Ints
    entries: Ints


@dataclass(frozen=True, eq=False)
class Merged:
    """The smaller problem, the flow of it that each flow belongs to, and its part of that rate."""

    scaled: Scaled
    group: Ints
    part: Array

    def split(self, found: MethodResult) -> MethodResult:
        """The answer for the single flows."""
        bounds = found.log_bound_prices[self.group]
        return replace(found, rates=found.rates[self.group] * self.part, log_bound_prices=bounds)


def merge(scaled: Scaled, identical: Groups | None) -> Merged | None:
    """The problem with one flow for each path; None where that saves too little."""
    if identical is None:
        return None
    first, group, entries = alone(scaled.by_flow.indptr, identical, scaled.bounded)
    if len(first) > FEW * scaled.flows:
        return None
    log_power = scaled.log_weight / scaled.alpha
    top = np.full(len(first), -np.inf)
    np.maximum.at(top, group, log_power)
    log_total = top + np.log(np.bincount(group, np.exp(log_power - top[group]), len(first)))
    smaller = replace(
        scaled,
        by_flow=_rows(scaled.by_flow, first, entries),
        log_weight=scaled.alpha * log_total,
        log_unit=scaled.log_unit[first],
        bounded=scaled.bounded[first],
    )
    return Merged(smaller, group, np.exp(log_power - log_total[group]))


def identical(indptr: Ints, links: Ints, relative: Array, size: int) -> Groups | None:
    """Flows with equal rows of entries, relative to their largest; None for flows on many links."""
    from fairopt.kernels.network.equal_rows import all_equal, fingerprint

    flows = len(indptr) - 1
    tiny = np.finfo(np.float64).tiny  # below it different entries may look equal
    if flows < CROWDED * size or not len(relative) or relative.min() < tiny:
        return None
    rows = indptr.view(np.uint32), links.view(np.uint32), relative.view(np.uint64)
    none = np.zeros(flows, dtype=bool)
    _, first, group = np.unique(fingerprint(*rows, none), return_index=True, return_inverse=True)
    different_with_one_fingerprint = not all_equal(*rows, first[group], none)
    if len(first) > FEW * flows or different_with_one_fingerprint:
        return None
    order = np.argsort(first)  # memory is read from front to back
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return Groups(first[order], place[group], _entries_of(indptr, first[order]))


def _entries_of(indptr: Ints, flows: Ints) -> Ints:
    """The places of the entries of some flows, one flow after the other."""
    count = indptr[flows + 1] - indptr[flows]
    before = np.cumsum(count) - count
    return np.asarray(np.repeat(indptr[flows] - before, count) + np.arange(int(count.sum())))


def _rows(by_flow: Any, flows: Ints, entries: Ints) -> Any:
    """Some rows of a matrix, the places of whose entries are known."""
    from scipy import sparse

    indptr = np.zeros(len(flows) + 1, dtype=np.int32)
    np.cumsum(np.diff(by_flow.indptr)[flows], out=indptr[1:])
    some = by_flow.data[entries], by_flow.indices[entries], indptr
    return sparse.csr_array(some, shape=(len(flows), by_flow.shape[1]))


def alone(indptr: Ints, groups: Groups, single: BoolArray) -> Groups:
    """The groups without flows that stay single, which follow them."""
    if not single.any():
        return groups
    joint, own = np.flatnonzero(~single)[::-1], np.flatnonzero(single)
    first = np.full(len(groups.first), -1)
    first[groups.group[joint]] = joint  # the first flow is written last
    used = first >= 0
    group = (np.cumsum(used) - 1)[groups.group]
    group[own] = np.count_nonzero(used) + np.arange(len(own))
    every = np.concatenate([first[used], own])
    return Groups(every, group, _entries_of(indptr, every))
