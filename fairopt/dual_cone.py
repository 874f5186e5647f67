"""The nearest direction that conflicts with nobody: projection on the dual cone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.checks import Array


def dual_cone_residual(gram: ArrayLike, reference: ArrayLike, weights: ArrayLike) -> float | Array:
    r"""How far G w is from the projection of G r on {d: <g_k, d> >= 0 for all k}; 0 is exact.

    With multipliers u = w - r the optimality conditions are u >= 0, A w >= 0, u'A w = 0. The
    residual is :math:`\max_k |\min(|g_k| u_k, (A w)_k / |g_k|)| / \sum_k |g_k| |w_k|`: zero exactly
    at a solution, and the same in every unit. (A zero gradient asks only for u_k >= 0.)

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
    top = np.abs(w * unit).max(axis=-1, keepdims=True)
    top = np.where(top > 0.0, top, 1.0)
    v = w * unit / top
    slopes = np.where(d > 0.0, (C @ v[..., None])[..., 0], np.inf)
    size = (np.abs(v) * (d > 0.0)).sum(axis=-1)
    gap = np.abs(np.minimum((w - r) * unit / top, slopes)).max(axis=-1)
    gap = gap / np.where(size > 0.0, size, 1.0)
    return np.where(np.isnan(gap), np.inf, gap)
