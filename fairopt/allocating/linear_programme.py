"""alpha = 0: the largest weighted total, a linear programme, by HiGHS.

The optimum need not be unique; the tie rule is the vertex that the dual simplex method of HiGHS
ends at, which is the same in every run. Small violations of the solver are removed: rates are
divided by the largest load, and the price of every flow's bound covers what its links do not.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocating.found import Found
from fairopt.allocating.scaling import Scaled

TIGHTEST = 1e-10  # the smallest tolerance HiGHS accepts


def linear_programme(scaled: Scaled) -> Found | None:
    """Rates and log prices at alpha = 0, or None if HiGHS gives up."""
    from scipy.optimize import linprog

    top = float(scaled.log_weight.max())
    weight = np.exp(scaled.log_weight - top)
    found = linprog(
        -weight,
        A_ub=scaled.by_link,
        b_ub=np.ones(scaled.links),
        bounds=np.column_stack([np.zeros(scaled.flows), np.where(scaled.bounded, 1.0, np.inf)]),
        method="highs-ds",
        options={
            "primal_feasibility_tolerance": TIGHTEST,
            "dual_feasibility_tolerance": TIGHTEST,
        },
    )
    if found.x is None:
        return None
    y = np.maximum(found.x, 0.0)
    y = y / max(1.0, float((scaled.by_link @ y).max()))
    prices = np.maximum(-found.ineqlin.marginals, 0.0)
    missing = np.where(scaled.bounded, np.maximum(weight - scaled.by_flow @ prices, 0.0), 0.0)
    with np.errstate(divide="ignore"):
        return Found(y, np.log(prices) + top, np.log(missing) + top, int(found.nit))
