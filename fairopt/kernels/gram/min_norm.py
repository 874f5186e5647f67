"""Min-norm point (MGDA) for one Gram matrix: checks, scaling, solve and residual in one pass."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.correlation import powers_of_two, scaled_gram
from fairopt.kernels.gram.nonnegative_qp import (
    CAPPED,
    NEGATIVE_LIMIT,
    NOT_CONVEX,
    ActiveSet,
    active_set,
    clear,
    nonnegative_minimum,
    warm_support,
)
from fairopt.kernels.gram.residuals import min_norm_gap
from fairopt.kernels.gram.stationarity import curvature, unit_gradients, zero_gradient
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import fill

OPTIMAL = 0
UNDECIDED = 2
STEP_LIMIT = 3
ROUNDING_LIMITED = 7


class Workspace(NamedTuple):
    """The problem in units of unit gradients, and the solution in them.

    Attributes:
        C: (n, n) correlation matrix.
        d: (n,) lengths of the gradients.
        q: (n,) linear term -1 / d, times the smallest length.
        u: (n,) the solution; the weights are u / d, normalised.
        active: Its support.
    """

    C: Array
    d: Array
    q: Array
    u: Array
    active: ActiveSet


@helper
def normalise(v: Array) -> bool:
    """Divide by the sum; False, and nothing done, if that is not positive."""
    total = 0.0
    for i in range(v.shape[0]):
        total += v[i]
    if not total > 0.0:
        return False
    for i in range(v.shape[0]):
        v[i] /= total
    return True


@helper
def min_norm_point(
    space: Workspace, start: Array, warm: bool, budget: int, weights: Array
) -> tuple[int, int]:
    """Fill u = argmin u'Cu/2 - sum u/d over u >= 0 and the convex weights; (code, steps)."""
    C, d, q, u = space.C, space.d, space.q, space.u
    n = d.shape[0]
    least, at = math.inf, 0
    for i in range(n):
        if d[i] < least:
            least, at = d[i], i
    for i in range(n):
        q[i] = -least / d[i]
        u[i] = start[i] * (d[i] / least) if warm else 0.0
    clear(space.active)
    m = warm_support(C, u, space.active) if warm else 0
    code, _, steps = nonnegative_minimum(C, q, u, space.active, m, budget, True, 0.0)
    for i in range(n):
        weights[i] = u[i] * (least / d[i])
    if not normalise(weights):  # no step was allowed: the shortest gradient alone
        fill(u, 0.0)
        fill(weights, 0.0)
        u[at] = weights[at] = 1.0
    return code, steps


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
    C, L = np.empty((n, n)), np.empty((n, n))
    rows, ints = np.empty((5, n)), np.empty((3, n), np.int64)
    d, q, u, x, r = rows[0], rows[1], rows[2], rows[3], rows[4]
    space = Workspace(C, d, q, u, active_set(L, ints, x))
    residual[0], steps[0], margin[0] = math.inf, 0, 0.0
    status[0], bound[0] = unit_gradients(A, error, C, d)
    if status[0] != 0:
        return
    if zero_gradient(d, weights):
        residual[0] = 0.0
        return
    code, steps[0] = min_norm_point(space, start, warm != 0.0, int(budget), weights)
    normalise(u)
    margin[0], _ = curvature(C, u, x)
    if code == NOT_CONVEX or margin[0] < -NEGATIVE_LIMIT:
        status[0] = INDEFINITE
        return
    powers_of_two(d, r)
    scaled_gram(A, r, L)
    residual[0] = min_norm_gap(L, weights, d, r, u, x)
    status[0] = STEP_LIMIT if code == CAPPED else UNDECIDED
    if residual[0] <= tol:
        status[0] = OPTIMAL
    elif code != CAPPED and residual[0] <= bound[0]:
        status[0] = ROUNDING_LIMITED
