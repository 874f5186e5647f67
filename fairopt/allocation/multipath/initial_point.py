"""Where interior points for flows over paths begin, and the smaller alphas on their way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairopt.allocation.multipath.log_form import Inside, PathForm
from fairopt.arrays import Array

EASY = 2.0  # alpha that is solved from anywhere
WIDEST = 0.1  # complementarity: at 1 a link whose users pay for nothing else would be empty
LEAST_SHARE = 0.1  # of the prices of users that a link or a path has at a start
LEAST_ROOM = 0.05  # of a link at a start
LARGEST_LOG = 600.0  # keeps first prices inside float64


def at(form: PathForm, alpha: float) -> PathForm:
    """The problem on the way at a smaller alpha."""
    return replace(form, alpha=alpha, log_weight=form.log_weight * (alpha / form.alpha))


def start(form: PathForm) -> Inside:
    """Path rates that fill no link more than half, and the largest prices users may pay there."""
    crowd = form.A @ np.ones(len(form.owner))
    fullest = form.transposed.multiply(crowd[None, :]).max(axis=1).toarray().ravel()
    z = np.asarray(0.5 / np.maximum(fullest, 1.0))
    log_pi = form.log_price(z)
    pi = np.exp(np.clip(log_pi, -LARGEST_LOG, LARGEST_LOG))
    return inside(form, z, form.highest_price(pi[form.owner]), pi)


def inside(form: PathForm, z: Array, prices: Array, pi: Array) -> Inside:
    """The point with these rates and prices, no link of which is full and no path quite right."""
    users = pi[form.owner]
    nu = np.maximum(form.transposed @ prices - users, LEAST_SHARE * users)
    return Inside(z, nu, prices, np.maximum(1.0 - form.A @ z, LEAST_ROOM), pi)
