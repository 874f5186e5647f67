"""Projections of several combinations on the dual cone of one Gram matrix, in one pass."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.correlation import powers_of_two, scaled_gram
from fairopt.kernels.gram.nonnegative_qp import (
    NOT_CONVEX,
    ActiveSet,
    active_set,
    at_precision,
    clear,
    nonnegative_minimum,
    warm_support,
)
from fairopt.kernels.gram.residuals import dual_cone_gap
from fairopt.kernels.gram.stationarity import unit_gradients
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import dot

OPTIMAL = 0
STEP_LIMIT = 3
ROUNDING_LIMITED = 7


class Workspace(NamedTuple):
    """The problem in units of unit gradients, and the solution in them.

    Attributes:
        C: (n, n) correlation matrix.
        d: (n,) lengths of the gradients.
        y: (n,) d r, the reference in units of unit gradients, up to a scale.
        q: (n,) linear term C y.
        u: (n,) the solution; the weights are r + u / d, up to the scale.
        active: Its support.
    """

    C: Array
    d: Array
    y: Array
    q: Array
    u: Array
    active: ActiveSet


@helper
def largest_term(d: Array, reference: Array) -> float:
    """Largest d |r|, the unit of the programme; 1 if all are zero."""
    scale = 0.0
    for i in range(d.shape[0]):
        scale = max(scale, d[i] * abs(reference[i]))
    return scale if scale > 0.0 else 1.0


@helper
def projection(
    space: Workspace, reference: Array, start: Array, warm: bool, budget: int, weights: Array
) -> tuple[int, int]:
    """Fill weights = r + u / d with u = argmin u'Cu/2 + (C D r)'u over u >= 0; (code, steps)."""
    C, d, y, q, u = space.C, space.d, space.y, space.q, space.u
    n = d.shape[0]
    scale = largest_term(d, reference)
    for i in range(n):
        y[i] = d[i] * (reference[i] / scale)
        u[i] = d[i] * ((start[i] - reference[i]) / scale) if warm else 0.0
    for i in range(n):
        q[i] = dot(C[i], y, n) if d[i] > 0.0 else 0.0
    clear(space.active)
    m = warm_support(C, u, space.active) if warm else 0
    code, _, steps = nonnegative_minimum(C, q, u, space.active, m, budget, True, math.inf)
    for i in range(n):
        weights[i] = reference[i] + (u[i] * (scale / d[i]) if d[i] > 0.0 else 0.0)
    return code, steps


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
    C, L, S = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    rows, ints = np.empty((6, n)), np.empty((3, n), np.int64)
    d, r, y, q, u, x = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    space = Workspace(C, d, y, q, u, active_set(L, ints, x))
    fault, bound[0] = unit_gradients(A, error, C, d)
    powers_of_two(d, r)
    scaled_gram(A, r, S)
    for k in range(references.shape[0]):
        status[k], residual[k], steps[k] = fault, math.inf, 0
        if fault != 0:
            continue
        code, steps[k] = projection(
            space, references[k], start[k], warm != 0.0, int(budget), weights[k]
        )
        if code == NOT_CONVEX:
            status[k] = INDEFINITE
            continue
        residual[k], _ = dual_cone_gap(S, references[k], weights[k], d, r, y)
        status[k] = STEP_LIMIT
        if residual[k] <= tol:
            status[k] = OPTIMAL
        elif residual[k] <= math.sqrt(bound[0]) and at_precision(space.active):
            status[k] = ROUNDING_LIMITED
