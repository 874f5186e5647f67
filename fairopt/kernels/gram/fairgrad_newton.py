"""The FairGrad equation C v = t with every pair (v_i, t_i) kept exactly on its curve.

    om x_i + theta tau_i = beta_i,  x = log v,  tau = log t,  theta = alpha / (1 + alpha) = 1 - om

In the (v, t) quadrant each curve is a smoothed corner with corner point om t = theta v. A Newton
step moves, task by task, the variable that dominates there; the other one follows along the curve
by any number of orders of magnitude. A task that changes branch stops at the corner once. There is
no step length and no merit function.
"""

from __future__ import annotations

import math

from fairopt.arrays import Array
from fairopt.kernels.jit import helper
from fairopt.kernels.linear import EPS, cholesky, copy_rows, dot, dot_abs, solve_factored

CONVERGED = 0
VANISHING = 1  # v is a convex combination (times a number) of gradients that vanishes
LIMIT = 2
BROKEN = 3

ATTEMPT = 40  # steps of one attempt
POLISH = 3  # further steps for tasks whose relative residual is above tol by rounding alone
INSIDE_STEP = 0.5  # largest decrease of a logarithm in one step near the corner
SHIFTS = (1e-16, 1e-13, 1e-10)  # per task, on the unit diagonal of H, if its factor breaks down


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
def cold_start(C: Array, beta: Array, theta: float, x: Array, tau: Array) -> None:
    """Exact for orthogonal and for identical tasks."""
    n = beta.shape[0]
    for i in range(n):
        total = 0.0
        for j in range(n):
            total += max(C[i, j], 0.0)
        x[i] = beta[i] - theta * math.log(total)
        tau[i] = x[i] + math.log(total)


@helper
def warm_start(C: Array, beta: Array, theta: float, x: Array, tau: Array, v: Array) -> None:
    """From x = log v of old weights: keep what dominates, put the other one on the curve."""
    n = beta.shape[0]
    om = 1.0 - theta
    for i in range(n):
        v[i] = math.exp(x[i])
    for i in range(n):
        t = dot(C[i], v, n)
        log_t = math.log(t) if t > 0.0 else -math.inf
        if log_t + math.log(om / theta) > x[i]:
            tau[i] = log_t
            x[i] = (beta[i] - theta * log_t) / om
        else:
            tau[i] = (beta[i] - om * x[i]) / theta


@helper
def assess(C: Array, v: Array, t: Array, rp: Array, tol: float) -> tuple[bool, float, float, float]:
    """Fill rp = Cv - t; return (accepted, worst |rp|/t, v'Cv, sum v).

    A task is accepted at |rp| <= tol t, or at the componentwise backward error 4 n eps.
    """
    n = v.shape[0]
    accepted = True
    worst = 0.0
    quad = 0.0
    total = 0.0
    for i in range(n):
        product, size = dot_abs(C[i], v, n)
        rp[i] = product - t[i]
        quad += v[i] * product
        total += v[i]
        gap = abs(rp[i])
        if not gap <= tol * t[i]:
            accepted = accepted and gap <= 4.0 * n * EPS * (size + t[i])
        if gap > 0.0:
            worst = max(worst, gap / t[i])
    return accepted, worst, quad, total


@helper
def newton_factor(
    C: Array, x: Array, tau: Array, theta: float, shift: float, gamma: Array, H: Array
) -> bool:
    """Fill gamma and the Cholesky factor of H = 1 + theta Gamma (C - 1) Gamma, unit diagonal."""
    n = x.shape[0]
    for i in range(n):
        gamma[i] = 1.0 / math.sqrt(theta + (1.0 - theta) * math.exp(tau[i] - x[i]))
    for i in range(n):
        for j in range(i):
            H[i, j] = theta * gamma[i] * gamma[j] * C[i, j]
        H[i, i] = 1.0 + shift * n
    return cholesky(H, n)


