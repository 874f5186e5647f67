"""FairGrad: the direction whose progress on every task is alpha-fair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks, two_kernels
from fairopt.arrays import Array
from fairopt.dual_cone import default_accuracy, dual_cone_projection, natural_residual
from fairopt.errors import InvalidInput
from fairopt.pareto import Verdict, pareto_certificate
from fairopt.solution import Solution, Status, single

MAX_ITERATIONS = 1000  # Newton steps with all fallbacks; 3 are usual, 300 the most ever seen
_LOG_SMALLEST = -744.4400719213812  # log of the smallest float64; half of it rounds to zero
_SMALLEST, _NORMAL = 2.0**-1074, 2.0**-1022  # floats; between them a weight has fewer digits
_HALF_ULP = 2.0**-53


def fairgrad(
    gram: ArrayLike,
    alpha: float | ArrayLike,
    *,
    priority: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tol: float = 1e-10,
    max_iterations: int = MAX_ITERATIONS,
    gram_error: float | ArrayLike | None = None,
) -> Solution:
    r"""Weights of the alpha-fair common descent direction of K task gradients.

    Problem: with progress :math:`s_k = \langle g_k, d\rangle` on task k, maximise
    :math:`\sum_k p_k u_\alpha(s_k)`, :math:`u_\alpha(s) = s^{1-\alpha}/(1-\alpha)` (log s at
    alpha = 1), less :math:`\tfrac12 \lVert d\rVert^2`, over directions d. With the gradients as the
    rows of G the optimum is :math:`d = G^\top w`, where

    .. math:: A w = (p / w)^{1/\alpha}, \qquad w > 0, \qquad A = G G^\top,

    that is w_k = p_k s_k^-alpha and s = A w. Here alpha is the power of a *utility*: 0 is the
    gradient sum (projected on the non-conflicting directions), 1 proportional fairness
    (Nash bargaining), 2 minimum potential delay, inf max-min (the min-norm direction).

    Args:
        gram: A, (..., K, K), the inner products of the gradients in any unit.
        alpha: In [0, inf]; a number or one per problem. Documented range [0, 200] and inf.
        priority: p > 0, (..., K), default ones; without effect at alpha = inf.
        start: Weights >= 0 to start from, (..., K), for example those of the last training step.
        tol: Largest residual (see `fairgrad_residual`) called OPTIMAL.
        max_iterations: Newton steps allowed.
        gram_error: Relative error of the entries of A in units of unit-norm gradients; default
            16 eps for a float64 `gram` and 4 K eps of narrower ones, or the asymmetry seen in it if
            that is more.

    Returns:
        `Solution`; `weights` are w in the unit of the problem, so <g_k, d> = (p_k / w_k)^(1/alpha).
        At a Pareto stationary point (a convex combination of the gradients vanishes) no finite
        weights exist: they are zero, with the combination as `certificate`.

    Method: Newton on (v, t) = (D w, A w / D) for the correlation matrix, each pair kept on its
    curve and the dominating variable moved, so that tasks whose scales differ by many decades cost
    no accuracy; fallbacks by other corner widths and by continuation from alpha = 1. The limits
    alpha = 0 and inf are nonnegative quadratic programmes solved by an exact active set.

    Guarantee: OPTIMAL means that the residual, recomputed from `gram` and the returned weights, is
    at most tol. Where rounding hides the residual the weights are refined with sums in twice the
    digits, and ROUNDING_LIMITED means that, by a first-order bound, every weight is within 1e-6 of
    that of the matrix exactly as given (worst against 700 digits: 5e-12), and that half an ulp in
    the weights already moves the residual as much (`floor`; at 1 residuals are counted in such half
    ulps, see `fairgrad_residual`). Tasks that are parallel to rounding count as exact copies and
    share accordingly. Accuracy and status do not depend on the scale s of the gradients; weights
    are multiplied by s^(-2 alpha / (1 + alpha)), and the length of the direction by
    s^((1 - alpha) / (1 + alpha)). UNDECIDED comes with weights of the matrix as given, which
    another matrix with the same digits need not share. At alpha = 0 ok means, as for
    `dual_cone_projection`, that `direction_error` is at most max(1e-5, 8 sqrt(gram_error)).
    OUT_OF_RANGE: the weights overflow; they are zero.

    Raises:
        InvalidInput: for wrong shapes or types, NaN, inf, an asymmetric matrix, a negative
            diagonal, an entry beyond Cauchy-Schwarz, or clearly negative curvature where the
            solver meets it (other indefiniteness is not checked); alpha < 0, priority <= 0.

    Source: FairGrad (arXiv 2402.15638), the equation A w = w^(-1/alpha); priorities, the limits
    and the solver are ours.

    Example:
        >>> from fairopt import fairgrad
        >>> solution = fairgrad([[1.0, 0.5], [0.5, 4.0]], alpha=2.0)
        >>> solution.status.name, solution.weights.round(4)
        ('OPTIMAL', array([0.8944, 0.326 ]))
        >>> fairgrad([[1.0, -1.0], [-1.0, 1.0]], alpha=1.0).status.name
        'PARETO_STATIONARY'
    """
    A, error = checks.gram_matrix(gram)
    K = A.shape[-1]
    power = _power(alpha)
    p = A[..., 0] if priority is None else _priority(priority, K)
    begin = A[..., 0] if start is None else checks.nonnegative_vector("start", start, K)
    assumed = error if gram_error is None else checks.gram_precision(gram_error, error, A)
    if A.ndim > 2 or p.ndim > 1 or begin.ndim > 1 or type(power) is not float:
        _same_batch(A, power, p, begin, assumed)
    limit, steps = checks.tolerance(tol), checks.steps("max_iterations", max_iterations)
    at_zero = np.equal(power, 0.0)
    if at_zero.any():
        known = None if type(assumed) is float and assumed < 0.0 else assumed
        given = (A, p if priority is not None else np.ones(K), None if start is None else begin)
        return _with_projections(given, known, at_zero, power, limit, steps)
    with np.errstate(all="ignore"):
        task = (A, power, p, begin, _given(priority, start), limit, steps, assumed)
        answer = two_kernels.solve(_quick_kernel, _kernel, 2, (2, 0, 1, 1, 0, 0, 0, 0), task)
    checks.gram_fault(A, answer[2])
    return _solution(answer)


def _with_projections(
    given: tuple[Array, Array, Array | None],
    error: float | Array | None,
    at_zero: Any,
    power: float | Array,
    tol: float,
    steps: int,
) -> Solution:
    """A batch in which alpha = 0 occurs: those problems are projections on the dual cone."""
    A, p, start = given
    K = A.shape[-1]
    parts = (A[..., 0, 0], p[..., 0], at_zero, 0.0 if start is None else start[..., 0])
    shape = np.broadcast_shapes(*map(np.shape, parts), np.shape(0.0 if error is None else error))
    if not shape:
        return _projection(A, p, start, tol, steps, error)
    where = np.broadcast_to(at_zero, shape)

    def picked(value: Any, mask: Any, *tail: int) -> Any:
        return None if value is None else np.broadcast_to(value, (*shape, *tail))[mask]

    def solved(mask: Any, solve: Callable[..., Solution]) -> Solution:
        rows = picked(A, mask, K, K), picked(p, mask, K), picked(start, mask, K)
        return solve(*rows, tol, steps, picked(error, mask))

    def others(A: Array, p: Array, start: Any, tol: float, steps: int, error: Any) -> Solution:
        alpha = picked(power, ~where)
        return fairgrad(
            A,
            alpha,
            priority=p,
            start=start,
            tol=tol,
            max_iterations=steps,
            gram_error=error,
        )

    return _merged(where, K, solved(where, _projection), solved(~where, others))


def _merged(where: Any, K: int, projected: Solution, others: Solution) -> Solution:
    """One batch from the problems at alpha = 0 and all others."""

    def both(name: str, *tail: int) -> Any:
        missing = np.full((1, *tail), np.nan) if name == "certificate" else None
        mine, theirs = (getattr(x, name) for x in (projected, others))
        mine, theirs = (missing if x is None else np.asarray(x) for x in (mine, theirs))
        result = np.empty((*where.shape, *tail), dtype=np.result_type(mine, theirs))
        result[where], result[~where] = mine, theirs
        return result

    certificate = both("certificate", K)
    return Solution(
        both("weights", K),
        both("status"),
        both("residual"),
        both("iterations"),
        None if np.isnan(certificate).all() else certificate,
        floor=both("floor"),
        worst=both("worst"),
        gram_error=both("gram_error"),
        direction_error=both("direction_error"),
    )


def _projection(
    A: Array, p: Array, start: Array | None, tol: float, steps: int, error: Any
) -> Solution:
    """The projection of sum p_k g_k on the dual cone; zero where the gradients are stationary."""
    found = dual_cone_projection(A, p, start=start, tol=tol, max_iterations=steps, gram_error=error)
    d = np.sqrt(np.diagonal(A, axis1=-2, axis2=-1))
    with np.errstate(all="ignore"):
        slopes = (A @ found.weights[..., None])[..., 0] / d
        noise = np.asarray(found.gram_error)[..., None] * (d * found.weights).sum(-1, keepdims=True)
    if (slopes > 2.0 * noise).all():  # progress on every task, so nothing is stationary
        return found
    proof = pareto_certificate(A, gram_error=error)
    stationary = np.equal(proof.verdict, Verdict.STATIONARY)
    near = np.not_equal(proof.verdict, Verdict.NOT_STATIONARY)
    status = np.where(stationary, Status.PARETO_STATIONARY, found.status)
    residual = np.where(stationary, np.inf, found.residual)
    known = found.direction_error <= default_accuracy(np.asarray(found.gram_error))
    none = np.where(known, np.nan, np.inf)  # zero weights are no projection, determined or not
    bound = np.where(stationary, none, found.direction_error)
    alone = status.ndim == 0
    return replace(
        found,
        weights=np.where(stationary[..., None], 0.0, found.weights),
        status=Status(int(status)) if alone else status,
        residual=float(residual) if alone else residual,
        direction_error=float(bound) if alone else bound,
        certificate=np.where(near[..., None], proof.weights, np.nan) if near.any() else None,
    )


@cache
def _quick_kernel() -> Any:
    """The compiled kernel for what is common, loaded by the first call."""
    from fairopt.kernels.gram.fairgrad_quick import fairgrad_quick as kernel

    return kernel


@cache
def _kernel() -> Any:
    """The compiled kernel, loaded by the first problem that needs it."""
    from fairopt.kernels.gram.fairgrad import fairgrad as kernel

    return kernel


def _given(priority: object, start: object) -> float:
    """Which optional arrays the kernel shall read."""
    return (0.0 if priority is None else 1.0) + (0.0 if start is None else 2.0)


def _power(alpha: Any) -> float | Array:
    """Alpha as float64, in [0, inf]."""
    if type(alpha) is float and alpha >= 0.0:
        return alpha
    array = checks.real_array("alpha", alpha)
    checks.all_where("alpha", array, array >= 0.0, "a number in [0, inf]")
    return array


def _priority(priority: Any, tasks: int) -> Array:
    """Priorities, finite and > 0."""
    return checks.positive_vector("priority", priority, tasks)


def _same_batch(
    A: Array, power: float | Array, p: Array, start: Array, error: float | Array
) -> None:
    """Refuse batch shapes that do not broadcast."""
    checks.batch_shape(
        gram=A.shape[:-2],
        alpha=np.shape(power),
        priority=p.shape[:-1],
        start=start.shape[:-1],
        gram_error=np.shape(error),
    )


def _solution(answer: tuple[Any, ...]) -> Solution:
    """The record of the kernel's outputs."""
    w, certificate, status, residual, steps, floor, worst, bound, margin = answer
    if w.ndim == 1:
        found = margin <= bound or margin < 0.0
        return single(
            w,
            status,
            residual,
            steps,
            certificate=certificate if found else None,
            floor=float(floor),
            worst=int(worst),
            gram_error=float(bound),
        )
    some = not bool(np.isnan(certificate).all())
    return Solution(
        w,
        status,
        residual,
        steps,
        certificate=certificate if some else None,
        floor=floor,
        worst=worst,
        gram_error=bound,
    )


