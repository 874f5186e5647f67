r"""The scaled problem of flows over paths, its interior points, and how far they are from optimal.

With path rates z, flow rates x = G z, link prices lambda, flow prices pi and extra prices nu of
paths, the equations are

.. math:: \alpha \log x_i + \log \pi_i = \log v_i, \quad A'\lambda - \nu = G'\pi, \quad A z + s = 1,
    \quad z_p \nu_p = \tau x_i \pi_i, \quad \lambda_l s_l = \tau k_l ,

where k_l is the highest possible price of link l: what its path with the lowest price pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.multipath.path_pairs import (
    Pairs,
    largest_shares,
    pairs_of,
    relative_extra_prices,
)
from fairopt.arrays import Array, Ints

NEGLIGIBLE = 1e-9  # share of a price over the unused share of its link
ROUNDING = 1e-14  # of a link's capacity: below it an overload is one of the last digits


@dataclass(frozen=True, eq=False)
class PathForm:
    """The scaled problem: A (links, paths) with capacities 1, and the pairs of paths of a flow.

    Attributes:
        A: (links, paths) `scipy.sparse.csr_array`.
        transposed: (paths, links) the same.
        owner: (paths,) flow of each path, sorted.
        flows: Number of flows.
        log_weight: (flows,) log v.
        alpha: Finite and > 0.
        pairs: Pairs of paths of one flow.
    """

    A: Any
    transposed: Any
    owner: Ints
    flows: int
    log_weight: Array
    alpha: float
    pairs: Pairs

    @cached_property
    def first(self) -> Ints:
        """(flows,) the first path of each flow."""
        return np.searchsorted(self.owner, np.arange(self.flows))

    def total(self, of_paths: Array) -> Array:
        """Sums over the paths of each flow."""
        return np.bincount(self.owner, of_paths, self.flows).astype(np.float64, copy=False)

    def share(self, z: Array) -> Array:
        """(paths,) what part of its flow each path carries."""
        return np.asarray(z / self.total(z)[self.owner])

    def log_price(self, z: Array) -> Array:
        """(flows,) the logarithm of the marginal utility, the price a flow pays."""
        return np.asarray(self.log_weight - self.alpha * np.log(self.total(z)))

    def cheapest(self, of_paths: Array) -> Array:
        """Minima over the paths of each flow."""
        return np.asarray(np.minimum.reduceat(of_paths, self.first))

    def fullest_path(self, z: Array) -> Ints:
        """(flows,) the path that carries most of each flow."""
        last = np.append(self.first[1:], len(z)) - 1
        return np.asarray(np.lexsort((z, self.owner))[last])

    def fullest(self, z: Array) -> Array:
        """(paths,) the largest part of a link that a path fills."""
        return np.maximum.reduceat(self.transposed.data, self.transposed.indptr[:-1]) * z

    def highest_price(self, cost: Array) -> Array:
        """The highest possible price of each link: what its path with the lowest price pays."""
        part = self.A.data / cost[self.A.indices]
        return np.asarray(1.0 / np.maximum.reduceat(part, self.A.indptr[:-1]))


class Iterate(NamedTuple):
    """An interior point (everything positive), or a change of its logarithms."""

    z: Array
    nu: Array
    prices: Array
    s: Array
    pi: Array


class Units(NamedTuple):
    """The units of complementarity: the highest possible price of a link, what a flow pays."""

    link: Array
    path: Array


def path_form(A: Any, owner: Ints, flows: int, log_weight: Array, alpha: float) -> PathForm:
    """The problem with its pairs of paths."""
    rows = A.T.tocsr()
    return PathForm(A, rows, owner, flows, log_weight, alpha, pairs_of(rows, owner))


def units(form: PathForm, point: Iterate) -> Units:
    """The units at a point."""
    users = point.pi[form.owner]
    pays = (form.total(point.z) * point.pi)[form.owner]
    return Units(form.highest_price(users + point.nu), np.asarray(pays))


def gaps(point: Iterate, unit: Units) -> tuple[Array, Array]:
    """Complementarity of paths and of links in their units."""
    return point.z * point.nu / unit.path, point.prices * point.s / unit.link


def residuals(form: PathForm, point: Iterate) -> tuple[Array, Array, Array]:
    """Residuals of the first three equations; that of paths relative to their price."""
    users = point.pi[form.owner]
    stationary = form.log_price(point.z) - np.log(point.pi)
    dual = (point.nu + users - form.transposed @ point.prices) / (users + point.nu)
    primal = 1.0 - form.A @ point.z - point.s
    return stationary, dual, np.where(np.abs(primal) < ROUNDING, 0.0, primal)


def largest_residual(form: PathForm, point: Iterate) -> float:
    """The largest of them; inf where one is not a number."""
    worst = max(float(np.abs(part).max()) for part in residuals(form, point))
    return worst if np.isfinite(worst) else np.inf


def violation(form: PathForm, z: Array, prices: Array) -> float:
    """The residual of the scaled problem, as `path_allocation_residual` defines it."""
    x = form.total(z)
    cost, load = form.transposed @ prices, form.A @ z
    price = form.cheapest(cost)
    wanted = (form.log_weight - np.log(price)) / max(1.0, form.alpha)
    stationary = np.abs(wanted - min(1.0, form.alpha) * np.log(x))
    floor = price_floor(form, price)
    idle = np.maximum(1.0 - load, 0.0) * price_shares(form, cost, prices, floor)
    used = np.maximum(z / x[form.owner], form.fullest(z))
    extra = 1.0 - price[form.owner] / cost
    compared = relative_extra_prices(form.pairs, prices, floor)
    extra[: len(compared)] = np.maximum(extra[: len(compared)], compared)
    parts = (load - 1.0, stationary, np.sqrt(idle), np.sqrt(np.maximum(used * extra, 0.0)))
    worst = max(float(part.max()) for part in parts)
    return worst if np.isfinite(worst) else np.inf


def price_floor(form: PathForm, price: Array) -> Array:
    """For every pair the lowest price of all flows: smaller differences change no rate."""
    return np.full(len(form.pairs.lower), np.min(price))


def drop_negligible_prices(form: PathForm, z: Array, prices: Array) -> Array:
    """Prices without the negligible ones that an interior point leaves on links with slack."""
    cost = form.transposed @ prices
    floor = price_floor(form, form.cheapest(cost))
    slack = np.maximum(1.0 - form.A @ z, 0.0)
    return np.where(price_shares(form, cost, prices, floor) < NEGLIGIBLE * slack, 0.0, prices)


def price_shares(form: PathForm, cost: Array, prices: Array, floor: Array) -> Array:
    """The largest share of each link in the price of a path, or in what two paths differ by."""
    return np.maximum(prices / form.highest_price(cost), largest_shares(form.pairs, prices, floor))
