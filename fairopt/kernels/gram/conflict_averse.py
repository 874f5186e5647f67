"""Conflict-averse direction for one Gram matrix: checks, scaling, root, certified gap in one pass.

Whether the gradients are stationary is decided as everywhere, by the min-norm point of the unit
gradients, where positive progress on every task has not been proven already.
"""

from __future__ import annotations

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.cagrad_level import Level
from fairopt.kernels.gram.conflict_averse_bounds import (
    GOING_ON,
    Answer,
    Room,
    Task,
    approach,
    grade,
)
from fairopt.kernels.gram.nonnegative_qp import NEGATIVE_LIMIT, NOT_CONVEX, active_set
from fairopt.kernels.gram.progress_gap import Ball, reachable, relative_gap
from fairopt.kernels.gram.stationarity import (
    NOT_STATIONARY,
    STATIONARY,
    decide,
    to_gradients,
    unit_min_norm,
    zero_gradient,
)
from fairopt.kernels.jit import gufunc, helper, solver
from fairopt.kernels.linear import EPS, fill

PARETO_STATIONARY = 1


@helper
def find_stationarity(level: Level, d: Array, error: float, certificate: Array) -> int:
    """The verdict, or INDEFINITE; fill the certificate where it is not NOT_STATIONARY."""
    code, quad, least = unit_min_norm(level.C, level.ray, level.q, level.active)
    if code == NOT_CONVEX or quad < -NEGATIVE_LIMIT:
        return INDEFINITE
    if zero_gradient(d, certificate):
        return STATIONARY
    known = decide(quad, least, max(error, -quad), d.shape[0])
    if known != NOT_STATIONARY:
        to_gradients(level.ray, d, certificate)
    return known


@solver
def solve(task: Task, room: Room, answer: Answer) -> None:
    """Fill the answer."""
    c = task.c
    weights, dual, certificate, status, residual, _, bound = answer
    d, level, n = room.d, room.level, room.d.shape[0]
    code, unit, lower, upper, low, high = approach(task, room, answer)
    if status[0] != GOING_ON:
        return
    if not lower > 0.0:
        known = find_stationarity(level, d, bound[0], certificate)
        if known == INDEFINITE:
            status[0] = INDEFINITE
            return
        if known != NOT_STATIONARY:
            ball = Ball(task.A, room.reference, d, room.Ar, c, bound[0] + (n + 2.0) * EPS)
            other = reachable(ball, certificate, high)
            if known == STATIONARY and c >= 1.0:
                fill(weights, 0.0)
                lower = 0.0
            if other < upper or (known == STATIONARY and c >= 1.0):
                upper = other
                for i in range(n):
                    dual[i] = certificate[i]
            if known == STATIONARY and c >= 1.0:
                status[0], residual[0] = PARETO_STATIONARY, relative_gap(lower, upper, low, unit)
                return
    grade(task, level.u, answer, code, unit, (lower, upper), low)


@gufunc(
    "void(float64[:,:], float64, float64[:], float64[:], float64, float64, float64, float64,"
    " float64[:], float64[:], float64[:], int64[:], float64[:], int64[:], float64[:])",
    "(n,n),(),(n),(n),(),(),(),()->(n),(n),(n),(),(),(),()",
)
def conflict_averse(
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
    """Solve one problem; `Task` and `Answer` say what the arrays are."""
    n = A.shape[0]
    C, L = np.empty((n, n)), np.empty((n, n))
    rows, ints = np.empty((10, n)), np.empty((3, n), np.int64)
    active = active_set(L, ints, rows[2])
    level = Level(C, rows[6], rows[7], rows[3], rows[4], rows[5], rows[8], active)
    room = Room(rows[0], rows[1], rows[9], level)
    task = Task(A, c, given_reference, start, given, tol, budget, error)
    answer = Answer(weights, dual, certificate, status, residual, steps, bound)
    solve(task, room, answer)
