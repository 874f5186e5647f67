"""Sharing a budget of requests over tasks is alpha-fairness on a single link.

A task whose clients disagree more (variance s2 of an update) needs more requests R for the same
error s2 / R. Every rule for sharing a total of requests is one alpha with its own priorities, so
its price, the gain per extra request, comes for free; several budgets are simply several links.

Run with: python examples/budget_over_tasks.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import fairopt

Array = NDArray[np.float64]

VARIANCE = np.array([1.0, 4.0, 16.0, 27.0])
TOTAL = 960


def one_budget(alpha: float, priority: Array, cost: Array | None = None) -> fairopt.Allocation:
    """The problem on one link of capacity TOTAL; a unit for task m takes cost_m of it."""
    row = np.ones(len(priority)) if cost is None else cost
    return fairopt.alpha_fair_allocation(row[None, :], [TOTAL], alpha, priority=priority).require()


def sum_of_variances(variance: Array) -> Array:
    """Least sum of s2 / R: alpha = 2 with priorities s2."""
    return one_budget(2.0, variance).rates


def sum_of_deviations(variance: Array) -> Array:
    """Least sum of sqrt(s2 / R): alpha = 3/2 with priorities sqrt(s2)."""
    return one_budget(1.5, np.sqrt(variance)).rates


def equal_error(variance: Array) -> Array:
    """Least largest s2 / R: max-min of the precisions y = R / s2, of which each unit costs s2."""
    return variance * one_budget(np.inf, np.ones(len(variance)), cost=variance).rates


def proportional(variance: Array) -> Array:
    """Proportional fairness: alpha = 1, shares are the priorities."""
    return one_budget(1.0, variance).rates


RULES = {
    "sum_of_variances": sum_of_variances,
    "sum_of_deviations": sum_of_deviations,
    "equal_error": equal_error,
}


def two_budgets() -> fairopt.Allocation:
    """Two regions with a budget each; the third task runs in both and takes from both."""
    regions = [[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    return fairopt.alpha_fair_allocation(regions, [480, 480], 2.0, priority=VARIANCE).require()


def main() -> None:
    """Print the shares beside those of `request_allocation`."""
    for name, rule in RULES.items():
        counts = fairopt.request_allocation(VARIANCE, TOTAL, objective=name)
        print(f"{name:<18} {rule(VARIANCE).round(1)}  in whole requests {counts}")
    print(f"{'proportional':<18} {proportional(VARIANCE).round(1)}")
    found = two_budgets()
    print(f"two budgets        {found.rates.round(1)}  worth per request {found.prices.round(5)}")


if __name__ == "__main__":
    main()
