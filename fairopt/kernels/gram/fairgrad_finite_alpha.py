"""FairGrad weights for 0 < alpha < inf: Newton, its fallbacks, and the way back to weights."""

from __future__ import annotations

import math

from fairopt.arrays import Array, Ints
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.fairgrad_newton import (
    ATTEMPT,
    CONVERGED,
    LIMIT,
    VANISHING,
    cold_start,
    fill_beta,
    newton,
    warm_start,
)
from fairopt.kernels.gram.stationarity import PROOF_QUAD, judge, least_slope, rounding
from fairopt.kernels.jit import helper
from fairopt.kernels.linear import copy_rows

SUSPECT_AFTER = 20  # Newton steps after which stationarity is checked before going on
ZONES = (1.0, 1.0, 0.3, 3.0)  # widths of the corner zone: suspicion, going on, two fresh starts
FRESH = 2  # the first attempt that starts anew
ROUGH = 0.3  # tolerance of the intermediate problems of the continuation
SHRINK = 0.3  # of a jump in log alpha that failed
SMALLEST_JUMP = 1e-3  # in log alpha; smaller ones are given up
SMALLEST_FULL = 1e-290  # floats above it have all their digits; below, their logarithm has more


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
    copy_rows(state, 0, 12, 2)
    now, following, jump = math.inf, 0.0, target  # `now` is the last alpha solved, none yet
    used = 0
    while used < budget and now != target and abs(jump) > SMALLEST_JUMP:
        theta = 1.0 / (1.0 + math.exp(-following))
        new_shift = fill_beta(math.exp(following), log_p, log_d, beta)
        move_to_curves(beta, theta, following, shift - new_shift, x, tau)
        aim = tol if following == target else ROUGH
        cap = min(ATTEMPT, budget - used)
        code, steps = newton(C, beta, theta, 1.0, aim, -math.inf, cap, H, state)
        used += steps
        if code == CONVERGED:
            now, shift = following, new_shift
            copy_rows(state, 0, 12, 2)
        elif now == math.inf:
            return LIMIT, used
        else:
            copy_rows(state, 12, 0, 2)
            jump *= SHRINK
        following = target if abs(target - now) <= abs(jump) else now + jump
    return (CONVERGED if now == target else LIMIT), used


@helper
def move_to_curves(
    beta: Array, theta: float, log_alpha: float, shift: float, x: Array, tau: Array
) -> None:
    """Shift both logarithms, keep the dominating one and put the other one on its curve."""
    for i in range(x.shape[0]):
        x[i] += shift
        tau[i] += shift
        if tau[i] - log_alpha > x[i]:
            x[i] = (beta[i] - theta * tau[i]) / (1.0 - theta)
        else:
            tau[i] = (beta[i] - (1.0 - theta) * x[i]) / theta


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
    """Newton with fallbacks, asking once whether the point is stationary; return (code, steps)."""
    n = C.shape[0]
    beta = state[11]
    theta = alpha / (1.0 + alpha)
    fill_beta(alpha, log_p, log_d, beta)
    code, used, attempt = LIMIT, 0, 0
    for zone in ZONES:
        if attempt == 0 and warm:
            warm_start(C, beta, theta, state[0], state[1], state[2])
        elif attempt == 0 or attempt >= FRESH:
            cold_start(C, beta, theta, state[0], state[1])
        elif code != LIMIT:
            attempt += 1
            continue
        cap = min(SUSPECT_AFTER if attempt == 0 else ATTEMPT, budget - used)
        vanishing = rounding(n) if attempt == 0 else -math.inf
        code, steps = newton(C, beta, theta, zone, tol, vanishing, cap, H, state)
        used += steps
        if code == CONVERGED:
            return code, used
        if attempt == 0 and not judge(C, proof, work, H, ints):
            return INDEFINITE, used
        if attempt == 0 and proof[PROOF_QUAD] <= rounding(n):
            return VANISHING, used
        if used >= budget:
            return code, used
        attempt += 1
    code, steps = continuation(C, alpha, log_p, log_d, tol, budget - used, H, state)
    return code, used + steps


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
