r"""IMTL-G and ConFIG: the direction at given angles to all gradients.

Both solve C b = r for the matrix C of cosines: the combination sum_k b_k g_k / |g_k| has the
product r_k with every unit gradient. They differ in length and sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import GRAM_ERROR, Array
from fairopt.rivals.batches import Found, Problem, graded, positive_preference, solve_each
from fairopt.solution import Solution, Status, worst


def imtl_g(gram: ArrayLike, *, gram_error: float | ArrayLike | None = None) -> Solution:
    r"""Weights of IMTL-G, the gradient balance of impartial multi-task learning.

    Problem: find weights w with sum one such that d = sum_k w_k g_k has equal projections on all
    tasks, :math:`\langle d, u_i \rangle = \langle d, u_j \rangle` for the unit gradients u. With D
    the lengths and C the cosines, :math:`w \propto D^{-1} C^{-1} \mathbf{1}`.

    Args:
        gram: (..., K, K), any unit.
        gram_error: As in `fairopt.min_norm`.

    Returns:
        `Solution`. The residual is the largest difference of a projection from their mean,
        relative to it, recomputed from the weights as returned.

    Guarantee: OPTIMAL where C is regular beyond doubt, so that gradients within `gram_error` change
    b by at most the accuracy of `fairopt.dual_cone_projection`. Where C is singular to rounding, or
    a gradient is zero and has no direction, or the sum that is scaled to one is itself rounding,
    the matrix does not fix the answer: UNDECIDED, with the weights of the least-squares solution
    (zero for zero gradients). Unit gradients whose sum vanishes: PARETO_STATIONARY, weights zero.
    **Not a descent method**: the weights sum to one, so where sum_k b_k / |g_k| < 0 for
    b = C^-1 1 the projections are equal *and negative*: the rule as published climbs in all tasks.

    Raises:
        InvalidInput: as `fairopt.fairgrad`.

    Source: Liu et al., Towards impartial multi-task learning (ICLR 2021), the closed form of its
    gradient balance; the least-squares solution of a singular system is that of TorchJD.

    Example:
        >>> imtl_g([[1.0, 0.0], [0.0, 4.0]]).weights.round(4)  # both projections are 2/3
        array([0.6667, 0.3333])
        >>> climbs = imtl_g([[1.0, -0.9, -0.3], [-0.9, 1.0, 0.6], [-0.3, 0.6, 1.0]])
        >>> climbs.ok
        True
    """
    return solve_each(gram, gram_error, lambda given, _: _imtl_g(given))


def config(
    gram: ArrayLike,
    preference: ArrayLike | None = None,
    *,
    gram_error: float | ArrayLike | None = None,
) -> Solution:
    r"""Weights of ConFIG, the conflict-free inverse gradient.

    Problem: x is the shortest vector with :math:`\langle u_k, x \rangle = r_k` for all unit
    gradients u; the direction is :math:`d = (\sum_k \langle g_k, x \rangle) \, x / \|x\|^2`: equal
    cosines by default, and as long as the sum of the projections of all gradients.

    Args:
        gram: (..., K, K), any unit.
        preference: r, (K,), > 0; default ones.
        gram_error: As in `fairopt.min_norm`.

    Returns:
        `Solution`. The residual is the largest violation of the system, relative to max r, of the
        direction recomputed from the weights as returned.

    Guarantee: as `imtl_g`, but the products with all gradients are positive wherever it is
    OPTIMAL. Gradients times a factor give the same weights.

    Raises:
        InvalidInput: as `fairopt.fairgrad`, or for another preference.

    Source: Liu et al. (arXiv 2408.11104), equations (2) and (3).

    Example:
        >>> config([[1.0, 0.0], [0.0, 4.0]]).weights
        array([1.5 , 0.75])
    """
    K = checks.gram_matrix(gram)[0].shape[-1]
    r = positive_preference(preference, K, 1.0)
    return solve_each(gram, gram_error, lambda given, _: _config(given, r))


def _inverse(given: Problem, r: Array) -> tuple[Array, Array, Status, float]:
    """(b, C b, status, smallest eigenvalue that counts) for the gradients that are not zero."""
    C = given.cosines[np.ix_(given.known, given.known)]
    values, V = np.linalg.eigh(C)
    kept = values > given.rounding
    whole = bool(kept.all()) and len(given.known) == len(given.lengths)
    if not kept.any():
        return np.zeros_like(r), np.zeros_like(r), Status.UNDECIDED, np.inf
    smallest = float(values[kept].min())
    b = V[:, kept] @ ((V[:, kept].T @ r) / values[kept])
    if whole:
        b = b + V @ ((V.T @ (r - C @ b)) / values)
    elif np.abs(b).max() <= GRAM_ERROR * len(r) * np.abs(r).max() / smallest:
        return np.zeros_like(b), np.zeros_like(b), Status.PARETO_STATIONARY, smallest
    sure = whole and given.regular(smallest)
    return b, C @ b, Status.OPTIMAL if sure else Status.UNDECIDED, smallest


def _imtl_g(given: Problem) -> Found:
    """One problem: b_k / |g_k|, scaled to sum one."""
    known = given.known
    weights = np.zeros(len(given.lengths))
    b, _, status, smallest = _inverse(given, np.ones(len(known)))
    if not b.any():
        return weights, status, 0.0 if status == Status.PARETO_STATIONARY else np.inf
    parts = b / (given.lengths[known] / given.lengths[known].min())
    total = parts.sum()
    if abs(total) <= given.rounding / smallest * np.abs(parts).sum():
        status = Status.UNDECIDED
    weights[known] = parts / total
    projections = given.cosines[np.ix_(known, known)] @ (weights[known] * given.lengths[known])
    mean = projections.mean()
    residual = float(np.abs(projections - mean).max() / abs(mean))
    return weights, worst([status, graded(residual)]), residual


def _config(given: Problem, r: Array) -> Found:
    """One problem: b_k / |g_k| times what makes the length."""
    known = given.known
    weights = np.zeros(len(given.lengths))
    b, products, status, _ = _inverse(given, r[known])
    if not b.any():
        return weights, status, 0.0 if status == Status.PARETO_STATIONARY else np.inf
    relative = given.lengths[known] / given.lengths.max()
    scale = (relative @ products) / (b @ products)
    weights[known] = scale * b / relative
    again = given.cosines[np.ix_(known, known)] @ (weights[known] * relative) / scale
    residual = float(np.abs(again - r[known]).max() / r.max())
    return weights, worst([status, graded(residual)]), residual
