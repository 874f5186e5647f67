"""Tasks whose gradients are parallel to rounding: the Gram matrix cannot say how they share.

Their progress per length t is the same number, so v_i = (p_i d_i^(1-alpha)) t^-alpha, and together
they are one task whose priority makes up the sum. Solving for the groups removes the singularity;
the answer is that of a matrix within rounding of the given one, and treats equals equally.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.gram.fairgrad_newton import ATTEMPT, CONVERGED, fill_beta, newton, warm_start
from fairopt.kernels.gram.iterative_refinement import refined_interior
from fairopt.kernels.jit import helper
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
def merge(
    C: Array,
    S: Array,
    e: Array,
    shares: Array,
    x: Array,
    group: Ints,
    first: Ints,
    C2: Array,
    S2: Array,
    e2: Array,
    sums: Array,
    x2: Array,
) -> None:
    """Fill the problem of the groups, and the logs of the sums of their shares and weights."""
    for a in range(C2.shape[0]):
        e2[a] = e[first[a]]
        sums[a], x2[a] = -math.inf, -math.inf
        for b in range(C2.shape[0]):
            C2[a, b], S2[a, b] = C[first[a], first[b]], S[first[a], first[b]]
    for i in range(C.shape[0]):
        a = group[i]
        sums[a] = add_logs(sums[a], shares[i])
        x2[a] = add_logs(x2[a], x[i])


@helper
def refined_groups(
    C: Array, S: Array, e: Array, alpha: float, shift: float, logs: Array, tol: float, state: Array
) -> float:
    """Solve for groups of parallel tasks, put x = log v and v into the state; bound the error."""
    n = C.shape[0]
    group, first = np.empty(n, np.int64), np.empty(n, np.int64)
    m = parallel_groups(C, group, first)
    if m == n:
        return math.inf
    C2, S2, H2 = np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
    state2, e2, sums = np.empty((15, m)), np.empty(m), np.empty((2, m))
    shares = state[4]
    theta = alpha / (1.0 + alpha)
    for i in range(n):
        shares[i] = logs[1, i] + (1.0 - alpha) * logs[0, i]
    merge(C, S, e, shares, state[0], group, first, C2, S2, e2, sums[1], state2[0])
    for a in range(m):
        sums[0, a] = 0.0  # lengths are part of the shares
    shift2 = fill_beta(alpha, sums[1], sums[0], state2[11])
    for a in range(m):
        state2[0, a] += shift - shift2
    warm_start(C2, state2[11], theta, state2[0], state2[1], state2[2])
    code, _ = newton(C2, state2[11], theta, 1.0, tol, -math.inf, ATTEMPT, H2, state2)
    if code != CONVERGED:
        return math.inf
    error = refined_interior(C2, S2, e2, alpha, H2, state2)
    for i in range(n):
        state[0, i] = state2[0, group[i]] + shift2 - shift + shares[i] - sums[1, group[i]]
        state[2, i] = math.exp(state[0, i])
    return error
