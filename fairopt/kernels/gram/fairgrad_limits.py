"""FairGrad at alpha = inf: a nonnegative programme (at alpha = 0 it is that of `dual_cone`)."""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array, Ints
from fairopt.kernels.double_double import TWICE, dot_double, two_quotient, two_sum
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.correlation import scaled_weights
from fairopt.kernels.gram.fairgrad_problem import Problem
from fairopt.kernels.gram.iterative_refinement import (
    REFINEMENTS,
    SETTLED,
    STALLED,
    TRUSTED,
    inverse_column,
)
from fairopt.kernels.gram.nonnegative_qp import (
    NOT_CONVEX,
    ActiveSet,
    clear,
    nonnegative_minimum,
    warm_support,
)
from fairopt.kernels.gram.stationarity import least_slope
from fairopt.kernels.jit import helper, inlined
from fairopt.kernels.linear import EPS, cholesky, fill, solve_factored

SHORTFALL = 1e-9  # of the progress 1 of a task without weight, beyond which it should have one
MAX_MIN_ROWS = 7


class Programme(NamedTuple):
    """The nonnegative programme of the limit, and its solution.

    Attributes:
        q: (n,) linear term: -1 / d up to a scale.
        u: (n,) the solution; the weights are u / d, up to the scale.
        active: Its support.
    """

    q: Array
    u: Array
    active: ActiveSet


class MaxMin(NamedTuple):
    """Refinement of the weights at alpha = inf: S u = goal on the support P.

    Attributes:
        S: (n, n) the matrix as given, scaled by powers of two r; C = S / (e e').
        e: (n,) d r, lengths of the gradients in that scale.
        u: (n,) weights in that scale, its high parts.
        low: (n,) its low parts.
        goal: (n,) what S u should be, the progress 1 in that scale.
        step: (n,) shortfall of S u, then the step of e u, in the order of P.
        size: (n,) bound of the shortfall and of its rounding, in the order of P.
        total: (n,) bound of the error of e u, in the order of P.
        column: (n,) a column of C_PP^-1, in the order of P.
        P: (n,) the m tasks with a weight, in the first m entries.
        L: (n, n) Cholesky factor of C_PP.
    """

    S: Array
    e: Array
    u: Array
    low: Array
    goal: Array
    step: Array
    size: Array
    total: Array
    column: Array
    P: Ints
    L: Array


@inlined
def max_min_workspace(S: Array, e: Array, rows: Array, P: Ints, L: Array) -> MaxMin:
    """The workspace in the memory of the first MAX_MIN_ROWS rows, of P and of L."""
    return MaxMin(S, e, rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], P, L)


@inlined
def solve_max_min(
    problem: Problem, start: Array, warm: bool, cap: int, w: Array, programme: Programme
) -> tuple[int, int, bool, float]:
    """Fill w for alpha = inf; return what `solve_interior` does."""
    C, d = problem.C, problem.d
    q, u, active = programme
    n = w.shape[0]
    scale = math.inf
    for i in range(n):
        scale = min(scale, d[i])
    for i in range(n):
        u[i] = d[i] * (start[i] * scale) if warm else 0.0
        q[i] = -scale / d[i]
    clear(active)
    m = warm_support(C, u, active) if warm else 0
    code, m, steps = nonnegative_minimum(C, q, u, active, m, cap, True, 0.0)
    fits = True
    for i in range(n):
        w[i] = (u[i] / d[i]) / scale
        fits = fits and math.isfinite(w[i])
    slope = least_slope(C, u)
    return (INDEFINITE if code == NOT_CONVEX else code), steps, fits, slope


@helper
def refined_max_min(r: Array, w: Array, space: MaxMin) -> float:
    """Refine the support of the weights at alpha = inf; return a bound of their relative error.

    On the support A w = 1, summed in twice the digits for the matrix as given (S = r A r, e = d r).
    """
    S, e, u, low, goal, step, _, _, _, P, L = space
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
        shortfalls(space, m)
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
    error = max_min_error(space, m)
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
def shortfalls(space: MaxMin, m: int) -> None:
    """Fill step = (goal - S u) / e on the support, and size with its bound."""
    S, e, u, low, goal, step, size, _, _, P, _ = space
    n = u.shape[0]
    for a in range(m):
        i = P[a]
        total, rest, terms = dot_double(S[i], u, low, n)
        high, lost = two_sum(goal[i], -total)
        step[a], _ = two_quotient(high, lost - rest, e[i])
        size[a] = abs(step[a]) + n * TWICE * (terms / e[i])


@helper
def max_min_error(space: MaxMin, m: int) -> float:
    """Bound of the relative error of u by |C_PP^-1| times its residual."""
    shortfalls(space, m)
    e, u, size, P = space.e, space.u, space.size, space.P
    total, column = space.total[:m], space.column[:m]
    fill(total, 0.0)
    largest = 0.0
    for k in range(m):
        largest = max(largest, inverse_column(space.L, k, column))
        for a in range(m):
            total[a] += abs(column[a]) * size[k]
    worst = 0.0
    for a in range(m):
        if not total[a] / (e[P[a]] * u[P[a]]) <= worst:
            worst = total[a] / (e[P[a]] * u[P[a]])
    return worst if m * EPS * largest <= TRUSTED and worst >= 0.0 else math.inf
