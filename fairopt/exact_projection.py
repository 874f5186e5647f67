r"""Projections on the dual cone in exact integers: the last stage, for small gradients.

Gradients in floats are integers times powers of two, g_k = 2^e_k n_k, and so is their Gram matrix.
The multipliers minimise u'Au/2 + q'u over u >= 0, q = A y, by the active set of Lawson and Hanson:
a task enters only if it conflicts with the direction, which is orthogonal to the support, so it is
independent of the support; and every minimum on a support is below the one before, so it ends.
Systems are solved by Bareiss' elimination, whose numbers are minors of A. Nothing is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.arrays import Array

Rows = NDArray[Any]  # of Python integers
Matrix = list[list[int]]

LARGEST_TASKS = 32
LARGEST_ENTRIES = 100_000  # K D; beyond either limit a projection takes seconds


class Indefinite(ArithmeticError):
    """The matrix is no Gram matrix."""


class OutOfSteps(ArithmeticError):
    """The active set needs more steps than are allowed."""


@dataclass(frozen=True)
class ExactGram:
    """Inner products of gradients g_k = 2^e_k n_k.

    Attributes:
        gram: The integers n_i'n_j 2^-s for one s.
        exponents: The integers e_k.
        shift: s.
        rows: The integers n_k, (K, D), where the gradients are known.
    """

    gram: Matrix
    exponents: list[int]
    shift: int = 0
    rows: Rows | None = None


def small_enough(G: Array) -> bool:
    """Whether exact integers are offered for gradients of this shape."""
    return len(G) <= LARGEST_TASKS and G.size <= LARGEST_ENTRIES


def exact_gram(G: Array) -> ExactGram:
    """The Gram matrix of (K, D) float gradients.

    Example:
        >>> exact_gram(np.array([[0.5, 0.0], [3.0, 1.0]]))
        ExactGram(gram=[[1, 3], [3, 10]], exponents=[-1, 0], shift=0, rows=array([[1, 0],
               [3, 1]], dtype=object))
    """
    pairs = [integers(row) for row in G]
    rows = np.array([numbers for numbers, _ in pairs], dtype=object)
    gram = [[0] * len(rows) for _ in rows]
    for i, row in enumerate(rows):
        for j, product in enumerate((rows[: i + 1] @ row).tolist()):
            gram[i][j] = gram[j][i] = product
    return ExactGram(gram, [e for _, e in pairs], 0, rows)


def exact_gram_of_matrix(S: Array, exponents: Sequence[int]) -> ExactGram:
    """The Gram matrix with entries S_ij 2^(e_i + e_j), for a symmetric matrix of floats.

    Raises:
        Indefinite: if it is not positive semidefinite.
    """
    numbers, shift = integers(S.ravel())
    gram = numbers.reshape(S.shape).tolist()
    eliminate(gram, [0] * len(gram), list(range(len(gram))))
    return ExactGram(gram, list(exponents), shift)


def project(
    exact: ExactGram, reference: Array, support: Sequence[int], cap: int
) -> tuple[list[Fraction], int]:
    """Weights w = r + u of the projection of sum_k r_k g_k, and the steps.

    Args:
        exact: The gradients.
        reference: r, (K,).
        support: Tasks that are likely to have multipliers; they only save time.
        cap: Largest number of steps.

    Raises:
        OutOfSteps: beyond the cap.

    Example:
        >>> exact = exact_gram(np.array([[1.0, 0.0], [-1.0, 3.0]]))
        >>> project(exact, np.array([1.0, 0.0]), [], 9)
        ([Fraction(1, 1), Fraction(1, 10)], 2)
    """
    A, e = exact.gram, exact.exponents
    y = [Fraction(float(r)) * power(k) for r, k in zip(reference, e, strict=True)]
    unit = math.lcm(*(x.denominator for x in y))
    Y = [int(x * unit) for x in y]
    q = [sum(a * x for a, x in zip(row, Y, strict=True)) for row in A]
    u, denominator, steps = nonnegative_minimum(A, q, list(support), cap)
    weights = [
        Fraction(float(r)) + Fraction(x, denominator * unit) / power(k)
        for r, x, k in zip(reference, u, e, strict=True)
    ]
    return weights, steps


def vanishing_combination(
    exact: ExactGram, support: Sequence[int], cap: int
) -> list[Fraction] | None:
    """Convex weights with sum_k v_k g_k = 0, or None if no convex combination vanishes.

    It minimises |sum_k v_k n_k|^2 + (sum_k v_k - 1)^2; arguments and errors as of `project`.

    Example:
        >>> vanishing_combination(exact_gram(np.array([[1.0], [-3.0]])), [], 9)
        [Fraction(3, 4), Fraction(1, 4)]
        >>> vanishing_combination(exact_gram(np.array([[1.0, 1e-20], [-3.0, 0.0]])), [], 9)
    """
    ones = [[a + 1 for a in row] for row in exact.gram]
    v, _, _ = nonnegative_minimum(ones, [-1] * len(ones), list(support), cap)
    if any(sum(a * x for a, x in zip(row, v, strict=True)) for row in exact.gram):
        return None
    shares = [x / power(e) for x, e in zip(v, exact.exponents, strict=True)]
    return [x / sum(shares) for x in shares]


def combination(exact: ExactGram, weights: Sequence[Fraction]) -> Array:
    """The direction sum_k w_k g_k, every entry rounded once."""
    assert exact.rows is not None
    v = [w * power(k) for w, k in zip(weights, exact.exponents, strict=True)]
    unit = math.lcm(*(x.denominator for x in v))
    numerators = np.array([int(x * unit) for x in v], dtype=object) @ exact.rows
    return np.array([_quotient(x, unit) for x in numerators])


def length(exact: ExactGram, weights: Sequence[Fraction]) -> Fraction:
    """|sum_k w_k g_k|^2."""
    v = [w * power(k) for w, k in zip(weights, exact.exponents, strict=True)]
    total = sum(
        a * x * z
        for row, x in zip(exact.gram, v, strict=True)
        if x
        for a, z in zip(row, v, strict=True)
        if z
    )
    return Fraction(total) * power(exact.shift)


def square_root(square: Fraction) -> tuple[float, int]:
    """The root of a fraction >= 0 as f 2^e with f in [1/4, 4), to a few units in the last place."""
    if square == 0:
        return 0.0, 0
    half = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    return math.sqrt(float(square / power(2 * half))), half


def two_floats(numbers: Sequence[Fraction]) -> tuple[Array, Array]:
    """Every number as the nearest float and the float nearest to the rest; inf beyond the range."""
    high = [_quotient(x.numerator, x.denominator) for x in numbers]
    rest = [
        x - Fraction(h) if math.isfinite(h) else Fraction(0)
        for x, h in zip(numbers, high, strict=True)
    ]
    return np.array(high), np.array([_quotient(x.numerator, x.denominator) for x in rest])


def truncated(x: Fraction, place: int) -> Fraction:
    """The multiple of 2^place that is next below x."""
    up, down = max(-place, 0), max(place, 0)
    return ((x.numerator << up) // (x.denominator << down)) * power(place)


def power(exponent: int) -> Fraction:
    """2^exponent."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def _quotient(a: int, b: int) -> float:
    """The quotient rounded once, inf beyond the range."""
    try:
        return a / b
    except OverflowError:
        return math.inf if a > 0 else -math.inf


