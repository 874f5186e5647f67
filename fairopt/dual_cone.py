"""The nearest non-conflicting direction: projection on the dual cone, and UPGrad."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks, two_kernels
from fairopt.arrays import EPS, Array
from fairopt.dual_cone_precise import exact_matrix_projections
from fairopt.errors import InvalidInput
from fairopt.solution import Solution, Status, single, worst

DEFAULT_ACCURACY = -1.0  # tells the kernel to choose by the error of the matrix


def dual_cone_projection(
    gram: ArrayLike,
    reference: ArrayLike,
    *,
    start: ArrayLike | None = None,
    tol: float = 1e-12,
    accuracy: float | ArrayLike | None = None,
    max_iterations: int | None = None,
    gram_error: float | ArrayLike | None = None,
) -> Solution:
    r"""Weights of the non-conflicting direction nearest to G^T r.

    Problem: minimise ||d - g0||, g0 = sum_k r_k g_k, over d with <g_k, d> >= 0 for every k. The
    optimum is d = G^T w (gradients are rows) with w = r + u, u >= 0, A w >= 0 and u'A w = 0.

    Args:
        gram: A, (..., K, K), any unit.
        reference: r, (..., K), or a stack (..., m, K) of m references for each matrix
            (a stack has one axis more than the batch of `gram`).
        start: Weights of the shape of `reference` whose support to try first.
        tol: Largest residual (`dual_cone_residual`) of an OPTIMAL answer; an accurate direction
            with a larger one is ROUNDING_LIMITED.
        accuracy: Largest `direction_error` of an answer, a number in (0, 1); default
            max(1e-5, 8 sqrt(gram_error)), as a Gram matrix knows directions to the root of its
            error only where gradients are dependent.
        max_iterations: Active-set steps allowed per projection; default 40 K + 50, of which at
            most 2 K were ever needed.
        gram_error: Largest error of the entries of A as the Gram matrix of the vectors that will
            be combined, in units of unit-norm gradients. Default 16 eps for a float64 matrix (4 K
            eps for narrower ones), or what is seen in it if that is more. An inner product
            summed in one run over D entries errs by up to D eps: say so for long vectors. 0 states
            that the matrix is exact: it is solved in twice the digits and, up to 32 tasks, in
            integers. Where it is not symmetric or not positive semidefinite it cannot be exact, and
            its error is at least what is seen.

    Returns:
        `Solution` with weights of the shape of `reference` (with the batch of `gram`). Where
        gradients are dependent the weights are not unique, the direction is.

    Guarantee: `direction_error` bounds |d - P| / |g0| for every set of gradients whose Gram matrix
    is within `gram_error` of A, where d is their combination by the weights as returned and P
    their exact projection. ok means direction_error <= accuracy. UNDECIDED means that the weights
    are right for some matrix with these digits but not to `accuracy` for all of them (opposite
    tasks and a third one are undecidable by nature), or that g0 itself is rounding:
    `fairopt.dual_cone_from_gradients` decides these.

    Method: argmin u'Mu/2 + (C D r)'u over u >= 0 with M = C + shift I on the correlation matrix C,
    exact active set; proximal steps remove the shift.

    Raises:
        InvalidInput: as `fairopt.fairgrad`; accuracy outside (0, 1).

    Source: projection on the dual cone of the gradients (the DualProj and UPGrad sub-problem); the
    bound is ours (`fairopt.kernels.gram.direction_bound`).

    Example:
        >>> from fairopt import dual_cone_projection
        >>> found = dual_cone_projection([[1.0, -1.0], [-1.0, 4.0]], [1.0, 0.0])
        >>> found.weights, found.direction_error < 1e-12
        (array([1.  , 0.25]), True)
    """
    A, error = checks.gram_matrix(gram)
    r = checks.finite_vector("reference", reference, A.shape[-1])
    single_reference = r.ndim <= max(A.ndim - 1, 1)
    rows = r[..., None, :] if single_reference else r
    begin = rows if start is None else _start(start, r)
    assumed = error if gram_error is None else checks.gram_precision(gram_error, error, A)
    goal = DEFAULT_ACCURACY if accuracy is None else checks.accuracy(accuracy)
    if A.ndim > 2 or rows.ndim > 2 or np.ndim(assumed) or np.ndim(goal):
        checks.batch_shape(
            gram=A.shape[:-2],
            reference=rows.shape[:-2],
            gram_error=np.shape(assumed),
            accuracy=np.shape(goal),
        )
    cap = 40 * A.shape[-1] + 50
    if max_iterations is not None:
        cap = checks.steps("max_iterations", max_iterations)
    warm = 0.0 if start is None else 1.0
    with np.errstate(all="ignore"):
        start = begin.reshape(rows.shape)
        task = (A, rows, start, warm, checks.tolerance(tol), goal, cap, assumed)
        answer = two_kernels.solve(_quick_kernel, _kernel, 1, (2, 2, 2, 0, 0, 0, 0, 0), task)
        w, status, residual, steps, bound, known = answer
        if gram_error is not None and not np.all(assumed):
            checks.gram_fault(A, status.max(axis=-1, initial=0))
            w, status, residual, steps, bound, known = _where_exact(
                A, rows, (w, status, residual, steps, bound, known), tol, goal, cap, assumed
            )
    if single_reference and w.ndim == 2:
        checks.gram_fault(A, status[0])
        return single(
            w[0],
            status[0],
            residual[0],
            steps[0],
            gram_error=float(known),
            direction_error=float(bound[0]),
        )
    checks.gram_fault(A, status.max(axis=-1, initial=0))
    if not single_reference:
        return Solution(
            w, status, residual, steps, gram_error=known[..., None], direction_error=bound
        )
    return Solution(
        w[..., 0, :],
        status[..., 0],
        residual[..., 0],
        steps[..., 0],
        gram_error=known,
        direction_error=bound[..., 0],
    )


def _where_exact(
    A: Array, rows: Array, found: tuple[Any, ...], tol: float, goal: Any, cap: int, error: Any
) -> tuple[Any, ...]:
    """What the kernel found, replaced where the matrix is declared exact and can be."""
    w, status, residual, steps, bound, known = found
    accuracy = np.where(np.asarray(goal) < 0.0, default_accuracy(np.zeros(())), goal)
    exact_w, exact_status, exact_steps, exact_bound, bad = exact_matrix_projections(
        A, rows, w, accuracy, cap
    )
    if bad.any():
        seen = np.where(bad, np.maximum(-_least_eigenvalue(A), 0.0), 0.0)
        again = np.maximum(error, seen)
        w, status, residual, steps, bound, known = _kernel()(
            A, rows, rows, 0.0, tol, goal, cap, again
        )
    exact_residual = natural_residual(A[..., None, :, :], rows, exact_w)
    limited = (exact_status == Status.OPTIMAL) & (exact_residual > tol)
    exact_status = np.where(limited, Status.ROUNDING_LIMITED, exact_status)
    exact = np.broadcast_to((np.asarray(error) == 0.0) & ~bad, status.shape[:-1])
    each = exact[..., None]
    return (
        np.where(each[..., None], exact_w, w),
        np.where(each, exact_status, status),
        np.where(each, exact_residual, residual),
        np.where(each, steps + exact_steps, steps),
        np.where(each, exact_bound, bound),
        np.where(exact, 0.0, known),
    )


def _least_eigenvalue(A: Array) -> Array:
    """That of the correlation matrix."""
    d = np.sqrt(np.diagonal(A, axis1=-2, axis2=-1))
    d = np.where(d > 0.0, d, 1.0)
    C = (0.5 * A + 0.5 * np.swapaxes(A, -1, -2)) / d[..., :, None] / d[..., None, :]
    return np.asarray(np.linalg.eigvalsh(C)[..., 0])


def _start(start: Any, reference: Array) -> Array:
    """Starting weights of the shape of the reference."""
    begin = checks.finite_vector("start", start, reference.shape[-1])
    if begin.shape != reference.shape:
        raise InvalidInput("start", f"array of shape {begin.shape}", "of the shape of reference")
    return begin


@cache
def _quick_kernel() -> Any:
    """The compiled kernel for what is common, loaded by the first call."""
    from fairopt.kernels.gram.dual_cone_quick import dual_cone_quick as kernel

    return kernel


@cache
def _kernel() -> Any:
    """The compiled kernel, loaded by the first problem that needs it."""
    from fairopt.kernels.gram.dual_cone import dual_cone as kernel

    return kernel


def upgrad(
    gram: ArrayLike,
    reference: ArrayLike | None = None,
    *,
    tol: float = 1e-12,
    accuracy: float | ArrayLike | None = None,
    max_iterations: int | None = None,
    gram_error: float | ArrayLike | None = None,
) -> Solution:
    r"""Weights of the combination of all gradients after each was projected on the dual cone.

    Problem: sum_k r_k P(g_k), where P(g_k) is the non-conflicting direction nearest to g_k. For
    every r >= 0 it is non-conflicting itself.

    Args:
        gram: A, (..., K, K), any unit.
        reference: r, (..., K), default 1 / K.
        tol: Largest residual of a single projection called OPTIMAL.
        accuracy: Largest `direction_error` of an answer; default as in `dual_cone_projection`.
        max_iterations: Active-set steps allowed per projection.
        gram_error: As in `dual_cone_projection`.

    Returns:
        `Solution`; the residual is that of the worst of the projections that count (r_k != 0),
        iterations their total. `direction_error` bounds the distance of the direction from the
        exact one in units of sum_k |r_k| |g_k|.

    Guarantee: ok means direction_error <= accuracy; otherwise the status is the worst, by meaning
    (`fairopt.solution.worst`), of the projections that count.

    Method: `dual_cone_projection` of the K unit references, sharing the checks of the matrix.

    Raises:
        InvalidInput: as `dual_cone_projection`.

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
        gram,
        units,
        tol=tol,
        accuracy=accuracy,
        max_iterations=max_iterations,
        gram_error=gram_error,
    )
    return _sum_of_projections(A, r, each, accuracy)


