"""Flows that may split over several paths: the checked problem, and the residual of any point."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fairopt import checks
from fairopt.allocation.multipath.path_pairs import (
    Pairs,
    grouped_largest,
    highest,
    largest_shares,
    pairs_of,
    relative_extra_prices,
)
from fairopt.allocation.problem import Problem
from fairopt.allocation.residual import relative_loads
from fairopt.allocation.routes import Routes
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class PathProblem:
    """Maximise sum_i p_i u_alpha(x_i), x_i = sum of z_p over the paths p of i, R z <= c, z >= 0.

    Attributes:
        by_path: The paths as flows of their own, with priorities of one.
        owner: (paths,) the flow a path belongs to, sorted.
        priority: (flows,) > 0.
    """

    by_path: Problem
    owner: Ints
    priority: Array

    @property
    def flows(self) -> int:
        """Number of flows."""
        return len(self.priority)

    def total(self, of_paths: Array) -> Array:
        """Sums over the paths of each flow."""
        return np.bincount(self.owner, of_paths, self.flows).astype(np.float64, copy=False)

    @cached_property
    def closed(self) -> BoolArray:
        """Flows that can only have rate zero: a link without capacity on every path."""
        return np.asarray(self.total((~self.by_path.forced).astype(float)) == 0.0)

    @cached_property
    def infeasible(self) -> BoolArray:
        """Those of them that have no utility at rate zero, as `Problem.infeasible`."""
        return self.closed & (1.0 <= self.by_path.alpha < np.inf)

    @cached_property
    def unlimited(self) -> BoolArray:
        """Flows with a path that nothing limits."""
        return np.asarray(self.total(self.by_path.unlimited.astype(float)) > 0.0)

    def restricted(self, flows: BoolArray) -> PathProblem:
        """The problem of some of the flows alone, on the same links."""
        paths = np.flatnonzero(flows[self.owner])
        _, owner = np.unique(self.owner[paths], return_inverse=True)
        return PathProblem(self.by_path.restricted(paths), owner, self.priority[flows])

    @cached_property
    def open_pairs(self) -> Pairs:
        """Pairs of paths that are not closed."""
        every = self.by_path.routes.made(_every_pair, self.owner)
        closed = self.by_path.forced
        if not closed.any():
            return every
        kept = np.flatnonzero(~(closed[every.lower] | closed[every.upper]))
        return Pairs(every.lower[kept], every.upper[kept], every.difference[kept])

    @cached_property
    def log_alone(self) -> Array:
        """(paths,) logarithm of the largest possible rate on each path."""
        none = np.full(len(self.owner), -np.inf)
        return -grouped_largest(self.by_path.flow, -self.by_path.log_limit, none)

    @cached_property
    def log_most(self) -> Array:
        """Logarithm of the largest possible rate of each flow on one of its paths."""
        return -self.least(-self.log_alone)

    def least(self, of_paths: Array) -> Array:
        """Minima over the paths of each flow."""
        return np.minimum.reduceat(of_paths, np.searchsorted(self.owner, np.arange(self.flows)))


def path_owners(owner: object, paths: int) -> Ints:
    """The checked flow of every path: 0, 0, .., 1, .. without a gap."""
    array = checks.real_array("owner", owner)
    if array.ndim != 1 or array.size == 0 or (array != np.floor(array)).any() or array[0] != 0:
        raise InvalidInput("owner", owner, "a flow number for every path, from 0 on")
    whole = array.astype(np.int64)
    if not np.isin(np.diff(whole), (0, 1)).all():
        raise InvalidInput(
            "owner",
            owner,
            "sorted flow numbers without a gap, as [0, 0, 1]: sort the paths by their flow",
        )
    if paths != len(whole):
        raise InvalidInput("owner", f"{len(whole)} entries", f"{paths}, one per column")
    return whole


def _every_pair(routes: Routes, owner: Ints) -> Pairs:
    """The pairs of all paths."""
    return pairs_of(routes.by_flow, owner)


def path_residual(problem: PathProblem, path_rates: Array, prices: Array) -> float:
    """The worst violation, as `path_allocation_residual` defines it."""
    R, c, alpha = problem.by_path.routing, problem.by_path.capacity, problem.by_path.alpha
    z, lam = path_rates, prices
    bad = any(np.isnan(a).any() or (a < 0.0).any() for a in (z, lam))
    if bad or (z[problem.by_path.forced] > 0.0).any() or problem.by_path.unlimited.any():
        return np.inf
    if alpha == np.inf:
        return _max_min_residual(problem, z, lam)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        load = R @ z
        relative = np.where(c > 0.0, load / np.where(c > 0.0, c, 1.0), 0.0)
        path_price = np.where(problem.by_path.forced, np.inf, R.T @ np.where(c > 0.0, lam, 0.0))
        price, rate = problem.least(path_price), problem.total(z)
        closed = ~np.isfinite(price)
        if alpha >= 1.0 and closed.any():
            return np.inf
        open_price = np.where(c > 0.0, lam, 0.0)
        pairs, floor = problem.open_pairs, _price_floor(problem, price)
        share = _link_shares(R, open_price, path_price)
        share = np.maximum(share, largest_shares(pairs, open_price, floor))
        extra = relative_extra_prices(pairs, open_price, floor)
        parts = [
            relative - 1.0,
            _stationarity(alpha, problem.priority, rate, price)[~closed],
            np.sqrt(np.maximum(1.0 - relative, 0.0) * share),
            _used_extra_prices(problem, z, rate, path_price, price, extra),
        ]
        if alpha == 0.0:
            paid = (c > 0.0) & (lam > 0.0)  # a link without a limit has no price, and 0 inf is NaN
            parts.append(
                np.array([_gap(float(problem.priority @ rate), float(lam[paid] @ c[paid]))])
            )
    return _worst(parts)


def _worst(parts: list[Array]) -> float:
    """The largest of all; inf where anything is not a number."""
    worst = np.array([np.max(part, initial=0.0) for part in parts])
    return float(np.where(np.isnan(worst), np.inf, worst).max())


def _max_min_residual(problem: PathProblem, z: Array, prices: Array) -> float:
    """The same at alpha = inf, where the highest price on a path takes the place of the sum."""
    by_path = problem.by_path
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        load, entry = relative_loads(by_path, z), np.where(by_path.capacity > 0.0, prices, 0.0)
        path_price = np.where(by_path.forced, np.inf, highest(by_path.by_flow, entry))
        price = problem.least(path_price)
        share = np.zeros(by_path.links)
        np.fmax.at(share, by_path.link, entry[by_path.link] / path_price[by_path.flow])
        pairs = problem.open_pairs.counted
        apart = largest_shares(pairs, entry, np.zeros(len(pairs.lower)), highest)
        unused = np.maximum(1.0 - load, 0.0)[by_path.capacity > 0.0]
        return _worst(
            [
                load - 1.0,
                np.abs(problem.total(z) * price - 1.0)[np.isfinite(price)],
                np.minimum(unused, np.fmax(share, apart)[by_path.capacity > 0.0]),
                _costly_exchanges(problem, z, entry),
            ]
        )


def _costly_exchanges(problem: PathProblem, z: Array, prices: Array) -> Array:
    """For every pair of paths the smaller of a relative extra price and what is filled for it.

    Filled is the largest part of a link that the dearer path uses and the other does not: what
    others could have of it. What it is of its own flow does not matter, as flows keep their rates.
    """
    pairs, sides = problem.open_pairs, problem.open_pairs.only
    costs = [highest(side, prices) for side in problem.open_pairs.counted.only]
    found = []
    for k, path in ((0, pairs.lower), (1, pairs.upper)):
        entry, filled = sides[k].tocoo(), np.zeros(len(path))
        part = entry.data * z[path][entry.row] / problem.by_path.capacity[entry.col]
        np.maximum.at(filled, entry.row, part)
        dearer = costs[k] > costs[1 - k]
        extra = np.divide(costs[1 - k], costs[k], out=np.ones_like(filled), where=dearer)
        found.append(np.minimum(filled, 1.0 - extra))
    return np.concatenate(found)


def _stationarity(alpha: float, priority: Array, rate: Array, price: Array) -> Array:
    """Relative distance of rates from the demand at their price; shortfall of prices at alpha 0."""
    if alpha == 0.0:
        return np.maximum(1.0 - price / priority, 0.0)
    off = alpha * np.log(rate) + np.log(price) - np.log(priority)
    return np.abs(np.expm1(off / max(1.0, alpha)))


def _link_shares(R: Any, prices: Array, path_price: Array) -> Array:
    """The largest share of each link in the price of a path."""
    entry = R.tocoo()
    part = entry.data * prices[entry.row] / path_price[entry.col]
    part = np.where(prices[entry.row] > 0.0, part, 0.0)
    return grouped_largest(entry.row, part, np.zeros(len(prices)))


def _price_floor(problem: PathProblem, price: Array) -> Array:
    """For every pair of paths the price of its flow that is worth the cheapest flow's price.

    Price times the largest possible rate is the same for both. Differences far below it change no
    rate. At alpha = 0 prices alone decide which paths are used.
    """
    if problem.by_path.alpha == 0.0:
        return np.full(len(problem.open_pairs.lower), np.inf)
    worth = np.where(np.isfinite(price), np.log(price) + problem.log_most, np.inf)
    of_flow = np.exp(np.min(worth, initial=np.inf) - problem.log_most)
    return np.asarray(of_flow[problem.owner[problem.open_pairs.lower]])


def _used_extra_prices(
    problem: PathProblem, z: Array, rate: Array, path_price: Array, price: Array, extra: Array
) -> Array:
    """For every path the geometric mean of how much it is used and its relative extra price."""
    R, c = problem.by_path.routing.tocoo(), problem.by_path.capacity
    used = np.divide(z, rate[problem.owner], out=np.zeros_like(z), where=z > 0.0)
    part = np.where(c[R.row] > 0.0, R.data * z[R.col] / c[R.row], 0.0)
    used = grouped_largest(R.col, part, used)
    wanted = price if problem.by_path.alpha > 0.0 else np.minimum(price, problem.priority)
    more = np.maximum(1.0 - wanted[problem.owner] / path_price, 0.0)
    more[: len(extra)] = np.maximum(more[: len(extra)], extra)
    return np.where(z > 0.0, np.sqrt(used * more), 0.0)


def _gap(primal: float, dual: float) -> float:
    """The relative distance of two values."""
    return abs(primal - dual) / max(primal, dual) if max(primal, dual) > 0.0 else 0.0
