"""What all rules here share: the checks of a Gram matrix, unit gradients, one problem at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array, Ints
from fairopt.dual_cone import default_accuracy
from fairopt.errors import InvalidInput
from fairopt.pareto import Verdict, pareto_certificate
from fairopt.solution import Solution, Status

TOL = 1e-10  # largest residual called OPTIMAL, as in `fairopt.fairgrad`
ROUNDED = 1e-6  # and ROUNDING_LIMITED: weights in float64 meet the equations as far as they can

Found = tuple[Array, Status, float]  # weights, status, residual


@dataclass(frozen=True)
class Problem:
    """One Gram matrix in units of its gradients.

    Attributes:
        cosines: C, (K, K): products of unit gradients; rows of zero gradients are zero.
        lengths: |g_k|, (K,).
        error: Of the entries of C.
    """

    cosines: Array
    lengths: Array
    error: float

    @property
    def known(self) -> Ints:
        """Indices of the gradients that are not zero."""
        return np.flatnonzero(self.lengths > 0.0).astype(np.int64)

    @property
    def rounding(self) -> float:
        """Eigenvalues of C that no matrix within the error lets tell from zero: the error times K.

        A symmetric matrix with entries at most e moves eigenvalues by at most K e.
        """
        return self.error * len(self.lengths)

    def regular(self, smallest: float) -> bool:
        """Whether C is regular for every matrix within the error, and so is what is solved.

        Solutions of C b = r move by at most rounding / smallest of their length to first order, and
        singular values of the gradients by as much, whatever their lengths (Demmel and Veselic
        1992): the accuracy that is asked for is that of the projections of `fairopt.dual_cone`.

        Args:
            smallest: The smallest eigenvalue of C.
        """
        allowed = float(default_accuracy(np.asarray(self.error)))
        return smallest > self.rounding and self.rounding <= allowed * smallest


def solve_each(
    gram: ArrayLike,
    gram_error: float | ArrayLike | None,
    rule: Callable[[Problem, tuple[int, ...]], Found],
) -> Solution:
    """The rule for a Gram matrix or every one of a batch, with certificates where stationary.

    The rule is also given the index in the batch. Where all gradients are zero it is not asked:
    PARETO_STATIONARY, weights zero. Weights that a float64 cannot hold are OUT_OF_RANGE and zero.
    """
    A, errors, verdict, v = checked(gram, gram_error)
    shape = A.shape[:-2]
    results = [_one(problem(A[i], float(errors[i])), i, rule) for i in np.ndindex(shape)]
    stationary = np.asarray(verdict == Verdict.STATIONARY)
    certificate = np.where(stationary[..., None], v, np.nan) if stationary.any() else None
    if not shape:
        weights, status, residual = results[0]
        return Solution(weights, status, residual, 0, certificate, gram_error=float(errors))
    return Solution(
        np.reshape([r[0] for r in results], A.shape[:-1]).astype(np.float64),
        np.reshape([int(r[1]) for r in results], shape).astype(np.int64),
        np.reshape([r[2] for r in results], shape).astype(np.float64),
        np.zeros(shape, dtype=np.int64),
        certificate,
        gram_error=errors,
    )


def checked(
    gram: ArrayLike, gram_error: float | ArrayLike | None
) -> tuple[Array, Array, Array, Array]:
    """The matrix, symmetric, with the errors of its entries, verdicts and min-norm weights."""
    certificate = pareto_certificate(gram, gram_error=gram_error)
    A, _ = checks.gram_matrix(gram)
    errors = np.broadcast_to(np.square(certificate.bound), A.shape[:-2])
    symmetric = A + 0.5 * (np.swapaxes(A, -1, -2) - A)  # the diagonal as it is, subnormal or not
    return symmetric, errors, np.asarray(certificate.verdict), certificate.weights


def problem(A: Array, error: float) -> Problem:
    """The matrix of one problem in units of its gradients."""
    lengths = np.sqrt(np.diag(A))
    unit = np.where(lengths > 0.0, lengths, 1.0)
    return Problem(A / unit[:, None] / unit, lengths, error)


def graded(residual: float) -> Status:
    """What a regular system with that residual is."""
    if residual <= TOL:
        return Status.OPTIMAL
    return Status.ROUNDING_LIMITED if residual <= ROUNDED else Status.UNDECIDED


def _one(
    given: Problem, index: tuple[int, ...], rule: Callable[[Problem, tuple[int, ...]], Found]
) -> Found:
    """One problem of a batch."""
    K = len(given.lengths)
    if not given.known.size:
        return np.zeros(K), Status.PARETO_STATIONARY, 0.0
    with np.errstate(all="ignore"):
        weights, status, residual = rule(given, index)
    if not np.isfinite(weights).all():
        return np.zeros(K), Status.OUT_OF_RANGE, np.inf
    return weights, status, float(residual)


def positive_preference(preference: ArrayLike | None, K: int, default: float) -> Array:
    """(K,) numbers > 0, all equal by default."""
    if preference is None:
        return np.full(K, default)
    given = checks.positive_vector("preference", preference, K)
    if given.ndim != 1:
        raise InvalidInput("preference", f"array of shape {given.shape}", f"of shape ({K},)")
    return given
