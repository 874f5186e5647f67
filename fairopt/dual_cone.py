"""The nearest non-conflicting direction: projection on the dual cone, and UPGrad."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput
from fairopt.solution import Solution, single

MAX_ITERATIONS = 100_000  # active-set steps per projection; the kernel has its own cap


def dual_cone_projection(
    gram: ArrayLike,
    reference: ArrayLike,
    *,
    start: ArrayLike | None = None,
    tol: float = 1e-12,
    max_iterations: int = MAX_ITERATIONS,
    gram_error: float | ArrayLike | None = None,
) -> Solution:
    r"""Weights of the non-conflicting direction nearest to G r.

    Problem: minimise ||d - sum_k r_k g_k|| over d with <g_k, d> >= 0 for every k. The optimum is
    d = G w with w = r + u, u >= 0, A w >= 0 and u'A w = 0.

    Args:
        gram: A, (..., K, K), any unit.
        reference: r, (..., K), or a stack (..., m, K) of m references for each matrix
            (a stack has one axis more than the batch of `gram`).
        start: Weights of the shape of `reference` whose support to try first.
        tol: Largest residual (`dual_cone_residual`) called OPTIMAL.
        max_iterations: Active-set steps allowed per projection.
        gram_error: Relative error of the entries of A in units of unit-norm gradients; reported.

    Returns:
        `Solution` with weights of the shape of `reference` (with the batch of `gram`). Always
        exists; zero weights times zero gradients included. Where gradients are dependent the
        weights are not unique, the direction is.

    Guarantee: OPTIMAL bounds the residual by tol. Where gradients are dependent to the precision
    of the Gram matrix, slopes are known to the square root of `gram_error` only; a residual below
    that is then ROUNDING_LIMITED.

    Method: argmin u'Cu/2 + (C D r)'u over u >= 0 on the correlation matrix C, exact active set.

    Raises:
        InvalidInput: as `fairopt.fairgrad`.

    Source: projection on the dual cone of the gradients (the DualProj and UPGrad sub-problem).

    Example:
        >>> from fairopt import dual_cone_projection
        >>> dual_cone_projection([[1.0, -1.0], [-1.0, 4.0]], [1.0, 0.0]).weights
        array([1.  , 0.25])
    """
    A, error = checks.gram_matrix(gram)
    r = checks.finite_vector("reference", reference, A.shape[-1])
    single_reference = r.ndim <= max(A.ndim - 1, 1)
    rows = r[..., None, :] if single_reference else r
    begin = rows if start is None else _start(start, r)
    assumed = error if gram_error is None else checks.gram_precision(gram_error, error)
    if A.ndim > 2 or rows.ndim > 2 or np.ndim(assumed):
        checks.batch_shape(
            gram=A.shape[:-2], reference=rows.shape[:-2], gram_error=np.shape(assumed)
        )
    cap = min(checks.count("max_iterations", max_iterations, 0), 40 * A.shape[-1] + 50)
    warm = 0.0 if start is None else 1.0
    with np.errstate(all="ignore"):
        w, status, residual, steps, bound = _kernel()(
            A, rows, begin.reshape(rows.shape), warm, checks.tolerance(tol), cap, assumed
        )
    if single_reference and w.ndim == 2:
        checks.gram_fault(A, status[0])
        return single(w[0], status[0], residual[0], steps[0], gram_error=float(bound))
    checks.gram_fault(A, status.max(axis=-1, initial=0))
    if not single_reference:
        return Solution(w, status, residual, steps, gram_error=bound)
    status, residual, steps = status[..., 0], residual[..., 0], steps[..., 0]
    return Solution(w[..., 0, :], status, residual, steps, gram_error=bound)


def _start(start: Any, reference: Array) -> Array:
    """Starting weights of the shape of the reference."""
    begin = checks.finite_vector("start", start, reference.shape[-1])
    if begin.shape != reference.shape:
        raise InvalidInput("start", f"array of shape {begin.shape}", "of the shape of reference")
    return begin


@cache
def _kernel() -> Any:
    """The compiled kernel, loaded by the first call."""
    from fairopt.kernels.gram.dual_cone import dual_cone as kernel

    return kernel


def upgrad(
    gram: ArrayLike,
    reference: ArrayLike | None = None,
    *,
    tol: float = 1e-12,
    max_iterations: int = MAX_ITERATIONS,
    gram_error: float | ArrayLike | None = None,
) -> Solution:
    r"""Weights of the combination of all gradients after each was projected on the dual cone.

    Problem: sum_k r_k P(g_k), where P(g_k) is the non-conflicting direction nearest to g_k. It is
    non-conflicting for every r >= 0.

    Args:
        gram: A, (..., K, K), any unit.
        reference: r, (..., K), default 1 / K.
        tol: Largest residual of a single projection called OPTIMAL.
        max_iterations: Active-set steps allowed per projection.
        gram_error: Relative error of the entries of A; reported.

    Returns:
        `Solution`; residual and status are those of the worst of the K projections, iterations
        their total.

    Method: `dual_cone_projection` of the K unit references, sharing the checks of the matrix.

    Raises:
        InvalidInput: as `fairopt.fairgrad`.

    Source: UPGrad of Jacobian descent (the aggregator of that name); the exact solve is ours.

    Example:
        >>> from fairopt import upgrad
        >>> upgrad([[1.0, -1.0], [-1.0, 4.0]]).weights
        array([1.   , 0.625])
    """
    A, _ = checks.gram_matrix(gram)
    K = A.shape[-1]
    r = np.full(K, 1.0 / K)
    if reference is not None:
        r = checks.finite_vector("reference", reference, K)
        checks.batch_shape(gram=A.shape[:-2], reference=r.shape[:-1])
    units = np.broadcast_to(np.eye(K), A.shape)
    each = dual_cone_projection(
        gram, units, tol=tol, max_iterations=max_iterations, gram_error=gram_error
    )
    weights = (r[..., None, :] @ each.weights)[..., 0, :]
    shape = weights.shape[:-1]
    residual = np.broadcast_to(np.max(each.residual, axis=-1), shape)
    status = np.broadcast_to(np.max(each.status, axis=-1), shape)
    steps = np.broadcast_to(np.sum(each.iterations, axis=-1), shape)
    if shape:
        return Solution(weights, status, residual, steps, gram_error=each.gram_error)
    return single(weights, status, residual, steps, gram_error=each.gram_error)


def dual_cone_residual(gram: ArrayLike, reference: ArrayLike, weights: ArrayLike) -> float | Array:
    r"""How far G w is from the projection of G r on {d: <g_k, d> >= 0 for all k}; 0 is exact.

    With multipliers u = w - r the optimality conditions are u >= 0, A w >= 0, u'A w = 0. The
    residual is :math:`\max_k |\min(|g_k| u_k, (A w)_k / |g_k|)|` over
    :math:`\sum_k |g_k| \max(|w_k|, |r_k|)`: zero
    exactly at a solution, and the same in every unit. (A zero gradient requires only u_k >= 0.)

    Args:
        gram: A, (..., K, K).
        reference: r, (..., K) or a stack (..., m, K).
        weights: w, of the broadcast shape.

    Example:
        >>> dual_cone_residual([[1.0, -1.0], [-1.0, 4.0]], [1.0, 0.0], [1.0, 0.25])
        0.0
        >>> dual_cone_residual([[1.0, -1.0], [-1.0, 4.0]], [1.0, 0.0], [1.0, 0.0])
        0.5
    """
    A, _ = checks.gram_matrix(gram)
    r = checks.task_array("reference", reference, A.shape[-1])
    w = checks.task_array("weights", weights, A.shape[-1])
    checks.batch_shape(reference=r.shape[:-1], weights=w.shape[:-1])
    stacked = max(r.ndim, w.ndim) > A.ndim - 1 and A.ndim > 1
    result = natural_residual(A[..., None, :, :] if stacked else A, r, w)
    return result if result.ndim else float(result)


def natural_residual(A: Array, r: Array, w: Array) -> Array:
    """The residual of `dual_cone_residual`, inf where anything is NaN."""
    d = np.sqrt(np.diagonal(A, axis1=-2, axis2=-1))
    unit = np.where(d > 0.0, d, 1.0)
    C = (0.5 * A + 0.5 * np.swapaxes(A, -1, -2)) / unit[..., :, None] / unit[..., None, :]
    size = d * np.maximum(np.abs(w), np.abs(r))
    top = size.max(axis=-1, keepdims=True)
    top = np.where(top > 0.0, top, 1.0)
    v = d * (w / top)
    slopes = np.where(d > 0.0, (C @ v[..., None])[..., 0], np.inf)
    total = (size / top).sum(axis=-1)
    gap = np.abs(np.minimum(d * ((w - r) / top), slopes)).max(axis=-1)
    gap = gap / np.where(total > 0.0, total, 1.0)
    return np.where(np.isnan(gap), np.inf, gap)
