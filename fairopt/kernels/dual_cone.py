"""Projections of several combinations on the dual cone of one Gram matrix, in one pass."""

from __future__ import annotations

import math

import numpy as np

from fairopt.checks import Array, Ints
from fairopt.kernels.compiling import gufunc
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram import correlation, powers_of_two, scaled_gram
from fairopt.kernels.judging import dual_cone_gap
from fairopt.kernels.linear import dot
from fairopt.kernels.nonnegative import (
    NOT_CONVEX,
    at_precision,
    clear,
    nonnegative_minimum,
    warm_support,
)
from fairopt.kernels.stationarity import default_error

OPTIMAL = 0
STEP_LIMIT = 3
ROUNDING_LIMITED = 7


@gufunc(
    "void(float64[:,:], float64[:,:], float64[:,:], float64, float64, float64, float64,"
    " float64[:,:], int64[:], float64[:], int64[:], float64[:])",
    "(n,n),(m,n),(m,n),(),(),(),()->(m,n),(m),(m),(m),()",
)
def dual_cone(
    A: Array,
    references: Array,
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
) -> None:
    """Weights r + u / d, status or fault, residual and steps of each reference; error assumed."""
    n = A.shape[0]
    C = np.empty((n, n))
    L = np.empty((n, n))
    S = np.empty((n, n))
    work = np.empty((7, n))
    ints = np.empty((3, n), np.int64)
    d, q, u, x, r, y, unit = work[0], work[1], work[2], work[3], work[4], work[5], work[6]
    fault, seen = correlation(A, C, d)
    bound[0] = default_error(error, seen, n)
    powers_of_two(d, r)
    scaled_gram(A, r, S)
    for i in range(n):
        unit[i] = d[i] if d[i] > 0.0 else 1.0
    for k in range(references.shape[0]):
        status[k], residual[k], steps[k] = fault, math.inf, 0
        if fault != 0:
            continue
        scale = 0.0
        for i in range(n):
            scale = max(scale, d[i] * abs(references[k, i]))
        if scale == 0.0:
            scale = 1.0
        for i in range(n):
            y[i] = d[i] * (references[k, i] / scale)
            u[i] = d[i] * ((start[k, i] - references[k, i]) / scale) if warm != 0.0 else 0.0
        for i in range(n):
            q[i] = dot(C[i], y, n) if d[i] > 0.0 else 0.0
        clear(ints)
        m = warm_support(C, u, L, ints) if warm != 0.0 else 0
        code, m, steps[k] = nonnegative_minimum(
            C, q, u, L, ints, x, m, int(budget), False, math.inf
        )
        if code == NOT_CONVEX:
            status[k] = INDEFINITE
            continue
        for i in range(n):
            weights[k, i] = references[k, i] + u[i] * (scale / unit[i])
        residual[k], _ = dual_cone_gap(S, references[k], weights[k], d, r, x)
        status[k] = STEP_LIMIT
        if residual[k] <= tol:
            status[k] = OPTIMAL
        elif residual[k] <= math.sqrt(bound[0]) and at_precision(ints):
            status[k] = ROUNDING_LIMITED
