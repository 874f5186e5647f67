"""The nonnegative quadratic programme of a dual cone in twice the digits.

Minimise u'Mu/2 + q'u over u >= 0 with M = S + shift I, by the primal active set of
`nonnegative_qp`. The shift is above all that is unknown of S, so every pivot is positive, the
minimum is unique and no support repeats; only a matrix that is no Gram matrix has a smaller pivot.
"""

from __future__ import annotations

from typing import NamedTuple

from fairopt.arrays import Ints
from fairopt.kernels.double_double import TWICE, accumulate, add, divide, multiply, root
from fairopt.kernels.double_double_linear import (
    Double,
    dot,
    dot_sizes,
    row,
    solve_factored,
)
from fairopt.kernels.jit import allocating

SOLVED = 0
CAPPED = 2
NOT_CONVEX = 3


class Cone(NamedTuple):
    """One matrix: inner products of vectors h of length at most 1.

    Attributes:
        S: (n, n).
        diagonal: (n,) that of M.
        present: (n,) 0 for a gradient that is zero.
        error: E, largest error of an entry of S.
        shift: What M has more on its diagonal than S.
    """

    S: Double
    diagonal: Double
    present: Ints
    error: float
    shift: float


class Support(NamedTuple):
    """Some tasks, and the factor of their part of M.

    Attributes:
        L: (n, n) lower triangle, of which the first rows are used.
        order: (n,) tasks in the order of the rows.
        inside: (n,) 1 for those tasks.
        allowed: (n,) 1 for the tasks that may enter.
        x: (n,) scratch.
    """

    L: Double
    order: Ints
    inside: Ints
    allowed: Ints
    x: Double


@allocating
def rounding(m: int) -> float:
    """A bound of |L L' - M| in the spectral norm."""
    return 2.0 * m * (m + 6.0) * TWICE


@allocating
def safe_shift(n: int, error: float) -> float:
    """Twice what the smallest eigenvalue of S and of its factors can be below zero."""
    return 2.0 * (n * error + rounding(n))


@allocating
def empty(support: Support, allowed: Ints) -> int:
    """No task inside, the given ones allowed to enter; return the size."""
    size = 0  # a sum, as numba would compile every caller once more for a constant
    for j in range(allowed.shape[0]):
        support.inside[j] = 0
        support.allowed[j] = allowed[j]
        size += support.inside[j]
    return size


@allocating
def append(cone: Cone, support: Support, m: int, j: int) -> bool:
    """Extend the factor by task j; False if M is not positive definite."""
    L, P = support.L, support.order
    last = row(L, m)
    for a in range(m):
        high, low = dot(row(L, a), last, a)
        high, low = add(cone.S.high[j, P[a]], cone.S.low[j, P[a]], -high, -low)
        last.high[a], last.low[a] = divide(high, low, L.high[a, a], L.low[a, a])
    high, low = dot(last, last, m)
    high, low = add(cone.diagonal.high[j], cone.diagonal.low[j], -high, -low)
    if not high > 0.25 * cone.shift:
        return False
    last.high[m], last.low[m] = root(high, low)
    P[m] = j
    support.inside[j] = 1
    return True


@allocating
def delete(cone: Cone, support: Support, m: int, k: int) -> bool:
    """Remove position k and factor what follows again; False if M is not positive definite."""
    P = support.order
    support.inside[P[k]] = 0
    for i in range(k, m - 1):  # noqa: SIM110 (compiled)
        if not append(cone, support, i, P[i + 1]):
            return False
    return True


@allocating
def blocking(u: Double, x: Double, P: Ints, m: int) -> tuple[int, float]:
    """The position that reaches zero first on the way from u to x (-1 if none), and how far."""
    block, shortest = -1, 1.0
    for a in range(m):
        if x.high[a] <= 0.0:
            old = u.high[P[a]]
            t = old / (old - x.high[a]) if old > 0.0 else 0.0
            if block < 0 or t < shortest or (t == shortest and P[a] < P[block]):
                block, shortest = a, t
    return block, shortest


@allocating
def move(u: Double, x: Double, support: Support, m: int, t: float) -> None:
    """Advance u on the support by t (x - u), keeping it nonnegative."""
    for a in range(m):
        i = support.order[a]
        high, low = add(x.high[a], x.low[a], -u.high[i], -u.low[i])
        high, low = multiply(high, low, t, 0.0)
        high, low = add(u.high[i], u.low[i], high, low)
        u.high[i], u.low[i] = (high, low) if high > 0.0 else (0.0, 0.0)


@allocating
def minimise_on_support(
    cone: Cone, q: Double, u: Double, support: Support, m: int
) -> tuple[int, int, int]:
    """Move u to the minimiser on its support; return (m, deletions, task), m = -1 if not convex.

    The task is the first one that left, if it did so before u had moved at all, else -1.
    """
    P, x, deletions, first = support.order, support.x, 0, -1
    while m > 0:
        for a in range(m):
            x.high[a], x.low[a] = -q.high[P[a]], -q.low[P[a]]
        solve_factored(support.L, x, m)
        block, t = blocking(u, x, P, m)
        if block < 0:
            for a in range(m):
                u.high[P[a]], u.low[P[a]] = x.high[a], x.low[a]
            break
        gone = P[block]
        move(u, x, support, m, t)
        u.high[gone], u.low[gone] = 0.0, 0.0
        if deletions == 0 and t == 0.0:
            first = gone
        if not delete(cone, support, m, block):
            return -1, deletions, first
        m -= 1
        deletions += 1
    return m, deletions, first


@allocating
def cheapest(cone: Cone, q: Double, u: Double, support: Support) -> int:
    """The task outside the support with the most negative price, or -1."""
    n = q.high.shape[0]
    best, lowest = -1, 0.0
    for j in range(n):
        if support.inside[j] or not support.allowed[j]:
            continue
        high, low = dot(row(cone.S, j), u, n)
        price, _ = accumulate(high, low, q.high[j], q.low[j])
        if price < lowest:
            size = dot_sizes(row(cone.S, j), u, n) + abs(q.high[j])
            if price < -2.0 * (n + 2.0) * TWICE * size:
                best, lowest = j, price
    return best


@allocating
def nonnegative_minimum(
    cone: Cone, q: Double, u: Double, support: Support, m: int, cap: int
) -> tuple[int, int, int]:
    """Solve from the state (u, support, m), which is kept for the next q; (code, m, steps)."""
    entering, steps = -1, 0
    while steps < cap:
        m, deletions, gone = minimise_on_support(cone, q, u, support, m)
        if m < 0:
            return NOT_CONVEX, 0, steps
        if gone >= 0 and gone == entering:
            support.allowed[gone] = 0  # its negative price was rounding
        steps += 1 + deletions
        entering = cheapest(cone, q, u, support)
        if entering < 0:
            return SOLVED, m, steps
        if not append(cone, support, m, entering):
            return NOT_CONVEX, 0, steps
        m += 1
    return CAPPED, m, steps


@allocating
def warm_support(cone: Cone, u: Double, support: Support) -> int:
    """The support of u as a start; -1 if M is not positive definite."""
    m = empty(support, cone.present)
    for j in range(u.high.shape[0]):
        if u.high[j] > 0.0 and support.allowed[j]:
            if not append(cone, support, m, j):
                return -1
            m += 1
        else:
            u.high[j], u.low[j] = 0.0, 0.0
    return m
