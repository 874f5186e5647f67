"""Projections on the dual cone of a Gram matrix in twice the digits, with bounds of their error."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.double_double import add, multiply
from fairopt.kernels.double_double_linear import Double, copy_double, dot, row
from fairopt.kernels.gram.direction_bound import Point
from fairopt.kernels.gram.double_double_bound import best_bound, least_reference, negative, products
from fairopt.kernels.gram.double_double_qp import (
    CAPPED,
    NOT_CONVEX,
    Cone,
    Support,
    append,
    empty,
    nonnegative_minimum,
    safe_shift,
    warm_support,
)
from fairopt.kernels.jit import allocating, gufunc

PROXIMAL_STEPS = 3


class Work(NamedTuple):
    """Room for one projection.

    Attributes:
        y, slope, q, u, v, spare: (n,) reference, S y, linear term, multipliers, y + u, scratch.
        first, second: The support of u, and that of the programme inside a bound.
        point: What the bounds know of the direction.
        chosen: (n,) tasks that take part in the second programme.
        best: (3, n) v as two floats, and x, of the best bound so far.
    """

    y: Double
    slope: Double
    q: Double
    u: Double
    v: Double
    spare: Double
    first: Support
    second: Support
    point: Point
    chosen: Ints
    best: Array


@allocating
def double_rows(rows: Array, k: int) -> Double:
    """Two rows of a work array as one vector."""
    return Double(rows[2 * k], rows[2 * k + 1])


@allocating
def double_matrix(n: int) -> Double:
    """An empty matrix."""
    return Double(np.empty((n, n)), np.empty((n, n)))


@allocating
def workspace(n: int) -> Work:
    """Everything a projection needs."""
    rows, floats, ints = np.empty((16, n)), np.empty((11, n)), np.empty((7, n), np.int64)
    first = Support(double_matrix(n), ints[0], ints[1], ints[2], double_rows(rows, 6))
    second = Support(double_matrix(n), ints[3], ints[4], ints[5], double_rows(rows, 7))
    x, y, v, z, zeta, b, e = (
        floats[0],
        floats[1],
        floats[2],
        floats[3],
        floats[4],
        floats[5],
        floats[6],
    )
    point = Point(x, y, v, z, zeta, b, e, floats[7:])
    return Work(
        double_rows(rows, 0),
        double_rows(rows, 1),
        double_rows(rows, 2),
        double_rows(rows, 3),
        double_rows(rows, 4),
        double_rows(rows, 5),
        first,
        second,
        point,
        ints[6],
        np.empty((3, n)),
    )


@allocating
def cone_of(high: Array, low: Array, error: float) -> Cone:
    """The cone of a matrix, with its shift."""
    n = high.shape[0]
    shift = safe_shift(n, error)
    S, rows, present = double_matrix(n), np.empty((2, n)), np.empty(n, np.int64)
    diagonal = double_rows(rows, 0)
    for k in range(n):
        for j in range(n):
            S.high[k, j], S.low[k, j] = high[k, j], low[k, j]
        present[k] = 1 if high[k, k] > 0.0 else 0
        diagonal.high[k], diagonal.low[k] = add(high[k, k], low[k, k], shift, 0.0)
    return Cone(S, diagonal, present, error, shift)


@allocating
def positive(cone: Cone, support: Support) -> bool:
    """Whether M is positive definite on all tasks."""
    m = empty(support, cone.present)
    for k in range(cone.present.shape[0]):
        if cone.present[k]:
            if not append(cone, support, m, k):
                return False
            m += 1
    return True


@allocating
def begin(cone: Cone, work: Work, reference: Array, start: Array) -> None:
    """Fill y, S y and the first multipliers."""
    n = reference.shape[0]
    for k in range(n):
        here = cone.present[k] != 0
        work.y.high[k], work.y.low[k] = reference[k] if here else 0.0, 0.0
        work.u.high[k], work.u.low[k] = max(start[k], 0.0) if here else 0.0, 0.0
        work.point.y[k] = work.y.high[k]
    for k in range(n):
        work.slope.high[k], work.slope.low[k] = dot(row(cone.S, k), work.y, n)
    copy_double(work.slope, work.q)


@allocating
def evaluate(cone: Cone, work: Work) -> None:
    """Fill v = y + u and what the bounds ask about it."""
    for k in range(work.u.high.shape[0]):
        high, low = add(work.u.high[k], work.u.low[k], work.y.high[k], 0.0)
        work.v.high[k], work.v.low[k] = high, low
        work.point.x[k], work.point.v[k] = work.u.high[k], high
    products(cone, work.v, work.point.z, work.point.zeta)


@allocating
def proximal(cone: Cone, work: Work) -> None:
    """The next linear term S y - shift u, whose solution is nearer to that without a shift."""
    for k in range(work.u.high.shape[0]):
        high, low = multiply(work.u.high[k], work.u.low[k], -cone.shift, 0.0)
        work.q.high[k], work.q.low[k] = add(work.slope.high[k], work.slope.low[k], high, low)


@allocating
def projection(
    cone: Cone, work: Work, accuracy: float, length: float, cap: int
) -> tuple[int, int, float]:
    """Fill `best` with v and its multipliers; return (code, steps, bound of |d - P|).

    `length` is what is known of |g0| from below.
    """
    least, before, steps = math.inf, math.inf, 0
    m = warm_support(cone, work.u, work.first)
    if m < 0:
        return NOT_CONVEX, 0, math.inf
    goal = 0.5 * accuracy * length
    for _ in range(1 + PROXIMAL_STEPS):
        code, m, more = nonnegative_minimum(cone, work.q, work.u, work.first, m, cap - steps)
        steps += more
        if code == NOT_CONVEX:
            return code, steps, math.inf
        evaluate(cone, work)
        if negative(work.point):
            return NOT_CONVEX, steps, math.inf
        bound = best_bound(
            cone,
            work.point,
            (work.first, m),
            work.second,
            work.chosen,
            (work.spare, work.q),
            (goal, cap),
        )
        if bound < least or least == math.inf:
            least = bound
            for k in range(cone.present.shape[0]):
                work.best[0, k], work.best[1, k] = work.v.high[k], work.v.low[k]
                work.best[2, k] = work.u.high[k]
        if least <= goal or code == CAPPED or not bound < 0.5 * before:
            break
        before = bound
        proximal(cone, work)
    return code, steps, least


@gufunc(
    "void(float64[:,:], float64[:,:], float64, float64[:,:], float64[:,:], float64[:], float64,"
    " float64, float64[:,:], float64[:,:], float64[:,:], int64[:], int64[:], float64[:],"
    " float64[:])",
    "(n,n),(n,n),(),(m,n),(m,n),(m),(),()->(m,n),(m,n),(m,n),(m),(m),(m),(m)",
)
def double_double_cone(
    high: Array,
    low: Array,
    error: float,
    references: Array,
    start: Array,
    known: Array,
    accuracy: float,
    budget: float,
    v: Array,
    v_low: Array,
    x: Array,
    code: Ints,
    steps: Ints,
    bound: Array,
    length: Array,
) -> None:
    """Combinations v = y + x of vectors h with h_i'h_j = high + low to `error`, |h| in [1/2, 1).

    `start` holds multipliers to begin with, `known` lower bounds of |sum y_k h_k| or 0. An error of
    0 declares the matrix exact: then it is checked to be positive semidefinite. Returns the code of
    the programme, steps, a bound of |d - P| and the lower bound of |g0| that was used.
    """
    n = high.shape[0]
    cone, work = cone_of(high, low, error), workspace(n)
    convex = error > 0.0 or positive(cone, work.first)
    for k in range(references.shape[0]):
        for a in range(3):
            for j in range(n):
                work.best[a, j] = 0.0
        code[k], steps[k], bound[k], length[k] = NOT_CONVEX, 0, math.inf, 0.0
        if convex:
            begin(cone, work, references[k], start[k])
            length[k] = max(known[k], least_reference(cone, work.y, work.slope))
            code[k], steps[k], bound[k] = projection(cone, work, accuracy, length[k], int(budget))
        for j in range(n):
            v[k, j], v_low[k, j], x[k, j] = work.best[0, j], work.best[1, j], work.best[2, j]
