"""Tasks whose gradients are parallel to rounding: the Gram matrix cannot say how they share.

Their progress per length t is the same number, so v_i = (p_i d_i^(1-alpha)) t^-alpha, and together
they are one task whose priority makes up the sum. Solving for the groups removes the singularity;
the answer is that of a matrix within rounding of the given one, and treats equals equally.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.gram.fairgrad_newton import (
    ATTEMPT,
    CONVERGED,
    NEWTON_ROWS,
    Newton,
    fill_beta,
    newton,
    newton_workspace,
    warm_start,
)
from fairopt.kernels.gram.fairgrad_problem import Problem
from fairopt.kernels.gram.iterative_refinement import (
    REFINEMENT_ROWS,
    Refinement,
    refined_interior,
    refinement_workspace,
)
from fairopt.kernels.jit import allocating, helper
from fairopt.kernels.linear import EPS


@helper
def equal_rows(C: Array, i: int, j: int) -> bool:
    """Whether two tasks have the same products with every task, to rounding."""
    n = C.shape[0]
    apart = 1.0 - C[i, j]
    for k in range(n):
        apart = max(apart, abs(C[i, k] - C[j, k]))
    return apart <= 4.0 * n * EPS


@helper
def parallel_groups(C: Array, group: Ints, first: Ints) -> int:
    """Fill the group of each task and the first task of each group; return how many groups."""
    n = C.shape[0]
    groups = 0
    for i in range(n):
        group[i] = groups
        for a in range(groups):
            if equal_rows(C, i, first[a]):
                group[i] = a
                break
        if group[i] == groups:
            first[groups] = i
            groups += 1
    return groups


@helper
def add_logs(a: float, b: float) -> float:
    """log(e^a + e^b), where a may be -inf."""
    low, high = min(a, b), max(a, b)
    return high + math.log1p(math.exp(low - high)) if low > -math.inf else high


@helper
def choose(M: Array, first: Ints, chosen: Array) -> None:
    """Fill the rows and columns of the first tasks of the groups."""
    for a in range(chosen.shape[0]):
        for b in range(chosen.shape[0]):
            chosen[a, b] = M[first[a], first[b]]


@helper
def log_sums(logs: Array, group: Ints, sums: Array) -> None:
    """Fill the log of the sum of e^logs over each group."""
    for a in range(sums.shape[0]):
        sums[a] = -math.inf
    for i in range(logs.shape[0]):
        a = group[i]
        sums[a] = add_logs(sums[a], logs[i])


@allocating
def refined_groups(
    problem: Problem, shift: float, tol: float, state: Newton, space: Refinement
) -> float:
    """Solve for groups of parallel tasks, put x = log v and v into the state; bound the error.

    Names that end in 2 belong to the m groups.
    """
    alpha, x = problem.alpha, state.pairs.x
    n = x.shape[0]
    group, first, shares = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    m = parallel_groups(problem.C, group, first)
    if m == n:
        return math.inf
    C2, S2, H2 = np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
    e2, shares2, zeros = np.empty(m), np.empty(m), np.zeros(m)
    state2 = newton_workspace(np.empty((NEWTON_ROWS, m)), H2)
    space2 = refinement_workspace(S2, e2, np.empty((REFINEMENT_ROWS, m)))
    x2 = state2.pairs.x
    for i in range(n):
        shares[i] = problem.log_p[i] + (1.0 - alpha) * problem.log_d[i]
    for a in range(m):
        e2[a] = space.e[first[a]]
    choose(problem.C, first, C2)
    choose(space.S, first, S2)
    log_sums(shares, group, shares2)
    log_sums(x, group, x2)
    shift2 = fill_beta(alpha, shares2, zeros, state2.beta)  # lengths are part of the shares
    for a in range(m):
        x2[a] += shift - shift2
    theta = alpha / (1.0 + alpha)
    warm_start(C2, state2.beta, theta, state2.pairs)
    code, _ = newton(C2, theta, 1.0, tol, -math.inf, ATTEMPT, state2)
    if code != CONVERGED:
        return math.inf
    error = refined_interior(C2, alpha, state2, space2)
    for i in range(n):
        x[i] = x2[group[i]] + shift2 - shift + shares[i] - shares2[group[i]]
        state.pairs.v[i] = math.exp(x[i])
    return error
