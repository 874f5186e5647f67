"""Facts about a Gram matrix in one pass, its correlation matrix, and products without overflow."""

from __future__ import annotations

import math

from fairopt.arrays import Array
from fairopt.kernels.faults import (
    ASYMMETRIC,
    ASYMMETRY_LIMIT,
    CAUCHY_SCHWARZ,
    EXCESS_LIMIT,
    NEGATIVE_DIAGONAL,
    NOT_FINITE,
)
from fairopt.kernels.jit import helper


@helper
def correlation(A: Array, C: Array, d: Array) -> tuple[int, float]:
    """Fill C = D^-1 (A + A')/2 D^-1 with unit diagonal and d; return (fault or 0, error seen).

    The error seen is the largest asymmetry or Cauchy-Schwarz excess below the limits. A zero
    diagonal leaves a zero row with a unit diagonal.
    """
    n = A.shape[0]
    seen = 0.0
    for i in range(n):
        if not math.isfinite(A[i, i]):
            return NOT_FINITE, seen
        if A[i, i] < 0.0:
            return NEGATIVE_DIAGONAL, seen
        d[i] = math.sqrt(A[i, i])
    for i in range(n):
        C[i, i] = 1.0
        for j in range(i):
            a, b = A[i, j], A[j, i]
            if not (math.isfinite(a) and math.isfinite(b)):
                return NOT_FINITE, seen
            if d[i] == 0.0 or d[j] == 0.0:
                if a != 0.0 or b != 0.0:
                    return CAUCHY_SCHWARZ, seen
                C[i, j] = C[j, i] = 0.0
                continue
            c = ((0.5 * a + 0.5 * b) / d[i]) / d[j]
            C[i, j] = C[j, i] = c
            if a != b:
                gap = abs((a / d[i]) / d[j] - (b / d[i]) / d[j])
                seen = max(seen, gap)
                if not gap <= ASYMMETRY_LIMIT:
                    return ASYMMETRIC, seen
            if abs(c) > 1.0:
                seen = max(seen, abs(c) - 1.0)
                if not abs(c) <= 1.0 + EXCESS_LIMIT:
                    return CAUCHY_SCHWARZ, seen
    return 0, seen


@helper
def powers_of_two(d: Array, r: Array) -> None:
    """r_i = 2^-e with d_i r_i in [0.5, 1): scaling by r is exact."""
    for i in range(d.shape[0]):
        r[i] = math.ldexp(1.0, -math.frexp(d[i])[1])


@helper
def scaled_weights(w: Array, r: Array, u: Array) -> float:
    """Fill u = w / r / 2^m, with the largest |u| in [0.5, 1); return 2^-m (1 if w is zero)."""
    top = -10000
    for i in range(w.shape[0]):
        if w[i] != 0.0:
            top = max(top, math.frexp(w[i])[1] + 1 - math.frexp(r[i])[1])
    if top == -10000:
        top = 0
    for i in range(w.shape[0]):
        fraction, exponent = math.frexp(w[i])
        u[i] = math.ldexp(fraction, exponent + 1 - math.frexp(r[i])[1] - top)
    return math.ldexp(1.0, -top)


@helper
def scaled_gram(A: Array, r: Array, S: Array) -> None:
    """Fill S = (A + A')/2 with rows and columns times r (powers of two: exact)."""
    for i in range(A.shape[0]):
        for j in range(i + 1):
            S[i, j] = S[j, i] = ((0.5 * A[i, j] + 0.5 * A[j, i]) * r[i]) * r[j]


@helper
def unit_exponent(d: Array, reference: Array) -> int:
    """The exponent e of a unit 2^e in which the largest d |reference| is near 1, or 0."""
    top, some = 0, False
    for i in range(d.shape[0]):
        if d[i] > 0.0 and reference[i] != 0.0:
            e = math.frexp(d[i])[1] + math.frexp(reference[i])[1]
            top = e if not some else max(top, e)
            some = True
    return top


@helper
def in_unit(d: float, w: float, e: int) -> float:
    """The number d w in units of 2^e, where d w itself may not be representable."""
    m, i = math.frexp(d)
    n, j = math.frexp(w)
    return math.ldexp(m * n, i + j - e)


@helper
def out_of_unit(u: float, d: float, e: int) -> float:
    """The number w with d w = u units of 2^e."""
    m, i = math.frexp(d)
    return math.ldexp(u / m, e - i)