def fairgrad_residual(
    gram: ArrayLike,
    alpha: float | ArrayLike,
    weights: ArrayLike,
    priority: ArrayLike | None = None,
) -> float | Array:
    r"""How far any weights are from solving the FairGrad equation; 0 is exact.

    For 0 < alpha < inf the residual is :math:`\max_k |s_k (w_k / p_k)^{1/\alpha} - 1|` with
    s = A w. A weight of zero stands for any number that rounds to it: it counts as exact if
    p_k s_k^-alpha is below the smallest float64, else the residual is inf. At alpha = inf it
    is :math:`|s_k - 1|` where w_k > 0 and the shortfall of s_k below 1 where w_k = 0; at alpha = 0
    it is `fairopt.dual_cone.dual_cone_residual` with the priorities as reference.

    Where half an ulp of the weights changes the progress (p_k / w_k)^(1/alpha) by more than itself,
    as at small alpha, no weights in float64 have a small residual. What is above 1 there counts in
    such half ulps: those of A w, or of log w_k. It is then at least 1, and never OPTIMAL.

    Args:
        gram: A, (..., K, K).
        alpha: In [0, inf], a number or one per problem.
        weights: w, (..., K), taken as they are; NaN gives inf.
        priority: p > 0, (..., K), default ones.

    Method: the products are formed after an exact scaling by powers of two, so nothing overflows.
    The rounding of A w is part of the number.

    Example:
        >>> fairgrad_residual([[4.0]], 1.0, [0.5]) < 1e-15
        True
        >>> round(fairgrad_residual([[1.0]], 2.0, [4.0]), 9)
        7.0
    """
    A, _ = checks.gram_matrix(gram)
    K = A.shape[-1]
    w = checks.task_array("weights", weights, K)
    p = np.ones(K) if priority is None else _priority(priority, K)
    power = np.asarray(_power(alpha), dtype=np.float64)
    if not np.isfinite(A).all():
        raise InvalidInput("gram", A, "finite")
    checks.batch_shape(
        gram=A.shape[:-2], alpha=power.shape, weights=w.shape[:-1], priority=p.shape[:-1]
    )
    with np.errstate(all="ignore"):
        inner = _curve_gap(A, power[..., None], w, p).max(axis=-1)
        cone = natural_residual(A, p, w) if (power == 0.0).any() else inner
    result = np.where(power == 0.0, cone, inner)
    result = np.where(np.isnan(result), np.inf, result)
    return result if result.ndim else float(result)


