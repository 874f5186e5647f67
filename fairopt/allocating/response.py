"""What flows do at given prices, and how far that is from optimal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairopt.allocating.scaling import Scaled
from fairopt.checks import Array, BoolArray


@dataclass(frozen=True, eq=False)
class Response:
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


def respond(scaled: Scaled, prices: Array) -> Response:
    """The response to prices."""
    from fairopt.kernels.flow_rates import flow_rates

    with np.errstate(divide="ignore", under="ignore", over="ignore", invalid="ignore"):
        found = flow_rates(*scaled.as_kernels_take_it, np.ascontiguousarray(prices))
    return Response(prices, *found)


def stiffness(scaled: Scaled, response: Response) -> Array:
    """-dy_i / dq_i = y / (alpha q); 0 where a bound holds the rate."""
    q = response.flow_price
    safe = np.where(response.free, q, 1.0)
    return np.asarray(np.where(response.free, response.rates / (scaled.alpha * safe), 0.0))


def violation(response: Response) -> float:
    """Largest overload, or min(unused part, share in a price) of a link with room."""
    load = response.load
    if not np.isfinite(load).all():
        return np.inf
    return float(np.maximum(load - 1.0, np.minimum(1.0 - load, response.share)).max())


def alone_log_prices(scaled: Scaled) -> Array:
    """Logarithm of the price that would fill each link if it were the only one: an upper bound."""
    alpha, link = scaled.alpha, scaled.link
    with np.errstate(divide="ignore", invalid="ignore"):
        term = (1.0 - 1.0 / alpha) * scaled.log_entry + (scaled.log_weight / alpha)[scaled.flow]
        top = np.full(scaled.links, -np.inf)
        np.maximum.at(top, link, term)
        top = np.where(np.isfinite(top), top, 0.0)
        spread = np.exp(np.minimum(term - top[link], 0.0))
    return np.asarray(alpha * (top + np.log(np.bincount(link, spread, scaled.links))))
