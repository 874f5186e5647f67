"""The min-norm point of the convex hull of the task gradients (MGDA)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import EPS, Array
from fairopt.solution import Solution, single


def min_norm(
    gram: ArrayLike,
    *,
    start: ArrayLike | None = None,
    tol: float = 1e-12,
    max_iterations: int | None = None,
    gram_error: float | ArrayLike | None = None,
) -> Solution:
    r"""Convex weights v with the smallest :math:`\|\sum_k v_k g_k\|`.

    Problem: minimise v'Av over v >= 0, sum v = 1, A the Gram matrix of the gradients. If the
    minimum is positive, d = G^T v makes the same progress ||d||^2 on every task with v_k > 0 and at
    least that on the others, and d / ||d||^2 is the max-min direction (`fairgrad` at alpha = inf).
    If it is zero the point is Pareto stationary and v is the certificate.

    Args:
        gram: A, (..., K, K), any unit.
        start: Weights >= 0 whose support to try first, (..., K).
        tol: Largest residual (`min_norm_residual`) called OPTIMAL.
        max_iterations: Active-set steps allowed; default 40 K + 50, of which at most 2 K were ever
            needed.
        gram_error: Relative error of the entries of A in units of unit-norm gradients; default
            16 eps for a float64 `gram` and 4 K eps of narrower ones. Below it `certificate` is
            filled.

    Returns:
        `Solution` with weights v. A zero gradient gives its own vertex (the lowest index).

    Method: u = argmin u'Cu/2 - sum u_k/d_k over u >= 0 on the correlation matrix, by a primal
    active set with an updated Cholesky factor of an independent support; v_k ~ u_k / d_k. When
    the programme is unbounded, its ray is the vanishing combination.

    Guarantee: exact up to rounding, finitely many steps; OPTIMAL also at stationary points. A
    matrix of low precision may be slightly indefinite; a residual within its gram_error is then
    ROUNDING_LIMITED, a larger one UNDECIDED.

    Raises:
        InvalidInput: as `fairopt.fairgrad`.

    Source: the min-norm problem of multiple-gradient descent; the method is our own.

    Example:
        >>> from fairopt import min_norm
        >>> min_norm([[1.0, 0.0], [0.0, 4.0]]).weights
        array([0.8, 0.2])
        >>> min_norm([[1.0, 2.0], [2.0, 9.0]]).weights
        array([1., 0.])
    """
    A, error = checks.gram_matrix(gram)
    K = A.shape[-1]
    begin = A[..., 0] if start is None else checks.nonnegative_vector("start", start, K)
    assumed = error if gram_error is None else checks.gram_precision(gram_error, error, A)
    if A.ndim > 2 or begin.ndim > 1 or not isinstance(assumed, float):
        checks.batch_shape(gram=A.shape[:-2], start=begin.shape[:-1], gram_error=np.shape(assumed))
    with np.errstate(all="ignore"):
        v, status, residual, steps, bound, margin = _kernel()(
            A,
            begin,
            0.0 if start is None else 1.0,
            checks.tolerance(tol),
            40 * K + 50
            if max_iterations is None
            else checks.steps("max_iterations", max_iterations),
            assumed,
        )
    checks.gram_fault(A, status)
    if v.ndim == 1:
        return single(
            v,
            status,
            residual,
            steps,
            certificate=v if margin <= bound else None,
            gram_error=float(bound),
        )
    near = margin <= bound
    certificate = np.where(near[..., None], v, np.nan) if near.any() else None
    return Solution(v, status, residual, steps, certificate, gram_error=bound)


@cache
def _kernel() -> Any:
    """The compiled kernel, loaded by the first call."""
    from fairopt.kernels.gram.min_norm import min_norm as kernel

    return kernel


def min_norm_residual(gram: ArrayLike, weights: ArrayLike) -> float | Array:
    r"""How far weights are from those of the min-norm point; 0 is exact.

    With S = sum_k |g_k| v_k the residual is
    :math:`\max_k (v^\top A v - (A v)_k)_+ / (S \max(|g_k|, S))`, the Frank-Wolfe gap task by task,
    plus the distance from the simplex: |sum v - 1| and the largest -v_k.

    Resolution: v'Av is known to (K + 2) eps S^2 only, eps = 2^-52. A point at or below that has a
    combination shorter than about 2e-8 sqrt(K) of its terms, which a float64 Gram matrix cannot
    tell from zero; its residual is v'Av / S^2 if that is less. For every longer point it is the
    gap, which is of first order in the distance from the optimum: near a stationary point too,
    a combination ten times as long as the min-norm point is not accepted.
    `fairopt.min_norm_from_gradients` resolves lengths down to about 1e-15.

    Args:
        gram: A, (..., K, K).
        weights: v, (..., K), taken as they are; NaN gives inf.

    Example:
        >>> min_norm_residual([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5])
        0.0
        >>> min_norm_residual([[1.0, 0.0], [0.0, 1.0]], [1.0, 0.0])
        1.0
    """
    A, _ = checks.gram_matrix(gram)
    v = checks.task_array("weights", weights, A.shape[-1])
    checks.batch_shape(gram=A.shape[:-2], weights=v.shape[:-1])
    d = np.sqrt(np.diagonal(A, axis1=-2, axis2=-1))
    slopes = ((0.5 * A + 0.5 * np.swapaxes(A, -1, -2)) @ v[..., None])[..., 0]
    quad = (v * slopes).sum(axis=-1, keepdims=True)
    size = (np.abs(v) * d).sum(axis=-1, keepdims=True)
    scale = size * np.maximum(d, size)
    gap = (np.maximum(quad - slopes, 0.0) / np.where(scale > 0.0, scale, 1.0)).max(axis=-1)
    square = (np.maximum(quad, 0.0) / np.where(size > 0.0, size, 1.0) ** 2)[..., 0]
    outside = np.abs(v.sum(axis=-1) - 1.0)
    outside = np.where(outside <= v.shape[-1] * EPS, 0.0, outside)
    vanishing = square <= (v.shape[-1] + 2.0) * EPS
    result = (
        np.where(vanishing, np.minimum(gap, square), gap)
        + outside
        + np.maximum(-v, 0.0).max(axis=-1)
    )
    result = np.where(np.isnan(result), np.inf, result)
    return result if result.ndim else float(result)
