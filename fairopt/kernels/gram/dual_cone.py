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
from fairopt.kernels.gram.correlation import (
    powers_of_two,
    scaled_gram,
)
from fairopt.kernels.gram.direction_bound import (
    Cone,
    Point,
    Scratch,
    common_bound,
    common_lift_bound,
    independent_bound,
    lift_bound,
    measure,
    refutes_error,
    zero_bound,
)
from fairopt.kernels.gram.dual_cone_steps import (
    SHIFT,
    as_returned,
    default_accuracy,
    fill_shifted,
    make_definite,
    prepare,
    share_bounds,
    without_shift,
)
from fairopt.kernels.gram.nonnegative_qp import (
    CAPPED,
    NEGATIVE_LIMIT,
    NOT_CONVEX,
    SOLVED,
    ActiveSet,
    active_set,
    at_precision,
    nonnegative_minimum,
)
from fairopt.kernels.gram.residuals import dual_cone_gap
from fairopt.kernels.gram.stationarity import unit_gradients
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import EPS, dot

OPTIMAL = 0
UNDECIDED = 2
STEP_LIMIT = 3
ROUNDING_LIMITED = 7

PROXIMAL_STEPS = 3
RETRY = 16.0  # a bound that misses by less is evaluated again with sums in twice the digits
EXACT_FOR_SOME = 8.0  # misfit, in units of what the digits of C explain: exact for some such matrix
REFUTED = 200  # the matrix is no Gram matrix to the error assumed, which was raised


@helper
def best_bound(
    cone: Cone, point: Point, active: ActiveSet, m: int, scratch: Scratch, goal: float
) -> float:
    """The smallest of the bounds, the cheap ones first; the others only if it exceeds the goal."""
    bound = zero_bound(point)
    if bound > goal:
        bound = min(bound, common_bound(cone, point))
    if bound > goal:
        bound = min(bound, common_lift_bound(cone, point, scratch))
    if bound > goal:
        bound = min(bound, independent_bound(cone, point, active, m))
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
    unit = (cone.error[0] + EPS) * max(S, max(S_x, S_y))
    for k in range(n):
        off = abs(point.z[k]) if point.x[k] > 0.0 else -point.z[k]
        worst = max(worst, off / max(unit, point.zeta[k])) if off > 0.0 else worst
    return worst


@helper
def projection(
    cone: Cone,
    point: Point,
    active: ActiveSet,
    scratch: Scratch,
    given: tuple[Array, Array, float],
    limits: tuple[float, int],
    weights: Array,
) -> tuple[int, int, float]:
    """Fill the weights; return (status or INDEFINITE, steps, bound of |d - P| / |g0|).

    `given` is (reference, start, whether to use the start), `limits` (accuracy, steps).
    """
    reference = given[0]
    accuracy, budget = limits
    C, d, n = cone.C, cone.d, cone.d.shape[0]
    q, u, best = scratch.rows[3], scratch.rows[4], scratch.rows[5]
    unit, m, length, goal = prepare(cone, point, active, given, accuracy, q, u)
    least, before, steps, fitted = math.inf, math.inf, 0, False
    for _ in range(1 + PROXIMAL_STEPS):
        code, m, more = nonnegative_minimum(cone.M, q, u, active, m, budget - steps, True, math.inf)
        steps += more
        if code == NOT_CONVEX:
            return INDEFINITE, steps, math.inf
        if code == SOLVED:
            without_shift(cone, point, u, active, m)
        as_returned(d, reference, best, u, unit, point)
        S = measure(cone, point, False)
        if refutes_error(cone, point, S):
            return REFUTED, steps, math.inf
        bound = best_bound(cone, point, active, m, scratch, goal)
        if goal < bound < RETRY * goal:
            S = measure(cone, point, True)
            bound = min(bound, best_bound(cone, point, active, m, scratch, goal))
        off = misfit(cone, point, S)
        fits = code == SOLVED and off <= EXACT_FOR_SOME
        if bound <= goal or (fits and not fitted) or (fits == fitted and bound <= least):
            least, fitted = bound, fits
            for i in range(n):
                weights[i] = best[i]
        if least <= goal or code == CAPPED or off <= 1.0 or off > 0.5 * before:
            break
        before = off
        for i in range(n):
            q[i] = (dot(C[i], point.y, n) - cone.shift[0] * u[i]) if d[i] > 0.0 else 0.0
    status = UNDECIDED if fitted else STEP_LIMIT
    if least <= goal:
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
    rows = np.empty((21, n))
    known = np.empty(4)
    ints = np.empty((7, n), np.int64)
    d, r = rows[13], rows[14]
    fault, assumed[0] = unit_gradients(A, error, C, d)
    powers_of_two(d, r)
    scaled_gram(A, r, S)
    cone = Cone(C, M, d, known[3:], known[:1], known[1:2], rows[15], known[2:3])
    cone.error[0], cone.shift[0] = assumed[0] + 4.0 * EPS, SHIFT * n * EPS
    cone.least[0], cone.square[0] = 0.0, math.inf
    fill_shifted(cone)
    active = active_set(L, ints[:3], rows[2])
    scratch = Scratch(B, rows[:6], active_set(K, ints[3:6], rows[16]), ints[6])
    point = Point(rows[6], rows[7], rows[8], rows[9], rows[10], rows[11], rows[12], rows[17:])
    checked = 4 * references.shape[0] >= n and n > 1
    if checked and fault == 0:
        make_definite(cone, L)
        share_bounds(cone, point, L)
    goal, k = default_accuracy(accuracy, assumed[0]), 0
    while k < references.shape[0]:
        status[k], residual[k], steps[k], direction_error[k] = fault, math.inf, 0, math.inf
        k += 1
        if fault != 0:
            continue
        given, limits = (references[k - 1], start[k - 1], warm), (goal, int(budget))
        code, steps[k - 1], direction_error[k - 1] = projection(
            cone, point, active, scratch, given, limits, weights[k - 1]
        )
        if not checked and (code in (STEP_LIMIT, INDEFINITE) or at_precision(active)):
            checked = True
            make_definite(cone, L)
            code, steps[k - 1], direction_error[k - 1] = projection(
                cone, point, active, scratch, given, limits, weights[k - 1]
            )
        if code == REFUTED and cone.error[0] <= NEGATIVE_LIMIT:  # all again, with that error
            assumed[0], k = cone.error[0] - 4.0 * EPS, 0
            goal = default_accuracy(accuracy, assumed[0])
            if checked:
                make_definite(cone, L)
                share_bounds(cone, point, L)
            continue
        status[k - 1] = INDEFINITE if code == REFUTED else code
        if status[k - 1] == INDEFINITE:
            continue
        if code == STEP_LIMIT and steps[k - 1] < int(budget):
            status[k - 1] = UNDECIDED  # more steps would not help
        residual[k - 1], _ = dual_cone_gap(S, references[k - 1], weights[k - 1], d, r, rows[0])
        if code == OPTIMAL and not residual[k - 1] <= tol:
            status[k - 1] = ROUNDING_LIMITED
