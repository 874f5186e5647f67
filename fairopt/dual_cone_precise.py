"""Projections on the dual cone from a Gram matrix in twice the digits.

Everything is in units of powers of two: h_k = 2^-e_k g_k with lengths in [1/2, 1), and y_k =
2^(e_k - c) r_k with a largest term in [1/2, 1). Both are exact, and |sum v_k h_k| is 2^-c times
|sum w_k g_k| for w_k = 2^(c - e_k) v_k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from fairopt import exact_projection
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.errors import InvalidInput
from fairopt.exact_projection import (
    ExactGram,
    Indefinite,
    OutOfSteps,
    exact_gram_of_matrix,
    length,
    project,
    square_root,
    two_floats,
)
from fairopt.solution import Status

TWICE = 2.0**-103  # rounding of one operation on numbers of two floats
SAFETY = 1.0 + 2.0**-30  # covers the rounding of the bounds themselves
CAPPED = 2  # codes of the kernel
NOT_CONVEX = 3


@dataclass(frozen=True)
class DoubleGram:
    """Inner products of h_k = 2^-e_k g_k as high + low.

    Attributes:
        high, low: (K, K), with sqrt(high_kk) in [1/2, 1), or 0 for a zero gradient.
        error: Largest error of high_ij + low_ij in units of |h_i| |h_j|.
        exponents: (K,) the e_k.
    """

    high: Array
    low: Array
    error: float
    exponents: Ints


@dataclass(frozen=True)
class Combination:
    """A direction sum_k v_k h_k and how far it can be from what was sought.

    Attributes:
        high, low: (K,) v.
        bound: Of the distance, in units of 2^c.
        length: What the distance is compared with, from below, in the same units.
        support: (K,) tasks with a multiplier.
        steps: Of the active set.
        capped: Whether it ended at the step limit.
        error: Of the Gram matrix that proves the bound.
        residual: `fairopt.dual_cone_residual`, of the worst projection.
    """

    high: Array
    low: Array
    bound: float
    length: float
    support: BoolArray
    steps: int
    capped: bool
    error: float
    residual: float = math.nan

    def relative(self, loss: float = 0.0) -> float:
        """The bound over the length, with what rounding adds."""
        total = (self.bound + loss) * SAFETY
        return 0.0 if total == 0.0 else (total / self.length if self.length > 0.0 else math.inf)


@dataclass(frozen=True)
class Returned:
    """Weights as floats, and what rounding them has moved the direction by.

    Attributes:
        weights, low: (K,) the nearest float, and the float nearest to the rest.
        loss: Of the weights alone, in units of 2^c; `loss_of_two` with low.
        representable: Whether no weight is beyond the range of floats.
    """

    weights: Array
    low: Array
    loss: float
    loss_of_two: float
    representable: bool


def scaled_gram(high: Array, low: Array, error: float, exponents: Ints | int = 0) -> DoubleGram:
    """The Gram matrix of gradients 2^e_k h_k from that of h_k, with lengths in [1/2, 1)."""
    return rescaled(high, low, error, exponents, np.frexp(np.sqrt(np.diagonal(high)))[1])


def rescaled(high: Array, low: Array, error: float, exponents: Ints | int, f: Ints) -> DoubleGram:
    """The same with all vectors times 2^-f."""
    both = -(f[:, None] + f[None, :])
    return DoubleGram(np.ldexp(high, both), np.ldexp(low, both), error, exponents + f)


@np.errstate(all="ignore")
def scaled_references(r: Array, exponents: Ints, counts: BoolArray) -> tuple[Array, Ints]:
    """y_k = 2^(e_k - c) r_k and c, one for each row of r; 0 for gradients that do not count."""
    r = np.where(counts, r, 0.0)
    top = np.where(r != 0.0, np.frexp(r)[1] + exponents, np.iinfo(np.int32).min)
    c = top.max(axis=-1, keepdims=True)
    c = np.where(c == np.iinfo(np.int32).min, 0, c)
    return np.ldexp(r, exponents - c), c[..., 0]


def returned(v: tuple[Array, Array], gram: DoubleGram, c: int, r: Array) -> Returned:
    """The weights of the gradients as handed in; that of a zero gradient is its reference."""
    e, size = gram.exponents, lengths(gram) * SAFETY
    weights, low = np.ldexp(v[0], c - e), np.ldexp(v[1], c - e)
    weights = np.where(size > 0.0, weights, r)
    if not np.isfinite(weights).all():
        return Returned(weights, low, math.inf, math.inf, False)
    off = v[0] - np.ldexp(weights, e - c)
    rest = v[1] - np.ldexp(low, e - c)
    last = TWICE * float(np.abs(v[0]) @ size)
    one = float(np.abs(off + v[1]) @ size) + last
    return Returned(weights, low, one, float(np.abs(off + rest) @ size) + last, True)


def lengths(gram: DoubleGram) -> Array:
    """(K,) lengths of the h_k."""
    return np.sqrt(np.diagonal(gram.high))


def precise_projections(
    gram: DoubleGram, y: Array, start: Array, known: Array, accuracy: float, cap: int
) -> list[Combination]:
    """The projections of m references, (m, K).

    Args:
        gram: The Gram matrix.
        y: The references in scaled units.
        start: Multipliers to begin with, of the shape of y.
        known: Lower bounds of |sum_k y_k h_k|, (m,); 0 where none is known.
        accuracy: Largest bound over length that is asked for.
        cap: Largest number of active-set steps of each.

    Raises:
        InvalidInput: if no Gram matrix lies within the error.
    """
    with np.errstate(all="ignore"):
        v, low, x, code, steps, bound, length = _kernel()(
            gram.high, gram.low, gram.error, y, start, known, accuracy, cap
        )
    if (code == NOT_CONVEX).any():
        raise InvalidInput("error", gram.error, "at least that of the matrix (it is indefinite)")
    return [
        Combination(
            v[k],
            low[k],
            float(bound[k]),
            float(length[k]),
            x[k] > 0.0,
            int(steps[k]),
            bool(code[k] == CAPPED),
            gram.error,
        )
        for k in range(len(y))
    ]


def sum_of_projections(
    shares: Array, each: Sequence[Combination], unit: Array, K: int
) -> Combination:
    """sum_k c_k P_k in twice the digits, its bound, and sum_k |c_k| |h_k| to compare it with.

    Args:
        shares: c, (m,).
        each: The P_k, in units of the h_k they project.
        unit: (m,) the lengths of those h_k.
        K: Number of tasks.
    """
    exact = np.zeros(len(shares))
    high, low = combine(np.array([p.high for p in each]).reshape(-1, K), shares, exact)
    rest, _ = combine(np.array([p.low for p in each]).reshape(-1, K), shares, exact)
    low = low + rest
    size = np.abs(shares)
    moved = float(size @ np.array([np.abs(p.high).sum() for p in each]))
    return Combination(
        high + low,
        (high - (high + low)) + low,
        float(size @ np.array([p.bound for p in each])) + (len(shares) + 4.0) * TWICE * moved,
        float(size @ unit) / SAFETY,
        np.any(np.array([p.support for p in each]).reshape(-1, K), axis=0),
        sum(p.steps for p in each),
        any(p.capped for p in each),
        max((p.error for p in each), default=0.0),
        max((p.residual for p in each), default=0.0),
    )


def combine(H: Array, v: Array, low: Array) -> tuple[Array, Array]:
    """sum_k (v_k + low_k) H_k as two floats, to (K + 2) 2^-103 sum_k |v_k| |H_k|."""
    return _combination()(H, v, low)  # type: ignore[no-any-return]


def status_of(error: float, accuracy: float, capped: bool, representable: bool) -> Status:
    """The status of a direction known to `error`."""
    if not representable:
        return Status.OUT_OF_RANGE
    if error <= accuracy:
        return Status.OPTIMAL
    return Status.STEP_LIMIT if capped else Status.UNDECIDED


@np.errstate(all="ignore")
def exact_matrix_projections(
    A: Array, references: Array, weights: Array, accuracy: Array, cap: int
) -> tuple[Array, Ints, Ints, Array, BoolArray]:
    """Projections for matrices that are exact as they stand, (..., K, K).

    Args:
        A: Matrices without faults.
        references: (..., m, K).
        weights: (..., m, K) whose multipliers are tried first.
        accuracy: (...) largest relative distance asked for.
        cap: Largest number of active-set steps of each projection.

    Returns:
        Weights, status, steps, bound of |d - P| / |g0| for the weights as returned, and (...) which
        matrices are not symmetric or not positive semidefinite; the others mean nothing there.
    """
    e = np.frexp(np.sqrt(np.diagonal(A, axis1=-2, axis2=-1)))[1]
    S = np.ldexp(A, -(e[..., :, None] + e[..., None, :]))
    present = np.diagonal(A, axis1=-2, axis2=-1)[..., None, :] > 0.0
    y, c = scaled_references(references, e[..., None, :], present)
    scale = c[..., None] - e[..., None, :]
    start = np.maximum(np.ldexp(weights, -scale) - y, 0.0)
    start = np.where(np.isfinite(start) & present, start, 0.0)
    v, low, x, code, steps, bound, length = _kernel()(
        S, np.zeros_like(S), 0.0, y, start, np.zeros(y.shape[:-1]), accuracy, cap
    )
    w = np.where(present, np.ldexp(v, scale), references)
    off = np.where(present, (v - np.ldexp(w, -scale)) + low, 0.0)
    loss = np.abs(off).sum(axis=-1)
    total = (bound + loss + TWICE * np.abs(v).sum(axis=-1)) * SAFETY
    error = np.where(total == 0.0, 0.0, total / length)
    error = np.where(np.isnan(error), np.inf, error)
    fine = error <= np.asarray(accuracy)[..., None]
    status = np.where(code == CAPPED, Status.STEP_LIMIT, Status.UNDECIDED)
    status = np.where(fine, Status.OPTIMAL, status)
    bad = np.asarray(
        (code == NOT_CONVEX).any(axis=-1) | (np.swapaxes(A, -1, -2) != A).any(axis=(-2, -1))
    )
    if A.shape[-1] <= exact_projection.LARGEST_TASKS:
        shape = status.shape
        matrices = np.broadcast_to(S, (*shape[:-1], *S.shape[-2:]))
        exponents = np.broadcast_to(e, (*shape[:-1], e.shape[-1]))
        given = np.broadcast_to(references, w.shape)
        for index in np.argwhere(~fine & ~bad[..., None]):
            at = tuple(index)
            try:
                exact = exact_gram_of_matrix(matrices[at[:-1]], exponents[at[:-1]].tolist())
                w[at], error[at], more = _exactly(exact, given[at], x[at] > 0.0, cap)
            except Indefinite:
                bad[at[:-1]] = True
            except OutOfSteps:
                status[at] = Status.STEP_LIMIT
            else:
                steps[at] += more
                goal = float(np.broadcast_to(accuracy, shape[:-1])[at[:-1]])
                status[at] = Status.OPTIMAL if error[at] <= goal else Status.UNDECIDED
    return w, status, steps, error, bad


def _exactly(
    exact: ExactGram, reference: Array, support: BoolArray, cap: int
) -> tuple[Array, float, int]:
    """Weights rounded to one float, what that moves the direction by, and the steps."""
    exactly, steps = project(exact, reference, np.flatnonzero(support).tolist(), cap)
    weights, _ = two_floats(exactly)
    if not np.isfinite(weights).all():
        return weights, math.inf, steps
    off = [x - Fraction(float(w)) for x, w in zip(exactly, weights, strict=True)]
    return weights, ratio(length(exact, off), length(exact, fractions(reference))), steps


def fractions(numbers: Array) -> list[Fraction]:
    """Floats as fractions."""
    return [Fraction(float(x)) for x in numbers]


def ratio(above: Fraction, below: Fraction) -> float:
    """The root of above / below from above; 0 / 0 is 0."""
    if above == 0:
        return 0.0
    if below == 0:
        return math.inf
    root, exponent = square_root(above / below)
    return math.ldexp(root, exponent) * SAFETY


@cache
def _kernel() -> Any:
    """The compiled projections, loaded by the first call."""
    from fairopt.kernels.gram.double_double_cone import double_double_cone as kernel

    return kernel


@cache
def _combination() -> Any:
    """The compiled combination, loaded by the first call."""
    from fairopt.kernels.gram.double_double_gram import double_double_combination as kernel

    return kernel
