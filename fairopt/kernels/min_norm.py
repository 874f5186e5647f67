"""Smallest convex combination for one Gram matrix: checks, scaling, solve, residual in one pass."""

from __future__ import annotations

import math

import numpy as np

from fairopt.checks import Array, Ints
from fairopt.kernels.compiling import gufunc
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram import correlation, powers_of_two, scaled_gram
from fairopt.kernels.judging import min_norm_gap
from fairopt.kernels.linear import fill
from fairopt.kernels.nonnegative import (
    CAPPED,
    NEGATIVE_LIMIT,
    NOT_CONVEX,
    clear,
    nonnegative_minimum,
    warm_support,
)
from fairopt.kernels.stationarity import curvature, default_error, zero_gradient

OPTIMAL = 0
STEP_LIMIT = 3
ROUNDING_LIMITED = 7


@gufunc(
    "void(float64[:,:], float64[:], float64, float64, float64, float64,"
    " float64[:], int64[:], float64[:], int64[:], float64[:], float64[:])",
    "(n,n),(n),(),(),(),()->(n),(),(),(),(),()",
)
def min_norm(
    A: Array,
    start: Array,
    warm: float,
    tol: float,
    budget: float,
    error: float,
    weights: Array,
    status: Ints,
    residual: Array,
    steps: Ints,
    bound: Array,
    margin: Array,
) -> None:
    """Weights, status or fault, residual, steps, error assumed of C, v'Cv for unit gradients."""
    n = A.shape[0]
    C = np.empty((n, n))
    L = np.empty((n, n))
    work = np.empty((6, n))
    ints = np.empty((3, n), np.int64)
    d, q, u, x, r, v = work[0], work[1], work[2], work[3], work[4], work[5]
    status[0], seen = correlation(A, C, d)
    bound[0] = default_error(error, seen, n)
    residual[0], steps[0], margin[0] = math.inf, 0, 0.0
    if status[0] != 0:
        return
    if zero_gradient(d, weights):
        residual[0] = 0.0
        return
    least = math.inf
    for i in range(n):
        least = min(least, d[i])
    for i in range(n):
        q[i] = -least / d[i]
        u[i] = start[i] * (d[i] / least) if warm != 0.0 else 0.0
    clear(ints)
    m = warm_support(C, u, L, ints) if warm != 0.0 else 0
    code, m, steps[0] = nonnegative_minimum(C, q, u, L, ints, x, m, int(budget), True, 0.0)
    total = 0.0
    for i in range(n):
        weights[i] = u[i] * (least / d[i])
        total += weights[i]
    if not total > 0.0:  # no step was allowed: the shortest gradient alone
        fill(u, 0.0)
        fill(weights, 0.0)
        for i in range(n):
            if d[i] == least and total == 0.0:
                u[i] = weights[i] = total = 1.0
    for i in range(n):
        weights[i] /= total
    total = 0.0
    for i in range(n):
        v[i] = u[i]
        total += u[i]
    for i in range(n):
        v[i] /= total
    margin[0], _ = curvature(C, v, x)
    if code == NOT_CONVEX or margin[0] < -NEGATIVE_LIMIT:
        status[0] = INDEFINITE
        return
    powers_of_two(d, r)
    scaled_gram(A, r, L)
    residual[0] = min_norm_gap(L, weights, d, r, u, x)
    status[0] = STEP_LIMIT
    if residual[0] <= tol:
        status[0] = OPTIMAL
    elif code != CAPPED and residual[0] <= bound[0]:
        status[0] = ROUNDING_LIMITED
