"""What flows do at given prices, and how much each link means to them, in one pass over the flows.

The problem is maximise sum v_i u_alpha(y_i) subject to A y <= 1, y <= bound, A by flow in
compressed rows: bound is 1 where it belongs to the problem (`bounded`), else e, which never holds
at the optimum and keeps prices of zero harmless. Nothing is assumed about NaN: it reaches the
loads. Arrays must be contiguous: it takes half the time, and is not checked here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array, BoolArray
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import fill

LOGARITHMS = 0  # y = exp((log v - log q) / alpha)
SQUARE, SAME, ROOT = 1, 2, 3  # y = (v / q)^2, v / q, sqrt(v / q): alpha = 1/2, 1, 2
WIDE = 300.0  # e-folds of a weight up to which v and v / q are taken as they are


class Routing(NamedTuple):
    """A by flow in compressed rows: links[indptr[i]:indptr[i + 1]] are those of flow i.

    Attributes:
        indptr: (flows + 1,) offsets.
        links: (entries,) links.
        entries: (entries,) numbers in A.
    """

    indptr: Array
    links: Array
    entries: Array


class Flows(NamedTuple):
    """What the flows want.

    Attributes:
        form: The way to a rate, one of the numbers above.
        alpha: Power of the utility, in (0, inf).
        log_weight: (flows,) log v.
        weight: (flows,) v.
        bounded: (flows,) whether y <= 1 belongs to the problem.
    """

    form: int
    alpha: float
    log_weight: Array
    weight: Array
    bounded: BoolArray


class Demand(NamedTuple):
    """What the flows do at given prices.

    Attributes:
        q: (flows,) flow prices A' prices.
        y: (flows,) rates.
        free: (flows,) where no bound holds the rate.
        load: (links,) A y.
    """

    q: Array
    y: Array
    free: BoolArray
    load: Array


@helper
def form_of(alpha: float, log_weight: Array) -> int:
    """The cheapest way to a rate that cannot leave float64."""
    for i in range(log_weight.shape[0]):
        if not abs(log_weight[i]) < WIDE:
            return LOGARITHMS
    if alpha == 0.5:
        return SQUARE
    if alpha == 1.0:
        return SAME
    return ROOT if alpha == 2.0 else LOGARITHMS


@helper
def rate(form: int, alpha: float, log_weight: float, weight: float, q: float) -> float:
    """(v / q)^(1 / alpha)."""
    if form == LOGARITHMS:
        return math.exp(min((log_weight - math.log(q)) / alpha, 2.0))
    ratio = weight / q
    if form == SQUARE:
        return ratio * ratio
    return ratio if form == SAME else math.sqrt(ratio)


@helper
def fill_rates(routing: Routing, flows: Flows, prices: Array, demand: Demand) -> None:
    """Flow prices q = A' prices, rates, where no bound holds them, and loads A y."""
    indptr, links, entries = routing
    form, alpha, log_weight, weight, bounded = flows
    q, y, free, load = demand
    fill(load, 0.0)
    for i in range(y.shape[0]):
        total = 0.0
        for e in range(indptr[i], indptr[i + 1]):
            total += entries[e] * prices[links[e]]
        bound = 1.0 if bounded[i] else math.e
        wanted = rate(form, alpha, log_weight[i], weight[i], total)
        free[i] = not wanted >= bound
        q[i] = total
        y[i] = wanted if free[i] else bound
        for e in range(indptr[i], indptr[i + 1]):
            load[links[e]] += entries[e] * y[i]


@helper
def paid(bounded: bool, free: bool, weight: float, q: float) -> float:
    """What a unit of a flow costs: q, or v for a flow that its own bound holds."""
    return weight if bounded and not free else q


@helper
def fill_largest_share(
    routing: Routing, flows: Flows, prices: Array, demand: Demand, share: Array
) -> None:
    """Share of each link in the price of the user for whom it is largest."""
    indptr, links, entries = routing
    weight, bounded, q, free = flows.weight, flows.bounded, demand.q, demand.free
    fill(share, 0.0)
    for i in range(q.shape[0]):
        whole = paid(bounded[i], free[i], weight[i], q[i])
        if whole > 0.0:
            for e in range(indptr[i], indptr[i + 1]):
                share[links[e]] = max(share[links[e]], entries[e] / whole)
    for l in range(share.shape[0]):
        share[l] *= prices[l]


@helper
def fill_mean_share(
    routing: Routing, flows: Flows, prices: Array, demand: Demand, share: Array
) -> None:
    """Share of each link in the prices its users pay, their mean weighed by load."""
    indptr, links, entries = routing
    weight, bounded = flows.weight, flows.bounded
    q, y, free, load = demand
    fill(share, 0.0)
    for i in range(q.shape[0]):
        whole = paid(bounded[i], free[i], weight[i], q[i])
        if whole > 0.0:
            part = y[i] / whole
            for e in range(indptr[i], indptr[i + 1]):
                share[links[e]] += entries[e] * entries[e] * part
    for l in range(share.shape[0]):
        share[l] = share[l] * prices[l] / load[l] if load[l] > 0.0 else 0.0


@helper
def violation(load: Array, share: Array) -> float:
    """Largest overload, or min(unused part, share in a price) of a link with room."""
    worst = -math.inf
    for l in range(load.shape[0]):
        if not math.isfinite(load[l]) or math.isnan(share[l]):
            return math.inf
        worst = max(worst, load[l] - 1.0, min(1.0 - load[l], share[l]))
    return worst


_TYPES = (
    "void(uint32[::1], uint32[::1], float64[::1], float64, float64[::1], float64[::1],"
    " boolean[::1], float64[::1], float64[::1], float64[::1], boolean[::1], float64[::1],"
    " float64[::1])"
)


@gufunc(_TYPES, "(p),(e),(e),(),(n),(n),(n),(m)->(n),(n),(n),(m),(m)")
def flow_rates(  # type: ignore[no-untyped-def]
    indptr, links, entries, alpha, log_weight, weight, bounded, prices, q, y, free, load, share
):
    """Fill flow prices, rates, where they are free, loads and the largest shares of links."""
    routing = Routing(indptr, links, entries)
    flows = Flows(form_of(alpha, log_weight), alpha, log_weight, weight, bounded)
    demand = Demand(q, y, free, load)
    fill_rates(routing, flows, prices, demand)
    fill_largest_share(routing, flows, prices, demand, share)