def integers(x: Array) -> tuple[Rows, int]:
    """Integers n and one exponent e with x = 2^e n, the n without a common factor of two."""
    fraction, exponent = np.frexp(x)
    mantissa = np.ldexp(fraction, 53).astype(np.int64)
    lowest = np.frexp((mantissa & -mantissa).astype(np.float64))[1] - 1  # zeros at the end
    used = mantissa != 0
    if not used.any():
        return np.zeros(x.shape, dtype=np.int64).astype(object), 0
    end = exponent.astype(np.int64) - 53 + lowest
    least = int(end[used].min())
    odd = mantissa >> np.where(used, lowest, 0)
    raised = np.where(used, end - least, 0)
    return odd.astype(object) << raised.astype(object), least


def eliminate(A: Matrix, rhs: list[int], P: list[int]) -> tuple[list[int], list[int], int]:
    """Solve A_PP x = rhs_P on the independent tasks of P: (those tasks, numerators, denominator).

    Raises:
        Indefinite: where a pivot is negative, or zero with a row that is not.
    """
    m = len(P)
    M = [[A[i][j] for j in P] + [rhs[i]] for i in P]
    kept: list[int] = []
    before = 1
    for k in range(m):
        pivot_row = M[k]
        pivot = pivot_row[k]
        if pivot < 0 or (pivot == 0 and any(pivot_row[k + 1 : m])):
            raise Indefinite
        if pivot == 0:
            continue
        kept.append(k)
        for i in range(k + 1, m):
            row, factor = M[i], pivot_row[i]
            for j in range(i, m + 1):
                row[j] = (pivot * row[j] - factor * pivot_row[j]) // before
        before = pivot
    x: dict[int, int] = {}
    for k in reversed(kept):
        x[k] = (before * M[k][m] - sum(M[k][j] * x[j] for j in x)) // M[k][k]
    return [P[k] for k in kept], [x[k] for k in kept], before


