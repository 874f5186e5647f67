r"""Scaling: the same problem without units, and smaller.

A link that only one flow uses is a bound of that flow. The rest is written in y = x / unit,
where unit_i is the most flow i could get if it were alone (of its bound and of c_l / R_li on its
path), and with capacities 1: maximise sum_i v_i u_alpha(y_i) subject to A y <= 1, 0 <= y <= 1,

.. math:: A_{li} = R_{li} unit_i / c_l \in [0, 1], \qquad v_i = p_i unit_i^{1 - \alpha}.

The bound y <= 1 is a consequence of A y <= 1 for the flows that are not `bounded`; methods give
those the bound y <= e instead, which is never active at the optimum and keeps rates finite where
prices are zero. v is carried in logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.presolve.redundant_links import redundant
from fairopt.allocation.problem import Entries, Problem
from fairopt.arrays import Array, BoolArray, Ints

LEAST_PART = 1e-304  # of a link: what it does not notice stays an entry, a zero would be none
OWN = -1  # the bound of a flow is its own `upper`, not a link


@dataclass(frozen=True, eq=False)
class Scaled(Entries):
    """Maximise sum v_i u_alpha(y_i) subject to A y <= 1, 0 <= y <= 1, for flows that share a link.

    Attributes:
        by_link, by_flow: A and its transpose, both in compressed rows; no row is empty.
        log_weight: log v_i.
        log_unit: log of the rate that y = 1 means.
        bounded: Where y <= 1 is a bound of the problem and not a consequence of A y <= 1.
        alpha: Utility power.
    """

    by_link: Any
    by_flow: Any
    log_weight: Array
    log_unit: Array
    bounded: BoolArray
    alpha: float

    @cached_property
    def rows(self) -> tuple[Array, Array, Array]:
        """Offsets, links and entries of A by flow, as kernels take them."""
        A = self.by_flow
        return A.indptr.view(np.uint32), A.indices.view(np.uint32), A.data

    @cached_property
    def kernel_arguments(self) -> tuple[Any, ...]:
        """Rows, alpha, log weights, weights, bounds; contiguous, as the kernels do not check it."""
        with np.errstate(over="ignore", under="ignore"):
            weights = np.ascontiguousarray(self.log_weight), np.exp(self.log_weight)
        return *self.rows, self.alpha, *weights, np.ascontiguousarray(self.bounded)

    @property
    def links(self) -> int:
        """Number of shared links."""
        return int(self.by_link.shape[0])

    @property
    def flows(self) -> int:
        """Number of flows on them."""
        return int(self.by_link.shape[1])

    @cached_property
    def squared(self) -> Any:
        """A with squared entries, by link."""
        square = self.by_link.copy()
        square.data = square.data**2
        return square


@dataclass(frozen=True, eq=False)
class Scaling:
    """How the scaled problem and the stated one correspond.

    Attributes:
        scaled: The problem left to solve, None if every flow is decided by its bound.
        flows, links: Indices of its flows and links in the stated problem; redundant links are left
            out.
        unshared: Flows that share no link; their rate is exp(log_bound).
        log_bound: (all flows) log of the smallest of `upper` and the links only this flow uses.
        bounding: (all flows) the link that sets log_bound, or OWN.
        log_bounding: (all flows) log R of that link and flow, 0 for OWN.
    """

    problem: Problem
    scaled: Scaled | None
    flows: Ints
    links: Ints
    unshared: Ints
    log_bound: Array
    bounding: Ints
    log_bounding: Array


def scale(problem: Problem) -> Scaling:
    """Drop forced and unlimited flows and redundant links, turn links of one flow into bounds."""
    kept = ~(problem.forced | problem.unlimited)
    entry = kept[problem.flow] & np.isfinite(problem.capacity)[problem.link]
    users = np.bincount(problem.link[entry], minlength=problem.links)
    single = entry & (users[problem.link] == 1)
    shared = entry & (users[problem.link] > 1)
    with np.errstate(divide="ignore"):
        log_bound = np.log(problem.upper)
    bounding = np.full(problem.flows, OWN)
    log_bounding = np.zeros(problem.flows)
    _tighten(problem, np.flatnonzero(single), log_bound, bounding, log_bounding)
    on_shared = np.bincount(problem.flow[shared], minlength=problem.flows) > 0
    flows, links = np.flatnonzero(kept & on_shared), np.flatnonzero(users > 1)
    scaled = _scaled(problem, shared, flows, links, log_bound) if len(flows) else None
    if scaled is not None and (drop := redundant(scaled.by_link)).any():
        scaled, links = _without(scaled, drop), links[~drop]
    unshared = np.flatnonzero(kept & ~on_shared)
    return Scaling(problem, scaled, flows, links, unshared, log_bound, bounding, log_bounding)


def _tighten(
    problem: Problem, entries: Ints, log_bound: Array, bounding: Ints, log_bounding: Array
) -> None:
    """Bound each flow by the tightest link of its own, where that is tighter than upper."""
    order = entries[np.argsort(-problem.log_limit[entries], kind="stable")]  # tightest last
    order = order[problem.log_limit[order] < log_bound[problem.flow[order]]]
    flow = problem.flow[order]
    log_bound[flow] = problem.log_limit[order]
    bounding[flow] = problem.link[order]
    log_bounding[flow] = np.log(problem.by_flow.data[order])


def _renumbered(index: Ints, kept: Ints, size: int) -> Ints:
    """The same with new numbers for the kept ones of `size`."""
    if len(kept) == size:
        return index
    number = np.zeros(size, dtype=index.dtype)
    number[kept] = np.arange(len(kept))
    return number[index]


def _scaled(
    problem: Problem, shared: BoolArray, flows: Ints, links: Ints, log_bound: Array
) -> Scaled:
    """The scaled problem of the shared entries."""
    from scipy import sparse

    where = slice(None) if shared.all() else shared
    flow = _renumbered(problem.flow[where], flows, problem.flows)
    link = _renumbered(problem.link[where], links, problem.links)
    limit = problem.log_limit[where]
    indptr = np.zeros(len(flows) + 1, dtype=np.int32)
    np.cumsum(np.bincount(flow, minlength=len(flows)), out=indptr[1:])
    path = np.minimum.reduceat(limit, indptr[:-1])
    unit = np.minimum(path, log_bound[flows])
    part = np.exp(unit[flow] - limit)
    np.maximum(part, LEAST_PART, out=part)
    entries = (part, link, indptr)
    by_flow = sparse.csr_array(entries, shape=(len(flows), len(links)))
    weight = np.log(problem.priority[flows])
    if np.isfinite(problem.alpha):
        weight = weight + (1.0 - problem.alpha) * unit
    by_link = by_flow.T.tocsr()
    bounded = log_bound[flows] <= path
    return Scaled(by_link, by_flow, weight, unit, bounded, problem.alpha)


def _without(scaled: Scaled, drop: BoolArray) -> Scaled:
    """The scaled problem without some links."""
    by_link = scaled.by_link[np.flatnonzero(~drop)]
    return replace(scaled, by_link=by_link, by_flow=by_link.T.tocsr())


class Point(NamedTuple):
    """A point of the stated problem: rates, prices of links, prices of upper bounds."""

    rates: Array
    prices: Array
    upper_prices: Array


def unscale(scaling: Scaling, y: Array, log_prices: Array, log_bound_prices: Array) -> Point:
    """The point of the stated problem that a scaled one means (the prices in logarithms).

    At alpha = inf prices are limits of price^(1 / alpha) and only their bottleneck counts.
    """
    problem = scaling.problem
    finite = np.isfinite(problem.alpha)
    rates, log_bound_price = np.zeros(problem.flows), np.full(problem.flows, -np.inf)
    log_price = np.full(problem.links, -np.inf)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        rates[problem.unlimited] = np.inf
        rates[scaling.unshared] = np.exp(scaling.log_bound[scaling.unshared])
        log_bound_price[scaling.unshared] = _unshared_price(scaling)
        if scaling.scaled is not None:
            unit = scaling.scaled.log_unit
            rates[scaling.flows] = np.exp(np.log(y) + unit)
            log_price[scaling.links] = log_prices
            if finite:
                log_price[scaling.links] -= np.log(problem.capacity[scaling.links])
            log_bound_price[scaling.flows] = log_bound_prices - unit
        return _assign_bound_prices(scaling, rates, log_price, log_bound_price, finite)


def _unshared_price(scaling: Scaling) -> Array:
    """Logarithm of the marginal utility of flows that only their bound limits."""
    problem, unshared = scaling.problem, scaling.unshared
    log_rate = scaling.log_bound[unshared]
    if not np.isfinite(problem.alpha):
        return -log_rate
    return np.log(problem.priority[unshared]) - problem.alpha * log_rate


def _assign_bound_prices(
    scaling: Scaling, rates: Array, log_price: Array, log_bound_price: Array, finite: bool
) -> Point:
    """Assign the price of a bound to the link or the upper limit that sets it."""
    problem = scaling.problem
    by_link = (scaling.bounding != OWN) & np.isfinite(log_bound_price)
    target = scaling.bounding[by_link]
    own = scaling.log_bounding[by_link] if finite else 0.0
    log_price[target] = np.maximum(log_price[target], log_bound_price[by_link] - own)
    prices = np.exp(log_price)
    prices[problem.closed] = np.inf
    upper_prices = np.where(scaling.bounding == OWN, np.exp(log_bound_price), 0.0)
    upper_prices[problem.forced & (problem.upper == 0.0)] = np.inf
    return Point(rates, prices, upper_prices)
