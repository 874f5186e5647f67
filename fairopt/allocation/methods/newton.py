r"""Newton's method on the prices, for full links and for links that become full.

With s = 1 - A y and H = A diag(y / (alpha q)) A' (flows at their bound left out), one step solves

.. math:: (H + diag(s_+ / \lambda))\, \delta = -s .

On a full link this is Newton's method for A y = 1, on a link with slack the linearisation of
:math:`\lambda_l s_l = 0`, whose price then vanishes quadratically: no active set has to be guessed.
Prices that would fall below zero are held at zero, and their rows of the system are dropped. Prices
move as :math:`\lambda e^{\delta / \lambda}` on full links where alpha > 2 (there the logarithm of
the load is nearly linear in that of the price) and stay positive everywhere. Where the violation is
small the last factor is used once more: that leaves about a hundredth, for a tenth of the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt.allocation.methods.demand import Demand, demand_at, demand_slope, violation
from fairopt.allocation.methods.newton_system import (
    RIDGE,
    cholesky,
    cholesky_solve,
    conjugate_gradients,
    normal_matrix,
)
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array, BoolArray, Ints

DENSE = 2500  # links up to which a dense factorisation beats conjugate gradients
ENOUGH = 0.7  # a step that leaves less of the violation is accepted
STALLED = 0.95  # one that leaves more ends the attempt
NEARLY = 0.99  # of the way to a price of zero
ROUNDS = 4  # of finding prices that would fall below zero
MOST_HELD = 64  # prices held at zero: each costs a solution with the same factor
EXACTLY = 1e-9  # relative: a price that falls to zero has not fallen below
LENGTHS = (1.0, 0.5, 0.25, 0.1)
MULTIPLICATIVE = 2.0  # the alpha above which full links move in logarithms
LARGEST_RISE = 5.0  # e-folds
LEAST_FACTOR = 1e-3  # of a price after a full step down on a full link
NO_EFFECT = 1e-16  # change of load below which a price has no effect
NEGLIGIBLE = 0.01  # of the violation: change of load by a price that may be dropped at once
AMPLE = 10.0  # times the violation: slack of a link whose price may be dropped at once
REUSE = 1e-3  # violation below which the last factor is tried once more, a tenth of the work
WORTH_REUSING = 0.1  # a step by an old factor that leaves more gives way to a new factor


@dataclass(frozen=True, eq=False)
class _Matrix:
    """The Newton system at earlier prices of the links that it counts, and its factor."""

    active: Ints
    prices: Array
    scale: Array
    factor: Any


def polish(scaled: Scaled, prices: Array, goal: float, steps: int) -> tuple[Demand, float, int]:
    """Newton steps while they help: the best demand, its violation, the steps."""
    demand, worst = _evaluated(scaled, prices)
    matrix: _Matrix | None = None
    for k in range(steps):
        if worst <= goal:
            return demand, worst, k
        if matrix is not None and worst <= REUSE:
            found, remaining = _reuse_factor(scaled, demand, matrix)
            if remaining <= WORTH_REUSING * worst:
                demand, worst = found, remaining
                continue
        found, remaining, matrix = _step(scaled, demand, worst)
        if remaining > STALLED * worst:
            return (found, remaining, k + 1) if remaining < worst else (demand, worst, k + 1)
        demand, worst = found, remaining
    return demand, worst, steps


def _evaluated(scaled: Scaled, prices: Array) -> tuple[Demand, float]:
    """The demand at prices and its violation."""
    demand = demand_at(scaled, prices)
    return demand, violation(demand)


def _reuse_factor(scaled: Scaled, demand: Demand, matrix: _Matrix) -> tuple[Demand, float]:
    r"""A step with the matrix of earlier prices.

    On a link with slack the linearisation of :math:`\lambda_l s_l = 0` keeps its old coefficients.
    """
    active = matrix.active
    slack, prices = 1.0 - demand.load[active], demand.prices[active]
    target = -slack * np.where(slack > 0.0, prices / matrix.prices, 1.0)
    moved = matrix.scale * cholesky_solve(matrix.factor, matrix.scale * target)
    factor = np.where(demand.load < 1.0, 0.0, 1.0)
    factor[active] = _linear_factor(
        np.divide(moved, prices, out=np.zeros_like(moved), where=prices > 0.0), slack > 0.0
    )
    return _evaluated(scaled, demand.prices * factor)


def _step(scaled: Scaled, demand: Demand, worst: float) -> tuple[Demand, float, _Matrix | None]:
    """One step, and the matrix that gave it."""
    has_slack = demand.load < 1.0
    relative, matrix = _direction(scaled, demand, worst, has_slack)
    if not np.isfinite(relative).all():
        return demand, worst, None
    return *_search(scaled, demand, worst, relative, has_slack), matrix


def _search(
    scaled: Scaled,
    demand: Demand,
    worst: float,
    relative: Array,
    has_slack: BoolArray,
) -> tuple[Demand, float]:
    """The best of a few step lengths, or the first that is good enough."""
    best: tuple[Demand, float] | None = None
    factors = [_price_factor(scaled.alpha, length * relative, has_slack) for length in LENGTHS]
    linear = [_linear_factor(relative, has_slack)] if scaled.alpha > MULTIPLICATIVE else []
    for factor in [factors[0], *linear, *_to_boundary(relative, has_slack), *factors[1:]]:
        prices = demand.prices * factor
        found = _evaluated(scaled, prices)
        if best is None or found[1] < best[1]:
            best = found
        if best[1] <= ENOUGH * worst:
            break
    assert best is not None
    return best


def _to_boundary(relative: Array, has_slack: BoolArray) -> list[Array]:
    """The linear step on which the first price of a full link all but vanishes, if it is shorter.

    It exchanges prices between links that nearly the same flows use.
    """
    steepest = float(np.max(-relative, initial=0.0, where=~has_slack))
    if steepest <= 1.0:
        return []
    return [np.maximum(1.0 + relative * (NEARLY / steepest), 0.0)]


def _price_factor(alpha: float, relative: Array, has_slack: BoolArray) -> Array:
    """What prices are multiplied by for relative changes delta / lambda."""
    linear = _linear_factor(relative, has_slack)
    if alpha <= MULTIPLICATIVE:
        return linear
    curved = np.exp(np.clip(relative, -LARGEST_RISE, LARGEST_RISE))
    return np.where(has_slack & (relative < 0.0), linear, curved)


def _linear_factor(relative: Array, has_slack: BoolArray) -> Array:
    """Factors of a step in the prices themselves; exchanges between links keep flow prices."""
    return np.maximum(1.0 + relative, np.where(has_slack, 0.0, LEAST_FACTOR))


def _direction(
    scaled: Scaled, demand: Demand, worst: float, has_slack: BoolArray
) -> tuple[Array, _Matrix | None]:
    """Relative change delta / lambda on every link, and the matrix that gave it."""
    K = demand_slope(scaled, demand)
    diagonal = scaled.squared @ K
    inelastic = ~has_slack & (diagonal == 0.0)  # every user is held by a bound at this price
    kept = ~inelastic & (~has_slack | _needed(demand, diagonal, worst))
    active = np.flatnonzero(kept)
    relative = np.where(inelastic, scaled.alpha * np.log(np.maximum(demand.load, 1.0)), -1.0)
    prices, slack = demand.prices[active], 1.0 - demand.load[active]
    target = -slack
    if scaled.alpha > MULTIPLICATIVE:
        target = np.where(slack < 0.0, (1.0 - slack) * np.log1p(-slack), target)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        barrier = np.maximum(slack, 0.0) / prices
        scale = 1.0 / np.sqrt(diagonal[active] + barrier)
        solved, factor = _solve(scaled, K, active, barrier, scale, scale * target)
        if factor is not None:
            solved = _hold_at_zero(factor, solved, prices / scale)
        relative[active] = scale * solved / prices
    return relative, None if factor is None else _Matrix(active, prices, scale, factor)


def _hold_at_zero(factor: Any, solved: Array, prices: Array) -> Array:
    """The solution of the system without the rows of links whose prices would fall below zero.

    Those are held at zero, and the changes of the others then follow from the same factor. So a
    link replaces another as the bottleneck of the same flows in one step.
    """
    first, held = solved, np.zeros(len(solved), dtype=bool)
    for _ in range(ROUNDS):
        below = solved < -(1.0 + EXACTLY) * prices
        if not below.any() or np.count_nonzero(held | below) > MOST_HELD:
            break
        held |= below
        which = np.flatnonzero(held)
        unit = np.zeros((len(solved), len(which)), order="F")
        unit[which, np.arange(len(which))] = 1.0
        columns = cholesky_solve(factor, unit)
        try:
            least = np.linalg.solve(columns[which], first[which] + prices[which])
        except np.linalg.LinAlgError:
            break
        solved = first - columns @ least
    return solved


def _needed(demand: Demand, diagonal: Array, worst: float) -> BoolArray:
    """Links with slack whose price would change loads too much if it were dropped at once."""
    moved = demand.prices * diagonal
    droppable = (1.0 - demand.load > AMPLE * worst) & (moved <= NEGLIGIBLE * worst)
    return np.asarray((moved > NO_EFFECT) & ~droppable)


def _solve(
    scaled: Scaled, K: Array, active: Ints, barrier: Array, scale: Array, target: Array
) -> tuple[Array, Any]:
    """The Newton system with unit diagonal, by a factorisation (given) or conjugate gradients."""
    nothing = np.full(len(target), np.nan)
    if not len(active) or not (np.isfinite(scale).all() and np.isfinite(target).all()):
        return nothing, None
    if len(active) > DENSE:
        return conjugate_gradients(scaled, K, active, barrier, scale, target), None
    H = normal_matrix(scaled, K, active, scale)
    H[np.diag_indices_from(H)] += scale * scale * barrier + RIDGE
    factor = cholesky(H)
    return (nothing, None) if factor is None else (cholesky_solve(factor, target), factor)
