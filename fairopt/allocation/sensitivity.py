"""Derivatives of fair rates and prices in capacities and priorities: one linear solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.result import Allocation, listed
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.errors import InvalidInput, NotSolved

if TYPE_CHECKING:
    from fairopt.allocation.problem import Problem

INDEPENDENT = 1e-12  # of the largest eigenvalue: below it prices of full links are not unique
EDGE = 1e-7  # relative: a link with less slack is full, a smaller share of a price is zero
TOUCHED = 1e-6  # part of a link in a price change that changes no rate
CONSISTENT = 1e-9  # relative: a change of capacities that dependent links agree on


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Derivatives of an allocation, as a linear map of changes.

    Attributes:
        full: Links whose price is positive.
        rows: Their rows of the routing.
        response: (flows,) -dx / dq, 0 for flows at their bound.
        gain: (flows,) dx / dp at fixed prices.
        inverse: Inverse of rows diag(response) rows', zero on `free`.
        free: (full links, k) changes of their prices that move no rate: prices are not unique.
        links: Number of links.
        edges: Links that are full at price zero: rates have one-sided derivatives there.
        edge_flows: Flows at their `upper` whose bound has price zero: the same.
    """

    full: Ints
    rows: Any
    response: Array
    gain: Array
    inverse: Array
    free: Array
    links: int
    edges: Ints
    edge_flows: Ints

    @property
    def ok(self) -> bool:
        """Whether rates and prices are differentiable."""
        return not (len(self.edges) or len(self.edge_flows) or self.free.shape[1])

    @property
    def sentence(self) -> str:
        """Whether rates and prices are differentiable, or what prevents it."""
        if self.ok:
            return "rates and prices are differentiable"
        parts = [
            f"links {listed(self.edges)} full at price zero" if len(self.edges) else "",
            f"flows {listed(self.edge_flows)} at a bound of price zero"
            if len(self.edge_flows)
            else "",
            f"prices of links {listed(self.full[self._touched])} not unique"
            if self.free.shape[1]
            else "",
        ]
        return "not differentiable: " + "; ".join(part for part in parts if part)

    def require(self) -> Sensitivity:
        """These derivatives if they exist in every direction.

        Raises:
            NotSolved: with the sentence.
        """
        if self.ok:
            return self
        raise NotSolved(self.sentence)

    def change(
        self, capacity: ArrayLike | None = None, priority: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Changes of rates (flows,) and prices (links,) for small changes of the problem.

        Where `ok` is false some do not exist: prices that are not unique, and rates of flows on
        such links if the links disagree on the change, are NaN; at an edge the derivative is that
        of the side on which the link has slack, or the flow stays at its bound.

        Args:
            capacity: (links,) or (links, cases) change of capacities, default none.
            priority: (flows,) or (flows, cases) change of priorities, default none.

        Raises:
            InvalidInput: for other shapes, or if neither is given.
        """
        if capacity is None and priority is None:
            raise InvalidInput("capacity", None, "given, or priority")
        dc = _cases("capacity", capacity, self.links)
        dp = _cases("priority", priority, len(self.gain))
        moved = self.gain[:, None] * dp
        excess = self.rows @ moved - dc[self.full]
        full = self.inverse @ excess
        rates = moved - self.response[:, None] * (self.rows.T @ full)
        prices = np.zeros((self.links, full.shape[1]))
        prices[self.full] = full
        self._mark(excess, rates, prices)
        given: Any = capacity if capacity is not None else priority
        single = np.ndim(given) == 1
        return (rates[:, 0], prices[:, 0]) if single else (rates, prices)

    @property
    def _touched(self) -> BoolArray:
        """Of the full links those whose prices are not unique."""
        largest = np.abs(self.free).max(axis=1, initial=0.0)
        return np.asarray(largest > TOUCHED * largest.max(initial=0.0))

    def _mark(self, excess: Array, rates: Array, prices: Array) -> None:
        """NaN where there is no derivative."""
        if not self.free.shape[1]:
            return
        prices[self.full[self._touched]] = np.nan
        off = np.abs(self.free.T @ excess).max(axis=0)
        torn = off > CONSISTENT * (np.abs(self.free.T) @ np.abs(excess)).max(axis=0)
        users = np.asarray(self.rows[np.flatnonzero(self._touched)].sum(axis=0)).ravel() > 0.0
        rates[np.ix_(users & (self.response > 0.0), torn)] = np.nan


def _cases(argument: str, value: ArrayLike | None, size: int) -> Array:
    """(size, cases), zero if not given."""
    if value is None:
        return np.zeros((size, 1))
    array = checks.real_array(argument, value)
    if array.ndim not in (1, 2) or len(array) != size:
        raise InvalidInput(
            argument, f"array of shape {array.shape}", f"({size},) or ({size}, cases)"
        )
    return array if array.ndim == 2 else array[:, None]


def allocation_sensitivity(
    routing: object,
    capacity: ArrayLike,
    alpha: float,
    allocation: Allocation,
    *,
    priority: ArrayLike | None = None,
    upper: ArrayLike | None = None,
) -> Sensitivity:
    r"""Derivatives of rates and prices with respect to capacities and priorities.

    Differentiating x_i = (p_i / q_i)^(1/alpha), q = R' lambda, and R x = c on the full links gives

    .. math:: R_F K R_F' \, d\lambda_F = R_F \frac{x}{\alpha} \frac{dp}{p} - dc_F,
        \quad K = diag\left(\frac{x}{\alpha q}\right),
        \quad dx = \frac{x}{\alpha} \frac{dp}{p} - K R_F' \, d\lambda_F .

    Flows held by their own `upper` do not move. There is no derivative where a link is full at
    price zero or a flow at its bound without wanting more (rates have a kink there), and none of
    prices that are not unique, as those of linearly dependent constraints: then `Sensitivity.ok` is
    false, `sentence` names the links, and `change` has NaN for what is not determined.

    Args:
        routing: As given to `alpha_fair_allocation`, like capacity, alpha and priority.
        capacity: (links,).
        alpha: Finite and > 0.
        allocation: Its answer.
        priority: (flows,), default ones.
        upper: (flows,), default none.

    Raises:
        InvalidInput: if alpha is 0 or inf (rates are not differentiable there) or shapes differ.
        NotSolved: if the allocation is not an answer.

    Example:
        >>> from fairopt import allocation_sensitivity, alpha_fair_allocation
        >>> found = alpha_fair_allocation([[1, 1]], [1.0], 1.0)
        >>> rates, prices = allocation_sensitivity([[1, 1]], [1.0], 1.0, found).change([1.0])
        >>> rates, prices
        (array([0.5, 0.5]), array([-2.]))
    """
    from fairopt.allocation.problem import read

    problem = read(routing, capacity, alpha, priority, upper)
    if problem.alpha in (0.0, np.inf):
        raise InvalidInput("alpha", alpha, "finite and > 0, where rates are differentiable")
    found = allocation.require()
    if found.rates.shape != (problem.flows,) or found.prices.shape != (problem.links,):
        raise InvalidInput("allocation", f"{len(found.rates)} rates", "the answer to this problem")
    moving = (found.upper_prices == 0.0) & (found.rates > 0.0)
    full = np.flatnonzero((found.prices > 0.0) & np.isfinite(found.prices))
    rows = problem.routing[full]
    gain = np.where(moving, found.rates / (problem.alpha * problem.priority), 0.0)
    q = problem.priority * np.where(moving, found.rates, 1.0) ** -problem.alpha
    response = np.where(moving, found.rates / (problem.alpha * q), 0.0)
    inverse, free = _inverse(np.asarray((rows * response @ rows.T).toarray()))
    edges = _edges(problem, found, moving, q)
    at_bound = moving & (found.rates >= problem.upper * (1.0 - EDGE))
    held = np.flatnonzero(
        at_bound | ((found.upper_prices > 0.0) & (found.upper_prices <= EDGE * q))
    )
    return Sensitivity(
        full=full,
        rows=rows,
        response=response,
        gain=gain,
        inverse=inverse,
        free=free,
        links=problem.links,
        edges=edges,
        edge_flows=held,
    )


def _edges(problem: Problem, found: Allocation, moving: BoolArray, q: Array) -> Ints:
    """Full links whose price is a negligible part of the price of every moving user."""
    R, c = problem.routing, problem.capacity
    limited = np.isfinite(c) & (c > 0.0)
    full = limited & (R @ found.rates >= np.where(limited, c, 1.0) * (1.0 - EDGE))
    used = (R @ moving.astype(np.float64)) > 0.0
    entry = R.tocoo()
    share = np.zeros(problem.links)
    price = np.where(limited, found.prices, 0.0)[entry.row]
    np.maximum.at(
        share, entry.row, np.where(moving[entry.col], entry.data * price / q[entry.col], 0.0)
    )
    return np.flatnonzero(full & used & (share <= EDGE))


def _inverse(matrix: Array) -> tuple[Array, Array]:
    """The inverse of a scaled semidefinite matrix where it has one, and its kernel."""
    size = np.diagonal(matrix)
    scale = np.divide(1.0, np.sqrt(size), out=np.ones_like(size), where=size > 0.0)
    values, vectors = np.linalg.eigh(matrix * scale[:, None] * scale)
    kept = values > INDEPENDENT * values.max(initial=0.0)
    basis = vectors[:, kept] * scale[:, None]
    return basis / values[kept] @ basis.T, vectors[:, ~kept] * scale[:, None]
