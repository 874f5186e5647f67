"""alpha = 0: the largest weighted total, a linear programme, by HiGHS.

The optimum need not be unique; the tie rule is the vertex that the dual simplex method of HiGHS
ends at, which is the same in every run. Small violations of the solver are removed: rates are
divided by the largest load, and the price of every flow's bound covers what its links do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.allocation.method_result import MethodResult
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array

TIGHTEST = 1e-10  # the smallest tolerance HiGHS accepts


def programme(cost: Array, A: Any, limit: Array, low: Array, high: Array | None = None) -> Any:
    """Minimise cost'x subject to A x <= limit, low <= x <= high, as tightly as HiGHS can."""
    from scipy.optimize import linprog

    top = np.full(len(low), np.inf) if high is None else high
    options = {
        "primal_feasibility_tolerance": TIGHTEST,
        "dual_feasibility_tolerance": TIGHTEST,
    }
    bounds: Any = np.column_stack([low, top])
    call: Any = linprog
    return call(cost, A_ub=A, b_ub=limit, bounds=bounds, method="highs-ds", options=options)


def linear_programme(scaled: Scaled) -> MethodResult | None:
    """Rates and log prices at alpha = 0, or None if HiGHS gives up."""
    top = float(scaled.log_weight.max())
    weight = np.exp(scaled.log_weight - top)
    high = np.where(scaled.bounded, 1.0, np.inf)
    found = programme(-weight, scaled.by_link, np.ones(scaled.links), np.zeros(scaled.flows), high)
    if found.x is None:
        return None
    y = np.maximum(found.x, 0.0)
    y = y / max(1.0, float((scaled.by_link @ y).max()))
    prices = np.maximum(-found.ineqlin.marginals, 0.0)
    missing = np.where(scaled.bounded, np.maximum(weight - scaled.by_flow @ prices, 0.0), 0.0)
    with np.errstate(divide="ignore"):
        return MethodResult(y, np.log(prices) + top, np.log(missing) + top, int(found.nit))
