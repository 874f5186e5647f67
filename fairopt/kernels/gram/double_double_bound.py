r"""How far a direction can be from a projection on the dual cone, in twice the digits.

The three repairs of `direction_bound`, for vectors h_k of length at most 1 whose inner products
differ from S = S_high + S_low by at most E. With d = sum v_k h_k, v = y + x, x >= 0, and every e
with <h_k, d + e> >= 0 for all k

.. math:: |d - P|^2 + |d + e - P|^2 \le 2 \sum_k x_k \langle h_k, d + e \rangle + |e|^2 ,

and |<h_k, d> - z_k| <= zeta_k, where only rounding of size 2^-104 is added to E sum |v|. A factor L
of the tasks Q of M = S + shift I has L L' = M_QQ + F, |F| <= `rounding(m)`, and with X the inverse
of L as computed in float64, L X = I + R,

.. math:: |R|_F \le \rho = (m + 3) 2^{-53} |L|_F |X|_F, \qquad
          \lambda_{\min}(L L') \ge (1 - \rho)^2 / |X|_F^2 .
"""

from __future__ import annotations

import math

from fairopt.arrays import Array, Ints
from fairopt.kernels.double_double import LOST, TWICE, add, divide
from fairopt.kernels.double_double_linear import Double, dot, dot_sizes, fill_double, row
from fairopt.kernels.gram.direction_bound import (
    GROWTH_ROUNDS,
    SAFETY,
    Point,
    inverse_trace,
    wanted,
    zero_bound,
)
from fairopt.kernels.gram.double_double_qp import (
    SOLVED,
    Cone,
    Support,
    append,
    empty,
    nonnegative_minimum,
    rounding,
)
from fairopt.kernels.jit import allocating
from fairopt.kernels.linear import EPS

LARGEST_RHO = 0.25  # beyond it the inverse in float64 proves nothing


@allocating
def products(cone: Cone, v: Double, z: Array, zeta: Array) -> None:
    """Fill z with <h_k, sum v_j h_j> and zeta with a bound of its error."""
    n, S = z.shape[0], 0.0
    for k in range(n):
        S += abs(v.high[k])
    for k in range(n):
        z[k], _ = dot(row(cone.S, k), v, n)
        size = dot_sizes(row(cone.S, k), v, n)
        doubles = (n + 4.0) * TWICE * size
        floats = (n + 4.0) * EPS * abs(z[k])  # of z and v as one float each, and of sums of v z
        zeta[k] = (cone.error * S + doubles + floats) * SAFETY
        if S > 0.0:
            zeta[k] += LOST


@allocating
def least_reference(cone: Cone, y: Double, slope: Double) -> float:
    """A lower bound of |sum y_k h_k| from slope = S y; 0 if it is not resolved."""
    n = y.high.shape[0]
    S, size = 0.0, 0.0
    for k in range(n):
        S += abs(y.high[k])
        size += abs(y.high[k]) * dot_sizes(row(cone.S, k), y, n)
    square, _ = dot(y, slope, n)
    square -= (cone.error * S * S + (2.0 * n + 6.0) * TWICE * size + EPS * abs(square)) * SAFETY
    return math.sqrt(max(square, 0.0)) / SAFETY


@allocating
def least_eigenvalue(cone: Cone, support: Support, m: int, columns: Array) -> float:
    """A lower bound over all matrices within E of S, on the first m tasks of the support."""
    trace = inverse_trace(support.L.high, m, columns)
    rho = (m + 3.0) * 0.5 * EPS * math.sqrt(m * trace) * SAFETY
    if not rho <= LARGEST_RHO:
        return 0.0
    least = (1.0 - rho) ** 2 / trace / SAFETY
    return least - cone.shift - m * cone.error - rounding(m)


