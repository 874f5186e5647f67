"""Demand: the rates that flows choose at given prices, and how far they are from optimal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array, BoolArray


@dataclass(frozen=True, eq=False)
class Demand:
    """The rates that maximise v_i u_alpha(y_i) - q_i y_i within the bounds.

    Attributes:
        prices: (links,) lambda >= 0.
        flow_price: (flows,) q = A' lambda.
        rates: (flows,) y.
        free: (flows,) where no bound holds y.
        load: (links,) A y.
        share: (links,) of each link in the price of the user for whom it is largest; a flow that
            its own bound holds pays v.
    """

    prices: Array
    flow_price: Array
    rates: Array
    free: BoolArray
    load: Array
    share: Array


def demand_at(scaled: Scaled, prices: Array) -> Demand:
    """The demand at prices."""
    from fairopt.kernels.network.flow_rates import flow_rates

    with np.errstate(all="ignore"):
        found = flow_rates(*scaled.kernel_arguments, np.ascontiguousarray(prices))
    return Demand(prices, *found)


def demand_slope(scaled: Scaled, demand: Demand) -> Array:
    """-dy_i / dq_i = y / (alpha q); 0 where a bound holds the rate."""
    q = demand.flow_price
    safe = np.where(demand.free, q, 1.0)
    return np.asarray(np.where(demand.free, demand.rates / (scaled.alpha * safe), 0.0))


def violation(demand: Demand) -> float:
    """Largest overload, or min(unused part, share in a price) of a link with slack."""
    load = demand.load
    if not np.isfinite(load).all():
        return np.inf
    return float(np.maximum(load - 1.0, np.minimum(1.0 - load, demand.share)).max())


def log_price_bounds(scaled: Scaled) -> Array:
    """Logarithm of the price that would fill each link if it were the only one: an upper bound."""
    from fairopt.kernels.network.log_prices import alone

    with np.errstate(all="ignore"):
        weights = np.ascontiguousarray(scaled.log_weight)
        return np.asarray(alone(*scaled.rows, scaled.alpha, weights, np.empty(scaled.links)))


def largest_log_part(scaled: Scaled, log_prices: Array) -> Array:
    """Logarithm of the largest part of each flow's price, or of its weight if that is more."""
    from fairopt.kernels.network.log_prices import largest_part

    with np.errstate(all="ignore"):
        weights = np.ascontiguousarray(scaled.log_weight)
        return np.asarray(largest_part(*scaled.rows, np.ascontiguousarray(log_prices), weights))
