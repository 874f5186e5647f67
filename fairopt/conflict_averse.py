"""The direction of best worst-case progress near a reference direction (CAGrad, FedHCA2)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks, two_kernels
from fairopt.arrays import EPS, GRAM_ERROR, Array
from fairopt.solution import Solution, single

MAX_ITERATIONS = 100_000  # active-set steps over all levels; a few times K are usual


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
    The dual is min over the simplex of <G^T v, g0> + c ||g0|| ||G^T v||, and d = g0 + (c ||g0|| /
    ||G^T v||) G^T v. No rescaling by 1 + c or 1 + c^2 is done here (released code does one).

    Args:
        gram: A, (..., K, K), any unit.
        c: Radius of the ball in units of ||g0||, finite and >= 0; a number or one per problem.
        reference: r, (..., K), default 1 / K (the mean).
        start: Weights to start from, (..., K); only their support matters.
        tol: Largest residual (`conflict_averse_residual`) called OPTIMAL.
        max_iterations: Active-set steps allowed.
        gram_error: Largest error of the entries of A in units of unit-norm gradients, default as in
            `fairopt.dual_cone_projection`.

    Returns:
        `Solution` with weights of d (not only of the correction) and `dual` v. With c = 0 or g0 = 0
        the weights are r and v is the lowest-index task of least progress. Where the gradients are
        Pareto stationary, or this precision cannot tell, `certificate` is the combination that
        (nearly) vanishes. The optimum still exists for c < 1 (its worst progress is at most 0) and
        is solved; for c >= 1 weights that are zero are best, with status PARETO_STATIONARY.

    Method: for a level mu the point of {d: <g_k, d> >= mu} nearest to g0 is a nonnegative
    quadratic programme (exact active set); its distance is convex in mu with a piecewise quadratic
    square, and the level where it is c ||g0|| is found from the exact root of each piece. Then the
    weights are pulled towards r until d is in the ball for every matrix within `gram_error`.

    Guarantee: the residual bounds the gap between the worst progress of d and that of any direction
    in the ball, relative to max(|best|, ||g0||^2), for every set of gradients whose Gram matrix is
    within `gram_error` of A. OPTIMAL means at most tol, ROUNDING_LIMITED at most max(1e-6, 8
    sqrt(gram_error)); UNDECIDED that the digits of A prove no better gap (near stationary points
    with c >= 1, or where g0 itself is rounding), with weights for the matrix as given, not pulled:
    `fairopt.conflict_averse_from_gradients` resolves more.

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
    assumed = error if gram_error is None else checks.gram_precision(gram_error, error, A)
    if A.ndim > 2 or r.ndim > 1 or begin.ndim > 1 or type(radius) is not float:
        checks.batch_shape(
            gram=A.shape[:-2],
            c=np.shape(radius),
            reference=r.shape[:-1],
            start=begin.shape[:-1],
            gram_error=np.shape(assumed),
        )
    given = (0.0 if reference is None else 1.0) + (0.0 if start is None else 2.0)
    steps = checks.steps("max_iterations", max_iterations)
    with np.errstate(all="ignore"):
        task = (A, radius, r, begin, given, checks.tolerance(tol), steps, assumed)
        answer = two_kernels.solve(_quick_kernel, _kernel, 3, (2, 0, 1, 1, 0, 0, 0, 0), task)
    checks.gram_fault(A, answer[3])
    return _solution(answer)


@cache
def _quick_kernel() -> Any:
    """The compiled kernel for what is common, loaded by the first call."""
    from fairopt.kernels.gram.conflict_averse_quick import conflict_averse_quick as kernel

    return kernel


@cache
def _kernel() -> Any:
    """The compiled kernel, loaded by the first problem that needs it."""
    from fairopt.kernels.gram.conflict_averse import conflict_averse as kernel

    return kernel


def _solution(answer: tuple[Any, ...]) -> Solution:
    """The record of the kernel's outputs."""
    w, dual, certificate, status, residual, steps, bound = answer
    if np.isnan(certificate[..., 0]).all():
        certificate = None
    if w.ndim > 1:
        return Solution(w, status, residual, steps, certificate, dual, gram_error=bound)
    return single(
        w,
        status,
        residual,
        steps,
        certificate=certificate,
        dual=dual,
        gram_error=float(bound),
    )


