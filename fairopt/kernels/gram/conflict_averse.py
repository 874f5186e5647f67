"""Conflict-averse direction for one Gram matrix: checks, scaling, root, residual in one pass."""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.cagrad_level import level_root
from fairopt.kernels.gram.nonnegative_qp import (
    CAPPED,
    NEGATIVE_LIMIT,
    NOT_CONVEX,
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
def conclude(
    A: Array,
    c: float,
    reference: Array,
    d: Array,
    tol: float,
    weights: Array,
    dual: Array,
    status: Ints,
    residual: Array,
    floor: Array,
) -> None:
    """Judge and grade; weights that overflow are out of range."""
    n = d.shape[0]
    finite = True
    for i in range(n):
        finite = finite and math.isfinite(weights[i])
    residual[0], floor[0] = conflict_averse_gap(A, c, reference, weights, dual, d)
    if math.isnan(residual[0]) or not finite:
        residual[0], floor[0] = math.inf, 0.0
    status[0] = graded(residual[0], floor[0], tol, n)
    if not finite:
        fill(weights, 0.0)
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
    C: Array, d: Array, reference: Array, scale: float, least: float, y: Array, g: Array, b: Array
) -> tuple[float, float]:
    """Fill y = d r, g = Cy and b = 1/d up to their scales; return sum |y| and y'Cy."""
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
def vanishing_dual(
    C: Array, d: Array, ray: Array, q: Array, x: Array, L: Array, ints: Ints, dual: Array
) -> int:
    """Fill the dual with a vanishing convex combination; return 1 if there is one, INDEFINITE."""
    clear(ints)
    code, quad, _ = unit_min_norm(C, ray, q, x, L, ints)
    if code == NOT_CONVEX or quad < -NEGATIVE_LIMIT:
        return INDEFINITE
    if zero_gradient(d, dual):
        return 1
    if quad > rounding(d.shape[0]):
        return 0
    to_gradients(ray, d, dual)
    return 1


@helper
def multipliers(
    u: Array, ray: Array, b: Array, at_zero: bool, blocked: bool, dual: Array, certificate: Array
) -> None:
    """Fill the dual from u (or the ray, if the optimum has no progress) and the certificate."""
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
    C = np.empty((n, n))
    L = np.empty((n, n))
    work = np.empty((9, n))
    ints = np.empty((3, n), np.int64)
    d, y, g, b, u, ray = work[0], work[1], work[2], work[3], work[4], work[5]
    q, x, reference = work[6], work[7], work[8]
    fill(certificate, math.nan)
    residual[0], steps[0], floor[0] = math.inf, 0, 0.0
    status[0], bound[0] = unit_gradients(A, error, C, d)
    if status[0] != 0:
        return
    scale, least, zero_task = sizes(given_reference, given, d, reference)
    total, square = unit_problem(C, d, reference, scale, least, y, g, b)
    for i in range(n):
        weights[i] = reference[i]
    goal = c * math.sqrt(max(square, 0.0))
    point = goal == 0.0 or square <= ZERO_REFERENCE * n * EPS * total * total
    if point or c < EPS:  # a ball so small that its centre may be all of it, in float64
        lowest_vertex(A, reference, dual)
        conclude(A, c, reference, d, tol, weights, dual, status, residual, floor)
        if point or status[0] == OPTIMAL:
            return
    if c >= 1.0:  # the ball contains zero, which is best exactly at a stationary point
        vanishing = vanishing_dual(C, d, ray, q, x, L, ints, dual)
        if vanishing == INDEFINITE:
            status[0] = INDEFINITE
            return
        if vanishing == 1:
            for i in range(n):
                weights[i], certificate[i] = 0.0, dual[i]
            conclude(A, c, reference, d, tol, weights, dual, status, residual, floor)
            if status[0] == STEP_LIMIT and residual[0] <= (1.0 + c) * math.sqrt(bound[0]):
                status[0] = ROUNDING_LIMITED  # what vanishes has the length of a root of rounding
            return
    for i in range(n):
        u[i] = d[i] * ((start[i] - reference[i]) / scale) if given >= 2.0 else 0.0
    clear(ints)
    m = warm_support(C, u, L, ints) if given >= 2.0 else 0
    code, steps[0], blocked, at_zero = level_root(
        C, g, b, goal, total, m, zero_task >= 0, int(budget), u, ray, q, x, L, ints
    )
    if code == NOT_CONVEX:
        status[0] = INDEFINITE
        return
    if blocked and zero_task >= 0:
        fill(ray, 0.0)
        ray[zero_task] = b[zero_task] = 1.0
    multipliers(u, ray, b, at_zero, blocked, dual, certificate)
    for i in range(n):
        if d[i] > 0.0:
            weights[i] = reference[i] + u[i] * (scale / d[i])
    conclude(A, c, reference, d, tol, weights, dual, status, residual, floor)
    if status[0] == STEP_LIMIT and code != CAPPED:
        if residual[0] <= math.sqrt(bound[0]) and at_precision(ints):
            status[0] = ROUNDING_LIMITED
            return
        clear(ints)
        _, _, slope = unit_min_norm(C, ray, q, x, L, ints)
        if slope <= bound[0]:
            status[0] = UNDECIDED