@allocating
def independent_bound(cone: Cone, point: Point, support: Support, m: int) -> float:
    """The shortest repair whose products with a set of independent tasks are prescribed.

    The set starts with the support and takes in tasks outside with which the repaired direction
    could conflict. The support is left as it was. inf where the set becomes dependent.
    """
    P, inside = support.order, support.inside
    size, result = m, math.inf
    for _ in range(GROWTH_ROUNDS):
        square, before = 0.0, size
        for a in range(size):
            square += wanted(point, P[a]) ** 2
        least = least_eigenvalue(cone, support, size, point.columns) if size > 0 else 1.0
        if not least > 0.0:
            break
        R = math.sqrt(square / least) * SAFETY
        failed = False
        for k in range(point.z.shape[0]):
            if inside[k] or not cone.present[k]:
                continue
            if point.z[k] - point.zeta[k] < R * SAFETY:
                failed = not append(cone, support, size, k)
                if failed:
                    break
                size += 1
        if failed:
            break
        if size == before:
            result = R
            break
    for a in range(m, size):
        inside[P[a]] = 0
    return result


@allocating
def min_norm_on(cone: Cone, second: Support, chosen: Ints, q: Double, p: Double, cap: int) -> bool:
    """Fill p with the convex combination of the chosen tasks that is shortest by M."""
    fill_double(q, -1.0)
    fill_double(p, 0.0)
    m = empty(second, chosen)
    code, _, _ = nonnegative_minimum(cone, q, p, second, m, cap)
    total, rest = 0.0, 0.0
    for k in range(chosen.shape[0]):
        total, rest = add(total, rest, p.high[k], p.low[k])
    if code != SOLVED or not total > 0.0:
        return False
    for k in range(chosen.shape[0]):
        p.high[k], p.low[k] = divide(p.high[k], p.low[k], total, rest)
    return True


@allocating
def lift_bound(
    cone: Cone, point: Point, second: Support, chosen: Ints, q: Double, p: Double, cap: int
) -> float:
    """The repair along a min-norm combination of dependent tasks; inf if it does not lift them."""
    n = point.x.shape[0]
    Sp, error = point.b, point.e
    for k in range(n):
        conflict = point.x[k] > 0.0 or point.z[k] < point.zeta[k]
        chosen[k] = 1 if cone.present[k] and conflict else 0
    for _ in range(GROWTH_ROUNDS):
        if not min_norm_on(cone, second, chosen, q, p, cap):
            return math.inf
        products(cone, p, Sp, error)
        least, need, square = math.inf, 0.0, 0.0
        for k in range(n):
            square += p.high[k] * (Sp[k] + error[k]) * SAFETY
            if chosen[k]:
                least = min(least, Sp[k] - error[k])
                need = max(need, point.zeta[k] - point.z[k])
        if not least > 0.0:
            return math.inf
        t = need / least * SAFETY
        joined = False
        for k in range(n):
            if chosen[k] or not cone.present[k]:
                continue
            if point.z[k] - point.zeta[k] + t * (Sp[k] - error[k]) < 0.0:
                chosen[k] = 1
                joined = True
        if not joined:
            total = t * t * max(square, 0.0)
            for k in range(n):
                if point.x[k] > 0.0:
                    total += (
                        2.0 * point.x[k] * (point.z[k] + point.zeta[k] + t * (Sp[k] + error[k]))
                    )
            return math.sqrt(max(total, 0.0)) * SAFETY
    return math.inf


@allocating
def negative(point: Point) -> bool:
    """Whether |d|^2 < 0 for every matrix within E of S: then none of them is a Gram matrix."""
    square = 0.0
    for k in range(point.v.shape[0]):
        square += point.v[k] * point.z[k] + abs(point.v[k]) * point.zeta[k]
    return square < 0.0


@allocating
def best_bound(
    cone: Cone,
    point: Point,
    first: tuple[Support, int],
    second: Support,
    chosen: Ints,
    scratch: tuple[Double, Double],
    limits: tuple[float, int],
) -> float:
    """The smallest of the bounds, the costly ones only if it exceeds the goal.

    `first` is the support of x and its size, `limits` (goal, steps of the second programme).
    """
    goal, cap = limits
    bound = zero_bound(point)
    if bound > goal:
        bound = min(bound, independent_bound(cone, point, first[0], first[1]))
    if bound > goal:
        bound = min(bound, lift_bound(cone, point, second, chosen, scratch[0], scratch[1], cap))
    return bound
