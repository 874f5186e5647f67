"""FairGrad for one Gram matrix: checks, scaling, solve, verdict and residual in one pass."""

from __future__ import annotations

import math

import numpy as np

from fairopt.checks import Array, Ints
from fairopt.kernels.compiling import gufunc, helper
from fairopt.kernels.corner_newton import (
    CONVERGED,
    LIMIT,
    VANISHING,
    cold_start,
    forward_error,
    newton,
    warm_start,
)
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram import correlation, powers_of_two, scaled_gram
from fairopt.kernels.judging import dual_cone_gap, fairgrad_gap
from fairopt.kernels.linear import copy_rows, dot, fill
from fairopt.kernels.nonnegative import (
    NEGATIVE_LIMIT,
    NOT_CONVEX,
    clear,
    nonnegative_minimum,
    step_cap,
    warm_support,
)
from fairopt.kernels.stationarity import (
    NOT_STATIONARY,
    STATIONARY,
    UNDECIDED,
    default_error,
    rounding,
    to_gradients,
    unit_min_norm,
    verdict,
    zero_gradient,
)

# Values of fairopt.solution.Status.
OPTIMAL = 0
PARETO_STATIONARY = 1
UNDECIDED_INPUT = 2
STEP_LIMIT = 3
OUT_OF_RANGE = 6
ROUNDING_LIMITED = 7

SUSPECT_AFTER = 20  # Newton steps after which stationarity is checked before going on
ATTEMPT = 40  # Newton steps of one attempt
OTHER_ZONES = (0.3, 3.0)  # widths of the corner zone to try when 1 fails
ROUGH = 0.3  # tolerance of the intermediate problems of the continuation
SHRINK = 0.3  # of a jump in log alpha that failed
SAFETY = 0.1  # Newton aims at this fraction of tol, since C and w are rounded once more
# Newton accepts a componentwise backward error of 4 n eps, which is 8 n half ulps.
FLOOR_FACTOR = 8.0
SHOWN = 1e-6  # residuals below it show by themselves that the weights are right
# Where the residual is blind, weights count as solved if a bound of their own error says so. It is
# some 30 times the error found with 700 digits.
WEIGHTS_LIMIT = 0.05  # relative, of each weight
DIRECTION_LIMIT = 1e-4  # relative, of G w: duplicated tasks may share their weight in any way
SMALLEST_FULL = 1e-290  # floats above it have all their digits; below, their logarithm has more

PRIORITY_GIVEN = 1.0
START_GIVEN = 2.0
BOTH_GIVEN = 3.0

PROOF_KNOWN, PROOF_QUAD, PROOF_LEAST = 0, 1, 2


@helper
def fill_beta(alpha: float, log_p: Array, log_d: Array, beta: Array) -> float:
    """The right-hand sides of the curves, centred; return the shift c with log v = x + c."""
    n = beta.shape[0]
    theta = alpha / (1.0 + alpha)
    low, high = math.inf, -math.inf
    for i in range(n):
        beta[i] = (1.0 - theta) * log_p[i] + (1.0 - 2.0 * theta) * log_d[i]
        low = min(low, beta[i])
        high = max(high, beta[i])
    shift = 0.5 * low + 0.5 * high
    for i in range(n):
        beta[i] -= shift
    return shift


@helper
def judge(C: Array, proof: Array, work: Array, L: Array, ints: Ints) -> bool:
    """Decide stationarity by the min-norm point, kept in work[0]; False if C is not convex."""
    if proof[PROOF_KNOWN] == 0.0:
        code, quad, least = unit_min_norm(C, work[0], work[1], work[2], L, ints)
        proof[0], proof[1], proof[2] = 1.0, quad, least
        return code != NOT_CONVEX and quad >= -NEGATIVE_LIMIT
    return True


@helper
def continuation(
    C: Array,
    alpha: float,
    log_p: Array,
    log_d: Array,
    tol: float,
    budget: int,
    H: Array,
    state: Array,
) -> tuple[int, int]:
    """Follow the solution from alpha = 1 in log alpha; beta of the last alpha is left in state."""
    x, tau, beta = state[0], state[1], state[11]
    target = math.log(alpha)
    shift = fill_beta(1.0, log_p, log_d, beta)
    cold_start(C, beta, 0.5, x, tau)
    code, used = newton(C, beta, 0.5, 1.0, ROUGH, -math.inf, min(ATTEMPT, budget), H, state)
    now, jump = 0.0, target
    while code == CONVERGED and now != target and used < budget and abs(jump) > 1e-3:
        copy_rows(state, 0, 12, 2)
        following = target if abs(target - now) <= abs(jump) else now + jump
        theta = 1.0 / (1.0 + math.exp(-following))
        new_shift = fill_beta(math.exp(following), log_p, log_d, beta)
        for i in range(x.shape[0]):
            x[i] += shift - new_shift
            tau[i] += shift - new_shift
            if tau[i] - following > x[i]:
                x[i] = (beta[i] - theta * tau[i]) / (1.0 - theta)
            else:
                tau[i] = (beta[i] - (1.0 - theta) * x[i]) / theta
        aim = tol if following == target else ROUGH
        code, steps = newton(
            C, beta, theta, 1.0, aim, -math.inf, min(ATTEMPT, budget - used), H, state
        )
        used += steps
        if code == CONVERGED:
            now, shift = following, new_shift
        else:
            copy_rows(state, 12, 0, 2)
            jump *= SHRINK
            code = CONVERGED
    return (CONVERGED if now == target and code == CONVERGED else LIMIT), used


