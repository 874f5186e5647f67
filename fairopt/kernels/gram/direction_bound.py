r"""How far a direction can be from a projection on the dual cone, from its Gram matrix alone.

With h_k = g_k / d_k, C their inner products, y = D r, x = D (w - r) >= 0 and v = y + x, the
direction is d = sum v_k h_k and P is the projection of g0 = sum y_k h_k on {d: <h_k, d> >= 0 for
all k}. For every e with <h_k, d + e> >= 0 for all k

.. math:: |d - P|^2 + |d + e - P|^2 \le 2 \sum_k x_k \langle h_k, d + e \rangle + |e|^2 ,

since d + e is feasible, P is orthogonal to g0 - P, and <P, d - P> = sum_k x_k <P, h_k> >= 0. Each
repair e whose right-hand side can be bounded for all matrices within E of C gives a bound. There
are three: e = -d, the shortest e that makes every product with the support zero, and a lift along a
min-norm combination.

All lengths are in units of the largest d_k |r_k|. The bounds hold for every set of gradients whose
inner products <h_i, h_j> differ from C by at most E, whether or not C itself is positive
semidefinite.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array, Ints
from fairopt.kernels.double_double import dot_double, two_sum
from fairopt.kernels.gram.nonnegative_qp import (
    ActiveSet,
    append,
    clear,
    nonnegative_minimum,
    step_cap,
)
from fairopt.kernels.jit import helper, summing
from fairopt.kernels.linear import EPS, dot, dot_abs, fill, solve_factored

GROWTH_ROUNDS = 6  # times that tasks outside join the repair before it is given up
CLEAR = 1e-3  # rounding of a square, relative to it, that changes no bound by much
UNKNOWN = -1.0  # square of a combination that is found when the first bound needs it
SAFETY = 1.0 + 2.0**-30  # covers the rounding of square roots and sums in the bounds themselves


class Cone(NamedTuple):
    """One matrix: what all projections on its dual cone share.

    Attributes:
        C: (n, n) inner products of h, of unit diagonal.
        M: (n, n) C + shift I, positive definite.
        d: (n,) lengths, 0 for a gradient that is zero.
        error: (1,) E, largest error of an entry of C; raised where C is seen to be indefinite.
        shift: (1,) what M has more on its diagonal.
        least: (1,) a lower bound of the eigenvalues of all matrices within E of C, or 0.
        lift: (n,) C p for the min-norm combination p of all tasks.
        square: (1,) p'Cp; inf if p does not lift all tasks, UNKNOWN if it was not looked for yet.
    """

    C: Array
    M: Array
    d: Array
    error: Array
    shift: Array
    least: Array
    lift: Array
    square: Array


class Point(NamedTuple):
    """One direction, and what is known of its products with the tasks.

    Attributes:
        x, y, v: (n,) multipliers, reference, their sum.
        z: (n,) <h_k, d> as computed.
        zeta: (n,) largest error of z, for every matrix within E of C.
        b: (n,) products that the repair must have.
        e: (n,) scratch.
        columns: (4, n) scratch.
    """

    x: Array
    y: Array
    v: Array
    z: Array
    zeta: Array
    b: Array
    e: Array
    columns: Array


class Scratch(NamedTuple):
    """Room for a second, smaller programme.

    Attributes:
        B: (n, n) the part of M that belongs to some tasks, in its first rows.
        rows: (5, n).
        active: Its support.
        chosen: (n,) 1 for the tasks that take part.
    """

    B: Array
    rows: Array
    active: ActiveSet
    chosen: Ints


@helper
def measure(cone: Cone, point: Point, double: bool) -> float:
    """Fill z and zeta; return S = sum |v|. With `double` the sums have twice the digits."""
    C, n = cone.C, cone.d.shape[0]
    S = 0.0
    for k in range(n):
        S += abs(point.v[k])
    if double:
        fill(point.e, 0.0)
    for k in range(n):
        if cone.d[k] == 0.0:
            point.z[k], point.zeta[k] = 0.0, 0.0
            continue
        if double:
            point.z[k], _, size = dot_double(C[k], point.v, point.e, n)
            rounding = 4.0 * EPS
        else:
            point.z[k], size = dot_abs(C[k], point.v, n)
            rounding = (n + 2.0) * EPS
        point.zeta[k] = (cone.error[0] * S + rounding * size) * SAFETY
    return S


@helper
def refutes_error(cone: Cone, point: Point, S: float) -> bool:
    """Whether v'Cv is so negative that no Gram matrix is within E; then E is raised to allow it."""
    square, allowed = 0.0, 0.0
    for k in range(point.v.shape[0]):
        square += point.v[k] * point.z[k]
        allowed += abs(point.v[k]) * point.zeta[k]
    if square >= -allowed:
        return False
    cone.error[0] = 2.0 * (cone.error[0] - square / (S * S))
    return True


