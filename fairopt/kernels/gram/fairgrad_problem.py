"""The FairGrad problem as its kernels share it."""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array, Ints
from fairopt.kernels.gram.correlation import powers_of_two
from fairopt.kernels.gram.stationarity import unit_gradients, zero_gradient
from fairopt.kernels.jit import inlined
from fairopt.kernels.linear import fill

# Values of fairopt.solution.Status.
OPTIMAL = 0
PARETO_STATIONARY = 1

SAFETY = 0.1  # Newton aims at this fraction of tol, since C and w are rounded once more

PRIORITY_GIVEN = 1.0
START_GIVEN = 2.0
BOTH_GIVEN = 3.0


class Problem(NamedTuple):
    """A w = (p / w)^(1/alpha) in units of unit gradients: C v = t with v = d w, t = A w / d.

    Attributes:
        C: (n, n) correlation matrix of the gradients.
        alpha: Power of the utility, in (0, inf].
        p: (n,) priorities.
        d: (n,) lengths of the gradients, > 0.
        log_p: (n,) log p, filled for 0 < alpha < inf.
        log_d: (n,) log d, likewise.
    """

    C: Array
    alpha: float
    p: Array
    d: Array
    log_p: Array
    log_d: Array


class Given(NamedTuple):
    """What one problem is given.

    Attributes:
        A: (n, n) Gram matrix.
        alpha: Power of the utility, in [0, inf].
        priority: (n,) priorities > 0.
        start: (n,) weights to start from.
        given: Which of these two arrays to use: 1 priority, 2 start, 3 both, 0 neither.
        tol: Largest residual that is OPTIMAL.
        budget: Largest number of steps, a whole number.
        error: Error of the correlation matrix to assume; the default if negative.
    """

    A: Array
    alpha: float
    priority: Array
    start: Array
    given: float
    tol: float
    budget: float
    error: float


class Answer(NamedTuple):
    """What one problem reports.

    Attributes:
        w: (n,) weights; zeros where there are none.
        certificate: (n,) a vanishing convex combination of the gradients; NaN if there is none.
        status: (1,) value of `fairopt.solution.Status`, or a fault.
        residual: (1,) recomputed from A and w.
        steps: (1,) steps of Newton's method or of the active set.
        floor: (1,) what half an ulp of the weights already does to the residual.
        worst: (1,) the task of the largest residual.
        bound: (1,) error of the correlation matrix that was assumed.
        margin: (1,) v'Cv of the min-norm point v of the unit gradients; NaN if not needed.
    """

    w: Array
    certificate: Array
    status: Ints
    residual: Array
    steps: Ints
    floor: Array
    worst: Ints
    bound: Array
    margin: Array


@inlined
def begin(given: Given, problem: Problem, r: Array, answer: Answer) -> bool:
    """Fill the unit gradients and the priorities; False if the answer is known already."""
    C, _, p, d, _, _ = problem
    fill(answer.w, 0.0)
    fill(answer.certificate, math.nan)
    answer.residual[0], answer.floor[0], answer.margin[0] = math.inf, 0.0, math.nan
    answer.steps[0], answer.worst[0] = 0, -1
    answer.status[0], answer.bound[0] = unit_gradients(given.A, given.error, C, d)
    if answer.status[0] != 0:
        return False
    if zero_gradient(d, answer.certificate):
        answer.status[0], answer.margin[0] = PARETO_STATIONARY, 0.0
        return False
    powers_of_two(d, r)
    for i in range(p.shape[0]):
        p[i] = given.priority[i] if given.given in (PRIORITY_GIVEN, BOTH_GIVEN) else 1.0
    return True
