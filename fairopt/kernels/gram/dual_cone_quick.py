"""Projections on the dual cone where the first solution is proven by the cheap bounds.

The same statements in the same order as `dual_cone` takes them there, so the same digits; proximal
steps, dear bounds and matrices that turn out indefinite are left to that kernel, which takes longer
to compile.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import UNSETTLED
from fairopt.kernels.gram.correlation import powers_of_two, scaled_gram
from fairopt.kernels.gram.direction_bound import (
    Cone,
    Point,
    common_bound,
    independent_bound,
    measure,
    refutes_error,
    zero_bound,
)
from fairopt.kernels.gram.dual_cone_steps import (
    SHIFT,
    as_returned,
    default_accuracy,
    fill_shifted,
    make_definite,
    prepare,
    share_bounds,
    without_shift,
)
from fairopt.kernels.gram.nonnegative_qp import (
    NOT_CONVEX,
    SOLVED,
    ActiveSet,
    active_set,
    at_precision,
    nonnegative_minimum,
)
from fairopt.kernels.gram.residuals import dual_cone_gap
from fairopt.kernels.gram.stationarity import unit_gradients
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import EPS

OPTIMAL = 0
ROUNDING_LIMITED = 7


@helper
def projection(
    cone: Cone,
    point: Point,
    active: ActiveSet,
    rows: Array,
    given: tuple[Array, Array, float],
    limits: tuple[float, int],
    weights: Array,
) -> tuple[int, int, float]:
    """`dual_cone.projection` up to its first bounds; the status is OPTIMAL or UNSETTLED."""
    accuracy, budget = limits
    q, u = rows[0], rows[1]
    unit, m, length, goal = prepare(cone, point, active, given, accuracy, q, u)
    code, m, steps = nonnegative_minimum(cone.M, q, u, active, m, budget, True, math.inf)
    if code == NOT_CONVEX:
        return UNSETTLED, steps, math.inf
    if code == SOLVED:
        without_shift(cone, point, u, active, m)
    as_returned(cone.d, given[0], weights, u, unit, point)
    S = measure(cone, point, False)
    if refutes_error(cone, point, S):
        return UNSETTLED, steps, math.inf
    bound = zero_bound(point)
    if bound > goal:
        bound = min(bound, common_bound(cone, point))
    if bound > goal and cone.square[0] == math.inf:  # else another one would be next
        bound = min(bound, independent_bound(cone, point, active, m))
    if not bound <= goal:
        return UNSETTLED, steps, math.inf
    return OPTIMAL, steps, 0.0 if bound == 0.0 else (bound / length if length > 0.0 else math.inf)


@gufunc(
    "void(float64[:,:], float64[:,:], float64[:,:], float64, float64, float64, float64, float64,"
    " float64[:,:], int64[:], float64[:], int64[:], float64[:], float64[:])",
    "(n,n),(m,n),(m,n),(),(),(),(),()->(m,n),(m),(m),(m),(m),()",
)
def dual_cone_quick(
    A: Array,
    references: Array,
    start: Array,
    warm: float,
    tol: float,
    accuracy: float,
    budget: float,
    error: float,
    weights: Array,
    status: Ints,
    residual: Array,
    steps: Ints,
    direction_error: Array,
    assumed: Array,
) -> None:
    """As `dual_cone`, or every status UNSETTLED."""
    n = A.shape[0]
    C, M, L, S = np.empty((n, n)), np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    rows, known, ints = np.empty((18, n)), np.empty(4), np.empty((3, n), np.int64)
    d, r = rows[0], rows[1]
    fault, assumed[0] = unit_gradients(A, error, C, d)
    powers_of_two(d, r)
    scaled_gram(A, r, S)
    cone = Cone(C, M, d, known[3:], known[:1], known[1:2], rows[2], known[2:3])
    cone.error[0], cone.shift[0] = assumed[0] + 4.0 * EPS, SHIFT * n * EPS
    cone.least[0], cone.square[0] = 0.0, math.inf
    fill_shifted(cone)
    active = active_set(L, ints, rows[3])
    point = Point(rows[4], rows[5], rows[6], rows[7], rows[8], rows[9], rows[10], rows[11:15])
    checked = 4 * references.shape[0] >= n and n > 1
    if checked and fault == 0:
        make_definite(cone, L)
        share_bounds(cone, point, L)
    goal = default_accuracy(accuracy, assumed[0])
    for k in range(references.shape[0]):
        status[k], residual[k], steps[k], direction_error[k] = fault, math.inf, 0, math.inf
        if fault != 0:
            continue
        given, limits = (references[k], start[k], warm), (goal, int(budget))
        code, steps[k], direction_error[k] = projection(
            cone, point, active, rows[15:], given, limits, weights[k]
        )
        if code == UNSETTLED or (not checked and at_precision(active)):
            status[k] = UNSETTLED
            return
        status[k] = OPTIMAL
        residual[k], _ = dual_cone_gap(S, references[k], weights[k], d, r, rows[15])
        if not residual[k] <= tol:
            status[k] = ROUNDING_LIMITED
