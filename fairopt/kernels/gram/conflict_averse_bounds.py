"""The conflict-averse direction up to its bounds, and the grade by them.

The weights are pulled into the ball that is surely inside for every matrix within the error of A,
and graded by the gap that `progress_gap` certifies.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.cagrad_level import Level, level_root
from fairopt.kernels.gram.correlation import unit_exponent
from fairopt.kernels.gram.nonnegative_qp import CAPPED, NOT_CONVEX, SOLVED, clear, warm_support
from fairopt.kernels.gram.progress_gap import (
    Ball,
    pull_inside,
    reachable,
    reached,
    reference_length,
    relative_gap,
)
from fairopt.kernels.gram.stationarity import unit_gradients
from fairopt.kernels.jit import helper, solver
from fairopt.kernels.linear import EPS, dot, fill

OPTIMAL = 0
UNDECIDED = 2
STEP_LIMIT = 3
OUT_OF_RANGE = 6
ROUNDING_LIMITED = 7

GOING_ON = 0  # status until there is another one
LARGEST_GAP = 1e-6  # certified gap of an answer, and its growth with the root of the error of A
GAP_GROWTH = 8.0


@helper
def lowest_vertex(Ar: Array, dual: Array) -> None:
    """The lowest-index task of least progress under the reference."""
    best, at = math.inf, 0
    for i in range(Ar.shape[0]):
        if Ar[i] < best:
            best, at = Ar[i], i
    fill(dual, 0.0)
    dual[at] = 1.0


@helper
def largest_gap(error: float) -> float:
    """The largest certified gap of an answer, by the error of the matrix."""
    return max(LARGEST_GAP, GAP_GROWTH * math.sqrt(error))


@helper
def graded(gap: float, tol: float, error: float, stopped: bool) -> int:
    """The status of a certified gap."""
    if gap <= tol:
        return OPTIMAL
    if gap <= largest_gap(error):
        return ROUNDING_LIMITED
    return STEP_LIMIT if stopped else UNDECIDED


@helper
def fill_reference(
    given_reference: Array, given: float, d: Array, reference: Array
) -> tuple[int, float, int]:
    """Fill the reference in units 2^e; return e, the smallest d > 0, the first zero gradient."""
    n = d.shape[0]
    least, zero_task = math.inf, -1
    for i in range(n):
        reference[i] = given_reference[i] if given in (1.0, 3.0) else 1.0 / n
        if d[i] > 0.0:
            least = min(least, d[i])
        elif zero_task < 0:
            zero_task = i
    unit = unit_exponent(d, reference)
    for i in range(n):  # then |g0| is near 1
        reference[i] = math.ldexp(reference[i], -unit)
    return unit, least, zero_task


@helper
def unit_problem(d: Array, reference: Array, least: float, level: Level) -> tuple[float, float]:
    """Fill y = d r, g = Cy and b = 1/d up to its scale; return sum |y| and y'Cy."""
    C, y, g, b = level.C, level.y, level.g, level.b
    n = d.shape[0]
    total, square = 0.0, 0.0
    for i in range(n):
        y[i] = d[i] * reference[i]
        b[i] = least / d[i] if d[i] > 0.0 else 0.0
        total += abs(y[i])
    for i in range(n):
        g[i] = dot(C[i], y, n) if d[i] > 0.0 else 0.0
        square += y[i] * g[i]
    return total, square


@helper
def multipliers(level: Level, at_zero: bool, dual: Array) -> None:
    """Fill the dual from u, or from the ray if the optimum has no progress."""
    n, S = level.u.shape[0], 0.0
    for i in range(n):
        dual[i] = (level.ray[i] if at_zero else level.u[i]) * level.b[i]
        S += dual[i]
    for i in range(n):
        dual[i] = dual[i] / S if S > 0.0 else 1.0 / n


class Task(NamedTuple):
    """What one problem is given.

    Attributes:
        A: (n, n) Gram matrix.
        c: Radius of the ball in units of the length of the reference.
        reference: (n,) weights of the reference.
        start: (n,) weights to start from.
        given: Which of these two arrays to use: 1 reference, 2 start, 3 both, 0 neither.
        tol: Largest gap that is OPTIMAL.
        budget: Largest number of steps, a whole number.
        error: Error of the correlation matrix to assume; the default if negative.
    """

    A: Array
    c: float
    reference: Array
    start: Array
    given: float
    tol: float
    budget: float
    error: float


