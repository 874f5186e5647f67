r"""Where Newton's method begins from the answer of a similar problem: its prices.

At the prices of links and limits as they were, every flow has the rate that it would ask for,
:math:`x_i = (v_i / q_i)^{1 / \alpha}` with its cheapest path and its limit as :math:`q_i`, split
as before. Where only capacities changed these are the rates of before; where a priority did, no
price has to follow before loads are seen.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocation.multipath.interior import Point
from fairopt.allocation.multipath.link_space import SplitForm
from fairopt.allocation.multipath.presolve import Presolved
from fairopt.arrays import Array

PAID = 1e-12  # of the price of a flow: less is no price of its limit


def carried(small: Presolved, z: Array, prices: Array) -> tuple[Array, Array, Array]:
    """Path rates, link prices and prices of limits of the presolved problem."""
    held = small.limit_link[small.flows]
    limited = held >= 0
    mu = np.zeros(len(held))
    mu[limited] = prices[held[limited]] / small.limit[small.flows[limited]]
    return z[small.paths], prices[small.links], mu


def point_near(form: SplitForm, z: Array, prices: Array, mu: Array) -> Point:
    """The point at these prices; `mu` has one of every flow."""
    cost, _ = form.costs_and_loads(z, prices)
    cheapest = form.cheapest(cost)
    z = np.where((form.total(z) <= 0.0)[form.owner] & (cost <= cheapest[form.owner]), 1.0, z)
    x, q = form.total(z), cheapest + mu
    wanted = np.minimum(np.exp((form.log_weight - np.log(q)) / form.alpha), form.upper)
    wanted = np.where(mu > PAID * q, form.upper, wanted)
    rate = np.where(np.isfinite(wanted) & (wanted > 0.0), wanted, x)
    z = z * (rate / x)[form.owner]
    q = np.exp(form.log_weight - form.alpha * np.log(rate))
    of = form.limited
    pays = q.copy()
    pays[of] -= mu[of]
    _, load = form.costs_and_loads(z, prices)
    return Point(
        z,
        np.maximum(cost - pays[form.owner], 0.0),
        prices,
        np.maximum(1.0 - load, 0.0),
        q,
        mu[of],
        np.maximum((form.upper - rate)[of], 0.0),
    )


def inside(form: SplitForm, point: Point, tau: float) -> Point:
    """A point with everything positive beside it: of complementary pairs the product is tau."""
    x, of = form.total(point.z), form.limited
    unit, pays = x[form.owner], point.q[form.owner]
    highest = form.highest_prices(pays, point.prices)
    z, nu = _pair(point.z / unit, point.nu / pays, tau)
    prices, s = _pair(point.prices / highest, point.s, tau)
    mu, t = _pair(point.mu / point.q[of], point.t / x[of], tau)
    return Point(z * unit, nu * pays, prices * highest, s, point.q, mu * point.q[of], t * x[of])


def _pair(one: Array, other: Array, tau: float) -> tuple[Array, Array]:
    """Two complementary numbers, in their units, with the product tau."""
    kept = np.maximum(one, np.minimum(tau / other, np.sqrt(tau)))
    return kept, tau / kept
