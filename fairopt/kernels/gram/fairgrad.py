"""FairGrad for one Gram matrix: checks, scaling, solve, verdict and residual in one pass."""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.correlation import powers_of_two, scaled_gram
from fairopt.kernels.gram.fairgrad_finite_alpha import interior_weights, solve_interior
from fairopt.kernels.gram.fairgrad_limits import refined_max_min, solve_boundary
from fairopt.kernels.gram.fairgrad_newton import CONVERGED, fill_beta
from fairopt.kernels.gram.iterative_refinement import refined_interior
from fairopt.kernels.gram.nonnegative_qp import step_cap
from fairopt.kernels.gram.parallel_tasks import refined_groups
from fairopt.kernels.gram.residuals import dual_cone_gap, explained_ulps, fairgrad_gap
from fairopt.kernels.gram.stationarity import (
    PROOF_KNOWN,
    PROOF_QUAD,
    STATIONARY,
    UNDECIDED,
    stationarity_of,
    unit_gradients,
    zero_gradient,
)
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import fill

# Values of fairopt.solution.Status.
OPTIMAL = 0
PARETO_STATIONARY = 1
UNDECIDED_INPUT = 2
STEP_LIMIT = 3
OUT_OF_RANGE = 6
ROUNDING_LIMITED = 7

SAFETY = 0.1  # Newton aims at this fraction of tol, since C and w are rounded once more
WEIGHTS_LIMIT = 1e-6  # largest bound of the relative error of a weight that counts as solved

PRIORITY_GIVEN = 1.0
START_GIVEN = 2.0
BOTH_GIVEN = 3.0


@helper
def refined(
    A: Array,
    C: Array,
    alpha: float,
    p: Array,
    d: Array,
    r: Array,
    logs: Array,
    tol: float,
    w: Array,
    H: Array,
    state: Array,
    work: Array,
    ints: Ints,
) -> tuple[float, float, int, float]:
    """Refine w for the matrix as given; return residual, floor, worst task, bound of the error."""
    n = C.shape[0]
    S = np.empty((n, n))
    e = np.empty(n)
    scaled_gram(A, r, S)
    for i in range(n):
        e[i] = d[i] * r[i]
    if alpha == math.inf:
        error = refined_max_min(S, r, e, w, H, work, ints)
    else:
        shift = fill_beta(alpha, logs[1], logs[0], state[11])
        error = refined_interior(C, S, e, alpha, H, state)
        if error > WEIGHTS_LIMIT:
            error = refined_groups(C, S, e, alpha, shift, logs, SAFETY * tol, state)
        if error <= WEIGHTS_LIMIT:
            interior_weights(state[0], state[2], d, logs[0], shift, w)
    residual, floor, worst = fairgrad_gap(S, alpha, p, w, d, r, work[0])
    return residual, floor, worst, error


@helper
def graded(ulps: float, code: int, residual: float, floor: float, tol: float, error: float) -> int:
    """The status by the residual, the bound of the error, and what rounding explains."""
    if residual + floor <= tol:  # another order of summation moves it by about the floor
        return OPTIMAL
    if code != CONVERGED:
        return STEP_LIMIT
    if error > WEIGHTS_LIMIT:
        return UNDECIDED_INPUT
    return ROUNDING_LIMITED if residual <= ulps * floor else STEP_LIMIT


@helper
def given_or_one(priority: Array, given: float, p: Array) -> None:
    """Fill p with the priorities, ones by default."""
    for i in range(p.shape[0]):
        p[i] = priority[i] if given in (PRIORITY_GIVEN, BOTH_GIVEN) else 1.0


@gufunc(
    "void(float64[:,:], float64, float64[:], float64[:], float64, float64, float64, float64,"
    " float64[:], float64[:], int64[:], float64[:], int64[:], float64[:], int64[:], float64[:],"
    " float64[:])",
    "(n,n),(),(n),(n),(),(),(),()->(n),(n),(),(),(),(),(),(),()",
)
def fairgrad(
    A: Array,
    alpha: float,
    priority: Array,
    start: Array,
    given: float,
    tol: float,
    budget: float,
    error: float,
    w: Array,
    certificate: Array,
    status: Ints,
    residual: Array,
    steps: Ints,
    floor: Array,
    worst: Ints,
    bound: Array,
    margin: Array,
) -> None:
    """Solve one problem.

    `given` says which arrays to use: 1 priority, 2 start, 3 both.

    Outputs: weights, certificate (NaN if none), status or fault, residual, steps, half-ulp floor,
    worst task, error assumed of C, v'Cv of the min-norm point of the unit gradients (NaN if not
    computed).
    """
    n = A.shape[0]
    C = np.empty((n, n))
    H = np.empty((n, n))
    floats = np.empty((6, n))
    state = np.empty((15, n))
    work = np.empty((5, n))
    ints = np.empty((3, n), np.int64)
    proof = np.zeros(3)
    d, r, u, p = floats[0], floats[1], floats[2], floats[3]
    fill(w, 0.0)
    fill(certificate, math.nan)
    residual[0], floor[0], margin[0] = math.inf, 0.0, math.nan
    steps[0], worst[0] = 0, -1
    status[0], bound[0] = unit_gradients(A, error, C, d)
    if status[0] != 0:
        return
    if zero_gradient(d, certificate):
        status[0], margin[0] = PARETO_STATIONARY, 0.0
        return
    powers_of_two(d, r)
    given_or_one(priority, given, p)
    warm, cap = given >= START_GIVEN, int(budget)
    aim, logs = SAFETY * tol, floats[4:]
    if 0.0 < alpha < math.inf:
        code, steps[0], fits, slope = solve_interior(
            C, alpha, p, start, warm, d, aim, cap, logs, w, H, state, work, ints, proof
        )
    else:
        cap = min(cap, step_cap(n))
        code, steps[0], fits, slope = solve_boundary(
            C, alpha, p, start, warm, d, cap, u, w, H, work, ints
        )
    known = INDEFINITE
    if code != INDEFINITE:
        known, bound[0] = stationarity_of(C, d, slope, bound[0], proof, work, H, ints, certificate)
    if proof[PROOF_KNOWN] != 0.0:
        margin[0] = proof[PROOF_QUAD]
    if known == INDEFINITE:
        status[0] = INDEFINITE
        return
    if known == STATIONARY or not fits:
        fill(w, 0.0)
        status[0] = PARETO_STATIONARY if known == STATIONARY else OUT_OF_RANGE
        return
    scaled_gram(A, r, H)
    if alpha == 0.0:
        residual[0], worst[0] = dual_cone_gap(H, p, w, d, r, u)
    else:
        residual[0], floor[0], worst[0] = fairgrad_gap(H, alpha, p, w, d, r, u)
    own = 0.0
    if alpha > 0.0 and code == CONVERGED and residual[0] + floor[0] > tol:
        residual[0], floor[0], worst[0], own = refined(
            A, C, alpha, p, d, r, logs, tol, w, H, state, work, ints
        )
    status[0] = UNDECIDED_INPUT
    if known != UNDECIDED:
        status[0] = graded(explained_ulps(w, d), code, residual[0], floor[0], tol, own)
