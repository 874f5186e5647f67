"""Conflict-averse direction for one Gram matrix: checks, scaling, root, residual in one pass."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.cagrad_level import Level, level_root
from fairopt.kernels.gram.nonnegative_qp import (
    CAPPED,
    NEGATIVE_LIMIT,
    NOT_CONVEX,
    active_set,
    at_precision,
    clear,
    warm_support,
)
from fairopt.kernels.gram.residuals import ZERO_REFERENCE, conflict_averse_gap
from fairopt.kernels.gram.stationarity import (
    rounding,
    to_gradients,
    unit_gradients,
    unit_min_norm,
    zero_gradient,
)
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import EPS, dot, fill

OPTIMAL = 0
UNDECIDED = 2
STEP_LIMIT = 3
OUT_OF_RANGE = 6
ROUNDING_LIMITED = 7
FLOOR_FACTOR = 8.0  # as in the FairGrad kernel


class Problem(NamedTuple):
    """Maximise min_k (A w)_k over |G (w - r)| <= c |G r|.

    Attributes:
        A: (n, n) Gram matrix as given.
        c: Radius of the ball in units of |g0|.
        r: (n,) weights of the reference g0 = G r.
        d: (n,) lengths of the gradients.
        tol: Largest residual that is OPTIMAL.
    """

    A: Array
    c: float
    r: Array
    d: Array
    tol: float


class Answer(NamedTuple):
    """What one solve reports.

    Attributes:
        w: (n,) weights.
        v: (n,) dual, a convex combination.
        status: (1,) value of `fairopt.solution.Status`, or a fault.
        residual: (1,) of w and v.
        floor: (1,) what rounding alone does to the residual.
    """

    w: Array
    v: Array
    status: Ints
    residual: Array
    floor: Array


@helper
def lowest_vertex(A: Array, reference: Array, dual: Array) -> None:
    """The lowest-index task of least progress under the reference."""
    n = reference.shape[0]
    best, at = math.inf, 0
    for i in range(n):
        slope = 0.0
        for j in range(n):
            slope += (0.5 * A[i, j] + 0.5 * A[j, i]) * reference[j]
        if slope < best:
            best, at = slope, i
    fill(dual, 0.0)
    dual[at] = 1.0


@helper
def graded(residual: float, floor: float, tol: float, n: int) -> int:
    """OPTIMAL, at the rounding floor of the residual, or neither."""
    if residual + floor <= tol:
        return OPTIMAL
    return ROUNDING_LIMITED if residual <= FLOOR_FACTOR * (n + 4.0) * floor else STEP_LIMIT


@helper
def conclude(problem: Problem, answer: Answer) -> None:
    """Fill residual, floor and status; weights that overflow are out of range."""
    A, c, r, d, tol = problem
    w, v, status, residual, floor = answer
    n = d.shape[0]
    finite = True
    for i in range(n):
        finite = finite and math.isfinite(w[i])
    residual[0], floor[0] = conflict_averse_gap(A, c, r, w, v, d)
    if math.isnan(residual[0]) or not finite:
        residual[0], floor[0] = math.inf, 0.0
    status[0] = graded(residual[0], floor[0], tol, n)
    if not finite:
        fill(w, 0.0)
        status[0] = OUT_OF_RANGE


@helper
def sizes(
    given_reference: Array, given: float, d: Array, reference: Array
) -> tuple[float, float, int]:
    """Fill the reference; return the largest d |r|, the smallest d > 0, the first zero gradient."""
    n = d.shape[0]
    scale, least, zero_task = 0.0, math.inf, -1
    for i in range(n):
        reference[i] = given_reference[i] if given in (1.0, 3.0) else 1.0 / n
        scale = max(scale, d[i] * abs(reference[i]))
        if d[i] > 0.0:
            least = min(least, d[i])
        elif zero_task < 0:
            zero_task = i
    return scale, least, zero_task


@helper
def unit_problem(
    d: Array, reference: Array, scale: float, least: float, level: Level
) -> tuple[float, float]:
    """Fill y = d r, g = Cy and b = 1/d up to their scales; return sum |y| and y'Cy."""
    C, y, g, b = level.C, level.y, level.g, level.b
    n = d.shape[0]
    total, square = 0.0, 0.0
    for i in range(n):
        y[i] = d[i] * (reference[i] / scale) if scale > 0.0 else 0.0
        b[i] = least / d[i] if d[i] > 0.0 else 0.0
        total += abs(y[i])
    for i in range(n):
        g[i] = dot(C[i], y, n) if d[i] > 0.0 else 0.0
        square += y[i] * g[i]
    return total, square


