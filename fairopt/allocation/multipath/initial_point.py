"""Initial points of the interior-point methods for flows over paths; problems at smaller alpha."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairopt.allocation.multipath.log_form import Iterate, PathForm
from fairopt.arrays import Array

EASY = 2.0  # alpha that is solved from any start
WIDEST = 0.1  # complementarity: at 1 a link that is the only one of its users would be empty
LEAST_SHARE = 0.1  # of the prices of users that a link or a path has at a start
LEAST_SLACK = 0.05  # of a link at a start
LARGEST_LOG = 600.0  # keeps first prices inside float64


def at_alpha(form: PathForm, alpha: float) -> PathForm:
    """The problem at a smaller alpha, with weights v^(alpha / form.alpha)."""
    return replace(form, alpha=alpha, log_weight=form.log_weight * (alpha / form.alpha))


def initial_point(form: PathForm) -> Iterate:
    """Path rates that fill no link more than half, and the largest possible prices there."""
    crowd = form.A @ np.ones(len(form.owner))
    fullest = form.transposed.multiply(crowd[None, :]).max(axis=1).toarray().ravel()
    z = np.asarray(0.5 / np.maximum(fullest, 1.0))
    log_pi = form.log_price(z)
    pi = np.exp(np.clip(log_pi, -LARGEST_LOG, LARGEST_LOG))
    return iterate_at(form, z, form.highest_price(pi[form.owner]), pi)


def iterate_at(form: PathForm, z: Array, prices: Array, pi: Array) -> Iterate:
    """The strictly feasible point with these rates and prices: slack and extra prices positive."""
    users = pi[form.owner]
    nu = np.maximum(form.transposed @ prices - users, LEAST_SHARE * users)
    return Iterate(z, nu, prices, np.maximum(1.0 - form.A @ z, LEAST_SLACK), pi)
