"""Pareto stationarity for one Gram matrix, in a file of its own: no solver compiles it."""

from __future__ import annotations

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.nonnegative_qp import NEGATIVE_LIMIT, NOT_CONVEX, active_set
from fairopt.kernels.gram.stationarity import (
    STATIONARY,
    decide,
    to_gradients,
    unit_gradients,
    unit_min_norm,
    zero_gradient,
)
from fairopt.kernels.jit import gufunc


@gufunc(
    "void(float64[:,:], float64, float64[:], int64[:], float64[:], float64[:])",
    "(n,n),()->(n),(),(),()",
)
def pareto(A: Array, error: float, weights: Array, code: Ints, quad: Array, bound: Array) -> None:
    """Convex weights of the gradients, `Verdict` or fault, v'Cv of unit gradients, its error."""
    n = A.shape[0]
    C, L = np.empty((n, n)), np.empty((n, n))
    rows, ints = np.empty((4, n)), np.empty((3, n), np.int64)
    d, v, q, x = rows[0], rows[1], rows[2], rows[3]
    code[0], bound[0] = unit_gradients(A, error, C, d)
    quad[0] = 0.0
    if code[0] != 0:
        return
    if zero_gradient(d, weights):
        code[0] = STATIONARY
        return
    outcome, quad[0], least = unit_min_norm(C, v, q, active_set(L, ints, x))
    if outcome == NOT_CONVEX or quad[0] < -NEGATIVE_LIMIT:
        code[0] = INDEFINITE
        return
    bound[0] = max(bound[0], -quad[0])
    code[0] = decide(quad[0], least, bound[0], n)
    to_gradients(v, d, weights)