class Answer(NamedTuple):
    """What one problem reports.

    Attributes:
        weights: (n,) weights of the direction.
        dual: (n,) simplex multipliers.
        certificate: (n,) a combination of the gradients that (nearly) vanishes; NaN if none.
        status: (1,) value of `fairopt.solution.Status`, or a fault.
        residual: (1,) certified gap.
        steps: (1,) steps of the active set.
        bound: (1,) error of the correlation matrix that was assumed.
    """

    weights: Array
    dual: Array
    certificate: Array
    status: Ints
    residual: Array
    steps: Ints
    bound: Array


class Room(NamedTuple):
    """The memory of one solve.

    Attributes:
        d: (n,) lengths of the gradients.
        reference: (n,) the reference in units 2^unit.
        Ar: (n,) products of the gradients with it.
        level: The problem of the level; its u keeps the weights before they are pulled.
    """

    d: Array
    reference: Array
    Ar: Array
    level: Level


@solver
def approach(task: Task, room: Room, answer: Answer) -> tuple[int, int, float, float, float, float]:
    """Fill weights and dual; return (code, unit, reached, reachable, bounds of |g0|).

    The status is another one than GOING_ON if the answer is known already.
    """
    A, c, given_reference, start, given, _, budget, error = task
    weights, dual, certificate, status, residual, steps, bound = answer
    d, reference, Ar, level = room
    b, u, ray, active = level.b, level.u, level.ray, level.active
    n = d.shape[0]
    fill(certificate, math.nan)
    residual[0], steps[0] = math.inf, 0
    status[0], bound[0] = unit_gradients(A, error, level.C, d)
    if status[0] != GOING_ON:
        return SOLVED, 0, 0.0, 0.0, 0.0, 0.0
    unit, least, zero_task = fill_reference(given_reference, given, d, reference)
    total, square = unit_problem(d, reference, least, level)
    ball = Ball(A, reference, d, Ar, c, bound[0] + (n + 2.0) * EPS)
    low, high = reference_length(ball)
    for i in range(n):
        weights[i] = reference[i]
    lowest_vertex(ball.Ar, dual)
    goal, code = c * math.sqrt(max(square, 0.0)), SOLVED
    if goal > 0.0 and low > 0.0 and c >= EPS:  # else the ball is a point, to rounding
        for i in range(n):
            u[i] = d[i] * (math.ldexp(start[i], -unit) - reference[i]) if given >= 2.0 else 0.0
        clear(active)
        m = warm_support(level.C, u, active) if given >= 2.0 else 0
        code, steps[0], blocked, at_zero = level_root(
            level, goal, total, m, zero_task >= 0, int(budget)
        )
        if code == NOT_CONVEX:
            status[0] = INDEFINITE
            return code, unit, 0.0, 0.0, low, high
        if blocked and zero_task >= 0:
            fill(ray, 0.0)
            ray[zero_task] = b[zero_task] = 1.0
        multipliers(level, at_zero, dual)
        for i in range(n):
            if d[i] > 0.0:
                weights[i] = reference[i] + u[i] / d[i]
    finite = True
    for i in range(n):
        finite = finite and math.isfinite(math.ldexp(weights[i], unit))
    if not finite:
        fill(weights, 0.0)
        status[0] = OUT_OF_RANGE
        return code, unit, 0.0, 0.0, low, high
    for i in range(n):
        u[i] = weights[i]
    pull_inside(ball, weights, low, level.q)
    return code, unit, reached(ball, weights), reachable(ball, dual, high), low, high


@helper
def grade(
    task: Task,
    before: Array,
    answer: Answer,
    code: int,
    unit: int,
    interval: tuple[float, float],
    low: float,
) -> None:
    """Fill gap and status, and return weights that prove nothing to what they were before."""
    weights, _, _, status, residual, steps, bound = answer
    lower, upper = interval
    residual[0] = relative_gap(lower, upper, low, unit)
    if math.isnan(residual[0]):
        residual[0] = math.inf
    stopped = code == CAPPED and steps[0] >= int(task.budget)
    status[0] = graded(residual[0], task.tol, bound[0], stopped)
    limit = max(largest_gap(bound[0]), task.tol)
    if not residual[0] <= limit:  # exact for the matrix as given, if for no other
        for i in range(weights.shape[0]):
            weights[i] = before[i]
    for i in range(weights.shape[0]):
        weights[i] = math.ldexp(weights[i], unit)
