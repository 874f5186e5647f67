"""FairGrad for one Gram matrix: checks, scaling, solve and residual in one pass."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.correlation import scaled_gram
from fairopt.kernels.gram.fairgrad_finite_alpha import interior_weights, solve_interior
from fairopt.kernels.gram.fairgrad_limits import (
    Programme,
    max_min_workspace,
    refined_max_min,
    solve_max_min,
)
from fairopt.kernels.gram.fairgrad_newton import (
    CONVERGED,
    NEWTON_ROWS,
    Newton,
    fill_beta,
    newton_workspace,
)
from fairopt.kernels.gram.fairgrad_problem import (
    OPTIMAL,
    PARETO_STATIONARY,
    SAFETY,
    START_GIVEN,
    Answer,
    Given,
    Problem,
    begin,
)
from fairopt.kernels.gram.iterative_refinement import (
    REFINEMENT_ROWS,
    refined_interior,
    refinement_workspace,
)
from fairopt.kernels.gram.nonnegative_qp import active_set, step_cap
from fairopt.kernels.gram.parallel_tasks import refined_groups
from fairopt.kernels.gram.residuals import explained_ulps, fairgrad_gap
from fairopt.kernels.gram.stationarity import (
    MIN_NORM_ROWS,
    STATIONARY,
    UNDECIDED,
    min_norm_workspace,
    stationarity_of,
)
from fairopt.kernels.jit import gufunc, helper, solver
from fairopt.kernels.linear import fill

# Values of fairopt.solution.Status.
UNDECIDED_INPUT = 2
STEP_LIMIT = 3
OUT_OF_RANGE = 6
ROUNDING_LIMITED = 7

WEIGHTS_LIMIT = 1e-6  # largest bound of the relative error of a weight that counts as solved

ROWS = 9 + MIN_NORM_ROWS + NEWTON_ROWS + 2 + REFINEMENT_ROWS


class Memory(NamedTuple):
    """The memory of one solve; `solve` says what lies where.

    Attributes:
        C: (n, n) correlation matrix.
        H: (n, n) every factor, in turn, and at last r A r, from which the residual is computed.
        S: (n, n) r A r of the refinement.
        rows: (ROWS, n) vectors.
        ints: (3, n) the active set.
    """

    C: Array
    H: Array
    S: Array
    rows: Array
    ints: Ints


@helper
def refined(
    given: Given,
    problem: Problem,
    r: Array,
    w: Array,
    newton: Newton,
    S: Array,
    rows: Array,
    P: Ints,
) -> tuple[float, float, int, float]:
    """Refine w for the matrix as given; return residual, floor, worst task, bound of the error."""
    C, alpha, p, d, log_p, log_d = problem
    e, u, rest = rows[0], rows[1], rows[2:]
    scaled_gram(given.A, r, S)
    for i in range(d.shape[0]):
        e[i] = d[i] * r[i]
    if alpha == math.inf:
        error = refined_max_min(r, w, max_min_workspace(S, e, rest, P, newton.H))
    else:
        space = refinement_workspace(S, e, rest)
        shift = fill_beta(alpha, log_p, log_d, newton.beta)
        error = refined_interior(C, alpha, newton, space)
        if error > WEIGHTS_LIMIT:
            error = refined_groups(problem, shift, SAFETY * given.tol, newton, space)
        if error <= WEIGHTS_LIMIT:
            interior_weights(problem, newton.pairs, shift, w)
    residual, floor, worst = fairgrad_gap(S, alpha, p, w, d, r, u)
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


@solver
def solve(given: Given, memory: Memory, answer: Answer) -> None:
    """Fill the answer."""
    A, alpha, tol = given.A, given.alpha, given.tol
    C, H, S, rows, ints = memory
    w, certificate, status, residual, steps, floor, worst, bound, margin = answer
    p, d, log_p, log_d, r, u = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    q, solution, x = rows[6], rows[7], rows[8]
    problem = Problem(C, alpha, p, d, log_p, log_d)
    active = active_set(H, ints, x)
    programme = Programme(q, solution, active)
    point = min_norm_workspace(rows[9:], active)
    newton = newton_workspace(rows[9 + MIN_NORM_ROWS :], H)
    if not begin(given, problem, r, answer):
        return
    start, warm, cap = given.start, given.given >= START_GIVEN, int(given.budget)
    if alpha < math.inf:
        aim = SAFETY * tol
        code, steps[0], fits, slope = solve_interior(
            problem, start, warm, aim, cap, w, newton, point
        )
    else:
        cap = min(cap, step_cap(w.shape[0]))
        code, steps[0], fits, slope = solve_max_min(problem, start, warm, cap, w, programme)
    known = INDEFINITE
    if code != INDEFINITE:
        known, bound[0] = stationarity_of(C, d, slope, bound[0], point, certificate)
    if point.known[0] != 0.0:
        margin[0] = point.quad[0]
    if known == INDEFINITE:
        status[0] = INDEFINITE
        return
    if known == STATIONARY or not fits:
        fill(w, 0.0)
        status[0] = PARETO_STATIONARY if known == STATIONARY else OUT_OF_RANGE
        return
    scaled_gram(A, r, H)
    residual[0], floor[0], worst[0] = fairgrad_gap(H, alpha, p, w, d, r, u)
    error = 0.0
    if code == CONVERGED and residual[0] + floor[0] > tol:
        residual[0], floor[0], worst[0], error = refined(
            given, problem, r, w, newton, S, rows[9 + MIN_NORM_ROWS + NEWTON_ROWS :], active.P
        )
    status[0] = UNDECIDED_INPUT
    if known != UNDECIDED:
        status[0] = graded(explained_ulps(w, d), code, residual[0], floor[0], tol, error)
        if status[0] == STEP_LIMIT and steps[0] < cap:
            status[0] = UNDECIDED_INPUT  # the digits are at their end, not the steps


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
    """Solve one problem; `Given` and `Answer` say what the arrays are."""
    n = A.shape[0]
    C, H, S = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    rows, ints = np.empty((ROWS, n)), np.empty((3, n), np.int64)
    task = Given(A, alpha, priority, start, given, tol, budget, error)
    memory = Memory(C, H, S, rows, ints)
    answer = Answer(w, certificate, status, residual, steps, floor, worst, bound, margin)
    solve(task, memory, answer)
