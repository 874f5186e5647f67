"""FairGrad weights where float64 residuals are blind: refinement, and a bound of their error.

Near a stationary point A w cancels, and a residual in float64 is rounding. Here Cv - t is summed in
twice the digits for the matrix as it was handed in (S: scaled by powers of two, which is exact), so
that Newton's steps are right again and the weights converge to those of that very matrix.
"""

from __future__ import annotations

import math

from fairopt.arrays import Array
from fairopt.kernels.double_double import TWICE, dot_double, two_quotient, two_sum
from fairopt.kernels.gram.fairgrad_newton import newton_factor, retract
from fairopt.kernels.jit import helper
from fairopt.kernels.linear import EPS, dot, fill, solve_factored

REFINEMENTS = 12  # steps; 2 or 3 are usual
SETTLED = 1e-13  # relative change of every dominating variable that ends the refinement
STALLED = 1e-9  # largest change that may be the last one where it no longer halves
ZONE = 1.0  # width of the corner zone, as in the first attempt of Newton
TRUSTED = 0.05  # largest n eps |H^-1|: beyond it the inverse itself is rounding


@helper
def precise_products(
    S: Array, e: Array, v: Array, low: Array, t: Array, rp: Array, b: Array, u: Array, u_low: Array
) -> None:
    """Fill rp = C(v + low) - t, and b with a bound of its error; C = S / (e e')."""
    n = v.shape[0]
    for i in range(n):
        u[i], u_low[i] = two_quotient(v[i], low[i], e[i])
    for i in range(n):
        total, rest, size = dot_double(S[i], u, u_low, n)
        total, rest = two_quotient(total, rest, e[i])
        high, lost = two_sum(total, -t[i])
        rp[i] = high + (lost + rest)
        b[i] = n * (TWICE * (size / e[i]) + 2.0**-1070) + EPS * abs(rp[i])


@helper
def keep_low_parts(v: Array, old: Array, dv: Array, low: Array) -> None:
    """What rounding took from the variables that moved linearly; zero for the others."""
    for i in range(v.shape[0]):
        total, lost = two_sum(old[i], dv[i])
        if v[i] == total:
            v[i], low[i] = two_sum(total, lost + low[i])
        else:
            low[i] = 0.0


@helper
def settle(theta: float, x: Array, tau: Array, old_x: Array, old_tau: Array) -> float:
    """Largest relative change of a dominating variable."""
    worst = 0.0
    lc = math.log((1.0 - theta) / theta)
    for i in range(x.shape[0]):
        change = tau[i] - old_tau[i] if tau[i] + lc > x[i] else x[i] - old_x[i]
        if not abs(change) <= worst:
            worst = abs(change)
    return worst


@helper
def refine(C: Array, S: Array, e: Array, theta: float, H: Array, state: Array) -> bool:
    """Newton steps on precise residuals; False if H is singular or the steps do not shrink.

    Rows 0 to 3 of the state hold x, tau, v, t, row 11 beta; row 4 is left with the residuals and
    row 5 with a bound of their error.
    """
    x, tau, v, t, rp, b = state[0], state[1], state[2], state[3], state[4], state[5]
    gamma, dv, low, beta = state[6], state[7], state[8], state[11]
    u, u_low, old, old_x = state[9], state[10], state[12], state[13]
    n = x.shape[0]
    old_tau = state[14]
    fill(low, 0.0)
    before = math.inf
    for _ in range(REFINEMENTS):
        precise_products(S, e, v, low, t, rp, b, u, u_low)
        if not newton_factor(C, x, tau, theta, 0.0, gamma, H):
            return False
        for i in range(n):
            dv[i] = -theta * gamma[i] * rp[i]
        solve_factored(H, dv, n)
        for i in range(n):
            dv[i] *= gamma[i]
            old[i], old_x[i], old_tau[i] = v[i], x[i], tau[i]
        retract(C, beta, theta, ZONE, x, tau, v, t, rp, dv)
        keep_low_parts(v, old, dv, low)
        change = settle(theta, x, tau, old_x, old_tau)
        if change <= SETTLED or (change <= STALLED and change > 0.5 * before):
            precise_products(S, e, v, low, t, rp, b, u, u_low)
            return True
        before = change
    return False


@helper
def forward_error(C: Array, theta: float, H: Array, state: Array) -> float:
    """First-order bound of the relative error of every weight, from the residual and its error.

    With b = |rp| + its error + t times the rounding of the curve: |dv| <= |M| b, M = Gamma H^-1
    theta Gamma, and |dt| <= b + |C M| b; a task's weight moves with its dominating variable.
    """
    x, tau, v, t, rp, b = state[0], state[1], state[2], state[3], state[4], state[5]
    gamma, dv, column, dt, beta = state[6], state[7], state[8], state[9], state[11]
    n = x.shape[0]
    om = 1.0 - theta
    lc = math.log(om / theta)
    if not newton_factor(C, x, tau, theta, 0.0, gamma, H):
        return math.inf
    for i in range(n):
        curve = EPS * (abs(beta[i]) + 2.0 * om * abs(x[i]) + 2.0 * theta * abs(tau[i]) + 2.0)
        b[i] += abs(rp[i]) + t[i] * (curve / theta)
        dv[i], dt[i] = 0.0, b[i]
    largest = 0.0
    for j in range(n):
        largest = max(largest, inverse_column(H, j, column))
        for i in range(n):
            column[i] *= gamma[i]
            dv[i] += abs(column[i]) * (theta * gamma[j] * b[j])
        for i in range(n):
            if tau[i] + lc > x[i]:
                dt[i] += abs(dot(C[i], column, n)) * (theta * gamma[j] * b[j])
    if not n * EPS * largest <= TRUSTED:
        return math.inf
    worst = 0.0
    for i in range(n):
        change = theta / om * (dt[i] / t[i]) if tau[i] + lc > x[i] else dv[i] / v[i]
        if not change <= worst:
            worst = change
    return worst if worst >= 0.0 else math.inf


@helper
def inverse_column(L: Array, j: int, column: Array) -> float:
    """Fill column j of the inverse of L L'; return the sum of its sizes."""
    n = column.shape[0]
    fill(column, 0.0)
    column[j] = 1.0
    solve_factored(L, column, n)
    total = 0.0
    for i in range(n):
        total += abs(column[i])
    return total


@helper
def refined_interior(C: Array, S: Array, e: Array, alpha: float, H: Array, state: Array) -> float:
    """Refine for 0 < alpha < inf; return a bound of the relative error of every weight."""
    theta = alpha / (1.0 + alpha)
    return forward_error(C, theta, H, state) if refine(C, S, e, theta, H, state) else math.inf