def _sum_of_projections(A: Array, r: Array, each: Solution, accuracy: Any) -> Solution:
    """The sum of the K projections, its bound, and its status."""
    K = A.shape[-1]
    d, size = np.sqrt(np.diagonal(A, axis1=-2, axis2=-1)), np.abs(r)
    weights = (r[..., None, :] @ each.weights)[..., 0, :]
    share = size * d
    moved = ((size[..., None, :] @ np.abs(each.weights))[..., 0, :] * d).sum(axis=-1)
    counts, total = np.not_equal(share, 0.0), share.sum(axis=-1)
    status, residual, off = np.asarray(each.status), each.residual, each.direction_error
    if not counts.all():
        status, residual, off = (np.where(counts, x, 0) for x in (status, residual, off))
    with np.errstate(all="ignore"):
        bound = ((share * off).sum(axis=-1) + (K + 1.0) * EPS * moved) / total
    bound = np.where(total > 0.0, bound, 0.0)
    known = np.asarray(each.gram_error)[..., 0]
    below = worst(status, axis=-1) if status.any() else np.zeros(bound.shape, dtype=np.int64)
    accurate = bound <= (default_accuracy(known) if accuracy is None else accuracy)
    good = np.isin(below, (Status.OPTIMAL, Status.ROUNDING_LIMITED))
    merged = np.where(accurate == good, below, np.where(accurate, Status.OPTIMAL, Status.UNDECIDED))
    residual, steps = np.max(residual, axis=-1), np.sum(each.iterations, axis=-1)
    if bound.ndim:
        steps = np.broadcast_to(steps, bound.shape)
        residual = np.broadcast_to(residual, bound.shape)
        return Solution(weights, merged, residual, steps, gram_error=known, direction_error=bound)
    return single(
        weights,
        int(merged),
        residual,
        steps,
        gram_error=float(known),
        direction_error=float(bound),
    )


def default_accuracy(gram_error: Array) -> Array:
    """The accuracy that is asked of a Gram matrix of that error, unless one is given."""
    return np.maximum(1e-5, 8.0 * np.sqrt(gram_error))


def dual_cone_residual(gram: ArrayLike, reference: ArrayLike, weights: ArrayLike) -> float | Array:
    r"""How far G^T w is from the projection of G^T r on {d: <g_k, d> >= 0 for all k}; 0 is exact.

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
