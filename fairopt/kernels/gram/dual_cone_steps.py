"""The steps that both kernels of projections on the dual cone take."""

from __future__ import annotations

import math

from fairopt.arrays import Array
from fairopt.kernels.double_double import dot_double, two_sum
from fairopt.kernels.gram.correlation import in_unit, out_of_unit, unit_exponent
from fairopt.kernels.gram.direction_bound import (
    UNKNOWN,
    Cone,
    Point,
    inverse_trace,
    least_reference,
)
from fairopt.kernels.gram.nonnegative_qp import ActiveSet, clear, smallest_pivot, warm_support
from fairopt.kernels.jit import helper
from fairopt.kernels.linear import EPS, cholesky, dot, solve_factored

SHIFT = 16.0  # times n eps; the active set calls a pivot of 4 n eps dependent, which it never meets
SHIFT_ROUNDS = 12  # quadruplings: a float32 matrix ends below 1e-6
LEAST_ACCURACY = 1e-5  # default accuracy, and its growth with the error of the matrix
ACCURACY_GROWTH = 8.0


@helper
def default_accuracy(accuracy: float, error: float) -> float:
    """The accuracy asked for; by default what the digits of the matrix allow."""
    if accuracy >= 0.0:
        return accuracy
    return max(LEAST_ACCURACY, ACCURACY_GROWTH * math.sqrt(error))


@helper
def fill_shifted(cone: Cone) -> None:
    """Fill M = C + shift I."""
    n = cone.d.shape[0]
    for i in range(n):
        for j in range(n):
            cone.M[i, j] = cone.C[i, j]
        cone.M[i, i] += cone.shift[0]


@helper
def make_definite(cone: Cone, L: Array) -> None:
    """Raise the shift until M is safely definite; leave its factor in L."""
    n = cone.d.shape[0]
    for _ in range(SHIFT_ROUNDS):
        for i in range(n):
            for j in range(i + 1):
                L[i, j] = cone.M[i, j]
        if cholesky(L, n) and smallest_pivot(L, n) >= 0.25 * cone.shift[0]:
            return
        cone.shift[0] *= 4.0
        fill_shifted(cone)


@helper
def share_bounds(cone: Cone, point: Point, L: Array) -> None:
    """Fill what the bounds of many projections share, from the factor of the whole M."""
    n = cone.d.shape[0]
    least = 1.0 / inverse_trace(L, n, point.columns) - cone.shift[0]
    cone.least[0] = max(least - n * cone.error[0] - 2.0 * n * (n + 2.0) * EPS, 0.0)
    cone.square[0] = UNKNOWN


@helper
def without_shift(cone: Cone, point: Point, u: Array, active: ActiveSet, m: int) -> None:
    """One step of refinement on the support, with products in twice the digits.

    It takes away what the shift did to u, up to second order, and what the factor's rounding did:
    long multipliers along nearly dependent tasks cost products with other tasks their digits.
    """
    P, move, high, low = active.P, point.e, point.v, point.b
    n = u.shape[0]
    for k in range(n):
        high[k], low[k] = two_sum(point.y[k], u[k])
    for a in range(m):
        total, rest, _ = dot_double(cone.C[P[a]], high, low, n)
        move[a] = -(total + rest)
    solve_factored(active.L, move, m)
    for a in range(m):
        if not u[P[a]] + move[a] > 0.0:
            return
    for a in range(m):
        u[P[a]] += move[a]


@helper
def as_returned(
    d: Array, reference: Array, weights: Array, u: Array, unit: int, point: Point
) -> None:
    """Fill the weights r + u / d, and the multipliers that they stand for."""
    for i in range(d.shape[0]):
        weights[i] = reference[i] + (out_of_unit(u[i], d[i], unit) if d[i] > 0.0 else 0.0)
        point.x[i] = in_unit(d[i], weights[i] - reference[i], unit)
        point.v[i] = in_unit(d[i], weights[i], unit)


@helper
def prepare(
    cone: Cone,
    point: Point,
    active: ActiveSet,
    given: tuple[Array, Array, float],
    accuracy: float,
    q: Array,
    u: Array,
) -> tuple[int, int, float, float]:
    """Fill y, the linear term q, the start u and its support; (unit, its size, length, goal).

    `given` is (reference, start, whether to use the start); the goal is the largest bound that
    is accurate enough, in units of `length`, which is a lower bound of |g0|.
    """
    reference, start, warm = given
    d, n = cone.d, cone.d.shape[0]
    unit = unit_exponent(d, reference)
    for i in range(n):
        point.y[i] = in_unit(d[i], reference[i], unit)
        u[i] = in_unit(d[i], start[i] - reference[i], unit) if warm != 0.0 else 0.0
    for i in range(n):
        q[i] = dot(cone.C[i], point.y, n) if d[i] > 0.0 else 0.0
    clear(active)
    m = warm_support(cone.M, u, active) if warm != 0.0 else 0
    length = least_reference(cone, point.y, q)
    goal = accuracy * length
    return unit, m, length, goal