@helper
def precise_square(cone: Cone, y: Array) -> tuple[float, float]:
    """The product y'Cy from sums in twice the digits, and a bound of its rounding."""
    n = y.shape[0]
    square, lost, size = 0.0, 0.0, 0.0
    for k in range(n):
        total, rest = 0.0, 0.0
        for j in range(n):
            product = cone.C[k, j] * y[j]
            total, low = two_sum(total, product)
            rest += low
            size += abs(product * y[k]) * EPS
        term = y[k] * (total + rest)
        square, low = two_sum(square, term)
        lost += low
        size += abs(term) * 4.0 * EPS
    return square + lost, size


@helper
def least_reference(cone: Cone, y: Array, slopes: Array) -> float:
    """A lower bound of |g0| from slopes = C y; 0 if it is not resolved.

    Where the rounding of the slopes would count, they are summed again in twice the digits.
    """
    n = y.shape[0]
    square, S = 0.0, 0.0
    for k in range(n):
        square += y[k] * slopes[k]
        S += abs(y[k])
    size = (n + 2.0) * EPS * S * S * (1.0 + cone.error[0])  # no entry of C is larger
    if size > CLEAR * (square - cone.error[0] * S * S):
        square, size = precise_square(cone, y)
    return math.sqrt(max(square - (cone.error[0] * S * S + size) * SAFETY, 0.0)) / SAFETY


@helper
def zero_bound(point: Point) -> float:
    """|d|: the bound by the repair e = -d."""
    square = 0.0
    for k in range(point.v.shape[0]):
        square += point.v[k] * point.z[k] + abs(point.v[k]) * point.zeta[k]
    return math.sqrt(max(square, 0.0)) * SAFETY


@helper
def wanted(point: Point, k: int) -> float:
    """How large the product of the repair with task k may have to be."""
    if point.x[k] > 0.0:
        return abs(point.z[k]) + point.zeta[k]
    return max(point.zeta[k] - point.z[k], 0.0)


@helper
def common_bound(cone: Cone, point: Point) -> float:
    """The shortest repair on all tasks, from the least eigenvalue of the whole matrix."""
    square = 0.0
    for k in range(point.x.shape[0]):
        if cone.d[k] > 0.0:
            square += wanted(point, k) ** 2
    return math.sqrt(square / cone.least[0]) * SAFETY if cone.least[0] > 0.0 else math.inf


@summing
def four_dots(row: Array, columns: Array, begin: int) -> tuple[float, float, float, float]:
    """Sums of row[k] columns[c, begin + k] for four c: one pass over a row of a factor."""
    n = row.shape[0]
    a, b = columns[0][begin : begin + n], columns[1][begin : begin + n]
    c, d = columns[2][begin : begin + n], columns[3][begin : begin + n]
    w, x, y, z = 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        w += row[k] * a[k]
        x += row[k] * b[k]
        y += row[k] * c[k]
        z += row[k] * d[k]
    return w, x, y, z