@helper
def interior(
    C: Array,
    alpha: float,
    log_p: Array,
    log_d: Array,
    tol: float,
    warm: bool,
    budget: int,
    H: Array,
    state: Array,
    work: Array,
    ints: Ints,
    proof: Array,
) -> tuple[int, int]:
    """Newton for 0 < alpha < inf, with fallbacks; return (code, steps)."""
    n = C.shape[0]
    beta = state[11]
    theta = alpha / (1.0 + alpha)
    fill_beta(alpha, log_p, log_d, beta)
    if warm:
        warm_start(C, beta, theta, state[0], state[1], state[2])
    else:
        cold_start(C, beta, theta, state[0], state[1])
    code, used = newton(C, beta, theta, 1.0, tol, rounding(n), min(SUSPECT_AFTER, budget), H, state)
    if code == CONVERGED:
        return code, used
    if not judge(C, proof, work, H, ints):
        return INDEFINITE, used
    if proof[PROOF_QUAD] <= rounding(n):
        return VANISHING, used
    if code == LIMIT and used < budget:
        code, steps = newton(
            C, beta, theta, 1.0, tol, -math.inf, min(ATTEMPT, budget - used), H, state
        )
        used += steps
    for zone in OTHER_ZONES:
        if code != CONVERGED and used < budget:
            cold_start(C, beta, theta, state[0], state[1])
            code, steps = newton(
                C, beta, theta, zone, tol, -math.inf, min(ATTEMPT, budget - used), H, state
            )
            used += steps
    if code != CONVERGED and used < budget:
        code, steps = continuation(C, alpha, log_p, log_d, tol, budget - used, H, state)
        used += steps
    return code, used


@helper
def interior_weights(x: Array, v: Array, d: Array, log_d: Array, shift: float, w: Array) -> bool:
    """Fill w = v e^shift / d, mantissas and exponents apart: nothing overflows on the way."""
    fs, es = math.frexp(math.exp(shift))
    good = True
    for i in range(w.shape[0]):
        if v[i] > SMALLEST_FULL:
            fv, ev = math.frexp(v[i])
            fd, ed = math.frexp(d[i])
            w[i] = math.ldexp(fv * fs / fd, ev + es - ed)
        else:
            w[i] = math.exp(x[i] + shift - log_d[i])
        good = good and math.isfinite(w[i])
    return good


@helper
def start_logs(start: Array, d: Array, log_d: Array, shift: float, x: Array) -> bool:
    """Fill x from old weights; False if there are none to use."""
    for i in range(x.shape[0]):
        if not start[i] > 0.0:
            return False
        x[i] = math.log(start[i]) + log_d[i] - shift
    return True


@helper
def boundary(
    C: Array,
    alpha: float,
    p: Array,
    d: Array,
    start: Array,
    warm: bool,
    cap: int,
    w: Array,
    L: Array,
    work: Array,
    ints: Ints,
) -> tuple[int, int]:
    """Both limits by the nonnegative programme: alpha = 0 and alpha = inf."""
    n = w.shape[0]
    q, u = work[1], work[3]
    scale = math.inf if alpha > 0.0 else 0.0
    for i in range(n):
        scale = min(scale, d[i]) if alpha > 0.0 else max(scale, d[i] * p[i])
    for i in range(n):
        work[4, i] = d[i] * (p[i] / scale) if alpha == 0.0 else 0.0
        u[i] = 0.0
        if warm:
            u[i] = d[i] * (start[i] * scale) if alpha > 0.0 else d[i] * ((start[i] - p[i]) / scale)
    for i in range(n):
        q[i] = -scale / d[i] if alpha > 0.0 else dot(C[i], work[4], n)
    clear(ints)
    m = warm_support(C, u, L, ints) if warm else 0
    terms = 0.0 if alpha > 0.0 else math.inf
    code, m, steps = nonnegative_minimum(C, q, u, L, ints, work[2], m, cap, alpha > 0.0, terms)
    for i in range(n):
        w[i] = (u[i] / d[i]) / scale if alpha > 0.0 else p[i] + u[i] * (scale / d[i])
    return code, steps


