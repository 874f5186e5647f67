"""Projections of several combinations on the dual cone of one Gram matrix, in one pass.

The programme is solved on C + shift I, which is positive definite, so that the active set always
terminates; proximal steps take the effect of the shift away, and `direction_bound` says how far the
direction of the weights as returned can be from the projection. The method need not be trusted.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.correlation import powers_of_two, scaled_gram
from fairopt.kernels.gram.direction_bound import (
    Cone,
    Factor,
    Point,
    Scratch,
    common_bound,
    independent_bound,
    inverse_trace,
    least_reference,
    lift_bound,
    measure,
    zero_bound,
)
from fairopt.kernels.gram.nonnegative_qp import (
    CAPPED,
    NOT_CONVEX,
    SOLVED,
    at_precision,
    clear,
    nonnegative_minimum,
    smallest_pivot,
    warm_support,
)
from fairopt.kernels.gram.residuals import dual_cone_gap
from fairopt.kernels.gram.stationarity import unit_gradients
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import EPS, cholesky, dot

OPTIMAL = 0
UNDECIDED = 2
STEP_LIMIT = 3
ROUNDING_LIMITED = 7

SHIFT = 16.0  # times n eps; the active set calls a pivot of 4 n eps dependent, which it never meets
SHIFT_ROUNDS = 12  # quadruplings: a float32 matrix ends below 1e-6
PROXIMAL_STEPS = 3
RETRY = 16.0  # a bound that misses by less is evaluated again with sums in twice the digits
EXACT_FOR_SOME = 8.0  # misfit, in units of what the digits of C explain, that is no failure
LEAST_ACCURACY = 1e-5  # default accuracy, and its growth with the error of the matrix
ACCURACY_GROWTH = 8.0


@helper
def default_accuracy(accuracy: float, error: float) -> float:
    """The accuracy asked for; by default what the digits of the matrix allow."""
    if accuracy >= 0.0:
        return accuracy
    return max(LEAST_ACCURACY, ACCURACY_GROWTH * math.sqrt(error))


@helper
def largest_term(d: Array, reference: Array) -> float:
    """Largest d |r|, the unit of the programme; 1 if all are zero."""
    scale = 0.0
    for i in range(d.shape[0]):
        scale = max(scale, d[i] * abs(reference[i]))
    return scale if scale > 0.0 else 1.0


@helper
def shifted(C: Array, M: Array, shift: float) -> None:
    """Fill M = C + shift I."""
    n = C.shape[0]
    for i in range(n):
        for j in range(n):
            M[i, j] = C[i, j]
        M[i, i] += shift


@helper
def definite(cone: Cone, L: Array) -> Cone:
    """The cone with a shift that makes M safely definite, its factor in L, and its `least`."""
    n = cone.d.shape[0]
    shift = cone.shift
    for _ in range(SHIFT_ROUNDS):
        for i in range(n):
            for j in range(i + 1):
                L[i, j] = cone.M[i, j]
        if cholesky(L, n) and smallest_pivot(L, n) >= 0.25 * shift:
            break
        shift *= 4.0
        shifted(cone.C, cone.M, shift)
    return Cone(cone.C, cone.M, cone.d, cone.error, shift, 0.0)


@helper
def least_of_all(cone: Cone, L: Array, row: Array) -> Cone:
    """The cone with `least`, from the factor of the whole M; unusable where a gradient is zero."""
    n = cone.d.shape[0]
    least = 1.0 / inverse_trace(L, n, row) - cone.shift
    least -= n * cone.error + 2.0 * n * (n + 2.0) * EPS
    return Cone(cone.C, cone.M, cone.d, cone.error, cone.shift, max(least, 0.0))


@helper
def as_returned(
    d: Array, reference: Array, weights: Array, u: Array, scale: float, point: Point
) -> None:
    """Fill the weights r + u / d, and the multipliers that they stand for."""
    for i in range(d.shape[0]):
        weights[i] = reference[i] + (u[i] * (scale / d[i]) if d[i] > 0.0 else 0.0)
        point.x[i] = d[i] * ((weights[i] - reference[i]) / scale)
        point.v[i] = d[i] * (weights[i] / scale)


@helper
def best_bound(
    cone: Cone, point: Point, factor: Factor, m: int, scratch: Scratch, goal: float
) -> float:
    """The smallest of the bounds, the cheap ones first; the others only if it exceeds the goal."""
    bound = zero_bound(point)
    if bound > goal:
        bound = min(bound, common_bound(cone, point))
    if bound > goal:
        bound = min(bound, independent_bound(cone, point, factor, m))
    if bound > goal:
        bound = min(bound, lift_bound(cone, point, scratch))
    return bound


@helper
def misfit(cone: Cone, point: Point, S: float) -> float:
    """Largest violation of the optimality conditions in units of what the digits explain."""
    n = point.x.shape[0]
    S_x, S_y, worst = 0.0, 0.0, 0.0
    for k in range(n):
        S_x += point.x[k]
        S_y += abs(point.y[k])
    unit = (cone.error + EPS) * max(S, max(S_x, S_y))
    for k in range(n):
        off = abs(point.z[k]) if point.x[k] > 0.0 else -point.z[k]
        worst = max(worst, off / max(unit, point.zeta[k])) if off > 0.0 else worst
    return worst


@helper
def projection(
    cone: Cone,
    point: Point,
    factor: Factor,
    scratch: Scratch,
    given: tuple[Array, Array, float],
    limits: tuple[float, int],
    weights: Array,
) -> tuple[int, int, float]:
    """Fill the weights; return (status or INDEFINITE, steps, bound of |d - P| / |g0|).

    `given` is (reference, start, whether to use the start), `limits` (accuracy, steps).
    """
    reference, start, warm = given
    accuracy, budget = limits
    C, d, n = cone.C, cone.d, cone.d.shape[0]
    q, u, best = scratch.rows[3], scratch.rows[4], scratch.rows[5]
    scale = largest_term(d, reference)
    for i in range(n):
        point.y[i] = d[i] * (reference[i] / scale)
        u[i] = d[i] * ((start[i] - reference[i]) / scale) if warm != 0.0 else 0.0
    for i in range(n):
        q[i] = dot(C[i], point.y, n) if d[i] > 0.0 else 0.0
    clear(factor.ints)
    m = warm_support(cone.M, u, factor.L, factor.ints) if warm != 0.0 else 0
    length = least_reference(cone, point.y)
    goal = accuracy * length
    least, before, steps, status = math.inf, math.inf, 0, UNDECIDED
    for _ in range(1 + PROXIMAL_STEPS):
        code, m, more = nonnegative_minimum(
            cone.M, q, u, factor.L, factor.ints, scratch.rows[2], m, budget - steps, True, math.inf
        )
        steps += more
        if code == NOT_CONVEX:
            return INDEFINITE, steps, math.inf
        as_returned(d, reference, best, u, scale, point)
        S = measure(cone, point, False)
        bound = best_bound(cone, point, factor, m, scratch, goal)
        if goal < bound < RETRY * goal:
            S = measure(cone, point, True)
            bound = min(bound, best_bound(cone, point, factor, m, scratch, goal))
        if bound < least or least == math.inf:
            least = min(least, bound)
            for i in range(n):
                weights[i] = best[i]
        off = misfit(cone, point, S)
        status = UNDECIDED if off <= EXACT_FOR_SOME and code == SOLVED else STEP_LIMIT
        if least <= goal or code == CAPPED or off <= 1.0 or off > 0.5 * before:
            break
        before = off
        for i in range(n):
            q[i] = (dot(C[i], point.y, n) - cone.shift * u[i]) if d[i] > 0.0 else 0.0
    if least == 0.0 or least <= goal:
        status = OPTIMAL
    return status, steps, 0.0 if least == 0.0 else (least / length if length > 0.0 else math.inf)


@gufunc(
    "void(float64[:,:], float64[:,:], float64[:,:], float64, float64, float64, float64, float64,"
    " float64[:,:], int64[:], float64[:], int64[:], float64[:], float64[:])",
    "(n,n),(m,n),(m,n),(),(),(),(),()->(m,n),(m),(m),(m),(m),()",
)
def dual_cone(
    A: Array,
    references: Array,
    start: Array,
    warm: float,
    tol: float,
    accuracy: float,
    budget: float,
    error: float,
    weights: Array,
    status: Ints,
    residual: Array,
    steps: Ints,
    direction_error: Array,
    assumed: Array,
) -> None:
    """Weights r + u / d, status or fault, residual, steps and bound; error assumed of C."""
    n = A.shape[0]
    C, M, L, S = np.empty((n, n)), np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    B, K = np.empty((n, n)), np.empty((n, n))
    rows = np.empty((15, n))
    ints = np.empty((7, n), np.int64)
    d, r = rows[13], rows[14]
    fault, assumed[0] = unit_gradients(A, error, C, d)
    powers_of_two(d, r)
    scaled_gram(A, r, S)
    shift = SHIFT * n * EPS
    shifted(C, M, shift)
    cone = Cone(C, M, d, assumed[0] + 4.0 * EPS, shift, 0.0)
    factor = Factor(L, ints[:3])
    scratch = Scratch(B, rows[:6], K, ints[3:6], ints[6])
    point = Point(rows[6], rows[7], rows[8], rows[9], rows[10], rows[11], rows[12])
    checked = 4 * references.shape[0] >= n and n > 1
    if checked and fault == 0:
        cone = least_of_all(definite(cone, L), L, rows[0])
    goal = default_accuracy(accuracy, assumed[0])
    for k in range(references.shape[0]):
        status[k], residual[k], steps[k], direction_error[k] = fault, math.inf, 0, math.inf
        if fault != 0:
            continue
        given = (references[k], start[k], warm)
        limits = (goal, int(budget))
        code, steps[k], direction_error[k] = projection(
            cone, point, factor, scratch, given, limits, weights[k]
        )
        if not checked and (code in (STEP_LIMIT, INDEFINITE) or at_precision(factor.ints)):
            checked = True
            cone = definite(cone, L)
            code, steps[k], direction_error[k] = projection(
                cone, point, factor, scratch, given, limits, weights[k]
            )
        status[k] = code
        if code == INDEFINITE:
            continue
        residual[k], _ = dual_cone_gap(S, references[k], weights[k], d, r, rows[0])
        if code == OPTIMAL and not residual[k] <= tol:
            status[k] = ROUNDING_LIMITED
