"""How fair rates and prices move with capacities and priorities: one linear solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation import Allocation
from fairopt.checks import Array, Ints
from fairopt.errors import InvalidInput

INDEPENDENT = 1e-12  # of the largest eigenvalue: below it prices of full links are not unique


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Derivatives of an allocation, as a linear map of changes.

    Attributes:
        full: Links whose price is positive.
        rows: Their rows of the routing.
        response: (flows,) -dx / dq, 0 for flows at their bound.
        gain: (flows,) dx / dp at fixed prices.
        inverse: Inverse of rows diag(response) rows'.
        links: Number of links.
    """

    full: Ints
    rows: Any
    response: Array
    gain: Array
    inverse: Array
    links: int

    def change(
        self, capacity: ArrayLike | None = None, priority: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Changes of rates (flows,) and prices (links,) for small changes of the problem.

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
        full = self.inverse @ (self.rows @ moved - dc[self.full])
        rates = moved - self.response[:, None] * (self.rows.T @ full)
        prices = np.zeros((self.links, full.shape[1]))
        prices[self.full] = full
        given: Any = capacity if capacity is not None else priority
        single = np.ndim(given) == 1
        return (rates[:, 0], prices[:, 0]) if single else (rates, prices)


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
) -> Sensitivity:
    r"""Derivatives of rates and prices with respect to capacities and priorities.

    Differentiating x_i = (p_i / q_i)^(1/alpha), q = R' lambda, and R x = c on the full links gives

    .. math:: R_F K R_F' \, d\lambda_F = R_F \frac{x}{\alpha} \frac{dp}{p} - dc_F,
        \quad K = diag\left(\frac{x}{\alpha q}\right),
        \quad dx = \frac{x}{\alpha} \frac{dp}{p} - K R_F' \, d\lambda_F .

    Flows held by their own `upper` do not move. Where a link is just full with price zero, rates
    have one-sided derivatives only; this is the one that lets the link have room. Where prices are
    not unique their derivative of least norm is returned.

    Args:
        routing: As given to `alpha_fair_allocation`, like capacity, alpha and priority.
        capacity: (links,).
        alpha: Finite and > 0.
        allocation: Its answer.
        priority: (flows,), default ones.

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
    from fairopt.allocating.problem import read

    problem = read(routing, capacity, alpha, priority, None)
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
    inverse = _inverse(np.asarray((rows * response @ rows.T).toarray()))
    return Sensitivity(full, rows, response, gain, inverse, problem.links)


def _inverse(matrix: Array) -> Array:
    """The inverse of a scaled semidefinite matrix, zero where it has none."""
    size = np.diagonal(matrix)
    scale = np.divide(1.0, np.sqrt(size), out=np.zeros_like(size), where=size > 0.0)
    scaled = matrix * scale[:, None] * scale
    inverse = np.linalg.pinv(scaled, rcond=INDEPENDENT, hermitian=True)
    return np.asarray(inverse * scale[:, None] * scale)
