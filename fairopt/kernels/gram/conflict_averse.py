"""Conflict-averse direction for one Gram matrix: checks, scaling, root, certified gap in one pass.

The weights are pulled into the ball that is surely inside for every matrix within the error of A,
and graded by the gap that `progress_gap` certifies. Whether the gradients are stationary is decided
as everywhere, by the min-norm point of the unit gradients, where positive progress on every task
has not been proven already.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.cagrad_level import Level, level_root
from fairopt.kernels.gram.correlation import unit_exponent
from fairopt.kernels.gram.nonnegative_qp import (
    CAPPED,
    NEGATIVE_LIMIT,
    NOT_CONVEX,
    SOLVED,
    active_set,
    clear,
    warm_support,
)
from fairopt.kernels.gram.progress_gap import (
    Ball,
    pull_inside,
    reachable,
    reached,
    reference_length,
    relative_gap,
)
from fairopt.kernels.gram.stationarity import (
    NOT_STATIONARY,
    STATIONARY,
    decide,
    to_gradients,
    unit_gradients,
    unit_min_norm,
    zero_gradient,
)
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import EPS, dot, fill

OPTIMAL = 0
PARETO_STATIONARY = 1
UNDECIDED = 2
STEP_LIMIT = 3
OUT_OF_RANGE = 6
ROUNDING_LIMITED = 7

LARGEST_GAP = 1e-6  # certified gap of an answer, and its growth with the root of the error of A
GAP_GROWTH = 8.0


@helper
def lowest_vertex(Ar: Array, dual: Array) -> None:
    """The lowest-index task of least progress under the reference."""
    best, at = math.inf, 0
    for i in range(Ar.shape[0]):
        if Ar[i] < best:
            best, at = Ar[i], i
    fill(dual, 0.0)
    dual[at] = 1.0


@helper
def largest_gap(error: float) -> float:
    """The largest certified gap of an answer, by the error of the matrix."""
    return max(LARGEST_GAP, GAP_GROWTH * math.sqrt(error))


@helper
def graded(gap: float, tol: float, error: float, stopped: bool) -> int:
    """The status of a certified gap."""
    if gap <= tol:
        return OPTIMAL
    if gap <= largest_gap(error):
        return ROUNDING_LIMITED
    return STEP_LIMIT if stopped else UNDECIDED


@helper
def fill_reference(
    given_reference: Array, given: float, d: Array, reference: Array
) -> tuple[int, float, int]:
    """Fill the reference in units 2^e; return e, the smallest d > 0, the first zero gradient."""
    n = d.shape[0]
    least, zero_task = math.inf, -1
    for i in range(n):
        reference[i] = given_reference[i] if given in (1.0, 3.0) else 1.0 / n
        if d[i] > 0.0:
            least = min(least, d[i])
        elif zero_task < 0:
            zero_task = i
    unit = unit_exponent(d, reference)
    for i in range(n):  # then |g0| is near 1
        reference[i] = math.ldexp(reference[i], -unit)
    return unit, least, zero_task


@helper
def unit_problem(d: Array, reference: Array, least: float, level: Level) -> tuple[float, float]:
    """Fill y = d r, g = Cy and b = 1/d up to its scale; return sum |y| and y'Cy."""
    C, y, g, b = level.C, level.y, level.g, level.b
    n = d.shape[0]
    total, square = 0.0, 0.0
    for i in range(n):
        y[i] = d[i] * reference[i]
        b[i] = least / d[i] if d[i] > 0.0 else 0.0
        total += abs(y[i])
    for i in range(n):
        g[i] = dot(C[i], y, n) if d[i] > 0.0 else 0.0
        square += y[i] * g[i]
    return total, square


@helper
def multipliers(level: Level, at_zero: bool, dual: Array) -> None:
    """Fill the dual from u, or from the ray if the optimum has no progress."""
    n, S = level.u.shape[0], 0.0
    for i in range(n):
        dual[i] = (level.ray[i] if at_zero else level.u[i]) * level.b[i]
        S += dual[i]
    for i in range(n):
        dual[i] = dual[i] / S if S > 0.0 else 1.0 / n


@helper
def find_stationarity(level: Level, d: Array, error: float, certificate: Array) -> int:
    """The verdict, or INDEFINITE; fill the certificate where it is not NOT_STATIONARY."""
    code, quad, least = unit_min_norm(level.C, level.ray, level.q, level.active)
    if code == NOT_CONVEX or quad < -NEGATIVE_LIMIT:
        return INDEFINITE
    if zero_gradient(d, certificate):
        return STATIONARY
    known = decide(quad, least, max(error, -quad), d.shape[0])
    if known != NOT_STATIONARY:
        to_gradients(level.ray, d, certificate)
    return known


