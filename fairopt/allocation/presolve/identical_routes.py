r"""Flows over the same path merged into one: many flows of a network often have few paths.

Flows with equal columns of A and no bound of their own pay the same price q, so their rates are
v_i^{1/alpha} q^{-1/alpha}: together they are one flow of weight V = (sum_i v_i^{1/alpha})^alpha,
of which each gets the share (v_i / V)^{1/alpha}.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairopt.allocation.method_result import MethodResult
from fairopt.allocation.presolve.scaling import Scaled
from fairopt.arrays import Array, Ints

CROWDED = 50  # flows per link from which on merging is tried
FEW = 0.5  # of the flows: more different paths than this are left as they are


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


def merge(scaled: Scaled) -> Merged | None:
    """The problem with one flow for each path; None where that saves too little."""
    if scaled.flows < CROWDED * scaled.links:
        return None
    first, group = groups(scaled)
    if len(first) > FEW * scaled.flows:
        return None
    by_flow = scaled.by_flow[first]
    log_power = scaled.log_weight / scaled.alpha
    top = np.full(len(first), -np.inf)
    np.maximum.at(top, group, log_power)
    log_total = top + np.log(np.bincount(group, np.exp(log_power - top[group]), len(first)))
    smaller = replace(
        scaled,
        by_link=by_flow.T.tocsr(),
        by_flow=by_flow,
        log_weight=scaled.alpha * log_total,
        log_unit=scaled.log_unit[first],
        bounded=scaled.bounded[first],
    )
    return Merged(smaller, group, np.exp(log_power - log_total[group]))


def groups(scaled: Scaled) -> tuple[Ints, Ints]:
    """One flow of every path, and for each flow the number of its path; not merged if bounded."""
    from fairopt.kernels.network.equal_rows import all_equal, fingerprint

    indptr, links, entries = scaled.rows
    rows = indptr, links, entries.view(np.uint64)
    unmerged = np.ascontiguousarray(scaled.bounded)
    _, first, group = np.unique(
        fingerprint(*rows, unmerged), return_index=True, return_inverse=True
    )
    if not all_equal(*rows, first[group], unmerged):  # different paths with one fingerprint
        first = group = np.arange(scaled.flows)
    return first, group
