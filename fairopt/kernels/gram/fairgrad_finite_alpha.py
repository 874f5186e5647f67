"""FairGrad weights for 0 < alpha < inf: Newton, its fallbacks, and the way back to weights."""

from __future__ import annotations

import math

from fairopt.arrays import Array
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.fairgrad_newton import (
    ATTEMPT,
    CONVERGED,
    LIMIT,
    VANISHING,
    Newton,
    Pairs,
    cold_start,
    fill_beta,
    newton,
    warm_start,
)
from fairopt.kernels.gram.fairgrad_problem import Problem
from fairopt.kernels.gram.stationarity import MinNormPoint, find_min_norm, least_slope, rounding
from fairopt.kernels.jit import helper, inlined
from fairopt.kernels.linear import copy

SUSPECT_AFTER = 20  # Newton steps after which stationarity is checked before going on
FIRST_ZONE = 1.0
ZONES = (
    FIRST_ZONE,
    1.0,
    0.3,
    3.0,
)  # widths of the corner zone: suspicion, going on, two fresh starts
FRESH = 2  # the first attempt that starts anew
ROUGH = 0.3  # tolerance of the intermediate problems of the continuation
SHRINK = 0.3  # of a jump in log alpha that failed
SMALLEST_JUMP = 1e-3  # in log alpha; smaller ones are given up
LARGEST_SHIFT = 700.0  # e^shift is a float with all digits below it
SMALLEST_FULL = 1e-290  # floats above it have all their digits; below, their logarithm has more


@helper
def continuation(problem: Problem, tol: float, budget: int, state: Newton) -> tuple[int, int]:
    """Follow the solution from alpha = 1 in log alpha; beta of the last alpha is left in state."""
    C, log_p, log_d = problem.C, problem.log_p, problem.log_d
    x, tau, beta = state.pairs.x, state.pairs.tau, state.beta
    last_x, last_tau = state.last_x, state.last_tau
    target = math.log(problem.alpha)
    shift = fill_beta(1.0, log_p, log_d, beta)
    cold_start(C, beta, 0.5, state.pairs)
    copy(x, last_x)
    copy(tau, last_tau)
    now, following, jump = math.inf, 0.0, target  # `now` is the last alpha solved, none yet
    used = 0
    while used < budget and now != target and abs(jump) > SMALLEST_JUMP:
        theta = 1.0 / (1.0 + math.exp(-following))
        new_shift = fill_beta(math.exp(following), log_p, log_d, beta)
        move_to_curves(theta, following, shift - new_shift, state)
        aim = tol if following == target else ROUGH
        cap = min(ATTEMPT, budget - used)
        code, steps = newton(C, theta, 1.0, aim, -math.inf, cap, state)
        used += steps
        if code == CONVERGED:
            now, shift = following, new_shift
            copy(x, last_x)
            copy(tau, last_tau)
        elif now == math.inf:
            return LIMIT, used
        else:
            copy(last_x, x)
            copy(last_tau, tau)
            jump *= SHRINK
        following = target if abs(target - now) <= abs(jump) else now + jump
    return (CONVERGED if now == target else LIMIT), used


@helper
def move_to_curves(theta: float, log_alpha: float, shift: float, state: Newton) -> None:
    """Shift both logarithms, keep the dominating one and put the other one on its curve."""
    x, tau, beta = state.pairs.x, state.pairs.tau, state.beta
    for i in range(x.shape[0]):
        x[i] += shift
        tau[i] += shift
        if tau[i] - log_alpha > x[i]:
            x[i] = (beta[i] - theta * tau[i]) / (1.0 - theta)
        else:
            tau[i] = (beta[i] - (1.0 - theta) * x[i]) / theta


