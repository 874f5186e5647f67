"""Derivatives of fair rates and prices in capacities and priorities: one linear solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.residual import relative_loads
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

    All of it is relative, to rates, prices and capacities, which may be of any size.

    Attributes:
        full: Links whose price is positive.
        part: (full links, flows) what each flow fills of a link, 0 for flows at their bound.
        share: (full links, flows) what part of the price of a flow each link is, the same.
        inverse: (full links, full links) relative change of prices over that of loads, zero on
            `free`.
        free: (full links, k) relative changes of their prices that move no rate: prices are not
            unique.
        agreed: (full links, k) what changes of their loads have to be orthogonal to.
        rates: (flows,) of the allocation, 0 for flows at their bound.
        prices: (links,) of the allocation.
        capacity: (links,) of the problem.
        priority: (flows,) of the problem.
        alpha: Of the problem.
        edges: Links that are full at price zero: rates have one-sided derivatives there.
        edge_flows: Flows at their `upper` whose bound has price zero: the same.
    """

    full: Ints
    part: Any
    share: Any
    inverse: Array
    free: Array
    agreed: Array
    rates: Array
    prices: Array
    capacity: Array
    priority: Array
    alpha: float
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
        dc = _cases("capacity", capacity, len(self.capacity))
        dp = _cases("priority", priority, len(self.priority))
        grown = dp / self.priority[:, None]
        excess = self.part @ grown - self.alpha * (dc[self.full] / self.capacity[self.full, None])
        risen = self.inverse @ excess
        moved = (grown - self.share.T @ risen) / self.alpha
        prices = np.zeros((len(self.capacity), risen.shape[1]))
        with np.errstate(over="ignore"):
            rates = self.rates[:, None] * moved
            prices[self.full] = self.prices[self.full, None] * risen
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
        off = np.abs(self.agreed.T @ excess).max(axis=0)
        torn = off > CONSISTENT * (np.abs(self.agreed.T) @ np.abs(excess)).max(axis=0)
        users = np.asarray(self.share[np.flatnonzero(self._touched)].sum(axis=0)).ravel() > 0.0
        rates[np.ix_(users, torn)] = np.nan


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
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        log_price = np.log(problem.priority) - problem.alpha * np.log(found.rates)
        share = _shares(problem, found.prices, moving, log_price)
        part = _parts(problem, np.where(moving, found.rates, 0.0))
        bound = np.log(found.upper_prices)
    inverse, free, agreed = _inverse(np.asarray((part[full] @ share[full].T).toarray()))
    at_bound = moving & (found.rates >= problem.upper * (1.0 - EDGE))
    slight = np.isfinite(bound) & (found.rates > 0.0) & (bound <= np.log(EDGE) + log_price)
    return Sensitivity(
        full=full,
        part=part[full],
        share=share[full],
        inverse=inverse,
        free=free,
        agreed=agreed,
        rates=np.where(moving, found.rates, 0.0),
        prices=found.prices,
        capacity=problem.capacity,
        priority=problem.priority,
        alpha=problem.alpha,
        edges=_edges(problem, found, moving, share),
        edge_flows=np.flatnonzero(at_bound | slight),
    )


def _shares(problem: Problem, prices: Array, moving: BoolArray, log_price: Array) -> Any:
    """(links, flows) the part of the price of every moving flow that a link is."""
    share = problem.by_flow.copy()
    entry = problem.log_entry + np.log(prices)[problem.link] - log_price[problem.flow]
    used = moving[problem.flow] & np.isfinite(prices)[problem.link]
    share.data = np.where(used, np.exp(entry), 0.0)
    return share.T.tocsr()


def _parts(problem: Problem, rates: Array) -> Any:
    """(links, flows) the part of every link that a flow fills."""
    part = problem.by_flow.copy()
    filled = np.exp(np.log(rates)[problem.flow] - problem.log_limit)
    part.data = np.where(rates[problem.flow] > 0.0, filled, 0.0)
    return part.T.tocsr()


def _edges(problem: Problem, found: Allocation, moving: BoolArray, share: Any) -> Ints:
    """Full links whose price is a negligible part of the price of every moving user."""
    limited = np.isfinite(problem.capacity) & (problem.capacity > 0.0)
    full = limited & (relative_loads(problem, found.rates) >= 1.0 - EDGE)
    used = (problem.routing @ moving.astype(np.float64)) > 0.0
    largest = share.max(axis=1).toarray().ravel() if share.shape[0] else np.zeros(0)
    return np.flatnonzero(full & used & (largest <= EDGE))


def _inverse(matrix: Array) -> tuple[Array, Array, Array]:
    """The inverse of a matrix where it has one, and its right and left kernels.

    Its rows and columns are relative to loads and prices and scaled to a unit diagonal: it is not
    symmetric, but prices a hundred decades apart do not cancel in it.
    """
    size = np.diagonal(matrix)
    scale = np.divide(1.0, np.sqrt(size), out=np.ones_like(size), where=size > 0.0)[:, None]
    left, values, right = np.linalg.svd(matrix * scale * scale.T)
    kept = values > INDEPENDENT * values.max(initial=0.0)
    solved = right[kept].T / values[kept] @ left[:, kept].T
    return scale * solved * scale.T, scale * right[~kept].T, scale * left[:, ~kept]
