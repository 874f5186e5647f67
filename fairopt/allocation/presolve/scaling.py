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

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairopt.allocation.presolve.layout import Layout, lay_out
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.allocation.problem import Problem
from fairopt.arrays import Array, Ints

LEAST_PART = 1e-304  # of a link: what it does not notice stays an entry, a zero would be none
MODERATE = 1e-130  # entries and capacities within it and its inverse are multiplied as they are
OWN = -1  # the bound of a flow is its own `upper`, not a link


@dataclass(frozen=True, eq=False)
class Scaling:
    """How the scaled problem and the stated one correspond.

    Attributes:
        scaled: The problem left to solve, None if every flow is decided by its bound.
        layout: Which flows and links of the stated problem it has.
        links: The link of every row: redundant links are left out.
        log_bound: (all flows) log of the smallest of `upper` and the links only this flow uses.
        bounding: (all flows) the link that sets log_bound, or OWN.
        log_bounding: (all flows) log R of that link and flow, 0 for OWN.
    """

    problem: Problem
    scaled: Scaled | None
    layout: Layout
    links: Ints
    log_bound: Array
    bounding: Ints
    log_bounding: Array

    @property
    def flows(self) -> Ints:
        """Flows of the scaled problem."""
        return self.layout.flows

    @property
    def unshared(self) -> Ints:
        """Flows that share no link; their rate is exp(log_bound)."""
        return self.layout.unshared


def scale(problem: Problem) -> Scaling:
    """Drop forced and unlimited flows and redundant links, turn links of one flow into bounds."""
    kept = ~(problem.forced | problem.unlimited)
    layout = problem.routes.made(lay_out, kept, np.isfinite(problem.capacity))
    with np.errstate(divide="ignore"):
        log_bound, log_capacity = np.log(problem.upper), np.log(problem.capacity)
    bounding = np.full(problem.flows, OWN)
    log_bounding = np.zeros(problem.flows)
    _tighten(problem, layout.single, log_bound, bounding, log_bounding)
    room, links = layout.tightest(log_capacity)
    scaled = _scaled(problem, layout, room, log_bound) if len(layout.flows) else None
    return Scaling(problem, scaled, layout, links, log_bound, bounding, log_bounding)


def _tighten(
    problem: Problem, entries: Ints, log_bound: Array, bounding: Ints, log_bounding: Array
) -> None:
    """Bound each flow by the tightest link of its own, where that is tighter than upper."""
    if not len(entries):
        return
    order = entries[np.argsort(-problem.log_limit[entries], kind="stable")]  # tightest last
    order = order[problem.log_limit[order] < log_bound[problem.flow[order]]]
    flow = problem.flow[order]
    log_bound[flow] = problem.log_limit[order]
    bounding[flow] = problem.link[order]
    log_bounding[flow] = np.log(problem.by_flow.data[order])


def _scaled(problem: Problem, layout: Layout, log_room: Array, log_bound: Array) -> Scaled:
    """The scaled problem of the shared entries."""
    from scipy import sparse

    bound = log_bound[layout.flows]
    entries = _plain_entries if _moderate(layout, log_room) else _entries
    part, path = entries(layout, log_room, bound)
    shape = len(layout.flows), layout.rows
    by_flow = sparse.csr_array((part, layout.link, layout.indptr), shape=shape)
    unit = np.minimum(path, bound)
    weight = np.log(problem.priority[layout.flows])
    if np.isfinite(problem.alpha):
        weight = weight + (1.0 - problem.alpha) * unit
    return Scaled(by_flow, weight, unit, bound <= path, problem.alpha)


def _moderate(layout: Layout, log_room: Array) -> bool:
    """Whether products of entries and capacities stay within float64."""
    return layout.least_relative >= MODERATE and bool((np.abs(log_room) <= -np.log(MODERATE)).all())


def _entries(layout: Layout, log_room: Array, log_bound: Array) -> tuple[Array, Array]:
    """Entries R_li unit_i / c_l, and log of the most that the links let a flow have."""
    limit = log_room[layout.link] - layout.log_entry
    path = np.minimum.reduceat(limit, layout.indptr[:-1])
    part = np.exp(np.minimum(path, log_bound)[layout.flow] - limit)
    return np.maximum(part, LEAST_PART), path


def _plain_entries(layout: Layout, log_room: Array, log_bound: Array) -> tuple[Array, Array]:
    """The same without logarithms of entries."""
    from fairopt.kernels.network.scaled_entries import scaled_entries

    rows = layout.indptr.view(np.uint32), layout.link.view(np.uint32), layout.relative
    return scaled_entries(  # type: ignore[no-any-return]
        *rows, np.exp(-log_room), layout.log_largest, log_bound, LEAST_PART
    )


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
