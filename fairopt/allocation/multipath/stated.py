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

from fairopt.allocation.multipath.problem import (
    PathProblem,
    path_residual,
    read_paths,
)
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.problem import Problem, limits, number_of_each, positive_of_each
from fairopt.arrays import Array, Ints
from fairopt.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Stated:
    """A problem as it was stated, beside the one that is solved for it.

    Attributes:
        problem: Without weights, and with a link for every limit after the links.
        links: Number of links that were stated.
        limited: (limits,) flows with a limit, in the order of these links.
        weights: (flows,).
    """

    problem: PathProblem
    links: int
    limited: Ints
    weights: Array

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
    problem = read_paths(routing, owner, capacity, alpha, priority)
    flows, links = problem.flows, problem.by_path.links
    none = np.zeros(0, dtype=np.int64)
    if upper is None and weights is None:
        return Stated(problem, links, none, np.ones(flows))
    w = np.ones(flows) if weights is None else positive_of_each("weights", weights, flows)
    d = np.full(flows, np.inf) if upper is None else limits("upper", upper, flows, "flows")
    limited = np.flatnonzero(np.isfinite(d))
    by_path = problem.by_path
    R = _in_units(by_path.routing, w[problem.owner])
    rows = _limit_rows(problem.owner, w, limited)
    both = replace(problem, by_path=_stacked(by_path, R, rows, d[limited]))
    return Stated(both, links, limited, w)


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


def _stacked(by_path: Problem, R: Any, rows: Any, room: Array) -> Problem:
    """The links, and below them the limits."""
    from scipy import sparse

    every = sparse.vstack([R, rows], format="csr")
    every.indices = every.indices.astype(np.int32, copy=False)
    every.indptr = every.indptr.astype(np.int32, copy=False)
    return replace(by_path, routing=every, capacity=np.concatenate([by_path.capacity, room]))
