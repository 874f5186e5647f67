r"""The scaled problem of flows over paths, points inside it, and how far they are from optimal.

With path rates z, flow rates x = G z, link prices lambda, flow prices pi and extra prices nu of
paths, the equations are

.. math:: \alpha \log x_i + \log \pi_i = \log v_i, \quad A'\lambda - \nu = G'\pi, \quad A z + s = 1,
    \quad z_p \nu_p = \tau x_i \pi_i, \quad \lambda_l s_l = \tau k_l ,

where k_l is the most that the price of link l can be: what its path with the lowest price pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fairopt.checks import Array, Ints

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
        pairs: Two (pairs,) arrays of paths of one flow.
        difference: (pairs, links) first path less second; what both use cancels exactly.
    """

    A: Any
    transposed: Any
    owner: Ints
    flows: int
    log_weight: Array
    alpha: float
    pairs: tuple[Ints, Ints]
    difference: Any

    @cached_property
    def first(self) -> Ints:
        """(flows,) the first path of each flow."""
        return np.searchsorted(self.owner, np.arange(self.flows))

    @cached_property
    def apart(self) -> Any:
        """(pairs, links) what only one of two paths uses."""
        return abs(self.difference)

    def total(self, of_paths: Array) -> Array:
        """Sums over the paths of each flow."""
        return np.bincount(self.owner, of_paths, self.flows).astype(np.float64, copy=False)

    def cheapest(self, of_paths: Array) -> Array:
        """Minima over the paths of each flow."""
        return np.asarray(np.minimum.reduceat(of_paths, self.first))

    def highest_price(self, cost: Array) -> Array:
        """What a price is at most on each link: what its path with the lowest price pays for it."""
        part = self.A.data / cost[self.A.indices]
        return np.asarray(1.0 / np.maximum.reduceat(part, self.A.indptr[:-1]))


class Inside(NamedTuple):
    """A point with everything positive, or a change of the logarithms of one."""

    z: Array
    nu: Array
    prices: Array
    s: Array
    pi: Array


class Units(NamedTuple):
    """What complementarity is measured in: the highest price of a link, what a flow pays."""

    link: Array
    path: Array


def path_form(A: Any, owner: Ints, flows: int, log_weight: Array, alpha: float) -> PathForm:
    """The problem with its pairs of paths."""
    first = np.searchsorted(owner, owner)
    left = [np.arange(first[p], p) for p in range(len(owner))]
    lower = np.concatenate(left) if left else np.zeros(0, dtype=np.int64)
    upper = np.repeat(np.arange(len(owner)), [len(part) for part in left])
    rows = A.T.tocsr()
    difference = (rows[lower] - rows[upper]).tocsr()
    return PathForm(A, rows, owner, flows, log_weight, alpha, (lower, upper), difference)


def units(form: PathForm, point: Inside) -> Units:
    """The units at a point."""
    users = point.pi[form.owner]
    pays = (form.total(point.z) * point.pi)[form.owner]
    return Units(form.highest_price(users + point.nu), np.asarray(pays))


def gaps(point: Inside, unit: Units) -> tuple[Array, Array]:
    """Complementarity of paths and of links in their units."""
    return point.z * point.nu / unit.path, point.prices * point.s / unit.link


def residuals(form: PathForm, point: Inside) -> tuple[Array, Array, Array]:
    """What the first three equations lack; that of paths relative to their price."""
    users = point.pi[form.owner]
    stationary = form.log_weight - form.alpha * np.log(form.total(point.z)) - np.log(point.pi)
    dual = (point.nu + users - form.transposed @ point.prices) / (users + point.nu)
    primal = 1.0 - form.A @ point.z - point.s
    return stationary, dual, np.where(np.abs(primal) < ROUNDING, 0.0, primal)


def off(form: PathForm, point: Inside) -> float:
    """The largest of them; inf where one is not a number."""
    worst = max(float(np.abs(part).max()) for part in residuals(form, point))
    return worst if np.isfinite(worst) else np.inf


def violation(form: PathForm, point: Inside) -> float:
    """The residual of the scaled problem, as `path_allocation_residual` defines it."""
    z, x = point.z, form.total(point.z)
    cost, load = form.transposed @ point.prices, form.A @ point.z
    price = form.cheapest(cost)
    wanted = (form.log_weight - np.log(price)) / max(1.0, form.alpha)
    stationary = np.abs(wanted - min(1.0, form.alpha) * np.log(x))
    idle = np.maximum(1.0 - load, 0.0) * point.prices / form.highest_price(cost)
    detour = z / x[form.owner] * (1.0 - price[form.owner] / cost)
    parts = (load - 1.0, stationary, np.sqrt(idle), np.sqrt(np.maximum(detour, 0.0)))
    worst = max(float(part.max()) for part in parts)
    return worst if np.isfinite(worst) else np.inf
