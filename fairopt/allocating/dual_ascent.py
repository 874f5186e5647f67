r"""Accelerated multiplicative dual ascent: first-order steps in the logarithms of the prices.

With prices :math:`\lambda = e^\theta` and loads A y the step is

.. math:: \theta_l \leftarrow \theta_l + \alpha \log (A y)_l .

It is exact for a single link and needs no step size: near the optimum the logarithms of the loads
are multiplied by I - P, where P_lk is the mean share of link k in the prices that users of link l
pay. P is a row-stochastic matrix similar to a positive semidefinite one, so its eigenvalues are in
[0, 1]; they do not depend on alpha. Momentum with restarts speeds up the small ones. On links with
room the step is divided by the link's own share P_ll, as their prices have to vanish.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocating.response import Response, largest_share, mean_share, respond, violation
from fairopt.allocating.scaling import Scaled
from fairopt.checks import Array

LEAST_SHARE = 0.1  # a link's price falls at most ten times faster than its own load asks for
LARGEST_FALL = 20.0  # e-folds in one step: enough to vanish in two, not beyond float64
LIFTED = 0.3  # of the share that would be exact for a link on its own
WORTH_LIFTING = 2.0  # times the price below which ordinary steps get there soon
WATCH = 5  # steps between two looks at shares and violation, which cost a third of a step
FLOOR = -690.0  # prices stay within e^690 of their unit: about the range of float64


def ascend(
    scaled: Scaled, log_weight: Array, theta: Array, steps: int, goal: float
) -> tuple[Array, int]:
    """Log prices after at most `steps` steps or at the first violation below `goal`; the steps."""
    alpha = scaled.alpha
    previous, momentum = theta, 1.0
    share = np.ones(scaled.links)
    for k in range(steps):
        response = respond(scaled, log_weight, np.exp(theta))
        if k % WATCH == 0:
            now = mean_share(scaled, response)
            if violation(response, now) <= goal and _near(scaled, response, goal):
                return theta, k
            lift = _lift(response, alpha, now)
            share = np.where(response.load < 1.0, now, 1.0)  # a rising link's is soon out of date
            if lift.any():
                theta = np.minimum(theta + lift, -FLOOR)
                previous, momentum = theta, 1.0
                continue
        change = _change(response, alpha, share)
        new = np.maximum(theta + change, FLOOR)
        uphill = (response.prices * response.load * change) @ (new - previous)
        momentum = momentum if uphill >= 0.0 else 1.0
        following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum * momentum))
        theta = np.maximum(new + (momentum - 1.0) / following * (new - previous), FLOOR)
        theta = np.minimum(theta, -FLOOR)
        previous, momentum = new, following
    return theta, steps


def _lift(response: Response, alpha: float, share: Array) -> Array:
    """What overfull links lack whose price is too small for their users to notice.

    A load falls by 1 / alpha of the share that its link gains, so alpha log load is needed; a third
    of it is given at once where steps of alpha log load would take thousands to get there.
    """
    needed = LIFTED * alpha * np.log(np.maximum(response.load, 1.0))
    factor = needed / np.maximum(share, np.finfo(float).tiny)
    return np.where(factor > WORTH_LIFTING, np.log(np.maximum(factor, 1.0)), 0.0)


def _near(scaled: Scaled, response: Response, goal: float) -> bool:
    """Whether also the users who depend on a link most see little of its unused part."""
    return violation(response, largest_share(scaled, response)) <= goal


def _change(response: Response, alpha: float, share: Array) -> Array:
    """The step alpha log load, faster where a link has room."""
    with np.errstate(divide="ignore"):
        change = alpha * np.log(response.load)
    falling = change < 0.0
    change[falling] /= np.clip(share[falling], LEAST_SHARE, 1.0)
    return np.maximum(change, -LARGEST_FALL)
