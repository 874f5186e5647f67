"""Aligned-MTL: the gradients made orthogonal and equally long, with the least change of angle."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array
from fairopt.rivals.batches import Found, Problem, graded, positive_preference, solve_each
from fairopt.solution import Solution, Status


def aligned_mtl(
    gram: ArrayLike,
    preference: ArrayLike | None = None,
    *,
    gram_error: float | ArrayLike | None = None,
) -> Solution:
    r"""Weights of Aligned-MTL.

    Problem: of all systems of K gradients with condition number one, :math:`\hat G` with
    :math:`\hat G^\top \hat G = \sigma^2 I`, take the nearest to G (columns are gradients); sigma
    is the smallest singular value of G that is not zero. With :math:`A = G^\top G = V \Lambda
    V^\top` it is :math:`\hat G = G B`, :math:`B = \sigma V \Lambda^{-1/2} V^\top`, and
    :math:`d = \hat G r` has the weights :math:`B r`.

    Args:
        gram: A, (..., K, K), any unit.
        preference: r, (K,), > 0; default 1/K.
        gram_error: As in `fairopt.min_norm`.

    Returns:
        `Solution`. The residual is the largest entry of :math:`B A B / \sigma^2 - P`, P the
        projection on the space of the eigenvectors that count: 0 where the condition number is one.

    Method: singular values of a Cholesky factor of A, scaled to a trace of one, which keeps half of
    the digits that eigenvalues of A lose where lengths differ. If the matrix of cosines is singular
    to rounding, those whose squares are at the rounding of A are left out, with their directions.

    Guarantee: OPTIMAL where A is regular beyond doubt, tasks with a zero gradient apart (weight
    zero): singular values of the gradients are then known to the accuracy of
    `fairopt.dual_cone_projection`. Where it is singular to rounding the scale sigma jumps and is
    not fixed by any matrix of these digits: UNDECIDED, with the weights of the rule that leaves the
    null space out, as released code does. Weights do not depend on the unit of all gradients
    together; they do on that of single ones.

    Raises:
        InvalidInput: as `fairopt.fairgrad`, or for another preference.

    Source: Senushkin et al. (arXiv 2305.19000), algorithm 1.

    Example:
        >>> solution = aligned_mtl([[1.0, 0.0], [0.0, 4.0]])
        >>> solution.weights, solution.status.name  # both as long as the shorter one
        (array([0.5 , 0.25]), 'OPTIMAL')
        >>> aligned_mtl([[1.0, 1.0], [1.0, 1.0]]).status.name
        'UNDECIDED'
    """
    K = checks.gram_matrix(gram)[0].shape[-1]
    r = positive_preference(preference, K, 1.0 / K)
    return solve_each(gram, gram_error, lambda given, _: _aligned(given, r))


def _aligned(given: Problem, r: Array) -> Found:
    """One problem, in units of the root of the trace."""
    known = given.known
    size = given.lengths[known] / given.lengths.max()
    size = size / np.linalg.norm(size)
    A = given.cosines[np.ix_(known, known)] * size[:, None] * size
    smallest_cosine = np.linalg.eigvalsh(given.cosines[np.ix_(known, known)])[0]
    roots, V = _singular(A)
    kept = roots**2 > given.error  # entries are off by error |g_i| |g_j|: at most error x trace
    if smallest_cosine > given.rounding:
        kept[:] = roots > 0.0
    weights = np.zeros(len(given.lengths))
    if not kept.any():
        return weights, Status.UNDECIDED, np.inf
    smallest = roots[kept].min()
    U = V[:, kept]
    B = (U * (smallest / roots[kept])) @ U.T
    weights[known] = B @ r[known]
    residual = float(np.abs(B @ A @ B / smallest**2 - U @ U.T).max())
    sure = bool(kept.all()) and given.regular(float(smallest_cosine))
    return weights, graded(residual) if sure else Status.UNDECIDED, residual


def _singular(A: Array) -> tuple[Array, Array]:
    """Roots of the eigenvalues of A, and the eigenvectors."""
    try:
        V, roots, _ = np.linalg.svd(np.linalg.cholesky(A))
    except np.linalg.LinAlgError:  # singular to rounding
        values, V = np.linalg.eigh(A)
        roots = np.sqrt(np.maximum(values, 0.0))
    return roots, V
