"""The FairGrad equation C v = t with every pair (v_i, t_i) kept exactly on its curve.

    om x_i + theta tau_i = beta_i,  x = log v,  tau = log t,  theta = alpha / (1 + alpha) = 1 - om

In the (v, t) quadrant each curve is a smoothed corner with corner point om t = theta v. A Newton
step moves, task by task, the variable that dominates there; the other one follows along the curve
by any number of orders of magnitude. A task that changes branch stops at the corner once. There is
no step length and no merit function.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array
from fairopt.kernels.jit import helper, inlined
from fairopt.kernels.linear import EPS, cholesky, copy, dot, dot_abs, solve_factored

CONVERGED = 0
VANISHING = 1  # v is a convex combination (times a number) of gradients that vanishes
LIMIT = 2
BREAKDOWN = 3  # overflow, or a system that no shift makes positive definite

ATTEMPT = 40  # steps of one attempt
POLISH = 3  # further steps for tasks whose relative residual is above tol by rounding alone
INSIDE_STEP = 0.5  # largest decrease of a logarithm in one step near the corner
SHIFTS = (1e-16, 1e-13, 1e-10)  # per task, on the unit diagonal of H, if its factor breaks down
NEWTON_ROWS = 14


class Pairs(NamedTuple):
    """One point on every curve.

    Attributes:
        x: (n,) log v.
        tau: (n,) log t.
        v: (n,) weights of the unit gradients, d w.
        t: (n,) progress per length, A w / d at the solution.
    """

    x: Array
    tau: Array
    v: Array
    t: Array


class Newton(NamedTuple):
    """Workspace of Newton's method.

    Attributes:
        pairs: The present point; Newton starts from its x and tau.
        best: The point of the smallest residual among the accepted ones.
        beta: (n,) right-hand sides of the curves.
        rp: (n,) residuals C v - t.
        gamma: (n,) (theta + om t / v)^(-1/2), the diagonal scaling of H.
        dv: (n,) the step of v.
        last_x: (n,) x of the last solution while alpha is changed step by step.
        last_tau: (n,) tau of it.
        H: (n, n) 1 + theta Gamma (C - 1) Gamma, or its Cholesky factor, in the lower triangle.
    """

    pairs: Pairs
    best: Pairs
    beta: Array
    rp: Array
    gamma: Array
    dv: Array
    last_x: Array
    last_tau: Array
    H: Array


@inlined
def newton_workspace(rows: Array, H: Array) -> Newton:
    """The workspace in the memory of the first NEWTON_ROWS rows and of H."""
    pairs = Pairs(rows[0], rows[1], rows[2], rows[3])
    best = Pairs(rows[4], rows[5], rows[6], rows[7])
    return Newton(pairs, best, rows[8], rows[9], rows[10], rows[11], rows[12], rows[13], H)


@helper
def copy_pairs(source: Pairs, target: Pairs) -> None:
    """Copy a point."""
    copy(source.x, target.x)
    copy(source.tau, target.tau)
    copy(source.v, target.v)
    copy(source.t, target.t)


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
def cold_start(C: Array, beta: Array, theta: float, pairs: Pairs) -> None:
    """Exact for orthogonal and for identical tasks."""
    x, tau = pairs.x, pairs.tau
    n = beta.shape[0]
    for i in range(n):
        total = 0.0
        for j in range(n):
            total += max(C[i, j], 0.0)
        x[i] = beta[i] - theta * math.log(total)
        tau[i] = x[i] + math.log(total)


@helper
def warm_start(C: Array, beta: Array, theta: float, pairs: Pairs) -> None:
    """From x = log v of old weights: keep what dominates, put the other one on the curve."""
    x, tau, v = pairs.x, pairs.tau, pairs.v
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
def solve_newton(H: Array, theta: float, gamma: Array, rp: Array, dv: Array) -> None:
    """Fill dv = -Gamma H^-1 theta Gamma rp from the factor of H."""
    n = dv.shape[0]
    for i in range(n):
        dv[i] = -theta * gamma[i] * rp[i]
    solve_factored(H, dv, n)
    for i in range(n):
        dv[i] *= gamma[i]


@helper
def newton_direction(
    C: Array, H: Array, x: Array, tau: Array, rp: Array, theta: float, gamma: Array, dv: Array
) -> bool:
    """Fill dv with the Newton step of the convex problem."""
    for shift in SHIFTS:
        if newton_factor(C, x, tau, theta, shift, gamma, H):
            solve_newton(H, theta, gamma, rp, dv)
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
    C: Array, beta: Array, theta: float, zone: float, pairs: Pairs, rp: Array, dv: Array
) -> None:
    """Take the step: move the dominating variable of each task linearly, the other on the curve."""
    x, tau, v, t = pairs
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
    C: Array, theta: float, zone: float, tol: float, vanishing: float, cap: int, state: Newton
) -> tuple[int, int]:
    """Newton steps from x and tau of the present point; return (code, steps)."""
    pairs, rp, dv = state.pairs, state.rp, state.dv
    x, tau, v, t = pairs
    n = x.shape[0]
    for i in range(n):
        v[i] = math.exp(x[i])
        t[i] = math.exp(tau[i])
    best = math.inf
    polished = -1
    for step in range(cap + 1):
        accepted, worst, quad, total = assess(C, v, t, rp, tol)
        if not (math.isfinite(quad) and math.isfinite(total)):
            return BREAKDOWN, step
        if quad <= vanishing * total * total:
            return VANISHING, step
        if accepted or polished >= 0:
            polished += 1
            slow = polished > 0 and not worst <= 0.5 * best
            if worst < best or polished == 0:
                copy_pairs(state.pairs, state.best)
            if worst <= tol or slow or polished >= POLISH or step == cap:
                copy_pairs(state.best, state.pairs)
                return CONVERGED, step
            best = min(best, worst)
        if step == cap or not newton_direction(C, state.H, x, tau, rp, theta, state.gamma, dv):
            return (LIMIT if step == cap else BREAKDOWN), step
        retract(C, state.beta, theta, zone, pairs, rp, dv)
    return LIMIT, cap
