"""The direction of best worst-case progress near a reference direction (CAGrad, FedHCA2)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import EPS, Array
from fairopt.solution import Solution, single

MAX_ITERATIONS = 100_000  # active-set steps over all levels; a few times K are usual
ZERO_REFERENCE = 8.0  # times K eps (sum |g_k r_k|)^2: below it |g0|^2 is rounding


def conflict_averse(
    gram: ArrayLike,
    c: float | ArrayLike,
    *,
    reference: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tol: float = 1e-10,
    max_iterations: int = MAX_ITERATIONS,
    gram_error: float | ArrayLike | None = None,
) -> Solution:
    r"""Weights of the direction with the best worst-case progress in a ball around a reference.

    Problem: with g0 = sum_k r_k g_k, maximise min_k <g_k, d> subject to ||d - g0|| <= c ||g0||.
    The dual is min over the simplex of <G v, g0> + c ||g0|| ||G v||, and d = g0 + (c ||g0|| /
    ||G v||) G v. No rescaling by 1 + c or 1 + c^2 is done here (released code does one).

    Args:
        gram: A, (..., K, K), any unit.
        c: Radius of the ball in units of ||g0||, finite and >= 0; a number or one per problem.
        reference: r, (..., K), default 1 / K (the mean).
        start: Weights to start from, (..., K); only their support matters.
        tol: Largest residual (`conflict_averse_residual`) called OPTIMAL.
        max_iterations: Active-set steps allowed.
        gram_error: Relative error of the entries of A in units of unit-norm gradients; reported.

    Returns:
        `Solution` with weights of d (not only of the correction) and `dual` v. With c = 0 or g0 = 0
        the weights are r and v is the lowest-index task of least progress. At a Pareto stationary
        point the optimum still exists for c < 1 (its worst progress is at most 0); for c >= 1
        the weights are zero and v is the vanishing combination; both fill `certificate`.

    Method: for a level mu the point of {d: <g_k, d> >= mu} nearest to g0 is a nonnegative
    quadratic programme (exact active set); its distance is convex in mu with a piecewise quadratic
    square, and the level where it is c ||g0|| is found from the exact root of each piece.

    Guarantee: OPTIMAL bounds the gap between the worst progress and that of any direction in the
    ball by tol, relative to max(|dual value|, ||g0||^2); ROUNDING_LIMITED that rounding of the Gram
    matrix and the weights (`floor`) explains a larger one; UNDECIDED that the gap is larger where
    the Gram matrix cannot tell whether the gradients are Pareto stationary.

    Raises:
        InvalidInput: as `fairopt.fairgrad`; c < 0 or not finite.

    Source: CAGrad as restated in FedHCA2 (arXiv 2311.13250); the level root is ours.

    Example:
        >>> from fairopt import conflict_averse
        >>> found = conflict_averse([[1.0, -0.5], [-0.5, 4.0]], c=0.5)
        >>> found.weights.round(4), found.dual
        (array([1. , 0.5]), array([1., 0.]))
    """
    A, error = checks.gram_matrix(gram)
    K = A.shape[-1]
    radius = checks.radius("c", c)
    r = A[..., 0] if reference is None else checks.finite_vector("reference", reference, K)
    begin = A[..., 0] if start is None else checks.finite_vector("start", start, K)
    assumed = error if gram_error is None else checks.gram_precision(gram_error, error)
    if A.ndim > 2 or r.ndim > 1 or begin.ndim > 1 or type(radius) is not float:
        checks.batch_shape(
            gram=A.shape[:-2],
            c=np.shape(radius),
            reference=r.shape[:-1],
            start=begin.shape[:-1],
            gram_error=np.shape(assumed),
        )
    given = (0.0 if reference is None else 1.0) + (0.0 if start is None else 2.0)
    steps = checks.count("max_iterations", max_iterations, 0)
    with np.errstate(all="ignore"):
        answer = _kernel()(A, radius, r, begin, given, checks.tolerance(tol), steps, assumed)
    checks.gram_fault(A, answer[3])
    return _solution(answer)


@cache
def _kernel() -> Any:
    """The compiled kernel, loaded by the first call."""
    from fairopt.kernels.gram.conflict_averse import conflict_averse as kernel

    return kernel


def _solution(answer: tuple[Any, ...]) -> Solution:
    """The record of the kernel's outputs."""
    w, dual, certificate, status, residual, steps, floor, bound = answer
    if np.isnan(certificate[..., 0]).all():
        certificate = None
    if w.ndim > 1:
        return Solution(w, status, residual, steps, certificate, dual, floor, gram_error=bound)
    return single(
        w,
        status,
        residual,
        steps,
        certificate=certificate,
        dual=dual,
        floor=float(floor),
        gram_error=float(bound),
    )


