"""Pareto stationarity with a certificate: stationary, not, or undecidable at this precision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt import checks
from fairopt.arrays import EPS, Array, Ints
from fairopt.errors import InvalidInput


class Verdict(IntEnum):
    """What a Gram matrix with errors decides about Pareto stationarity.

    Example:
        >>> Verdict.NOT_STATIONARY.sentence
        'not stationary: some direction makes progress on every task'
    """

    STATIONARY = 0
    UNDECIDED = 1
    NOT_STATIONARY = 2

    @property
    def sentence(self) -> str:
        """One line in plain words."""
        return (
            "stationary: a convex combination of the gradients vanishes to rounding",
            "undecided: the min-norm point lies within the precision of the Gram matrix",
            "not stationary: some direction makes progress on every task",
        )[self]


@dataclass(frozen=True, eq=False)
class ParetoCertificate:
    """The result of a stationarity test, with its certificate.

    Attributes:
        verdict: `Verdict`; for a batch an integer array of its values.
        weights: (..., K) convex weights of the gradients, proportional to v_k / |g_k| for the
            min-norm weights v of the *unit* gradients g_k / |g_k|.
        norm: The length ||sum_k v_k g_k / |g_k| || of that min-norm point, (...): the margin by
            which the gradients are not stationary.
        bound: The length that the precision of the Gram matrix can resolve, (...).
        gradient_error: What was asked about, (...), else None.
        within_gradient_error: What holds for the gradients within `gradient_error`, else None:
            STATIONARY: some of them are stationary; NOT_STATIONARY: none is; UNDECIDED: the
            precision of the Gram matrix does not tell. `Verdict`; for a batch an integer array.
    """

    verdict: Verdict | NDArray[np.int64]
    weights: Array
    norm: float | Array
    bound: float | Array
    gradient_error: float | Array | None = None
    within_gradient_error: Verdict | NDArray[np.int64] | None = None

    @property
    def sentence(self) -> str:
        """The result in plain words, for the first problem of a batch."""
        if np.size(self.verdict) == 0:
            return "an empty batch"
        first = Verdict(int(np.ravel(self.verdict)[0]))
        if self.gradient_error is None or self.within_gradient_error is None:
            return first.sentence
        within = Verdict(int(np.ravel(self.within_gradient_error)[0]))
        margin, error = float(np.ravel(self.norm)[0]), float(np.ravel(self.gradient_error)[0])
        return f"{first.sentence}; {_WITHIN[within].format(f'{margin:.2g}', f'{error:.2g}')}"


_WITHIN = {
    Verdict.STATIONARY: "margin {} <= gradient_error {}: stationary for gradients within it",
    Verdict.NOT_STATIONARY: "margin {} > gradient_error {}: not stationary for gradients within it",
    Verdict.UNDECIDED: "margin {} and gradient_error {} differ by less than the precision",
}


def pareto_certificate(
    gram: ArrayLike,
    *,
    gram_error: float | ArrayLike | None = None,
    gradient_error: float | ArrayLike | None = None,
) -> ParetoCertificate:
    r"""Decide whether the gradients have a common descent direction.

    Problem: K gradients are Pareto stationary if a convex combination of them is zero. A Gram
    matrix known only to `gram_error` cannot always decide it: with v the min-norm weights of the
    unit gradients and C their (correlation) matrix,

    - min_k (C v)_k > gram_error: NOT_STATIONARY for every matrix within that error, as d = G^T v
      has a positive product with each gradient;
    - v'Cv at the rounding level of float64: the matrix as given is STATIONARY;
    - in between: UNDECIDED.

    Args:
        gram: A, (..., K, K), any unit.
        gram_error: Error of its entries as the Gram matrix of the gradients as they are, in units
            of unit-norm gradients; default 16 eps for a float64 matrix (4 K eps for narrower
            ones), or what is seen in it if that is more.
        gradient_error: How far the gradients may be from what they stand for, as vectors, relative
            to their lengths, (...): eps of bfloat16, say, or the noise of a minibatch. It changes
            neither verdict nor weights, and adds a report.

    Returns:
        `ParetoCertificate`. A zero gradient is stationary, with its own vertex.

    Guarantee: gradients within gradient_error delta are stationary for some of the errors if and
    only if the margin, the length m of the min-norm point of the unit gradients, is at most delta:
    subtracting that point from each of them leaves a combination that vanishes, and a combination
    is moved by at most delta. `within_gradient_error` is proven for every Gram matrix within
    gram_error, as m^2 is known to that.

    Raises:
        InvalidInput: as `fairopt.fairgrad`.

    Source: ours; see the note on precision: float32 gradients g and -g/3 have a Gram matrix that
    is exactly singular in float64 although the true combination has length 1e-8.

    Example:
        >>> from fairopt import pareto_certificate
        >>> found = pareto_certificate([[1.0, -2.0], [-2.0, 4.0]])
        >>> found.verdict.name, found.weights.round(3)
        ('STATIONARY', array([0.667, 0.333]))
        >>> pareto_certificate([[1.0, -1.0], [-1.0, 1.00001]], gradient_error=2.0**-8).sentence[61:]
        'margin 0.0016 <= gradient_error 0.0039: stationary for gradients within it'
    """
    A, error = checks.gram_matrix(gram)
    assumed = error if gram_error is None else checks.gram_precision(gram_error, error, A)
    checks.batch_shape(gram=A.shape[:-2], gram_error=np.shape(assumed))
    delta = None if gradient_error is None else _gradient_error(gradient_error, A)
    with np.errstate(all="ignore"):
        weights, verdict, quad, bound = _kernel()(A, assumed)
    checks.gram_fault(A, verdict)
    norm, resolved = np.sqrt(np.maximum(quad, 0.0)), np.sqrt(bound)
    within = None
    if delta is not None:
        zero = (np.diagonal(A, axis1=-2, axis2=-1) == 0.0).any(axis=-1)  # exactly stationary
        slack = np.where(zero, 0.0, 3.0 * bound)  # two of them for the point, which is rounded
        within = _within(norm**2 - slack, norm**2 + slack, np.square(delta))
    if weights.ndim > 1:
        return ParetoCertificate(verdict, weights, norm, resolved, delta, within)
    return ParetoCertificate(
        Verdict(int(verdict)), weights, float(norm), float(resolved), delta, within
    )


def _gradient_error(value: float | ArrayLike, A: Array) -> float | Array:
    """A number in [0, 1] or one per problem."""
    array = checks.real_array("gradient_error", value, "a number in [0, 1]")
    good = (array >= 0.0) & (array <= 1.0)
    checks.all_where("gradient_error", array, good, "a number in [0, 1]")
    checks.batch_shape(gram=A.shape[:-2], gradient_error=array.shape)
    return array if array.ndim else float(array)


def _within(low: Any, high: Any, allowed: Any) -> Verdict | NDArray[np.int64]:
    """What squares of the margin between low and high say about one that is allowed."""
    found = np.where(low > allowed, Verdict.NOT_STATIONARY, Verdict.UNDECIDED)
    found = np.where(high <= allowed, Verdict.STATIONARY, found)
    return found if found.ndim else Verdict(int(found))


def pareto_certificate_from_gradients(
    gradients: ArrayLike, *, gradient_error: float | None = None
) -> ParetoCertificate:
    r"""Decide stationarity from the gradients themselves, with twice the digits of a Gram matrix.

    A Gram matrix squares what it is about: combinations shorter than about 1e-8 of the gradients
    cannot be told from zero. From the gradients, lengths down to about 1e-15 can.

    Args:
        gradients: (K, D) array of float64 or float32, one gradient per row, any unit.
        gradient_error: Relative error of each gradient as a vector, default eps of the dtype.

    Returns:
        `ParetoCertificate` as for `pareto_certificate`, with `norm` from the combination itself.
        NOT_STATIONARY holds for all gradients within gradient_error: d = sum_k v_k g_k / |g_k| has
        <g_k / |g_k|, d> > bound ||d|| for every k. STATIONARY means a norm at rounding level.

    Method: nonnegative least squares on the triangular factor of the unit gradients with a row of
    ones (the least-distance problem of Lawson and Hanson); then d, freed from what rounding put
    into the span of the differences of its gradients, and its slopes.

    Raises:
        InvalidInput: for anything but a finite (K, D) array with K, D >= 1.

    Example:
        >>> import numpy as np
        >>> found = pareto_certificate_from_gradients([[1.0, 1e-10], [-1.0, 1e-10]])
        >>> found.verdict.name, float(f"{found.norm:.3g}")
        ('NOT_STATIONARY', 1e-10)
        >>> pareto_certificate([[1.0, -1.0], [-1.0, 1.0]]).verdict.name  # its Gram matrix
        'STATIONARY'
    """
    G, eps = finite_gradients(gradients)
    error = eps
    if gradient_error is not None:
        error = checks.number("gradient_error", gradient_error, 0.0, 1.0, "a number in [0, 1]")
    rounding = EPS * (len(G) + float(np.sqrt(G.shape[1])))
    bound = error + 4.0 * rounding
    zero = zero_gradients(G)
    if len(zero):
        return ParetoCertificate(Verdict.STATIONARY, vertex(len(G), int(zero[0])), 0.0, bound)
    U, log_size = unit_gradients(G)
    v = least_distance(U, np.ones(len(U)))
    v = v / v.sum()
    norm = float(np.linalg.norm(v @ U))
    verdict = Verdict.STATIONARY if norm <= 4.0 * rounding else Verdict.UNDECIDED
    d = _equalised(U, v)
    if (U @ d).min() > bound * np.linalg.norm(d):
        verdict = Verdict.NOT_STATIONARY
    weights = v * np.exp(log_size.min() - log_size)
    return ParetoCertificate(verdict, weights / weights.sum(), norm, bound)


def finite_gradients(gradients: ArrayLike) -> tuple[Array, float]:
    """A finite (K, D) array in float64 and the eps of its dtype."""
    G = checks.real_array("gradients", gradients, "a (K, D) array of real numbers")
    if G.ndim != 2 or G.size == 0:
        raise InvalidInput("gradients", f"array of shape {G.shape}", "of shape (K, D), K, D >= 1")
    if len(G) ** 2 > checks.SMALL:
        checks.fits_memory("gradients", G.shape, len(G))
    checks.all_where("gradients", G, np.isfinite(G), "finite")
    given = np.asarray(gradients).dtype
    narrow = given.kind == "f" and given.itemsize < 8
    return G, float(np.finfo(given).eps) if narrow else EPS


def vertex(size: int, index: int) -> Array:
    """A vertex of the simplex."""
    v = np.zeros(size)
    v[index] = 1.0
    return v


def _equalised(U: Array, v: Array) -> Array:
    """The direction v U, made orthogonal to the differences of its gradients to full precision."""
    d = v @ U
    support = U[v > 0.0]
    _, values, rows = np.linalg.svd(support[1:] - support[0], full_matrices=False)
    basis = rows[values > len(U) * EPS]
    for _ in range(2):  # the second pass removes the rounding of the first
        d = d - (basis @ d) @ basis
    return np.asarray(d)


def zero_gradients(G: Array) -> Ints:
    """The rows that are zero."""
    return np.flatnonzero(~G.any(axis=1))


def unit_gradients(G: Array) -> tuple[Array, Array]:
    """Rows of length one and the logarithms of their lengths; no row is zero."""
    size = np.abs(G).max(axis=1, keepdims=True)
    U = G / size
    length = np.linalg.norm(U, axis=1, keepdims=True)
    return U / length, np.log(size[:, 0]) + np.log(length[:, 0])


def least_distance(U: Array, row: Array) -> Array:
    """The u >= 0 with the shortest u U among those of equal u'row."""
    from scipy.optimize import nnls

    R = np.linalg.qr(U.T, mode="r")
    target = np.zeros(len(R) + 1)
    target[-1] = 1.0
    u, _ = nnls(np.vstack([R, row]), target)
    return np.asarray(u)


@cache
def _kernel() -> Any:
    """The compiled kernel, loaded by the first call."""
    from fairopt.kernels.gram.pareto import pareto as kernel

    return kernel
