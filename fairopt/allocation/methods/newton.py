r"""Newton's method on the prices, for links that are full and links that must get there.

With s = 1 - A y and H = A diag(y / (alpha q)) A' (flows at their bound left out), one step solves

.. math:: (H + diag(s_+ / \lambda))\, \delta = -s .

On a full link this is Newton's method for A y = 1, on a link with room the linearisation of
:math:`\lambda_l s_l = 0`, whose price then vanishes quadratically: the active links need no guess.
Prices that would fall below zero fall to zero, and their rows of the system give way. Prices move
as :math:`\lambda e^{\delta / \lambda}` on full links where alpha > 2 (there the logarithm of the
load is nearly linear in that of the price) and stay positive everywhere. Where the violation is
small the last factor serves once more: that leaves about a hundredth, for a tenth of the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt.allocation.methods.demand import Response, respond, stiffness, violation
from fairopt.allocation.methods.newton_system import (
    RIDGE,
    cholesky,
    cholesky_solve,
    conjugate_gradients,
    normal_matrix,
)
from fairopt.allocation.presolve.scaling import Scaled
from fairopt.arrays import Array, BoolArray, Ints

DENSE = 2500  # links up to which a dense factorisation beats conjugate gradients
ENOUGH = 0.7  # a step that leaves less of the violation is taken
HOPELESS = 0.95  # one that leaves more ends the attempt
NEARLY = 0.99  # of the way to a price of zero
ROUNDS = 4  # of finding prices that would fall below zero
MOST_FALLEN = 64  # of them: each costs a solution with the same factor
EXACTLY = 1e-9  # relative: a price that falls to zero has not fallen below
LENGTHS = (1.0, 0.5, 0.25, 0.1)
MULTIPLICATIVE = 2.0  # the alpha above which full links move in logarithms
LARGEST_RISE = 5.0  # e-folds
LEAST_LEFT = 1e-3  # of a price after a full step down on a full link
NOTHING = 1e-16  # a share of the diagonal below which a link's price moves nothing
UNHEARD = 0.01  # of the violation: what the price of a link with ample room may move at once
AMPLE = 10.0  # times the violation
AGAIN = 1e-3  # violation below which the last factor is tried once more, a tenth of the work
PAYS = 0.1  # a step by an old factor that leaves more gives way to a new factor


@dataclass(frozen=True, eq=False)
class _Matrix:
    """The Newton system at earlier prices of the links that it counts, and its factor."""

    active: Ints
    prices: Array
    scale: Array
    factor: Any


def polish(scaled: Scaled, prices: Array, goal: float, steps: int) -> tuple[Response, float, int]:
    """Newton steps while they help: the best response, its violation, the steps."""
    response, worst = _look(scaled, prices)
    matrix: _Matrix | None = None
    for k in range(steps):
        if worst <= goal:
            return response, worst, k
        if matrix is not None and worst <= AGAIN:
            found, left = _again(scaled, response, matrix)
            if left <= PAYS * worst:
                response, worst = found, left
                continue
        found, left, matrix = _step(scaled, response, worst)
        if left > HOPELESS * worst:
            return (found, left, k + 1) if left < worst else (response, worst, k + 1)
        response, worst = found, left
    return response, worst, steps


def _look(scaled: Scaled, prices: Array) -> tuple[Response, float]:
    """The response to prices and its violation."""
    response = respond(scaled, prices)
    return response, violation(response)


def _again(scaled: Scaled, response: Response, matrix: _Matrix) -> tuple[Response, float]:
    r"""A step by the matrix of earlier prices.

    On a link with room the linearisation of :math:`\lambda_l s_l = 0` keeps its old coefficients.
    """
    active = matrix.active
    slack, prices = 1.0 - response.load[active], response.prices[active]
    target = -slack * np.where(slack > 0.0, prices / matrix.prices, 1.0)
    moved = matrix.scale * cholesky_solve(matrix.factor, matrix.scale * target)
    factor = np.where(response.load < 1.0, 0.0, 1.0)
    factor[active] = _straight(
        np.divide(moved, prices, out=np.zeros_like(moved), where=prices > 0.0), slack > 0.0
    )
    return _look(scaled, response.prices * factor)


def _step(
    scaled: Scaled, response: Response, worst: float
) -> tuple[Response, float, _Matrix | None]:
    """One step, and the matrix that gave it."""
    room = response.load < 1.0
    relative, matrix = _direction(scaled, response, worst, room)
    if not np.isfinite(relative).all():
        return response, worst, None
    return *_search(scaled, response, worst, relative, room), matrix


def _search(
    scaled: Scaled,
    response: Response,
    worst: float,
    relative: Array,
    room: BoolArray,
) -> tuple[Response, float]:
    """The best of a few step lengths, or the first that is good enough."""
    best: tuple[Response, float] | None = None
    factors = [_factor(scaled.alpha, length * relative, room) for length in LENGTHS]
    straight = [_straight(relative, room)] if scaled.alpha > MULTIPLICATIVE else []
    for factor in [factors[0], *straight, *_to_boundary(relative, room), *factors[1:]]:
        prices = response.prices * factor
        found = _look(scaled, prices)
        if best is None or found[1] < best[1]:
            best = found
        if best[1] <= ENOUGH * worst:
            break
    assert best is not None
    return best


def _to_boundary(relative: Array, room: BoolArray) -> list[Array]:
    """The straight step on which the first price of a full link all but vanishes, if it is shorter.

    It exchanges prices between links that nearly the same flows use.
    """
    steepest = float(np.max(-relative, initial=0.0, where=~room))
    if steepest <= 1.0:
        return []
    return [np.maximum(1.0 + relative * (NEARLY / steepest), 0.0)]


def _factor(alpha: float, relative: Array, room: BoolArray) -> Array:
    """What prices are multiplied by for relative changes delta / lambda."""
    linear = _straight(relative, room)
    if alpha <= MULTIPLICATIVE:
        return linear
    curved = np.exp(np.clip(relative, -LARGEST_RISE, LARGEST_RISE))
    return np.where(room & (relative < 0.0), linear, curved)


def _straight(relative: Array, room: BoolArray) -> Array:
    """Factors of a step in the prices themselves, which keeps what flows pay in an exchange."""
    return np.maximum(1.0 + relative, np.where(room, 0.0, LEAST_LEFT))


def _direction(
    scaled: Scaled, response: Response, worst: float, room: BoolArray
) -> tuple[Array, _Matrix | None]:
    """Relative change delta / lambda on every link, and the matrix that gave it."""
    K = stiffness(scaled, response)
    diagonal = scaled.squared @ K
    deaf = ~room & (diagonal == 0.0)  # every user is held by a bound at this price
    heard = ~deaf & (~room | _heard(response, diagonal, worst))
    active = np.flatnonzero(heard)
    relative = np.where(deaf, scaled.alpha * np.log(np.maximum(response.load, 1.0)), -1.0)
    prices, slack = response.prices[active], 1.0 - response.load[active]
    target = -slack
    if scaled.alpha > MULTIPLICATIVE:
        target = np.where(slack < 0.0, (1.0 - slack) * np.log1p(-slack), target)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        barrier = np.maximum(slack, 0.0) / prices
        scale = 1.0 / np.sqrt(diagonal[active] + barrier)
        solved, factor = _solve(scaled, K, active, barrier, scale, scale * target)
        if factor is not None:
            solved = _not_below_zero(factor, solved, prices / scale)
        relative[active] = scale * solved / prices
    return relative, None if factor is None else _Matrix(active, prices, scale, factor)


def _not_below_zero(factor: Any, solved: Array, prices: Array) -> Array:
    """The solution of the system without the rows of links whose prices would fall below zero.

    Those fall to zero instead, and what others have to do then follows from the same factor. So a
    link takes over from another as the bottleneck of the same flows in one step.
    """
    first, fallen = solved, np.zeros(len(solved), dtype=bool)
    for _ in range(ROUNDS):
        below = solved < -(1.0 + EXACTLY) * prices
        if not below.any() or np.count_nonzero(fallen | below) > MOST_FALLEN:
            break
        fallen |= below
        which = np.flatnonzero(fallen)
        unit = np.zeros((len(solved), len(which)), order="F")
        unit[which, np.arange(len(which))] = 1.0
        columns = cholesky_solve(factor, unit)
        try:
            least = np.linalg.solve(columns[which], first[which] + prices[which])
        except np.linalg.LinAlgError:
            break
        solved = first - columns @ least
    return solved


def _heard(response: Response, diagonal: Array, worst: float) -> BoolArray:
    """Links with room whose price others would miss if it vanished at once."""
    moved = response.prices * diagonal
    clear = (1.0 - response.load > AMPLE * worst) & (moved <= UNHEARD * worst)
    return np.asarray((moved > NOTHING) & ~clear)


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
