"""Derivatives of the weights with respect to the Gram matrix, by the implicit function theorem.

Each `*_adjoint` maps the derivative of a number with respect to the weights to its derivative with
respect to the (symmetrised) Gram matrix, with one linear solve. NaN where the solution is not ok,
or where the weights have no derivative (dependent support, stationary point).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fairopt.checks import Array
from fairopt.solution import Solution, Status

_GOOD = (Status.OPTIMAL, Status.ROUNDING_LIMITED)
_Single = Callable[[Array, Array, Array, Any], Array]


def fairgrad_adjoint(A: Array, alpha: float, solution: Solution, outer: Array) -> Array:
    r"""Adjoint of A w = (p / w)^(1/alpha).

    dw = -J^-1 dA w with J = A + diag(s / (alpha w)); on the support alone at alpha = inf (s = 1
    there) and on the support of w - 1 at alpha = 0 (s = 0 there).
    """

    def single(matrix: Array, w: Array, g: Array, _: Any) -> Array:
        support = w > (0.0 if alpha > 0.0 else 1.0)
        wp, gp, block = w[support], g[support], matrix[np.ix_(support, support)]
        s = matrix[support] @ w
        scale = wp if alpha > 0.0 else 1.0 / np.sqrt(np.diagonal(block))
        M = scale[:, None] * block * scale
        if 0.0 < alpha < np.inf:
            M = M + np.diag(s * wp / alpha)
        return _outer(support, scale * _solve(M, scale * gp), w)

    return _each(A, solution, outer, None, single)


def min_norm_adjoint(A: Array, solution: Solution, outer: Array) -> Array:
    """Adjoint of v = w / sum w with A_PP w_P = 1 on the support."""

    def single(matrix: Array, v: Array, g: Array, _: Any) -> Array:
        support = v > 0.0
        square = v @ matrix @ v
        w = v / square
        wp, block = w[support], matrix[np.ix_(support, support)]
        inner = square * (g - g @ v)[support]
        return _outer(support, wp * _solve(wp[:, None] * block * wp, wp * inner), w)

    return _each(A, solution, outer, None, single)


def conflict_averse_adjoint(A: Array, c: float, solution: Solution, outer: Array) -> Array:
    """Adjoint of (A w)_P = mu, u'Au = c^2 r'Ar with u = w - r on its support P, r = 1 / K."""

    def single(matrix: Array, w: Array, g: Array, dual: Array) -> Array:
        r = np.full(len(w), 1.0 / len(w))
        if c == 0.0:
            return np.zeros_like(matrix)
        support = dual > 0.0
        u = np.where(support, w - r, 0.0)
        m = int(support.sum())
        M = np.zeros((m + 1, m + 1))
        M[:m, :m] = matrix[np.ix_(support, support)]
        M[:m, m] = (matrix @ u)[support]
        M[m, :m] = -1.0
        scale = np.append(1.0 / np.sqrt(np.diagonal(M)[:m]), 1.0)
        y = scale * _solve(scale[:, None] * M * scale, scale * np.append(g[support], 0.0))
        square = 0.5 * y[m] * (c * c * np.outer(r, r) - np.outer(u, u))
        return np.asarray(_outer(support, y[:m], w) + square)

    result = _each(A, solution, outer, solution.dual, single)
    if solution.certificate is not None and c > 0.0:
        result = np.where(np.isnan(solution.certificate)[..., None], result, np.nan)
    return result


def _solve(M: Array, y: Array) -> Array:
    """M^-1 y, NaN where M is singular to rounding."""
    if not (np.isfinite(M).all() and np.isfinite(y).all()):
        return np.full_like(y, np.nan)
    if len(y) and not np.linalg.cond(M) < 1.0 / (len(y) * np.finfo(np.float64).eps):
        return np.full_like(y, np.nan)
    return np.asarray(np.linalg.solve(M, y))


def _outer(support: Any, values: Array, w: Array) -> Array:
    """-(y w' + w y') / 2 with y scattered from its support."""
    y = np.zeros_like(w)
    y[support] = values
    product = np.outer(y, w)
    return np.asarray(-0.5 * (product + product.T))


def _each(A: Array, solution: Solution, outer: Array, dual: Array | None, single: _Single) -> Array:
    """Apply `single` to every problem of a batch."""
    A = 0.5 * (A + np.swapaxes(A, -1, -2))
    result = np.full(A.shape, np.nan)
    status = np.asarray(solution.status)
    for index in np.ndindex(A.shape[:-2]):
        if status[index] in _GOOD:
            extra = None if dual is None else dual[index]
            with np.errstate(all="ignore"):  # what has no derivative becomes NaN
                result[index] = single(A[index], solution.weights[index], outer[index], extra)
    return result