@helper
def triangle(L: Array, begin: int, end: int, columns: Array) -> float:
    """Fill columns begin, begin + 1, ... of L^-1 down to row `end`; return their square."""
    total = 0.0
    for c in range(end - begin):
        for i in range(begin, end):
            rest = 1.0 if i == begin + c else 0.0
            for k in range(begin + c, i):
                rest -= L[i, k] * columns[c, k]
            columns[c, i] = rest / L[i, i] if i >= begin + c else 0.0
            total += columns[c, i] * columns[c, i]
    return total


@helper
def inverse_trace(L: Array, m: int, columns: Array) -> float:
    """Trace of (L L')^-1 of the first m rows; `columns` (4, n) has room for four of L^-1."""
    total = 0.0
    for begin in range(0, m, 4):
        end = min(begin + 4, m)
        total += triangle(L, begin, end, columns)
        for i in range(end, m):
            w, x, y, z = four_dots(L[i][begin:i], columns, begin)
            pivot = -1.0 / L[i, i]
            columns[0, i], columns[1, i] = w * pivot, x * pivot
            columns[2, i], columns[3, i] = y * pivot, z * pivot
            total += (w * w + x * x + y * y + z * z) * pivot * pivot
    return total


@helper
def least_eigenvalue(L: Array, m: int, cone: Cone, columns: Array) -> float:
    """A lower bound over all matrices within E of C, on the tasks whose factor of M is L."""
    trace = inverse_trace(L, m, columns)
    rounding = 2.0 * m * (m + 2.0) * EPS
    return 1.0 / trace - cone.shift[0] - m * cone.error[0] - rounding


@helper
def reached(
    cone: Cone, point: Point, active: ActiveSet, m: int, k: int, size: tuple[float, float]
) -> float:
    """Largest product of the repair of (length, least eigenvalue) `size` with task k outside."""
    R, least = size
    P, l = active.P, point.e
    for a in range(m):
        l[a] = cone.M[P[a], k]
    solve_factored(active.L, l, m)
    total, along = 0.0, 0.0
    for a in range(m):
        total += abs(l[a])
        along += abs(l[a]) * point.b[P[a]]
    error = cone.error[0] + cone.shift[0] + (m + 2.0) ** 2 * EPS
    fine = along + R * math.sqrt(least * m) * error * (1.0 + total) / least
    return min(R * (1.0 + cone.error[0]), fine) * SAFETY


@helper
def independent_bound(cone: Cone, point: Point, active: ActiveSet, m: int) -> float:
    """The shortest repair whose products with a set of independent tasks are prescribed.

    The set starts with the support (the first m tasks of the factor, of C + shift I) and takes in
    tasks outside with which the repaired direction could conflict. The factor of the support is
    left as it was. inf where the set becomes dependent.
    """
    n = point.x.shape[0]
    P, inside = active.P, active.inside
    size, result = m, math.inf
    for _ in range(GROWTH_ROUNDS):
        square, before = 0.0, size
        for a in range(size):
            point.b[P[a]] = wanted(point, P[a])
            square += point.b[P[a]] ** 2
        least = least_eigenvalue(active.L, size, cone, point.columns) if size > 0 else 1.0
        if not least > 0.0:
            break
        R = math.sqrt(square / least) * SAFETY
        failed = False
        for k in range(n):
            if inside[k] or cone.d[k] == 0.0:
                continue
            room = point.z[k] - point.zeta[k]
            if room >= R * (1.0 + cone.error[0]):
                continue
            if before > 0 and room >= reached(cone, point, active, before, k, (R, least)):
                continue
            if not append(active, size, cone.M, k):
                failed = True
                break
            inside[k] = 1
            size += 1
        if failed:
            break
        if size == before:
            result = R
            break
    for a in range(m, size):
        inside[P[a]] = 0
    return result