@helper
def least_slope(C: Array, u: Array) -> float:
    """Smallest (Cu)_i over sum u: positive beyond the error of C proves a common descent."""
    n = u.shape[0]
    least = math.inf
    total = 0.0
    for i in range(n):
        least = min(least, dot(C[i], u, n))
        total += abs(u[i])
    return least / total


@helper
def solve_interior(
    C: Array,
    alpha: float,
    p: Array,
    start: Array,
    warm: bool,
    d: Array,
    tol: float,
    cap: int,
    logs: Array,
    w: Array,
    H: Array,
    state: Array,
    work: Array,
    ints: Ints,
    proof: Array,
) -> tuple[int, int, bool, float]:
    """Fill w for 0 < alpha < inf; return (code, steps, whether w is in range, least slope)."""
    log_d, log_p = logs[0], logs[1]
    for i in range(w.shape[0]):
        log_d[i] = math.log(d[i])
        log_p[i] = math.log(p[i])
    shift = fill_beta(alpha, log_p, log_d, state[11])
    warm = warm and start_logs(start, d, log_d, shift, state[0])
    code, steps = interior(C, alpha, log_p, log_d, tol, warm, cap, H, state, work, ints, proof)
    fits = interior_weights(state[0], state[2], d, log_d, shift, w)
    return code, steps, fits, least_slope(C, state[2])


@helper
def solve_boundary(
    C: Array,
    alpha: float,
    p: Array,
    start: Array,
    warm: bool,
    d: Array,
    cap: int,
    u: Array,
    w: Array,
    H: Array,
    work: Array,
    ints: Ints,
) -> tuple[int, int, bool, float]:
    """Fill w for alpha = 0 or inf; return what `solve_interior` does."""
    code, steps = boundary(C, alpha, p, d, start, warm, cap, w, H, work, ints)
    fits = True
    for i in range(w.shape[0]):
        fits = fits and math.isfinite(w[i])
        u[i] = work[3, i] + work[4, i]
    return (INDEFINITE if code == NOT_CONVEX else code), steps, fits, least_slope(C, u)


@helper
def stationarity_of(
    C: Array,
    d: Array,
    slope: float,
    error: float,
    proof: Array,
    work: Array,
    L: Array,
    ints: Ints,
    certificate: Array,
) -> tuple[int, float]:
    """The verdict (or INDEFINITE) and the error of C it assumes; fill the certificate if near."""
    if not slope > error and not judge(C, proof, work, L, ints):
        return INDEFINITE, error
    if proof[PROOF_KNOWN] == 0.0:
        return NOT_STATIONARY, error
    quad = proof[PROOF_QUAD]
    error = max(error, -quad)
    known = verdict(quad, proof[PROOF_LEAST], error, d.shape[0])
    if known != NOT_STATIONARY:
        to_gradients(work[0], d, certificate)
    return known, error


@helper
def graded(
    C: Array,
    alpha: float,
    code: int,
    residual: float,
    floor: float,
    tol: float,
    H: Array,
    state: Array,
) -> int:
    """The status of weights by their residual and, where that is blind, by their own error."""
    n = C.shape[0]
    if residual + floor <= tol:  # another order of summation moves it by about the floor
        return OPTIMAL
    if code != CONVERGED or alpha == 0.0:
        return STEP_LIMIT
    explained = residual <= FLOOR_FACTOR * (n + 4.0) * floor
    if (explained and residual <= SHOWN) or alpha == math.inf:
        return ROUNDING_LIMITED if explained else STEP_LIMIT
    if not explained and not math.isfinite(residual):
        return OUT_OF_RANGE
    change, turn = forward_error(C, alpha / (1.0 + alpha), H, state)
    if change > WEIGHTS_LIMIT and (turn > DIRECTION_LIMIT or not math.isfinite(residual)):
        return UNDECIDED_INPUT
    return ROUNDING_LIMITED if explained else STEP_LIMIT


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
    state = np.empty((14, n))
    work = np.empty((5, n))
    ints = np.empty((3, n), np.int64)
    proof = np.zeros(3)
    d, r, u, p = floats[0], floats[1], floats[2], floats[3]
    fill(w, 0.0)
    fill(certificate, math.nan)
    residual[0], floor[0], margin[0] = math.inf, 0.0, math.nan
    steps[0], worst[0] = 0, -1
    status[0], seen = correlation(A, C, d)
    bound[0] = default_error(error, seen, n)
    if status[0] != 0:
        return
    if zero_gradient(d, certificate):
        status[0], margin[0] = PARETO_STATIONARY, 0.0
        return
    powers_of_two(d, r)
    given_or_one(priority, given, p)
    warm, cap = given >= START_GIVEN, int(budget)
    if 0.0 < alpha < math.inf:
        aim, logs = SAFETY * tol, floats[4:]
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
    status[0] = UNDECIDED_INPUT
    if known != UNDECIDED:
        status[0] = graded(C, alpha, code, residual[0], floor[0], tol, H, state)
