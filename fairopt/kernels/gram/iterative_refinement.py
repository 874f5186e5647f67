"""FairGrad weights where float64 residuals are blind: refinement, and a bound of their error.

Near a stationary point A w cancels, and a residual in float64 is rounding. Here Cv - t is summed in
twice the digits for the matrix as it was handed in (S: scaled by powers of two, which is exact), so
that Newton's steps are right again and the weights converge to those of that very matrix.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array
from fairopt.kernels.double_double import TWICE, dot_double, two_quotient, two_sum
from fairopt.kernels.gram.fairgrad_newton import Newton, newton_factor, retract, solve_newton
from fairopt.kernels.jit import helper, inlined
from fairopt.kernels.linear import EPS, copy, dot, fill, solve_factored

REFINEMENTS = 12  # steps; 2 or 3 are usual
SETTLED = 1e-13  # relative change of every dominating variable that ends the refinement
STALLED = 1e-9  # largest change that may be the last one where it no longer halves
ZONE = 1.0  # width of the corner zone, as in the first attempt of Newton
TRUSTED = 0.05  # largest n eps |H^-1|: beyond it the inverse itself is rounding
REFINEMENT_ROWS = 9


class Refinement(NamedTuple):
    """The matrix as given, and workspace beside that of Newton's method.

    Attributes:
        S: (n, n) the matrix scaled by powers of two; C = S / (e e').
        e: (n,) lengths of the gradients in that scale, in [0.5, 1).
        b: (n,) bound of the error of the residuals rp.
        low: (n,) what v lacks: the variable is v + low.
        u: (n,) (v + low) / e, its high parts.
        u_low: (n,) its low parts.
        old: (n,) v before the step.
        old_x: (n,) x before the step.
        old_tau: (n,) tau before the step.
        column: (n,) a column of H^-1.
        dt: (n,) bound of the error of t.
    """

    S: Array
    e: Array
    b: Array
    low: Array
    u: Array
    u_low: Array
    old: Array
    old_x: Array
    old_tau: Array
    column: Array
    dt: Array


@inlined
def refinement_workspace(S: Array, e: Array, rows: Array) -> Refinement:
    """The workspace in the memory of the first REFINEMENT_ROWS rows."""
    return Refinement(
        S, e, rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], rows[8]
    )


@helper
def precise_products(state: Newton, space: Refinement) -> None:
    """Fill rp = C(v + low) - t, and b with a bound of its error; C = S / (e e')."""
    v, t, rp = state.pairs.v, state.pairs.t, state.rp
    S, e, b, low, u, u_low = space.S, space.e, space.b, space.low, space.u, space.u_low
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
def refine(C: Array, theta: float, state: Newton, space: Refinement) -> bool:
    """Newton steps on precise residuals; False if H is singular or the steps do not shrink.

    The residuals rp and the bound b of their error are those of the last point.
    """
    x, tau, v, _ = state.pairs
    rp, gamma, dv = state.rp, state.gamma, state.dv
    fill(space.low, 0.0)
    before = math.inf
    for _ in range(REFINEMENTS):
        precise_products(state, space)
        if not newton_factor(C, x, tau, theta, 0.0, gamma, state.H):
            return False
        solve_newton(state.H, theta, gamma, rp, dv)
        copy(v, space.old)
        copy(x, space.old_x)
        copy(tau, space.old_tau)
        retract(C, state.beta, theta, ZONE, state.pairs, rp, dv)
        keep_low_parts(v, space.old, dv, space.low)
        change = settle(theta, x, tau, space.old_x, space.old_tau)
        if change <= SETTLED or (change <= STALLED and change > 0.5 * before):
            precise_products(state, space)
            return True
        before = change
    return False


@helper
def forward_error(C: Array, theta: float, state: Newton, space: Refinement) -> float:
    """First-order bound of the relative error of every weight, from the residual and its error.

    With b = |rp| + its error + t times the rounding of the curve: |dv| <= |M| b, M = Gamma H^-1
    theta Gamma, and |dt| <= b + |C M| b; a task's weight moves with its dominating variable.
    """
    x, tau, v, t = state.pairs
    beta, rp, gamma, dv = state.beta, state.rp, state.gamma, state.dv
    b, column, dt = space.b, space.column, space.dt
    n = x.shape[0]
    om = 1.0 - theta
    lc = math.log(om / theta)
    if not newton_factor(C, x, tau, theta, 0.0, gamma, state.H):
        return math.inf
    for i in range(n):
        curve = EPS * (abs(beta[i]) + 2.0 * om * abs(x[i]) + 2.0 * theta * abs(tau[i]) + 2.0)
        b[i] += abs(rp[i]) + t[i] * (curve / theta)
        dv[i], dt[i] = 0.0, b[i]
    largest = 0.0
    for j in range(n):
        largest = max(largest, inverse_column(state.H, j, column))
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
def refined_interior(C: Array, alpha: float, state: Newton, space: Refinement) -> float:
    """Refine for 0 < alpha < inf; return a bound of the relative error of every weight."""
    theta = alpha / (1.0 + alpha)
    if not refine(C, theta, state, space):
        return math.inf
    return forward_error(C, theta, state, space)
