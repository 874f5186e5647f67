"""FairGrad at both ends, alpha = 0 and alpha = inf: one nonnegative programme each."""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.double_double import TWICE, dot_double, two_quotient, two_sum
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.correlation import scaled_weights
from fairopt.kernels.gram.iterative_refinement import (
    REFINEMENTS,
    SETTLED,
    STALLED,
    TRUSTED,
    inverse_column,
)
from fairopt.kernels.gram.nonnegative_qp import NOT_CONVEX, clear, nonnegative_minimum, warm_support
from fairopt.kernels.gram.stationarity import least_slope
from fairopt.kernels.jit import helper
from fairopt.kernels.linear import EPS, cholesky, dot, solve_factored

SHORTFALL = 1e-9  # of the progress 1 of a task without weight, beyond which it should have one


@helper
def boundary(
    C: Array,
    alpha: float,
    p: Array,
    d: Array,
    start: Array,
    warm: bool,
    cap: int,
    w: Array,
    L: Array,
    work: Array,
    ints: Ints,
) -> tuple[int, int]:
    """Both limits by the nonnegative programme: alpha = 0 and alpha = inf."""
    n = w.shape[0]
    q, u = work[1], work[3]
    scale = math.inf if alpha > 0.0 else 0.0
    for i in range(n):
        scale = min(scale, d[i]) if alpha > 0.0 else max(scale, d[i] * p[i])
    for i in range(n):
        work[4, i] = d[i] * (p[i] / scale) if alpha == 0.0 else 0.0
        u[i] = 0.0
        if warm:
            u[i] = d[i] * (start[i] * scale) if alpha > 0.0 else d[i] * ((start[i] - p[i]) / scale)
    for i in range(n):
        q[i] = -scale / d[i] if alpha > 0.0 else dot(C[i], work[4], n)
    clear(ints)
    m = warm_support(C, u, L, ints) if warm else 0
    terms = 0.0 if alpha > 0.0 else math.inf
    code, m, steps = nonnegative_minimum(C, q, u, L, ints, work[2], m, cap, alpha > 0.0, terms)
    for i in range(n):
        w[i] = (u[i] / d[i]) / scale if alpha > 0.0 else p[i] + u[i] * (scale / d[i])
    return code, steps


@helper
def solve_boundary(
    C: Array,
    alpha: float,
    p: Array,
    start: Array,
    warm: bool,
    d: Array,
    cap: int,
    u: Array,
    w: Array,
    H: Array,
    work: Array,
    ints: Ints,
) -> tuple[int, int, bool, float]:
    """Fill w for alpha = 0 or inf; return what `solve_interior` does."""
    code, steps = boundary(C, alpha, p, d, start, warm, cap, w, H, work, ints)
    fits = True
    for i in range(w.shape[0]):
        fits = fits and math.isfinite(w[i])
        u[i] = work[3, i] + work[4, i]
    return (INDEFINITE if code == NOT_CONVEX else code), steps, fits, least_slope(C, u)


@helper
def refined_max_min(
    S: Array, r: Array, e: Array, w: Array, L: Array, work: Array, ints: Ints
) -> float:
    """Refine the support of the weights at alpha = inf; return a bound of their relative error.

    On the support A w = 1, summed in twice the digits for the matrix as given (S = r A r, e = d r).
    """
    u, low, goal, step = work[0], work[1], work[2], work[3]
    size, P = work[4], ints[0]
    m = 0
    unit = scaled_weights(w, r, u)
    for i in range(w.shape[0]):
        low[i] = 0.0
        goal[i] = r[i] * unit
        if w[i] > 0.0:
            P[m] = i
            m += 1
    for a in range(m):
        for k in range(a + 1):
            L[a, k] = S[P[a], P[k]] / (e[P[a]] * e[P[k]])
    if not cholesky(L, m):
        return math.inf
    before = math.inf
    for _ in range(REFINEMENTS):
        shortfalls(S, u, low, goal, P, m, e, step, size)
        solve_factored(L, step, m)
        change = 0.0
        for a in range(m):
            i = P[a]
            u[i], lost = two_sum(u[i], step[a] / e[i])
            low[i] += lost
            if not abs(step[a] / e[i]) <= change * abs(u[i]):
                change = abs(step[a] / e[i] / u[i])
        if change <= SETTLED or (change <= STALLED and change > 0.5 * before):
            break
        before = change
    error = max_min_error(S, u, low, goal, P, m, e, L, step, size)
    for i in range(w.shape[0]):
        total, _, terms = dot_double(S[i], u, low, w.shape[0])
        least = (1.0 - SHORTFALL) * goal[i] - w.shape[0] * TWICE * terms
        if u[i] < 0.0 or (u[i] == 0.0 and not total >= least):
            return math.inf
    if error < math.inf:
        for i in range(w.shape[0]):
            w[i] = u[i] / unit * r[i]
    return error


@helper
def shortfalls(
    S: Array, u: Array, low: Array, goal: Array, P: Ints, m: int, e: Array, step: Array, size: Array
) -> None:
    """Fill (goal - S u) / e on the support, and a bound of its rounding."""
    n = u.shape[0]
    for a in range(m):
        i = P[a]
        total, rest, terms = dot_double(S[i], u, low, n)
        high, lost = two_sum(goal[i], -total)
        step[a], _ = two_quotient(high, lost - rest, e[i])
        size[a] = abs(step[a]) + n * TWICE * (terms / e[i])


@helper
def max_min_error(
    S: Array,
    u: Array,
    low: Array,
    goal: Array,
    P: Ints,
    m: int,
    e: Array,
    L: Array,
    step: Array,
    size: Array,
) -> float:
    """Bound of the relative error of u by |C_PP^-1| times its residual."""
    shortfalls(S, u, low, goal, P, m, e, step, size)
    total = np.zeros(m)
    column = np.empty(m)
    largest = 0.0
    for k in range(m):
        largest = max(largest, inverse_column(L, k, column))
        for a in range(m):
            total[a] += abs(column[a]) * size[k]
    worst = 0.0
    for a in range(m):
        if not total[a] / (e[P[a]] * u[P[a]]) <= worst:
            worst = total[a] / (e[P[a]] * u[P[a]])
    return worst if m * EPS * largest <= TRUSTED and worst >= 0.0 else math.inf