@helper
def newton_direction(
    C: Array, H: Array, x: Array, tau: Array, rp: Array, theta: float, gamma: Array, dv: Array
) -> bool:
    """Fill dv with the Newton step of the convex problem."""
    n = x.shape[0]
    for shift in SHIFTS:
        if newton_factor(C, x, tau, theta, shift, gamma, H):
            for i in range(n):
                dv[i] = -theta * gamma[i] * rp[i]
            solve_factored(H, dv, n)
            for i in range(n):
                dv[i] *= gamma[i]
            return True
    return False


@helper
def move_down(value: float, change: float, now: float, limit: float) -> float:
    """Log of value + change, but not below the limit (which is at most `now`)."""
    lower = min(limit, now)
    target = value + change
    return max(math.log(target), lower) if target > 0.0 else lower


@helper
def retract(
    C: Array,
    beta: Array,
    theta: float,
    zone: float,
    x: Array,
    tau: Array,
    v: Array,
    t: Array,
    rp: Array,
    dv: Array,
) -> None:
    """Take the step: move the dominating variable of each task linearly, the other on the curve."""
    n = x.shape[0]
    om = 1.0 - theta
    lc = math.log(om / theta)
    for i in range(n):
        gap = tau[i] + lc - x[i]
        if gap > zone or (gap >= -zone and dv[i] < 0.0):
            change = dot(C[i], dv, n) + rp[i]
            if change >= 0.0:
                t[i] += change
                tau[i] = math.log(t[i]) if t[i] > 0.0 else tau[i]
            else:
                stop = beta[i] - om * lc if gap > zone else tau[i] - INSIDE_STEP
                new = move_down(t[i], change, tau[i], stop)
                t[i] = t[i] + change if t[i] + change > 0.0 and new > stop else math.exp(new)
                tau[i] = new
            x[i] = (beta[i] - theta * tau[i]) / om
            rp[i] = math.exp(x[i])  # the new v, kept apart: C dv needs the old one's step only
        else:
            if dv[i] >= 0.0:
                rp[i] = v[i] + dv[i]
                x[i] = math.log(rp[i])
            else:
                stop = beta[i] + theta * lc if gap < -zone else x[i] - INSIDE_STEP
                new = move_down(v[i], dv[i], x[i], stop)
                rp[i] = v[i] + dv[i] if v[i] + dv[i] > 0.0 and new > stop else math.exp(new)
                x[i] = new
            tau[i] = (beta[i] - om * x[i]) / theta
            t[i] = math.exp(tau[i])
    for i in range(n):
        v[i] = rp[i]


@helper
def newton(
    C: Array,
    beta: Array,
    theta: float,
    zone: float,
    tol: float,
    vanishing: float,
    cap: int,
    H: Array,
    state: Array,
) -> tuple[int, int]:
    """Newton steps from x, tau, v, t in rows 0 to 3 of state; return (code, steps)."""
    x, tau, v, t, rp, gamma, dv = (
        state[0],
        state[1],
        state[2],
        state[3],
        state[4],
        state[5],
        state[6],
    )
    n = x.shape[0]
    for i in range(n):
        v[i] = math.exp(x[i])
        t[i] = math.exp(tau[i])
    best = math.inf
    polished = -1
    for step in range(cap + 1):
        accepted, worst, quad, total = assess(C, v, t, rp, tol)
        if not (math.isfinite(quad) and math.isfinite(total)):
            return BROKEN, step
        if quad <= vanishing * total * total:
            return VANISHING, step
        if accepted or polished >= 0:
            polished += 1
            slow = polished > 0 and not worst <= 0.5 * best
            if worst < best or polished == 0:
                copy_rows(state, 0, 7, 4)
            if worst <= tol or slow or polished >= POLISH or step == cap:
                copy_rows(state, 7, 0, 4)
                return CONVERGED, step
            best = min(best, worst)
        if step == cap or not newton_direction(C, H, x, tau, rp, theta, gamma, dv):
            return (LIMIT if step == cap else BROKEN), step
        retract(C, beta, theta, zone, x, tau, v, t, rp, dv)
    return LIMIT, cap