def conflict_averse_residual(
    gram: ArrayLike,
    c: float | ArrayLike,
    weights: ArrayLike,
    reference: ArrayLike | None = None,
    dual: ArrayLike | None = None,
    gram_error: float | ArrayLike | None = None,
) -> float | Array:
    r"""How far any weights are from the best worst-case progress in the ball, certified.

    (upper - lower) / max(|upper|, ||g0||^2), plus the violation of the ball relative to ||g0||.
    Lower is the worst progress of the weights, upper the dual value of v, which bounds what any
    direction in the ball can reach; each is charged what an error of `gram_error` in the entries of
    A and the rounding of sums can do to it. The length ||G^T v|| counts with what it can be: an
    unresolved one is the root of the error, never zero. An exact optimum thus has a residual of
    the size of the error, not 0.

    Args:
        gram: A, (..., K, K).
        c: Radius, >= 0.
        weights: w of the direction, (..., K).
        reference: r, (..., K), default 1 / K.
        dual: Simplex multipliers, (..., K); default what optimal weights imply: w - r, normalised
            (the vertex of least progress if w = r).
        gram_error: As in `conflict_averse`.

    Example:
        >>> conflict_averse_residual([[1.0, 0.0], [0.0, 1.0]], 0.0, [0.5, 0.5]) < 1e-13
        True
        >>> round(conflict_averse_residual([[1.0, 0.0], [0.0, 1.0]], 1.0, [0.5, 0.5]), 4)
        0.5858
    """
    A, error = checks.gram_matrix(gram)
    K = A.shape[-1]
    radius = np.asarray(checks.radius("c", c))
    w = checks.task_array("weights", weights, K)
    r = np.full(K, 1.0 / K) if reference is None else checks.task_array("reference", reference, K)
    A = 0.5 * A + 0.5 * np.swapaxes(A, -1, -2)
    checks.batch_shape(
        gram=A.shape[:-2], c=radius.shape, weights=w.shape[:-1], reference=r.shape[:-1]
    )
    known: float | Array = GRAM_ERROR if error < 0.0 else error
    if gram_error is not None:
        known = checks.gram_precision(gram_error, error, A)
    v = _implied_dual(A, w, r) if dual is None else checks.task_array("dual", dual, K)
    with np.errstate(all="ignore"):
        result = _gap(A, radius, (w, r, v), np.asarray(known) + (K + 2.0) * EPS)
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


def _gap(A: Array, c: Array, points: tuple[Array, Array, Array], e: Array) -> Array:
    """The residual for weights, reference and multipliers; e in units of unit gradients."""
    w, r, v = points
    d = np.sqrt(np.diagonal(A, axis1=-2, axis2=-1))

    def size(x: Array) -> Array:
        return np.asarray((d * np.abs(x)).sum(axis=-1))

    def unknown(x: Array) -> Array:  # in this order: the square of a length may overflow
        return np.asarray((e * size(x)) * size(x))

    def square(x: Array) -> Array:
        return np.asarray(np.maximum((x * _times(A, x)).sum(axis=-1), 0.0))

    at_reference = _times(A, r)
    low = np.sqrt(np.maximum((r * at_reference).sum(axis=-1) - unknown(r), 0.0))
    high = np.sqrt(square(r) + unknown(r))
    length = np.sqrt(square(v) + unknown(v))
    upper = (v * at_reference).sum(axis=-1) + e * size(v) * size(r) + c * high * length
    slopes = _times(A, w) - np.asarray(e)[..., None] * d * size(w)[..., None]
    gap = np.maximum(upper - slopes.min(axis=-1), 0.0)
    gap = np.where(gap == 0.0, 0.0, gap / np.maximum(np.abs(upper), low**2))
    off = np.sqrt(square(w - r) + unknown(w - r))
    outside = np.maximum(off - c * low, 0.0)
    outside = np.where(outside == 0.0, 0.0, outside / low)
    simplex = np.abs(v.sum(axis=-1) - 1.0) + np.maximum(-v, 0.0).max(axis=-1)
    return np.asarray(gap + outside + np.where(simplex <= v.shape[-1] * EPS, 0.0, simplex))