def _curve_gap(A: Array, alpha: Array, w: Array, p: Array) -> Array:
    """|s (w/p)^(1/alpha) - 1| for every task, with the rules for zero weights."""
    s, size, scale = scaled_slopes(A, w)
    log_s = np.log(np.abs(s)) + scale
    exponent = log_s + (np.log(w) - np.log(p)) / alpha
    gap = np.where(s > 0.0, np.abs(np.expm1(exponent)), 1.0 + np.exp(exponent))
    gap = np.where(s == 0.0, 1.0, gap)
    at_limit = np.maximum(0.0, 1.0 - s * np.exp(scale))
    vanishes = (s > 0.0) & (np.log(p) - alpha * log_s < _LOG_SMALLEST)
    zero = np.where(np.isinf(alpha), at_limit, np.where(vanishes, 0.0, np.inf))
    gap = np.where(w > 0.0, gap, np.where(w == 0.0, zero, np.inf))
    return np.where(gap > 1.0, np.fmin(gap, _half_ulps(s, size, scale, alpha, w, p)), gap)


def _half_ulps(s: Array, size: Array, scale: Array, alpha: Array, w: Array, p: Array) -> Array:
    """The gap in half ulps where they are more than the progress; inf elsewhere."""
    log_w, log_p = np.where(w > 0.0, np.log(w), _LOG_SMALLEST), np.log(p)
    log_wanted = (log_p - log_w) / alpha - scale
    wanted, resolution = np.exp(log_wanted), _HALF_ULP * size
    short = np.where(w > 0.0, np.abs(s - wanted), np.maximum(wanted - s, 0.0))
    units = np.where(wanted < resolution, short / resolution, np.inf)
    blind = _HALF_ULP * (1.0 + np.abs(log_w) + np.abs(log_p)) / alpha
    blind = np.maximum(blind, np.where(w < _NORMAL, 0.5 * (_SMALLEST / w) / alpha, 0.0))
    of_weight = np.where(blind > 1.0, np.abs(np.log(s) - log_wanted) / blind, np.inf)
    units = np.where((w > 0.0) & (s > 0.0), np.fmin(units, of_weight), units)
    return np.where((w >= 0.0) & np.isfinite(alpha), np.maximum(units, 1.0), np.inf)


def scaled_slopes(A: Array, w: Array) -> tuple[Array, Array, Array]:
    """(A + A')/2 w, the sizes of its terms, and the log of their unit, a power of two.

    A unit of a diagonal of 0 is 1.
    """
    _, e = np.frexp(np.sqrt(np.diagonal(A, axis1=-2, axis2=-1)))
    fraction, exponent = np.frexp(w)
    lifted = np.where(w == 0.0, -100000, exponent + e)
    top = lifted.max(axis=-1, keepdims=True)
    u = np.ldexp(fraction, np.where(w == 0.0, 0, lifted - top).astype(np.int32))
    symmetric = 0.5 * A + 0.5 * np.swapaxes(A, -1, -2)
    scaled = np.ldexp(np.ldexp(symmetric, -e[..., :, None]), -e[..., None, :])
    s, size = ((a @ b[..., None])[..., 0] for a, b in ((scaled, u), (np.abs(scaled), np.abs(u))))
    return s, size, (e + np.where(top <= -50000, 0, top)) * np.log(2.0)
