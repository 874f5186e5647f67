"""A problem solved again and again: answers depend on its numbers, not on those before."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt import AllocationProblem, PathAllocationProblem
from proofs.claim import IDENTITY, OWN, Claim
from proofs.fairness.fair_allocation import DEEP_SCOPE, SCOPE, no_rates_gain
from proofs.fairness.split_flows import no_split_gains


def last_of_a_series(routing: Any, capacity: Any, alpha: float, *, priority: Any = None) -> Any:
    """The last answer of a series: a closed link opens, then all capacities change a little."""
    closed = capacity.copy()
    closed[0] = 0.0
    problem = AllocationProblem(routing, closed, alpha)
    last = problem.solve()
    for numbers in (0.99 * capacity, capacity):
        last = problem.solve(capacity=numbers, priority=priority, start=last)
    return last


def one_too_late(routing: Any, capacity: Any, alpha: float, *, priority: Any = None) -> Any:
    """The answer for a first link of half the capacity."""
    problem = AllocationProblem(routing, capacity, alpha, priority=priority)
    changed = capacity.copy()
    changed[0] *= 0.5
    return problem.solve(capacity=changed, start=problem.solve())


def last_split_of_a_series(
    routing: Any, owner: Any, capacity: Any, alpha: float, *, priority: Any
) -> Any:
    """The last answer of a series: a link that limits nobody comes to matter, limits go."""
    wide = capacity.copy()
    wide[0] *= 1000.0
    limits = 0.5 * capacity.min() * np.ones(len(priority))
    problem = PathAllocationProblem(routing, owner, wide, alpha, upper=limits)
    last = problem.solve()
    for numbers in (0.99 * capacity, capacity):
        limits = np.full(len(priority), 2.0 * capacity.sum())
        last = problem.solve(capacity=numbers, priority=priority, upper=limits, start=last)
    return last


def half_of_it(routing: Any, owner: Any, capacity: Any, alpha: float, *, priority: Any) -> Any:
    """The answer for half of all capacities."""
    problem = PathAllocationProblem(routing, owner, capacity, alpha, priority=priority)
    return problem.solve(capacity=0.5 * capacity, start=problem.solve())


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
    Claim(
        "split-flows-of-a-series-are-optimal",
        "no feasible split has more marginal utility than that of a problem that was solved for "
        "other capacities, priorities and limits before",
        r"\max_{A z \le c} \sum_i p_i x_i^{-\alpha} \Big(\sum_{k \in P_i} z_k - x_i\Big) = 0",
        OWN,
        IDENTITY,
        "the maximum by a linear programme, relative 1e-6",
        "6 networks of up to 7 links, 6 flows and 3 paths each, alpha 1/2, 1, 2",
        "60 networks of up to 7 links, 6 flows and 3 paths each, alpha 1/2, 1, 2",
        no_split_gains,
        last_split_of_a_series,
        half_of_it,
    ),
)
