"""Conflict-averse direction where it makes progress on every task for sure.

The same statements in the same order as `conflict_averse` takes them there, so the same digits;
whether the gradients are stationary is left to that kernel, which takes longer to compile.
"""

from __future__ import annotations

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import UNSETTLED
from fairopt.kernels.gram.cagrad_level import Level
from fairopt.kernels.gram.conflict_averse_bounds import (
    GOING_ON,
    Answer,
    Room,
    Task,
    approach,
    grade,
)
from fairopt.kernels.gram.nonnegative_qp import active_set
from fairopt.kernels.jit import gufunc


@gufunc(
    "void(float64[:,:], float64, float64[:], float64[:], float64, float64, float64, float64,"
    " float64[:], float64[:], float64[:], int64[:], float64[:], int64[:], float64[:])",
    "(n,n),(),(n),(n),(),(),(),()->(n),(n),(n),(),(),(),()",
)
def conflict_averse_quick(
    A: Array,
    c: float,
    given_reference: Array,
    start: Array,
    given: float,
    tol: float,
    budget: float,
    error: float,
    weights: Array,
    dual: Array,
    certificate: Array,
    status: Ints,
    residual: Array,
    steps: Ints,
    bound: Array,
) -> None:
    """Solve one problem, or leave the status UNSETTLED; see `Task` and `Answer`."""
    n = A.shape[0]
    C, L = np.empty((n, n)), np.empty((n, n))
    rows, ints = np.empty((10, n)), np.empty((3, n), np.int64)
    active = active_set(L, ints, rows[2])
    level = Level(C, rows[6], rows[7], rows[3], rows[4], rows[5], rows[8], active)
    room = Room(rows[0], rows[1], rows[9], level)
    task = Task(A, c, given_reference, start, given, tol, budget, error)
    answer = Answer(weights, dual, certificate, status, residual, steps, bound)
    code, unit, lower, upper, low, _ = approach(task, room, answer)
    if status[0] != GOING_ON:
        return
    if lower > 0.0:
        grade(task, level.u, answer, code, unit, (lower, upper), low)
    else:
        status[0] = UNSETTLED
