"""Projections on the dual cone and UPGrad from a Gram matrix with twice the digits."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from fairopt.arrays import Array
from fairopt.dual_cone import dual_cone_projection, natural_residual
from fairopt.dual_cone_precise import (
    Combination,
    DoubleGram,
    fractions,
    lengths,
    precise_projections,
    returned,
    scaled_gram,
    scaled_references,
    status_of,
    sum_of_projections,
)
from fairopt.solution import Solution, single


def dual_cone_from_double_gram(
    high: Array,
    low: Array,
    error: float,
    reference: Array | None = None,
    *,
    accuracy: float = 1e-6,
    max_iterations: int | None = None,
) -> Solution:
    r"""`fairopt.dual_cone_projection` from a Gram matrix that is known in twice the digits.

    Args:
        high: (K, K) inner products A_ij = high_ij + low_ij of the gradients, any unit; symmetric
            and finite (not checked).
        low: (K, K) what rounding took from `high`.
        error: Largest error of A_ij in units of |g_i| |g_j|, > 0: 2^-104 times the number of
            additions that a product goes through, if each adds sums of two floats
            (`fairopt.kernels.gram.double_double_gram`).
        reference: r, (K,), default 1 / K.
        accuracy: Largest `direction_error` of an answer.
        max_iterations: Active-set steps, default 40 K + 50.

    Returns:
        `Solution`; `low` is the second float of the weights where one float each costs more than
        the accuracy, and `direction_error` is that of sum_k (weights_k + low_k) g_k.

    Raises:
        InvalidInput: if it turns out that no Gram matrix lies within the error.

    Example:
        >>> A = np.array([[1.0, -1.0], [-1.0, 4.0]])
        >>> found = dual_cone_from_double_gram(A, 0.0 * A, 2.0**-100, np.array([1.0, 0.0]))
        >>> found.weights, found.direction_error < 1e-15
        (array([1.  , 0.25]), True)
    """
    gram = scaled_gram(high, low, error)
    r = mean_reference(len(high)) if reference is None else reference
    y, c = scaled_references(r[None], gram.exponents, lengths(gram) > 0.0)
    cap = step_cap(len(high), max_iterations)
    (found,) = from_double_gram(gram, y, np.zeros(1), accuracy, cap)
    return solution(gram, found, int(c[0]), r, accuracy)


def upgrad_from_double_gram(
    high: Array,
    low: Array,
    error: float,
    reference: Array | None = None,
    *,
    accuracy: float = 1e-6,
) -> Solution:
    """`fairopt.upgrad` from a Gram matrix that is known in twice the digits.

    Arguments and result as for `dual_cone_from_double_gram`; `direction_error` is in units of
    sum_k |r_k| |g_k|.

    Example:
        >>> A = np.array([[1.0, -1.0], [-1.0, 4.0]])
        >>> upgrad_from_double_gram(A, 0.0 * A, 2.0**-100).weights
        array([1.   , 0.625])
    """
    gram = scaled_gram(high, low, error)
    r = mean_reference(len(high)) if reference is None else reference
    shares, c = scaled_references(r, gram.exponents, lengths(gram) > 0.0)
    counts = np.flatnonzero(shares)
    each = from_double_gram(
        gram, np.eye(len(r))[counts], np.zeros(len(counts)), accuracy, step_cap(len(r), None)
    )
    found = sum_of_projections(shares[counts], each, lengths(gram)[counts], len(r))
    return solution(gram, found, int(c), r, accuracy)


def squared_length(high: Array, low: Array, weights: Array, second: Array | None) -> Fraction:
    """|sum_k (weights_k + second_k) g_k|^2, exact for the matrix high + low.

    Example:
        >>> A = np.array([[1.0, -1.0], [-1.0, 4.0]])
        >>> squared_length(A, 0.0 * A, np.array([1.0, 0.25]), None)
        Fraction(3, 4)
    """
    w = fractions(weights)
    if second is not None:
        w = [a + b for a, b in zip(w, fractions(second), strict=True)]
    total = Fraction(0)
    for x, top, rest in zip(w, high, low, strict=True):
        row = (a + b for a, b in zip(fractions(top), fractions(rest), strict=True))
        total += x * sum((a * y for a, y in zip(row, w, strict=True)), Fraction(0))
    return total


def mean_reference(K: int) -> Array:
    """1 / K for each task."""
    return np.full(K, 1.0 / K)


def step_cap(K: int, max_iterations: int | None) -> int:
    """Active-set steps allowed per projection."""
    return 40 * K + 50 if max_iterations is None else max_iterations


def from_double_gram(
    gram: DoubleGram, y: Array, known: Array, accuracy: float, cap: int
) -> list[Combination]:
    """The projections of m references, started from those of the rounded matrix."""
    start = np.zeros_like(y)
    if len(y) and cap > 0:
        rounded = dual_cone_projection(gram.high, y, accuracy=accuracy, max_iterations=cap)
        start = np.maximum(rounded.weights - y, 0.0)
    each = precise_projections(gram, y, start, known, accuracy, cap)
    return [
        replace(p, residual=float(natural_residual(gram.high, r, p.high)))
        for r, p in zip(y, each, strict=True)
    ]


@np.errstate(all="ignore")
def solution(gram: DoubleGram, found: Combination, c: int, r: Array, accuracy: float) -> Solution:
    """The weights, with a second float each where they need it."""
    made = returned((found.high, found.low), gram, c, r)
    low = made.low if costly(found, made.loss, accuracy) else None
    error = found.relative(made.loss if low is None else made.loss_of_two)
    return single(
        made.weights,
        status_of(error, accuracy, found.capped, made.representable),
        found.residual,
        found.steps,
        gram_error=found.error,
        direction_error=error,
        low=low,
    )


def costly(found: Combination, loss: float, accuracy: float) -> bool:
    """Whether rounding the weights to one float each is what exceeds the accuracy."""
    return found.relative(loss) > accuracy and loss > found.bound
