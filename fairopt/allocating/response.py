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
        load: (links,) A y.
        free: (flows,) where no bound holds y.
        log_weight: (flows,) log v in the unit of the prices.
    """

    prices: Array
    flow_price: Array
    rates: Array
    load: Array
    free: BoolArray
    log_weight: Array


def respond(scaled: Scaled, log_weight: Array, prices: Array) -> Response:
    """The response to prices in units in which the weights are exp(log_weight)."""
    q = scaled.by_flow @ prices
    with np.errstate(divide="ignore", under="ignore", over="ignore"):
        wanted = (log_weight - np.log(q)) / scaled.alpha
        y = np.exp(np.minimum(wanted, scaled.log_bound))
        free = wanted < scaled.log_bound
        return Response(prices, q, y, scaled.by_link @ y, free, log_weight)


def stiffness(scaled: Scaled, response: Response) -> Array:
    """-dy_i / dq_i = y / (alpha q); 0 where a bound holds the rate."""
    q = response.flow_price
    safe = np.where(response.free, q, 1.0)
    return np.asarray(np.where(response.free, response.rates / (scaled.alpha * safe), 0.0))


def paid(scaled: Scaled, response: Response) -> Array:
    """(flows,) what a unit of each flow costs: q, or v for a flow that its own bound holds."""
    held = scaled.bounded & ~response.free
    if not held.any():
        return response.flow_price
    with np.errstate(under="ignore", over="ignore"):
        return np.where(held, np.exp(np.where(held, response.log_weight, 0.0)), response.flow_price)


def mean_share(scaled: Scaled, response: Response) -> Array:
    """Share of each link in the prices its users pay, their mean weighed by load."""
    q = paid(scaled, response)
    part = np.divide(response.rates, q, out=np.zeros_like(q), where=q > 0.0)
    weighed = response.prices * (scaled.squared @ part)
    load = response.load
    share = np.divide(weighed, load, out=np.zeros_like(load), where=load > 0.0)
    return np.asarray(share)


def largest_share(scaled: Scaled, response: Response) -> Array:
    """Share of each link in the price of the user for whom it is largest."""
    A = scaled.by_link
    q = paid(scaled, response)[A.indices]
    part = np.divide(A.data, q, out=np.zeros_like(q), where=q > 0.0)
    return np.asarray(response.prices * np.maximum.reduceat(part, A.indptr[:-1]))


def violation(response: Response, share: Array) -> float:
    """Largest overload, or min(unused part, share in a price) of a link with room."""
    load = response.load
    if not np.isfinite(load).all():
        return np.inf
    return float(np.maximum(load - 1.0, np.minimum(1.0 - load, share)).max())


def alone_log_prices(scaled: Scaled) -> Array:
    """Logarithm of the price that would fill each link if it were the only one: an upper bound."""
    A, alpha = scaled.by_link, scaled.alpha
    with np.errstate(divide="ignore"):
        term = (1.0 - 1.0 / alpha) * np.log(A.data) + scaled.log_weight[A.indices] / alpha
    start = A.indptr[:-1]
    top = np.maximum.reduceat(term, start)
    top = np.where(np.isfinite(top), top, 0.0)
    spread = np.exp(np.minimum(term - np.repeat(top, np.diff(A.indptr)), 0.0))
    return np.asarray(alpha * (top + np.log(np.add.reduceat(spread, start))))
