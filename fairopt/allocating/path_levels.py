"""Linear programmes over path rates: the largest total, and max-min fairness level by level."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.allocating.linear_programme import programme
from fairopt.checks import Array, Ints

NEXT = 1e-9  # of the sum of multipliers: flows with more of it stop at the level
SHRINK = 1e-8  # relative: what frozen rates give way, so that rounding leaves the next level room


def largest_total(A: Any, owner: Ints, log_weight: Array) -> tuple[Array, Array, int]:
    """Path rates, log prices and steps at alpha = 0."""
    top = float(log_weight.max())
    weight = np.exp(log_weight - top)[owner]
    found = programme(-weight, A, np.ones(A.shape[0]), np.zeros(len(owner)))
    if found.x is None:
        return np.zeros(len(owner)), np.full(A.shape[0], -np.inf), int(found.nit)
    y = np.maximum(found.x, 0.0)
    y = y / max(1.0, float((A @ y).max()))
    prices = np.maximum(-found.ineqlin.marginals, 0.0)
    with np.errstate(divide="ignore"):
        return y, np.log(prices) + top, int(found.nit)


def level_by_level(A: Any, owner: Ints, per_unit: Array) -> tuple[Array, Array, float, int]:
    """Max-min fair path rates, prices, the largest gap of a level, and the number of levels.

    Each level raises the smallest open rate as far as possible; the flows whose lower bound has a
    multiplier cannot do better in any solution and stop there. At least one does: their multipliers
    add up to one. The gap is inf where HiGHS gives up.
    """
    from scipy import sparse

    links, paths = A.shape
    flows = len(per_unit)
    unit = (1.0 / per_unit) / np.median(1.0 / per_unit)
    gather = sparse.csr_array((unit[owner], (owner, np.arange(paths))), shape=(flows, paths))
    fixed = np.full(flows, np.nan)
    prices, worst, level = np.zeros(links), 0.0, 0
    y = np.zeros(paths)
    while np.isnan(fixed).any():
        level += 1
        is_open = np.isnan(fixed)
        rows = sparse.vstack(
            [
                sparse.hstack([A, sparse.csr_array((links, 1))]),
                sparse.hstack([-gather, sparse.csr_array(is_open[:, None].astype(float))]),
            ],
            format="csr",
        )
        limit = np.concatenate([np.ones(links), np.where(is_open, 0.0, -fixed * (1.0 - SHRINK))])
        cost = np.zeros(paths + 1)
        cost[-1] = -1.0
        found = programme(cost, rows, limit, np.zeros(paths + 1))
        if found.x is None:
            return y, prices, np.inf, level
        dual = np.maximum(-found.ineqlin.marginals, 0.0)
        reached = float(found.x[-1])
        worst = max(worst, abs(float(dual @ limit) - reached) / max(reached, 1e-300))
        stop = is_open & (dual[links:] > NEXT)
        if not stop.any():
            return y, prices, np.inf, level
        fixed[stop] = reached
        prices = np.maximum(prices, dual[:links])
        y = np.maximum(found.x[:-1], 0.0)
    y = y / max(1.0, float((A @ y).max()))
    off = np.abs(gather @ y - fixed) / fixed
    return y, prices, max(worst, float(off.max())), level