@helper
def min_norm_on(cone: Cone, scratch: Scratch, p: Array) -> bool:
    """Fill p with the convex combination of the chosen tasks that is shortest by M."""
    n = p.shape[0]
    chosen, rows = scratch.chosen, scratch.rows
    m = 0 * n  # no constant: numba would compile each callee once more for it
    for k in range(n):
        if chosen[k]:
            j = 0
            for i in range(n):
                if chosen[i]:
                    scratch.B[m, j] = cone.M[k, i]
                    j += 1
            m += 1
    q, u = rows[0][:m], rows[1][:m]
    fill(q, -1.0)
    fill(u, 0.0)
    clear(scratch.active)
    code, _, _ = nonnegative_minimum(scratch.B, q, u, scratch.active, 0, step_cap(m), True, 0.0)
    total = 0.0
    for a in range(m):
        total += u[a]
    if code != 0 or not total > 0.0:
        return False
    a = 0
    for k in range(n):
        p[k] = 0.0
        if chosen[k]:
            p[k] = u[a] / total
            a += 1
    return True


@helper
def lift_error(cone: Cone) -> float:
    """Largest error of C p for convex p, for every matrix within E of C."""
    return (cone.error[0] + (cone.d.shape[0] + 2.0) * EPS) * SAFETY


@helper
def find_common_lift(cone: Cone, scratch: Scratch, p: Array) -> None:
    """Fill `lift` and `square` by the min-norm combination of all tasks, if it lifts all."""
    n = cone.d.shape[0]
    cone.square[0] = math.inf
    for k in range(n):
        scratch.chosen[k] = 1 if cone.d[k] > 0.0 else 0
    if not min_norm_on(cone, scratch, p):
        return
    total = 0.0
    for k in range(n):
        cone.lift[k] = dot(cone.C[k], p, n)
        total += p[k] * cone.lift[k]
        if scratch.chosen[k] and not cone.lift[k] > lift_error(cone):
            return
    cone.square[0] = max(total, 0.0)


@helper
def lifted(cone: Cone, point: Point, Cp: Array, square: float, t: float) -> float:
    """The bound by the repair t sum p_k h_k that lifts every task enough."""
    error = lift_error(cone)
    total = t * t * (square + error)
    for k in range(point.x.shape[0]):
        if point.x[k] > 0.0:
            total += 2.0 * point.x[k] * (point.z[k] + point.zeta[k] + t * (Cp[k] + error))
    return math.sqrt(max(total, 0.0)) * SAFETY


@helper
def common_lift_bound(cone: Cone, point: Point, scratch: Scratch) -> float:
    """The repair along the min-norm combination of all tasks, where that is shared."""
    if cone.square[0] == UNKNOWN:
        find_common_lift(cone, scratch, point.b)
    if cone.square[0] == math.inf:
        return math.inf
    error, t = lift_error(cone), 0.0
    for k in range(point.x.shape[0]):
        if point.zeta[k] > point.z[k] and cone.d[k] > 0.0:
            t = max(t, (point.zeta[k] - point.z[k]) / (cone.lift[k] - error))
    return lifted(cone, point, cone.lift, cone.square[0], t * SAFETY)


@helper
def lift_bound(cone: Cone, point: Point, scratch: Scratch) -> float:
    """The repair along a min-norm combination of dependent tasks; inf if it does not lift them."""
    n = point.x.shape[0]
    p, Cp, chosen = point.b, point.e, scratch.chosen
    for k in range(n):
        chosen[k] = 0
        if cone.d[k] > 0.0 and (point.x[k] > 0.0 or point.z[k] < point.zeta[k]):
            chosen[k] = 1
    for _ in range(GROWTH_ROUNDS):
        if not min_norm_on(cone, scratch, p):
            return math.inf
        error = lift_error(cone)
        least, need, square = math.inf, 0.0, 0.0
        for k in range(n):
            Cp[k] = dot(cone.C[k], p, n)
            square += p[k] * Cp[k]
            if chosen[k]:
                least = min(least, Cp[k] - error)
                need = max(need, point.zeta[k] - point.z[k])
        if not least > 0.0:
            return math.inf
        t = need / least * SAFETY
        joined = False
        for k in range(n):
            if chosen[k] or cone.d[k] == 0.0:
                continue
            if point.z[k] - point.zeta[k] + t * (Cp[k] - error) < 0.0:
                chosen[k] = 1
                joined = True
        if not joined:
            return lifted(cone, point, Cp, max(square, 0.0), t)
    return math.inf