def conflict_averse_residual(
    gram: ArrayLike,
    c: float | ArrayLike,
    weights: ArrayLike,
    reference: ArrayLike | None = None,
    dual: ArrayLike | None = None,
) -> float | Array:
    r"""How far any weights are from the best worst-case progress in the ball; 0 is exact.

    (dual value - worst progress) / max(|dual value|, ||g0||^2), plus the violation of the ball
    relative to ||g0||. The dual value bounds what any direction in the ball can reach (a ||G v||
    whose square is below the rounding of v'Av counts as zero). Where g0
    vanishes to rounding the ball is a point, and the residual is (sum |g_k| |w_k - r_k|)^2 over
    (sum |g_k| |r_k|)^2.

    Args:
        gram: A, (..., K, K).
        c: Radius, >= 0.
        weights: w of the direction, (..., K).
        reference: r, (..., K), default 1 / K.
        dual: Simplex multipliers, (..., K); default what optimal weights imply: w - r, normalised
            (the vertex of least progress if w = r).

    Example:
        >>> conflict_averse_residual([[1.0, 0.0], [0.0, 1.0]], 0.0, [0.5, 0.5])
        0.0
        >>> round(conflict_averse_residual([[1.0, 0.0], [0.0, 1.0]], 1.0, [0.5, 0.5]), 4)
        0.5858
    """
    A, _ = checks.gram_matrix(gram)
    K = A.shape[-1]
    radius = np.asarray(checks.radius("c", c))
    w = checks.task_array("weights", weights, K)
    r = np.full(K, 1.0 / K) if reference is None else checks.task_array("reference", reference, K)
    A = 0.5 * A + 0.5 * np.swapaxes(A, -1, -2)
    checks.batch_shape(
        gram=A.shape[:-2], c=radius.shape, weights=w.shape[:-1], reference=r.shape[:-1]
    )
    v = _implied_dual(A, w, r) if dual is None else checks.task_array("dual", dual, K)
    with np.errstate(all="ignore"):
        result = _gap(A, radius, w, r, v)
    result = np.where(np.isnan(result), np.inf, result)
    return result if result.ndim else float(result)


def _times(A: Array, v: Array) -> Array:
    """Matrix times vector over batches."""
    return np.asarray((A @ v[..., None])[..., 0])


def _implied_dual(A: Array, w: Array, r: Array) -> Array:
    """(w - r)+ on the simplex; the vertex of least progress where that is zero."""
    u = np.maximum(w - r, 0.0)
    total = u.sum(axis=-1, keepdims=True)
    progress = np.broadcast_to(_times(A, r), np.broadcast_shapes(u.shape, A.shape[:-1]))
    vertex = np.eye(u.shape[-1])[np.argmin(progress, axis=-1)]
    return np.where(total > 0.0, u / np.where(total > 0.0, total, 1.0), vertex)


def _gap(A: Array, c: Array, w: Array, r: Array, v: Array) -> Array:
    """The residual for given multipliers."""
    d = np.sqrt(np.diagonal(A, axis1=-2, axis2=-1))
    at_reference = _times(A, r)
    square = (r * at_reference).sum(axis=-1)
    size = (d * np.abs(r)).sum(axis=-1)
    norm = np.sqrt(np.maximum(square, 0.0))
    quad = np.maximum((v * _times(A, v)).sum(axis=-1), 0.0)
    resolved = quad > (d.shape[-1] + 2.0) * EPS * (d * np.abs(v)).sum(axis=-1) ** 2
    value = (v * at_reference).sum(axis=-1) + c * norm * np.sqrt(np.where(resolved, quad, 0.0))
    off = np.sqrt(np.maximum(((w - r) * _times(A, w - r)).sum(axis=-1), 0.0))
    gap = np.maximum(value - _times(A, w).min(axis=-1), 0.0)
    proper = gap / np.maximum(np.abs(value), square) + np.maximum(off - c * norm, 0.0) / norm
    simplex = np.abs(v.sum(axis=-1) - 1.0) + np.maximum(-v, 0.0).max(axis=-1)
    proper = proper + np.where(simplex <= v.shape[-1] * EPS, 0.0, simplex)
    off_size = (d * np.abs(w - r)).sum(axis=-1)
    point = np.where(size > 0.0, (off_size / np.where(size > 0.0, size, 1.0)) ** 2, off_size)
    vanishing = square <= ZERO_REFERENCE * d.shape[-1] * EPS * size * size
    return np.asarray(np.where(vanishing, point, proper))