@helper
def vanishing_dual(d: Array, level: Level, dual: Array) -> int:
    """Fill the dual with a vanishing convex combination; return 1 if there is one, INDEFINITE."""
    code, quad, _ = unit_min_norm(level.C, level.ray, level.q, level.active)
    if code == NOT_CONVEX or quad < -NEGATIVE_LIMIT:
        return INDEFINITE
    if zero_gradient(d, dual):
        return 1
    if quad > rounding(d.shape[0]):
        return 0
    to_gradients(level.ray, d, dual)
    return 1


@helper
def multipliers(
    level: Level, at_zero: bool, blocked: bool, dual: Array, certificate: Array
) -> None:
    """Fill the dual from u (or the ray, if the optimum has no progress) and the certificate."""
    u, ray, b = level.u, level.ray, level.b
    n = u.shape[0]
    S, ray_sum = 0.0, 0.0
    for i in range(n):
        dual[i] = (ray[i] if at_zero else u[i]) * b[i]
        S += dual[i]
        ray_sum += ray[i] * b[i] if blocked else 0.0
    for i in range(n):
        dual[i] = dual[i] / S if S > 0.0 else 1.0 / n
        certificate[i] = ray[i] * b[i] / ray_sum if blocked else math.nan


@gufunc(
    "void(float64[:,:], float64, float64[:], float64[:], float64, float64, float64, float64,"
    " float64[:], float64[:], float64[:], int64[:], float64[:], int64[:], float64[:],"
    " float64[:])",
    "(n,n),(),(n),(n),(),(),(),()->(n),(n),(n),(),(),(),(),()",
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
    floor: Array,
    bound: Array,
) -> None:
    """Solve one problem.

    `given` says which arrays to use: 1 reference, 2 start, 3 both. Outputs: weights, dual,
    certificate (NaN if none), status or fault, residual, steps, floor, error assumed
    of C.
    """
    n = A.shape[0]
    C, L = np.empty((n, n)), np.empty((n, n))
    rows, ints = np.empty((9, n)), np.empty((3, n), np.int64)
    d, reference, x, active = rows[0], rows[1], rows[2], active_set(L, ints, rows[2])
    b, u, ray = rows[3], rows[4], rows[5]
    level = Level(C, rows[6], rows[7], b, u, ray, rows[8], active)
    problem = Problem(A, c, reference, d, tol)
    answer = Answer(weights, dual, status, residual, floor)
    fill(certificate, math.nan)
    residual[0], steps[0], floor[0] = math.inf, 0, 0.0
    status[0], bound[0] = unit_gradients(A, error, C, d)
    if status[0] != 0:
        return
    scale, least, zero_task = sizes(given_reference, given, d, reference)
    total, square = unit_problem(d, reference, scale, least, level)
    for i in range(n):
        weights[i] = reference[i]
    goal = c * math.sqrt(max(square, 0.0))
    point = goal == 0.0 or square <= ZERO_REFERENCE * n * EPS * total * total
    if point or c < EPS:  # a ball so small that its centre may be all of it, in float64
        lowest_vertex(A, reference, dual)
        conclude(problem, answer)
        if point or status[0] == OPTIMAL:
            return
    if c >= 1.0:  # the ball contains zero, which is best exactly at a stationary point
        vanishing = vanishing_dual(d, level, dual)
        if vanishing == INDEFINITE:
            status[0] = INDEFINITE
            return
        if vanishing == 1:
            for i in range(n):
                weights[i], certificate[i] = 0.0, dual[i]
            conclude(problem, answer)
            if status[0] == STEP_LIMIT and residual[0] <= (1.0 + c) * math.sqrt(bound[0]):
                status[0] = ROUNDING_LIMITED  # what vanishes has the length of a root of rounding
            return
    for i in range(n):
        u[i] = d[i] * ((start[i] - reference[i]) / scale) if given >= 2.0 else 0.0
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
    multipliers(level, at_zero, blocked, dual, certificate)
    for i in range(n):
        if d[i] > 0.0:
            weights[i] = reference[i] + u[i] * (scale / d[i])
    conclude(problem, answer)
    if status[0] == STEP_LIMIT and code != CAPPED:
        if residual[0] <= math.sqrt(bound[0]) and at_precision(active):
            status[0] = ROUNDING_LIMITED
            return
        _, _, slope = unit_min_norm(C, ray, level.q, active)
        if slope <= bound[0]:
            status[0] = UNDECIDED