def _feasible(A: Matrix, rhs: list[int], P: list[int]) -> tuple[list[int], list[int], int]:
    """A minimum on a part of P that is positive there."""
    while True:
        P, x, denominator = eliminate(A, rhs, P)
        if all(value > 0 for value in x):
            return P, x, denominator
        P = [k for k, value in zip(P, x, strict=True) if value > 0]


def nonnegative_minimum(
    A: Matrix, q: list[int], support: list[int], cap: int
) -> tuple[list[int], int, int]:
    """The u >= 0 with the lowest u'Au/2 + q'u: (numerators, denominator, steps)."""
    n = len(q)
    rhs = [-x for x in q]
    P, x, denominator = _feasible(A, rhs, support)
    u = [0] * n
    for k, value in zip(P, x, strict=True):
        u[k] = value
    for step in range(1, cap + 1):
        entering = _cheapest(A, q, u, denominator, P)
        if entering < 0:
            return u, denominator, step
        P = [*P, entering]
        while True:
            P, x, scale = eliminate(A, rhs, P)
            blocked = [(k, value) for k, value in zip(P, x, strict=True) if value <= 0]
            if not blocked:
                break
            u, denominator = _advance(u, denominator, dict(zip(P, x, strict=True)), scale)
            P = [k for k in P if u[k] > 0]
        u, denominator = [0] * n, scale
        for k, value in zip(P, x, strict=True):
            u[k] = value
    raise OutOfSteps


def _cheapest(A: Matrix, q: list[int], u: list[int], denominator: int, P: list[int]) -> int:
    """The task that conflicts most with the direction, in units of its length; -1 if none does."""
    best, most = -1, -1
    for j, row in enumerate(A):
        price = q[j] * denominator + sum(row[k] * u[k] for k in P)
        if price < 0:
            size = ((price * price) << 64) // row[j]
            if size > most:
                best, most = j, size
    return best


def _advance(
    u: list[int], denominator: int, x: dict[int, int], scale: int
) -> tuple[list[int], int]:
    """Go from u / denominator towards x / scale until the first entry vanishes."""
    t = min(
        Fraction(u[k] * scale, u[k] * scale - value * denominator)
        for k, value in x.items()
        if value <= 0
    )
    a, b = t.numerator, t.denominator
    moved = [
        value * scale * b + a * (x[k] * denominator - value * scale) if k in x else 0
        for k, value in enumerate(u)
    ]
    whole = denominator * scale * b
    common = math.gcd(whole, *moved)
    return [value // common for value in moved], whole // common
