"""FairGrad where nothing is rare: one run of Newton's method, and the proof that it suffices.

The same statements in the same order as `fairgrad` takes them there, so the same digits; what else
could happen is left to that kernel, which takes several times longer to compile.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import UNSETTLED
from fairopt.kernels.gram.correlation import scaled_gram
from fairopt.kernels.gram.fairgrad_finite_alpha import first_attempt
from fairopt.kernels.gram.fairgrad_newton import CONVERGED, NEWTON_ROWS, newton_workspace
from fairopt.kernels.gram.fairgrad_problem import (
    OPTIMAL,
    SAFETY,
    START_GIVEN,
    Answer,
    Given,
    Problem,
    begin,
)
from fairopt.kernels.gram.residuals import ordinary_gaps
from fairopt.kernels.jit import gufunc, solver

ROWS = 6 + NEWTON_ROWS


@solver
def solve(given: Given, C: Array, H: Array, rows: Array, answer: Answer) -> None:
    """Fill the answer, or leave the status UNSETTLED."""
    w, _, status, residual, steps, floor, worst, bound, _ = answer
    p, d, log_p, log_d, r, u = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    problem = Problem(C, given.alpha, p, d, log_p, log_d)
    newton = newton_workspace(rows[6:], H)
    if not begin(given, problem, r, answer):
        return
    status[0] = UNSETTLED
    if not given.alpha < math.inf:
        return
    warm, cap = given.given >= START_GIVEN, int(given.budget)
    aim = SAFETY * given.tol
    code, steps[0], fits, slope = first_attempt(problem, given.start, warm, aim, cap, w, newton)
    if code != CONVERGED or not slope > bound[0] or not fits:
        return
    scaled_gram(given.A, r, H)
    residual[0], floor[0], worst[0] = ordinary_gaps(H, given.alpha, p, w, r, u)
    if residual[0] + floor[0] <= given.tol:
        status[0] = OPTIMAL


@gufunc(
    "void(float64[:,:], float64, float64[:], float64[:], float64, float64, float64, float64,"
    " float64[:], float64[:], int64[:], float64[:], int64[:], float64[:], int64[:], float64[:],"
    " float64[:])",
    "(n,n),(),(n),(n),(),(),(),()->(n),(n),(),(),(),(),(),(),()",
)
def fairgrad_quick(
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
    C, H, rows = np.empty((n, n)), np.empty((n, n)), np.empty((ROWS, n))
    task = Given(A, alpha, priority, start, given, tol, budget, error)
    answer = Answer(w, certificate, status, residual, steps, floor, worst, bound, margin)
    solve(task, C, H, rows, answer)
