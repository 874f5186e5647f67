"""A problem solved again and again: answers depend on its numbers, not on those before."""

from __future__ import annotations

from typing import Any

from fairopt import AllocationProblem
from proofs.claim import IDENTITY, OWN, Claim
from proofs.fairness.fair_allocation import DEEP_SCOPE, SCOPE, no_rates_gain


def last_of_a_series(routing: Any, capacity: Any, alpha: float, *, priority: Any = None) -> Any:
    """The last answer of a series: all capacities change a little, then a link closes and opens."""
    problem = AllocationProblem(routing, 1.01 * capacity, alpha)
    last = problem.solve()
    closed = capacity.copy()
    closed[0] = 0.0
    for numbers in (0.99 * capacity, closed, capacity):
        last = problem.solve(capacity=numbers, priority=priority, start=last)
    return last


def one_too_late(routing: Any, capacity: Any, alpha: float, *, priority: Any = None) -> Any:
    """The answer for a first link of half the capacity."""
    problem = AllocationProblem(routing, capacity, alpha, priority=priority)
    changed = capacity.copy()
    changed[0] *= 0.5
    return problem.solve(capacity=changed, start=problem.solve())


CLAIMS = (
    Claim(
        "fair-rates-of-a-series-are-optimal",
        "no feasible rates have more marginal utility than those of a problem that was solved for "
        "other capacities and priorities before, closed links among them",
        r"\max_{R y \le c} \sum_i p_i x_i^{-\alpha} (y_i - x_i) = 0",
        OWN,
        IDENTITY,
        "the maximum by a linear programme, relative 1e-7",
        SCOPE,
        DEEP_SCOPE,
        no_rates_gain,
        last_of_a_series,
        one_too_late,
    ),
)
