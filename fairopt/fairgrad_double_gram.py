"""FairGrad at alpha = 0 from a Gram matrix with twice the digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from fairopt.arrays import Array
from fairopt.dual_cone_double_gram import dual_cone_from_double_gram, squared_length
from fairopt.dual_cone_precise import SAFETY, TWICE, lengths, scaled_gram
from fairopt.pareto import Verdict
from fairopt.solution import Solution, Status

_FINE = 2.0**-52  # relative accuracy asked for where the length of a point decides


def fairgrad_sum_from_double_gram(
    high: Array,
    low: Array,
    error: float,
    priority: ArrayLike | None = None,
    *,
    accuracy: float = 1e-6,
) -> Solution:
    r"""`fairopt.fairgrad(alpha=0)` from a Gram matrix that is known in twice the digits.

    Problem: the projection of sum_k p_k g_k on the directions that conflict with no task, as
    `dual_cone_from_double_gram`; at a Pareto stationary point the weights are zero, as for every
    alpha.

    Args:
        high: As for `dual_cone_from_double_gram`.
        low: As there.
        error: As there.
        priority: p > 0, (K,), default ones.
        accuracy: Largest `direction_error` of an answer.

    Returns:
        `Solution`; `certificate` is a convex combination that vanishes where the status is
        PARETO_STATIONARY, and the shortest one where the matrix cannot exclude that.

    Example:
        >>> A = np.array([[1.0, -1.0], [-1.0, 4.0]])
        >>> fairgrad_sum_from_double_gram(A, 0.0 * A, 2.0**-100).weights
        array([1., 1.])
        >>> A = np.array([[1.0, -1.0], [-1.0, 1.0]])
        >>> found = fairgrad_sum_from_double_gram(A, 0.0 * A, 2.0**-100)
        >>> found.status.name, found.certificate
        ('PARETO_STATIONARY', array([0.5, 0.5]))
    """
    p = np.ones(len(high)) if priority is None else np.asarray(priority, dtype=np.float64)
    found = dual_cone_from_double_gram(high, low, error, p, accuracy=accuracy)
    verdict, v = stationarity_from_double_gram(high, low, error)
    if verdict is Verdict.NOT_STATIONARY:
        return found
    if verdict is Verdict.UNDECIDED:
        return replace(found, certificate=v)
    return replace(
        found,
        weights=np.zeros(len(p)),
        low=None,
        status=Status.PARETO_STATIONARY,
        residual=np.inf,
        direction_error=np.nan,
        certificate=v,
    )


def stationarity_from_double_gram(high: Array, low: Array, error: float) -> tuple[Verdict, Array]:
    r"""Whether a convex combination of the gradients vanishes, and the shortest one's weights.

    Method: the shortest point of the gradients h_k is found as a projection. With one more
    dimension, :math:`\tilde h_k = (h_k, 1)` and :math:`\tilde g = (0, -1)`, the projection of
    :math:`\tilde g` on the dual cone of the :math:`\tilde h_k` and of itself is
    :math:`\tilde g + \sum_k u_k \tilde h_k` for the u that minimises
    :math:`\|\sum_k u_k h_k\|^2 + (\sum_k u_k - 1)^2`: it is zero if and only if a combination
    vanishes, and u is proportional to the weights of the shortest one (Lawson and Hanson's
    least-distance problem).

    Guarantee: NOT_STATIONARY is proven, as the projection is longer than its error can be.
    STATIONARY means that its length is at the rounding level of the matrix.

    Example:
        >>> A = np.array([[1.0, -1.0], [-1.0, 1.0 + 2.0**-50]])
        >>> stationarity_from_double_gram(A, 0.0 * A, 2.0**-100)[0].name
        'NOT_STATIONARY'
    """
    gram = scaled_gram(high, low, error)
    K, size = len(high), lengths(gram)
    if not size.all():
        return Verdict.STATIONARY, np.eye(K)[np.argmin(size)]
    S, rest = np.full((K + 1, K + 1), -1.0), np.zeros((K + 1, K + 1))
    S[K, K] = 1.0
    S[:K, :K] = gram.high + 1.0
    lost = gram.high - (S[:K, :K] - 1.0)  # exact, as |h_i'h_j| < 1
    rest[:K, :K] = lost + gram.low
    found = dual_cone_from_double_gram(S, rest, error + TWICE, np.eye(K + 1)[K], accuracy=_FINE)
    square = squared_length(S, rest, found.weights, found.low)
    u = found.weights[:K]
    v = np.ldexp(u, gram.exponents.min() - gram.exponents)
    v = v / v.sum() if v.any() else v
    if square > (float(found.direction_error) * SAFETY) ** 2:
        return Verdict.NOT_STATIONARY, v
    vanishes = square <= (K + 3.0) * error * float(np.abs(found.weights).sum()) ** 2
    return (Verdict.STATIONARY if vanishes else Verdict.UNDECIDED), v
