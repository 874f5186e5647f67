"""Conflict-averse direction for one Gram matrix: checks, scaling, root, residual in one pass.

Let mu be the worst progress. The point of {d: <g_k, d> >= mu} nearest to g0 is g0 + G u(mu), where
u(mu) solves the nonnegative programme with q = A r - mu 1. Its distance N(mu) is convex and
increasing, N^2 is piecewise quadratic with N^2' = 2 S, S = sum u, and the optimum is the root of
N(mu) = c |g0|. Here everything is in units of unit gradients: b = 1/d, y = d r, up to two scales.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.checks import Array, Ints
from fairopt.kernels.compiling import gufunc, helper
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram import correlation
from fairopt.kernels.judging import ZERO_REFERENCE, conflict_averse_gap
from fairopt.kernels.linear import EPS, dot, fill, solve_lower
from fairopt.kernels.nonnegative import (
    CAPPED,
    NEGATIVE_LIMIT,
    NOT_CONVEX,
    RAY,
    at_precision,
    clear,
    nonnegative_minimum,
    warm_support,
)
from fairopt.kernels.stationarity import (
    default_error,
    rounding,
    to_gradients,
    unit_min_norm,
    zero_gradient,
)

OPTIMAL = 0
UNDECIDED = 2
STEP_LIMIT = 3
OUT_OF_RANGE = 6
ROUNDING_LIMITED = 7
FLOOR_FACTOR = 8.0  # as in the FairGrad kernel

ROOT_STEPS = 100  # 1 to 5 are usual
ROOT_TOLERANCE = 1e-15  # of N against c |g0|, per task: rounding of N itself


@helper
def squared_distance(C: Array, q: Array, u: Array) -> float:
    """N^2 as -q'u or u'Cu, whichever has the smaller rounding bound."""
    n = u.shape[0]
    by_price, price_size, total = 0.0, 0.0, 0.0
    for i in range(n):
        by_price -= q[i] * u[i]
        price_size += abs(q[i]) * u[i]
        total += u[i]
    if price_size <= total * total:
        return max(by_price, 0.0)
    quad = 0.0
    for i in range(n):
        quad += u[i] * dot(C[i], u, n) if u[i] != 0.0 else 0.0
    return max(quad, 0.0)


@helper
def curvature_of_square(L: Array, ints: Ints, m: int, b: Array, x: Array) -> float:
    """Half the second derivative of N^2 on the support: b'C_PP^-1 b."""
    for a in range(m):
        x[a] = b[ints[0, a]]
    solve_lower(L, x, m)
    return dot(x, x, m)


@helper
def next_level(
    mu: float, low: float, high: float, N: float, goal: float, S: float, T: float
) -> float:
    """The root of the present quadratic; else a Newton step on N; else the middle."""
    D = (goal - N) * (goal + N)
    if S * S + T * D >= 0.0:
        denominator = S + math.sqrt(S * S + T * D)
        if denominator > 0.0 and low < mu + D / denominator < high:
            return mu + D / denominator
    if S > 0.0 and low < mu + (goal - N) * N / S < high:
        return mu + (goal - N) * N / S
    return 0.5 * low + 0.5 * high


@helper
def vanishes(code: int, mu: float, N: float, u: Array) -> bool:
    """Whether u proves that no direction has positive progress on every task."""
    total = 0.0
    for i in range(u.shape[0]):
        total += u[i]
    return code == RAY or (mu > 0.0 and rounding(u.shape[0]) * total * total >= N * N)


@helper
def level_root(
    C: Array,
    g: Array,
    b: Array,
    goal: float,
    terms: float,
    m: int,
    blocked: bool,
    budget: int,
    u: Array,
    ray: Array,
    q: Array,
    x: Array,
    L: Array,
    ints: Ints,
) -> tuple[int, int, bool, bool]:
    """Fill u(mu*) and, if no common progress exists, the ray; return (code, steps, blocked, zero).

    `blocked`: no direction helps all, so mu* <= 0 (on entry: because a gradient is zero, whose
    vertex is the caller's ray). `zero`: mu* = 0 for that reason.
    """
    n = u.shape[0]
    low, at = math.inf, 0
    for i in range(n):
        if b[i] > 0.0 and g[i] / b[i] < low:
            low, at = g[i] / b[i], i
    mu = 0.0 if blocked else low + goal / b[at]
    testing = blocked  # whether mu = 0 is being tried as the optimum
    high = math.inf
    used = 0
    for _ in range(ROOT_STEPS):
        if testing and low >= 0.0:
            fill(u, 0.0)
            return 0, used, blocked, True
        for i in range(n):
            q[i] = g[i] - mu * b[i]
        sums = terms if mu > 0.0 else math.inf  # at mu <= 0 the minimum exists
        code, m, steps = nonnegative_minimum(C, q, u, L, ints, x, m, budget - used, True, sums)
        used += steps
        if code in (NOT_CONVEX, CAPPED):
            return code, used, blocked, False
        N = math.sqrt(squared_distance(C, q, u))
        if not blocked and vanishes(code, mu, N, u):
            for i in range(n):
                ray[i] = u[i]
            fill(u, 0.0)
            clear(ints)
            blocked, testing, mu, m = True, True, 0.0, 0
            continue
        if testing and goal >= N:
            return 0, used, blocked, True
        testing = False
        if abs(N - goal) <= ROOT_TOLERANCE * (n + 2.0) * goal:
            return 0, used, blocked, False
        if goal > N:
            low = mu
        else:
            high = mu
        S = dot(b, u, n)
        T = curvature_of_square(L, ints, m, b, x)
        following = next_level(mu, low, high, N, goal, S, T)
        if abs(following - mu) <= 2.0 * EPS * abs(mu) or not math.isfinite(following):
            return 0, used, blocked, False
        mu = following
    return CAPPED, used, blocked, False


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
    status[0], seen = correlation(A, C, d)
    bound[0] = default_error(error, seen, n)
    if status[0] != 0:
        return
    scale, least, zero_task = sizes(given_reference, given, d, reference)
    total, square = unit_problem(C, d, reference, scale, least, y, g, b)
    for i in range(n):
        weights[i] = reference[i]
    goal = c * math.sqrt(max(square, 0.0))
    if goal == 0.0 or square <= ZERO_REFERENCE * n * EPS * total * total:
        lowest_vertex(A, reference, dual)
        conclude(A, c, reference, d, tol, weights, dual, status, residual, floor)
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