@inlined
def interior(
    problem: Problem, warm: bool, tol: float, budget: int, state: Newton, point: MinNormPoint
) -> tuple[int, int]:
    """Newton with fallbacks; once, whether the point is stationary is checked; (code, steps)."""
    C, alpha = problem.C, problem.alpha
    n = C.shape[0]
    theta = alpha / (1.0 + alpha)
    fill_beta(alpha, problem.log_p, problem.log_d, state.beta)
    code, used, attempt = LIMIT, 0, 0
    for zone in ZONES:
        if attempt == 0 and warm:
            warm_start(C, state.beta, theta, state.pairs)
        elif attempt == 0 or attempt >= FRESH:
            cold_start(C, state.beta, theta, state.pairs)
        elif code != LIMIT:
            attempt += 1
            continue
        cap = min(SUSPECT_AFTER if attempt == 0 else ATTEMPT, budget - used)
        vanishing = rounding(n) if attempt == 0 else -math.inf
        code, steps = newton(C, theta, zone, tol, vanishing, cap, state)
        used += steps
        if code == CONVERGED:
            return code, used
        if attempt == 0 and not find_min_norm(C, point):
            return INDEFINITE, used
        if attempt == 0 and point.quad[0] <= rounding(n):
            return VANISHING, used
        if used >= budget:
            return code, used
        attempt += 1
    code, steps = continuation(problem, tol, budget - used, state)
    return code, used + steps


@helper
def interior_weights(problem: Problem, pairs: Pairs, shift: float, w: Array) -> bool:
    """Fill w = v e^shift / d, mantissas and exponents apart: nothing overflows on the way."""
    x, v, d, log_d = pairs.x, pairs.v, problem.d, problem.log_d
    fs, es = math.frexp(math.exp(shift))
    if abs(shift) > LARGEST_SHIFT:
        root, half = math.frexp(math.exp(0.5 * shift))
        fs, es = root * root, 2 * half
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
def start_logs(start: Array, log_d: Array, shift: float, x: Array) -> bool:
    """Fill x from old weights; False if there are none to use."""
    for i in range(x.shape[0]):
        if not start[i] > 0.0:
            return False
        x[i] = math.log(start[i]) + log_d[i] - shift
    return True


@inlined
def prepare(problem: Problem, start: Array, warm: bool, state: Newton) -> tuple[float, bool]:
    """Fill the logarithms, the curves and x of a warm start; return (shift, whether it is warm)."""
    log_d, log_p = problem.log_d, problem.log_p
    for i in range(log_d.shape[0]):
        log_d[i] = math.log(problem.d[i])
        log_p[i] = math.log(problem.p[i])
    shift = fill_beta(problem.alpha, log_p, log_d, state.beta)
    return shift, warm and start_logs(start, log_d, shift, state.pairs.x)


@inlined
def solve_interior(
    problem: Problem,
    start: Array,
    warm: bool,
    tol: float,
    cap: int,
    w: Array,
    state: Newton,
    point: MinNormPoint,
) -> tuple[int, int, bool, float]:
    """Fill w for 0 < alpha < inf; return (code, steps, whether w is in range, least slope)."""
    shift, warm = prepare(problem, start, warm, state)
    code, steps = interior(problem, warm, tol, cap, state, point)
    fits = interior_weights(problem, state.pairs, shift, w)
    return code, steps, fits, least_slope(problem.C, state.pairs.v)


@inlined
def first_attempt(
    problem: Problem, start: Array, warm: bool, tol: float, cap: int, w: Array, state: Newton
) -> tuple[int, int, bool, float]:
    """`solve_interior` up to the end of its first attempt, which suffices where it converges."""
    shift, warm = prepare(problem, start, warm, state)
    C, theta = problem.C, problem.alpha / (1.0 + problem.alpha)
    if warm:
        warm_start(C, state.beta, theta, state.pairs)
    else:
        cold_start(C, state.beta, theta, state.pairs)
    vanishing, most = rounding(w.shape[0]), min(SUSPECT_AFTER, cap)
    code, steps = newton(C, theta, FIRST_ZONE, tol, vanishing, most, state)
    fits = interior_weights(problem, state.pairs, shift, w)
    return code, steps, fits, least_slope(C, state.pairs.v)
