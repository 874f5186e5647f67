r"""Accelerated multiplicative dual ascent: first-order steps in the logarithms of the prices.

With prices :math:`\lambda = e^\theta` and loads A y the step is

.. math:: \theta_l \leftarrow \theta_l + \alpha \log (A y)_l .

It is exact for a single link and needs no step size: near the optimum the logarithms of the loads
are multiplied by I - P, where P_lk is the mean share of link k in the prices that users of link l
pay. P is a row-stochastic matrix similar to a positive semidefinite one, so its eigenvalues are in
[0, 1]; they do not depend on alpha. Momentum with restarts speeds up the small ones. On links with
slack the step is divided by the link's own share P_ll, as their prices have to vanish.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array


def ascend(scaled: Scaled, theta: Array, steps: int, goal: float) -> tuple[Array, int]:
    """Log prices after at most `steps` steps or at the first violation below `goal`; the steps."""
    from fairopt.kernels.network.dual_ascent import ascend as kernel

    start = np.ascontiguousarray(theta)
    with np.errstate(all="ignore"):
        found, used = kernel(*scaled.kernel_arguments, start, steps, goal)
    return found, int(used)
