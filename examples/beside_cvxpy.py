"""For users of cvxpy: the same problem in one call, and a check of cvxpy's own answer.

Proportionally fair rates of three flows on two links, written as a convex programme and as a call.
The residual is a function of the problem and any point, so it also says how good the programme's
answer is.

Run with: python examples/beside_cvxpy.py (needs cvxpy)
"""

from __future__ import annotations

import cvxpy
import numpy as np

import fairopt

ROUTING = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
CAPACITY = np.array([1.0, 2.0])


def by_cvxpy(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Rates and link prices of the convex programme."""
    x = cvxpy.Variable(3)
    utility = cvxpy.log(x) if alpha == 1.0 else cvxpy.power(x, 1.0 - alpha) / (1.0 - alpha)
    full = ROUTING @ x <= CAPACITY
    cvxpy.Problem(cvxpy.Maximize(cvxpy.sum(utility)), [full]).solve()
    return x.value, np.maximum(full.dual_value, 0.0)


def residuals(alpha: float) -> tuple[float, float]:
    """Of cvxpy's answer, and of ours."""
    rates, prices = by_cvxpy(alpha)
    ours = fairopt.alpha_fair_allocation(ROUTING, CAPACITY, alpha).require()
    residual = fairopt.allocation_residual(ROUTING, CAPACITY, alpha, rates, prices)
    return float(residual), float(ours.residual)


def main() -> None:
    """Print both residuals for two alphas."""
    for alpha in (1.0, 5.0):
        theirs, ours = residuals(alpha)
        print(f"alpha = {alpha:g}: residual of cvxpy {theirs:.1e}, of fairopt {ours:.1e}")


if __name__ == "__main__":
    main()