@gufunc(
    "void(float64[:,:], float64, float64[:], float64[:], float64, float64, float64, float64,"
    " float64[:], float64[:], float64[:], int64[:], float64[:], int64[:], float64[:])",
    "(n,n),(),(n),(n),(),(),(),()->(n),(n),(n),(),(),(),()",
)
def conflict_averse(
    A: Array,
    c: float,
    given_reference: Array,
    start: Array,
    given: float,
    tol: float,
    budget: float,
    error: float,
    weights: Array,
    dual: Array,
    certificate: Array,
    status: Ints,
    residual: Array,
    steps: Ints,
    bound: Array,
) -> None:
    """Solve one problem.

    `given` says which arrays to use: 1 reference, 2 start, 3 both. Outputs: weights, dual,
    certificate (NaN if none), status or fault, certified gap, steps, error assumed of C.
    """
    n = A.shape[0]
    C, L = np.empty((n, n)), np.empty((n, n))
    rows, ints = np.empty((10, n)), np.empty((3, n), np.int64)
    d, reference, active = rows[0], rows[1], active_set(L, ints, rows[2])
    b, u, ray = rows[3], rows[4], rows[5]
    level = Level(C, rows[6], rows[7], b, u, ray, rows[8], active)
    fill(certificate, math.nan)
    residual[0], steps[0] = math.inf, 0
    status[0], bound[0] = unit_gradients(A, error, C, d)
    if status[0] != 0:
        return
    unit, least, zero_task = fill_reference(given_reference, given, d, reference)
    total, square = unit_problem(d, reference, least, level)
    ball = Ball(A, reference, d, rows[9], c, bound[0] + (n + 2.0) * EPS)
    low, high = reference_length(ball)
    for i in range(n):
        weights[i] = reference[i]
    lowest_vertex(ball.Ar, dual)
    goal, code = c * math.sqrt(max(square, 0.0)), SOLVED
    if goal > 0.0 and low > 0.0 and c >= EPS:  # else the ball is a point, to rounding
        for i in range(n):
            u[i] = d[i] * (math.ldexp(start[i], -unit) - reference[i]) if given >= 2.0 else 0.0
        clear(active)
        m = warm_support(C, u, active) if given >= 2.0 else 0
        code, steps[0], blocked, at_zero = level_root(
            level, goal, total, m, zero_task >= 0, int(budget)
        )
        if code == NOT_CONVEX:
            status[0] = INDEFINITE
            return
        if blocked and zero_task >= 0:
            fill(ray, 0.0)
            ray[zero_task] = b[zero_task] = 1.0
        multipliers(level, at_zero, dual)
        for i in range(n):
            if d[i] > 0.0:
                weights[i] = reference[i] + u[i] / d[i]
    finite = True
    for i in range(n):
        finite = finite and math.isfinite(math.ldexp(weights[i], unit))
    if not finite:
        fill(weights, 0.0)
        status[0] = OUT_OF_RANGE
        return
    for i in range(n):
        u[i] = weights[i]
    pull_inside(ball, weights, low, level.q)
    lower, upper = reached(ball, weights), reachable(ball, dual, high)
    if not lower > 0.0:
        known = find_stationarity(level, d, bound[0], certificate)
        if known == INDEFINITE:
            status[0] = INDEFINITE
            return
        if known != NOT_STATIONARY:
            other = reachable(ball, certificate, high)
            if known == STATIONARY and c >= 1.0:
                fill(weights, 0.0)
                lower = 0.0
            if other < upper or (known == STATIONARY and c >= 1.0):
                upper = other
                for i in range(n):
                    dual[i] = certificate[i]
            if known == STATIONARY and c >= 1.0:
                status[0], residual[0] = PARETO_STATIONARY, relative_gap(lower, upper, low, unit)
                return
    residual[0] = relative_gap(lower, upper, low, unit)
    if math.isnan(residual[0]):
        residual[0] = math.inf
    status[0] = graded(residual[0], tol, bound[0], code == CAPPED and steps[0] >= int(budget))
    limit = max(largest_gap(bound[0]), tol)
    if not residual[0] <= limit:  # exact for the matrix as given, if for no other
        for i in range(n):
            weights[i] = u[i]
    for i in range(n):
        weights[i] = math.ldexp(weights[i], unit)
