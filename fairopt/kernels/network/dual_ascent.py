"""Accelerated multiplicative dual ascent as one loop.

`fairopt.allocation.methods.dual_ascent` explains it.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.network.flow_rates import (
    Demand,
    Flows,
    Routing,
    fill_largest_share,
    fill_mean_share,
    fill_rates,
    form_of,
    violation,
)

LEAST_SHARE = 0.1  # a link's price falls at most ten times faster than its own load asks for
LARGEST_FALL = 20.0  # e-folds in one step: enough to vanish in two, not beyond float64
LIFTED = 0.3  # of the share that would be exact for a link on its own
WORTH_LIFTING = 2.0  # times the price below which ordinary steps get there soon
WATCH = 5  # steps between two looks at shares and violation, which cost a third of a step
FLOOR = -690.0  # prices stay within e^690 of their unit: about the range of float64
TINY = 2.2250738585072014e-308


@helper
def within(value: float) -> float:
    """A log price that float64 can hold; NaN stays NaN."""
    return max(min(value, -FLOOR), FLOOR) if value == value else value


@helper
def lift(load: Array, share: Array, alpha: float, theta: Array) -> bool:
    """Raise at once the prices of overfull links that are too small for users to notice."""
    lifted = False
    for l in range(theta.shape[0]):
        if load[l] > 1.0:
            factor = LIFTED * alpha * math.log(load[l]) / max(share[l], TINY)
            if factor > WORTH_LIFTING:
                theta[l] = within(theta[l] + math.log(factor))
                lifted = True
    return lifted


@helper
def change_of(load: float, share: float, alpha: float) -> float:
    """The step alpha log load, faster where a link has room."""
    change = alpha * math.log(load)
    if change < 0.0:
        change = max(change / min(max(share, LEAST_SHARE), 1.0), -LARGEST_FALL)
    return change


@helper
def move(
    load: Array,
    share: Array,
    alpha: float,
    prices: Array,
    theta: Array,
    previous: Array,
    new: Array,
    momentum: float,
) -> float:
    """One accelerated step of theta; the next momentum."""
    uphill = 0.0
    for l in range(theta.shape[0]):
        change = change_of(load[l], share[l], alpha)
        new[l] = within(theta[l] + change)
        uphill += prices[l] * load[l] * change * (new[l] - previous[l])
    momentum = momentum if uphill >= 0.0 else 1.0
    following = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * momentum * momentum))
    ahead = (momentum - 1.0) / following
    for l in range(theta.shape[0]):
        theta[l] = within(new[l] + ahead * (new[l] - previous[l]))
        previous[l] = new[l]
    return following


_TYPES = (
    "void(uint32[::1], uint32[::1], float64[::1], float64, float64[::1], float64[::1],"
    " boolean[::1], float64[::1], int64, float64, float64[::1], int64[::1])"
)


@gufunc(_TYPES, "(p),(e),(e),(),(n),(n),(n),(m),(),()->(m),()")
def ascend(  # type: ignore[no-untyped-def]
    indptr, links, entries, alpha, log_weight, weight, bounded, start, steps, goal, theta, used
):
    """Fill log prices after at most `steps` steps or at a violation <= goal, and the steps."""
    n, m = log_weight.shape[0], start.shape[0]
    q, y, free = np.empty(n), np.empty(n), np.empty(n, dtype=np.bool_)
    load, prices, share, now = np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    previous, new, momentum = np.empty(m), np.empty(m), 1.0
    for l in range(m):
        theta[l], previous[l], share[l] = start[l], start[l], 1.0
    routing = Routing(indptr, links, entries)
    flows = Flows(form_of(alpha, log_weight), alpha, log_weight, weight, bounded)
    demand = Demand(q, y, free, load)
    for k in range(steps):
        used[0] = k
        for l in range(m):
            prices[l] = math.exp(theta[l])
        fill_rates(routing, flows, prices, demand)
        if k % WATCH == 1:  # the first step is plain: far away shares say little
            fill_mean_share(routing, flows, prices, demand, now)
            if violation(load, now) <= goal:
                fill_largest_share(routing, flows, prices, demand, share)
                if violation(load, share) <= goal:
                    return
            for l in range(m):
                share[l] = now[l] if load[l] < 1.0 else 1.0
            if lift(load, now, alpha, theta):
                for l in range(m):
                    previous[l] = theta[l]
                momentum = 1.0
                continue
        momentum = move(load, share, alpha, prices, theta, previous, new, momentum)
    used[0] = steps
