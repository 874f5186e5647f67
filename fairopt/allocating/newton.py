r"""Newton's method on the prices, for links that are full and links that must get there.

With s = 1 - A y and H = A diag(y / (alpha q)) A' (flows at their bound left out), one step solves

.. math:: (H + diag(s_+ / \lambda))\, \delta = -s .

On a full link this is Newton's method for A y = 1, on a link with room the linearisation of
:math:`\lambda_l s_l = 0`, whose price then vanishes quadratically: the active links need no guess.
Prices move as :math:`\lambda e^{\delta / \lambda}` on full links where alpha > 2 (there the
logarithm of the load is nearly linear in that of the price) and stay positive everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.allocating.response import (
    Response,
    largest_share,
    respond,
    stiffness,
    violation,
)
from fairopt.allocating.scaling import Scaled
from fairopt.allocating.threads import one_thread
from fairopt.checks import Array, BoolArray

DENSE = 2500  # links up to which a dense factorisation beats conjugate gradients
RIDGE = 1e-14  # of the unit diagonal: keeps the factorisation of a singular matrix alive
ENOUGH = 0.7  # a step that leaves less of the violation is taken
HOPELESS = 0.95  # one that leaves more ends the attempt
NEARLY = 0.99  # of the way to a price of zero
LENGTHS = (1.0, 0.5, 0.25, 0.1)
MULTIPLICATIVE = 2.0  # the alpha above which full links move in logarithms
LARGEST_RISE = 5.0  # e-folds
LEAST_LEFT = 1e-3  # of a price after a full step down on a full link
NOTHING = 1e-16  # a share of the diagonal below which a link's price moves nothing
CG_TOLERANCE = 1e-12  # relative: Newton's own error is squared, the last step must be exact
CG_STEPS = 500


def polish(
    scaled: Scaled, log_weight: Array, prices: Array, goal: float, steps: int
) -> tuple[Response, float, int]:
    """Newton steps while they help: the best response, its violation, the steps."""
    response, worst = _look(scaled, log_weight, prices)
    for k in range(steps):
        if worst <= goal:
            return response, worst, k
        found, left = _step(scaled, log_weight, response, worst)
        if left > HOPELESS * worst:
            return (found, left, k + 1) if left < worst else (response, worst, k + 1)
        response, worst = found, left
    return response, worst, steps


def _look(scaled: Scaled, log_weight: Array, prices: Array) -> tuple[Response, float]:
    """The response to prices and its violation."""
    response = respond(scaled, log_weight, prices)
    return response, violation(response, largest_share(scaled, response))


def _step(
    scaled: Scaled, log_weight: Array, response: Response, worst: float
) -> tuple[Response, float]:
    """One step; a second one without the full links that want a negative price, if it helps."""
    room = response.load < 1.0
    relative = _direction(scaled, response, room)
    if not np.isfinite(relative).all():
        return response, worst
    found, left = _search(scaled, log_weight, response, worst, relative, room)
    leaving = ~room & (relative < -1.0)
    if left <= ENOUGH * worst or not leaving.any():
        return found, left
    relative = _direction(scaled, response, room, leaving)
    if not np.isfinite(relative).all():
        return found, left
    other = _search(scaled, log_weight, response, worst, relative, room | leaving)
    return other if other[1] < left else (found, left)


def _search(
    scaled: Scaled,
    log_weight: Array,
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
        found = _look(scaled, log_weight, prices)
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
    scaled: Scaled, response: Response, room: BoolArray, leaving: BoolArray | None = None
) -> Array:
    """Relative change delta / lambda on every link; prices of leaving links vanish."""
    K = stiffness(scaled, response)
    slack = 1.0 - response.load
    diagonal = scaled.squared @ K
    deaf = ~room & (diagonal == 0.0)  # every user is held by a bound at this price
    heard = ((response.prices * diagonal > NOTHING) | ~room) & ~deaf
    active = np.flatnonzero(heard if leaving is None else heard & ~leaving)
    relative = np.where(deaf, scaled.alpha * np.log(np.maximum(response.load, 1.0)), -1.0)
    prices, slack = response.prices[active], slack[active]
    target = -slack
    if scaled.alpha > MULTIPLICATIVE:
        target = np.where(slack < 0.0, (1.0 - slack) * np.log1p(-slack), target)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        barrier = np.maximum(slack, 0.0) / prices
        scale = 1.0 / np.sqrt(diagonal[active] + barrier)
        solved = _solve(scaled, K, active, barrier, scale, scale * target)
        relative[active] = scale * solved / prices
    return relative


def _solve(
    scaled: Scaled, K: Array, active: Any, barrier: Array, scale: Array, target: Array
) -> Array:
    """The Newton system with unit diagonal, by a factorisation or conjugate gradients."""
    if not (np.isfinite(scale).all() and np.isfinite(target).all()):
        return np.full(len(target), np.nan)
    if len(active) > DENSE:
        return _conjugate_gradients(scaled, K, active, barrier, scale, target)
    H = normal_matrix(scaled, K, active, scale)
    H[np.diag_indices_from(H)] += scale * scale * barrier + RIDGE
    return factorised_solve(H, target)


def normal_matrix(scaled: Scaled, K: Array, active: Any, scale: Array) -> Array:
    """The lower triangle of diag(scale) A diag(K) A' diag(scale) over the active links."""
    from fairopt.kernels import normal_matrix as kernel

    columns = scaled.by_flow
    place = np.full(scaled.links, scaled.links, dtype=np.uint32)
    place[active] = np.arange(len(active))
    indptr, links = columns.indptr.view(np.uint32), columns.indices.view(np.uint32)
    H = kernel.normal_matrix(indptr, links, columns.data, K, place, scale)
    return np.asarray(H)


def factorised_solve(H: Array, target: Array) -> Array:
    """H^-1 target for a positive definite lower triangle (overwritten); NaN if it is not."""
    from scipy.linalg import cho_factor, cho_solve

    with one_thread(len(H)):
        try:
            factor = cho_factor(H.T, lower=False, overwrite_a=True, check_finite=False)  # no copy
        except np.linalg.LinAlgError:
            return np.full(len(target), np.nan)
        return np.asarray(cho_solve(factor, target, check_finite=False))


def _conjugate_gradients(
    scaled: Scaled, K: Array, active: Any, barrier: Array, scale: Array, target: Array
) -> Array:
    """The same system for many links, without forming it."""
    from scipy.sparse.linalg import LinearOperator, cg

    rows = scaled.by_link[active]
    columns = rows.T.tocsr()
    added = scale * scale * barrier + RIDGE

    def times(v: Array) -> Array:
        return np.asarray(scale * (rows @ (K * (columns @ (scale * v)))) + added * v)

    operator = LinearOperator((len(active), len(active)), matvec=times, dtype=np.float64)
    found, _ = cg(operator, target, rtol=CG_TOLERANCE, maxiter=CG_STEPS)
    return np.asarray(found)
