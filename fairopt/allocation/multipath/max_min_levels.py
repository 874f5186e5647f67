"""Linear programmes over path rates: the largest total, and max-min fairness level by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt.allocation.methods.linear_programme import programme
from fairopt.allocation.methods.progressive_filling import WIDEST, middle
from fairopt.allocation.multipath.presolve import own_limits
from fairopt.arrays import Array, BoolArray, Ints

NEXT = 1e-9  # of the sum of multipliers: flows with more of it stop at the level
IDLE = 1e-6  # reduced cost of a path that carries nothing, in units of its flow
AT_LIMIT = 1e-10  # relative: HiGHS meets bounds to this
SHRINK = (0.0, 1e-10, 1e-8)  # relative reduction of fixed rates where rounding is infeasible


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


@dataclass(frozen=True, eq=False)
class Levels:
    """What `level_by_level` found, in units: path rates, prices, the largest gap, the levels."""

    y: Array
    log_prices: Array
    gap: float
    count: int


def level_by_level(A: Any, owner: Ints, log_unit: Array) -> Levels:
    """Max-min fair path rates, and prices: 1 / level at which a link first limits one.

    Each level raises the smallest open rate as far as possible; the flows whose lower bound has a
    multiplier cannot exceed it in any solution and stop there. At least one does: their multipliers
    add up to one. Paths with a reduced cost carry nothing in any solution of the level, hence of
    all later ones, and are left out from then on: programmes shrink as levels rise. Links that
    limit one flow as a whole, such as volumes, are not in the programmes: all flows whose limit is
    below the level that the others could have stop at their limits at once. The gap is inf where
    HiGHS gives up.
    """
    links, paths = A.shape
    centre = middle(log_unit)
    unit = np.exp(np.clip(log_unit - centre, -WIDEST, WIDEST))
    limit, limit_link, kept = own_limits(A, owner, len(unit))
    limit, shared = limit * unit, np.flatnonzero(kept)
    columns = A[shared].tocsc()
    left = np.arange(paths)
    fixed = np.full(len(unit), np.nan)
    price_level, worst, level = np.full(links, np.inf), 0.0, 0
    y = np.zeros(paths)
    while np.isnan(fixed).any():
        level += 1
        most = float(limit[np.isnan(fixed)].max())
        tries = (
            _level(columns[:, left], unit, owner[left], fixed * (1.0 - k), most) for k in SHRINK
        )
        found = next((each for each in tries if each is not None), None)
        if found is None:
            return Levels(y, np.full(links, -np.inf), np.inf, level)
        worst = max(worst, found.gap)
        y[:] = 0.0
        y[left] = found.rates
        full = np.flatnonzero(np.isnan(fixed) & (limit <= found.reached * (1.0 + AT_LIMIT)))
        if len(full):
            fixed[full] = np.minimum(limit[full], found.reached)
            price_level[limit_link[full]] = fixed[full]
            continue
        fixed[found.stop] = found.reached
        priced = shared[found.priced]
        price_level[priced] = np.minimum(price_level[priced], found.reached)
        left = left[~found.idle]
    total = np.bincount(owner, y, len(unit)) * unit
    y = y * np.minimum(1.0, limit / np.maximum(total, 1e-300))[owner]
    y = y / max(1.0, float((A @ y).max()))
    with np.errstate(all="ignore"):
        off = np.abs(np.bincount(owner, y, len(unit)) * unit / fixed - 1.0)
        log_prices = -np.log(price_level) - centre
    gap = max(worst, float(np.where(np.isnan(off), np.inf, off).max()))
    return Levels(y, log_prices, gap, level)


@dataclass(frozen=True, eq=False)
class _Level:
    """One programme: its value, path rates, priced links, flows that stop, idle paths, its gap."""

    reached: float
    rates: Array
    priced: BoolArray
    stop: BoolArray
    idle: BoolArray
    gap: float


def _level(A: Any, unit: Array, owner: Ints, fixed: Array, most: float) -> _Level | None:
    """The largest common rate of the open flows, given least rates of the others (NaN: open).

    None where HiGHS gives up: the least rates are the largest possible, and rounding can make them
    infeasible. Reducing them changes later levels by up to some hundred times as much. The level is
    measured in the smallest unit of an open flow, as tolerances of HiGHS are absolute.
    """
    links, paths = A.shape
    is_open = np.isnan(fixed)
    smallest = float(unit[is_open].min())
    of_level = np.divide(smallest, unit, out=np.zeros_like(unit), where=is_open)
    rows = _rows(A, of_level, owner)
    limit = np.concatenate([np.ones(links), np.where(is_open, 0.0, -fixed / unit)])
    cost = np.zeros(paths + 1)
    cost[-1] = -1.0
    high = np.full(paths + 1, np.inf)
    high[-1] = most / smallest
    found = programme(cost, rows, limit, np.zeros(paths + 1), high)
    if found.x is None:
        return None
    reached = float(found.x[-1])
    rates = np.maximum(found.x[:-1], 0.0)
    if reached >= high[-1] * (1.0 - AT_LIMIT):
        none = np.zeros(0, dtype=bool)
        return _Level(most, rates, none, none, none, 0.0)
    dual = np.maximum(-found.ineqlin.marginals, 0.0)
    stop = dual[links:] * of_level > NEXT
    if not stop.any():
        return None
    gap = abs(float(dual @ limit) - reached) / max(reached, 1e-300)
    idle = found.lower.marginals[:-1] > IDLE * (np.minimum(unit, smallest) / smallest)[owner]
    priced = dual[:links] > NEXT * dual[:links].max(initial=0.0)
    return _Level(smallest * reached, rates, priced, stop, idle, gap)


def _rows(A: Any, level: Array, owner: Ints) -> Any:
    """Capacities, and below them rate >= t for open flows or >= its old value for the others.

    Rates are in units of their flow, in which t has the coefficient `level`, 0 for flows that
    are not open.
    """
    from scipy import sparse

    links, paths = A.shape
    flows = len(level)
    gather = sparse.csr_array((np.ones(paths), (owner, np.arange(paths))), shape=(flows, paths))
    beside = sparse.csr_array(level[:, None])
    return sparse.vstack(
        [
            sparse.hstack([A, sparse.csr_array((links, 1))]),
            sparse.hstack([-gather, beside]),
        ],
        format="csr",
    )
