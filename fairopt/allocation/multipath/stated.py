r"""Limits and weights of flows over several paths, written as links and units.

With :math:`x = w x'` and :math:`z = w z'` the problem :math:`\max \sum_i p_i u_\alpha(x_i / w_i)`
subject to :math:`R z \le c, x \le d` is the one without weights for :math:`R w z' \le c`, and a
limit is one more link that all paths of its flow use: :math:`w_i x'_i \le d_i`. Prices of links,
prices of limits and residuals are the same; at alpha = inf levels are :math:`x_i / w_i`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt.allocation.multipath.problem import PathProblem, path_owners, path_residual
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.problem import (
    Numbers,
    number_of_each,
    positive_of_each,
    read_numbers,
    routing_matrix,
    with_routes,
)
from fairopt.allocation.routes import Routes
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Stated:
    """A problem as it was stated, beside the one that is solved for it.

    Attributes:
        problem: Without weights, and with a link for every limit after the links.
        routes: The routing that was stated.
        numbers: Capacities, alpha, priorities and limits that were stated.
        weights: (flows,).
        limited: (limits,) flows with a limit, in the order of their links.
    """

    problem: PathProblem
    routes: Routes
    numbers: Numbers
    weights: Array
    limited: Ints

    @property
    def links(self) -> int:
        """Number of links that were stated."""
        return len(self.numbers.capacity)

    def changed(
        self,
        capacity: ArrayLike | None = None,
        alpha: object | None = None,
        priority: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> Stated:
        """The problem with other numbers over the same paths; those that are given are checked."""
        numbers, flows = self.numbers.changed(capacity, alpha, priority, upper), self.problem.flows
        w = self.weights if weights is None else positive_of_each("weights", weights, flows)
        return state(self.routes, self.problem.owner, numbers, w)

    def start(self, found: PathAllocation) -> tuple[Array, Array]:
        """Path rates and prices of the problem that is solved, from an answer to a similar one."""
        z, prices, own = found.path_rates, found.prices, found.upper_prices
        every = np.concatenate([prices, own[self.limited]])
        return z / self.weights[self.problem.owner], every

    def answer(self, found: PathAllocation) -> PathAllocation:
        """The answer in the units that were stated."""
        upper_prices = np.zeros(self.problem.flows)
        upper_prices[self.limited] = found.prices[self.links :]
        return replace(
            found,
            rates=found.rates * self.weights,
            path_rates=found.path_rates * self.weights[self.problem.owner],
            prices=found.prices[: self.links],
            upper_prices=upper_prices,
        )

    def residual(self, path_rates: ArrayLike, prices: ArrayLike, upper_prices: ArrayLike) -> float:
        """The residual of any point; inf for a price of a limit that does not exist."""
        flows, owner = self.problem.flows, self.problem.owner
        z = number_of_each("path_rates", path_rates, len(owner), "paths")
        lam = number_of_each("prices", prices, self.links, "links")
        mu = number_of_each("upper_prices", upper_prices, flows, "flows")
        if (np.delete(mu, self.limited) != 0.0).any():
            return np.inf
        every = np.concatenate([lam, mu[self.limited]])
        return path_residual(self.problem, z / self.weights[owner], every)


def read_stated(
    routing: object,
    owner: object,
    capacity: ArrayLike,
    alpha: object,
    priority: ArrayLike | None,
    upper: ArrayLike | None,
    weights: ArrayLike | None,
) -> Stated:
    """The checked problem; every refusal names the argument."""
    routes = Routes(routing_matrix(routing))
    links, paths = routes.matrix.shape
    owners = path_owners(owner, paths)
    flows = int(owners[-1]) + 1
    numbers = read_numbers(links, flows, capacity, alpha, priority, upper)
    w = np.ones(flows) if weights is None else positive_of_each("weights", weights, flows)
    return state(routes, owners, numbers, w)


def state(routes: Routes, owner: Ints, numbers: Numbers, weights: Array) -> Stated:
    """The problem of checked numbers; routes with limits and weights are kept with the routes."""
    finite = np.isfinite(numbers.upper)
    limited = np.flatnonzero(finite)
    written = routes
    if len(limited) or (weights != 1.0).any():
        written = routes.made(_with_limits, owner, weights, finite)
    room = np.concatenate([numbers.capacity, numbers.upper[limited]])
    paths = len(owner)
    none = np.full(paths, np.inf)
    by_path = with_routes(written, room, numbers.alpha, np.ones(paths), none)
    problem = PathProblem(by_path, owner, numbers.priority)
    return Stated(problem, routes, numbers, weights, limited)


def _with_limits(routes: Routes, owner: Ints, weights: Array, limited: BoolArray) -> Routes:
    """The links in the units of rates over weights, and below them the limits."""
    from scipy import sparse

    R = _in_units(routes.matrix, weights[owner])
    every = sparse.vstack([R, _limit_rows(owner, weights, np.flatnonzero(limited))], format="csr")
    every.indices = every.indices.astype(np.int32, copy=False)
    every.indptr = every.indptr.astype(np.int32, copy=False)
    return Routes(every)


def _in_units(R: Any, units: Array) -> Any:
    """The routing of path rates in units, if float64 holds it."""
    with np.errstate(over="ignore", under="ignore"):
        entries = R.data * units[R.indices]
    if not (np.isfinite(entries).all() and (entries > 0.0).all()):
        what = "such that float64 holds routing * weights"
        raise InvalidInput("weights", units[R.indices][entries.argmax()], what)
    scaled = R.copy()
    scaled.data = entries
    return scaled


def _limit_rows(owner: Ints, weights: Array, limited: Ints) -> Any:
    """(limits, paths) with the weight of its flow where a path belongs to it."""
    from scipy import sparse

    row = np.full(len(weights), -1)
    row[limited] = np.arange(len(limited))
    paths = np.flatnonzero(row[owner] >= 0)
    entries = (weights[owner[paths]], (row[owner[paths]], paths))
    return sparse.csr_array(entries, shape=(len(limited), len(owner)))
