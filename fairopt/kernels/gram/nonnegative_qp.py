"""The nonnegative quadratic programme behind every K x K problem.

Minimise u'Cu/2 + q'u over u >= 0, for a correlation matrix C (unit diagonal, positive
semidefinite). Optimal: z = Cu + q >= 0 and u'z = 0. The method is a primal active set: the support
P always has an independent C_PP with Cholesky factor L, which is updated when a task enters or
leaves. Exact arithmetic needs finitely many steps: each time u is the minimiser on its support the
objective is strictly lower than the time before, so no support repeats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import Array, Ints
from fairopt.kernels.jit import helper, inlined
from fairopt.kernels.linear import EPS, cholesky, dot, dot_abs, solve_factored

SOLVED = 0
RAY = 1  # unbounded: u is a direction u >= 0 with u'Cu ~ 0 and q'u < 0
CAPPED = 2
NOT_CONVEX = 3  # a direction with clearly negative curvature: no Gram matrix

NEGATIVE_LIMIT = 1e-3  # of v'Cv over (sum |v|)^2; the rounding of a float16 matrix stays above it
# Entries of a ray that are negative by less are rounding: a dependent pair of unit gradients agrees
# with the others to the square root of the machine precision only.
RAY_SLACK = 1e-7
SPARSE = 4  # supports below a quarter of the tasks: gathering beats a dense dot product
GUESS_FROM = 24  # tasks; below it growing the support one by one is faster than guessing it
GUESS_ROUNDS = 8


@helper
def step_cap(n: int) -> int:
    """Steps after which rounding must be going in circles; at most 2 n were ever seen."""
    return 40 * n + 50


class ActiveSet(NamedTuple):
    """The support P of m tasks, the factor of C_PP, and room for one solution with it.

    Attributes:
        L: (n, n) Cholesky factor of C_PP in the lower triangle of the first m rows.
        P: (n,) the tasks of the support in the order of L, in the first m entries.
        inside: (n,) 1 for a task of the support, else 0.
        tabu: (n,) 1 for a task left out because its dependence on the support is rounding.
        x: (n,) the minimiser on the support or a direction, in the order of P.
    """

    L: Array
    P: Ints
    inside: Ints
    tabu: Ints
    x: Array


@inlined
def active_set(L: Array, ints: Ints, x: Array) -> ActiveSet:
    """The workspace in the memory of L (n, n), ints (3, n) and x (n,)."""
    return ActiveSet(L, ints[0], ints[1], ints[2], x)


@helper
def clear(active: ActiveSet) -> None:
    """An empty support."""
    for j in range(active.P.shape[0]):
        active.P[j] = active.inside[j] = active.tabu[j] = 0


@helper
def append(active: ActiveSet, m: int, C: Array, j: int) -> bool:
    """Extend the factor by task j; False if it depends on the support."""
    L, P = active.L, active.P
    row = L[m]
    for a in range(m):
        row[a] = (C[j, P[a]] - dot(L[a], row, a)) / L[a, a]
    pivot = C[j, j] - dot(row, row, m)
    if pivot <= 4.0 * C.shape[0] * EPS:
        row[m] = pivot
        return False
    row[m] = math.sqrt(pivot)
    P[m] = j
    return True


@helper
def delete(active: ActiveSet, m: int, k: int) -> None:
    """Remove position k from the support: shift the rows up, restore the triangle by rotations."""
    L, P = active.L, active.P
    for i in range(k, m - 1):
        P[i] = P[i + 1]
        for c in range(i + 2):
            L[i, c] = L[i + 1, c]
    for c in range(k, m - 1):
        x, y = L[c, c], L[c, c + 1]
        h = math.hypot(x, y)
        cosine, sine = x / h, y / h
        for i in range(c, m - 1):
            x, y = L[i, c], L[i, c + 1]
            L[i, c] = cosine * x + sine * y
            L[i, c + 1] = cosine * y - sine * x


@helper
def first_blocker(u: Array, P: Ints, m: int, move: Array) -> tuple[int, float]:
    """Position that reaches zero first along u + t move (t <= 1 is the caller's test), or -1."""
    block = -1
    shortest = math.inf
    for a in range(m):
        if move[a] < 0.0:
            t = u[P[a]] / -move[a]
            if t < shortest or (t == shortest and block >= 0 and P[a] < P[block]):
                block, shortest = a, t
    return block, shortest


@helper
def minimise_on_support(
    q: Array, u: Array, active: ActiveSet, m: int, entering: int
) -> tuple[int, int]:
    """Move u to the minimiser on its support, deleting what blocks; return (m, deletions)."""
    P, x = active.P, active.x
    deletions = 0
    nobody = deletions - 1  # no constant: numba would compile each callee once more for it
    while m > 0:
        for a in range(m):
            x[a] = -q[P[a]]
        solve_factored(active.L, x, m)
        block = nobody
        shortest = 1.0
        for a in range(m):
            if x[a] <= 0.0:
                old = u[P[a]]
                t = old / (old - x[a]) if old > 0.0 else 0.0
                if block < 0 or t < shortest or (t == shortest and P[a] < P[block]):
                    block, shortest = a, t
        if block < 0:
            for a in range(m):
                u[P[a]] = x[a]
            break
        for a in range(m):
            u[P[a]] += shortest * (x[a] - u[P[a]])
        gone = P[block]
        u[gone] = 0.0
        active.inside[gone] = 0
        if gone == entering and deletions == 0 and shortest == 0.0:
            active.tabu[gone] = 1  # its negative price was rounding
        delete(active, m, block)
        m -= 1
        deletions += 1
    return m, deletions


@helper
def cheapest(C: Array, q: Array, u: Array, active: ActiveSet, m: int, lowest_index: bool) -> int:
    """The task outside the support with the most negative price (or the first one), or -1."""
    n = q.shape[0]
    P, inside, tabu = active.P, active.inside, active.tabu
    best = -1
    best_price = 0.0
    for j in range(n):
        if inside[j] or tabu[j]:
            continue
        if SPARSE * m < n:
            total, size = 0.0, 0.0
            for a in range(m):
                term = C[j, P[a]] * u[P[a]]
                total += term
                size += abs(term)
        else:
            total, size = dot_abs(C[j], u, n)
        price = total + q[j]
        if price < best_price and price < -4.0 * n * EPS * (size + abs(q[j])):
            best, best_price = j, price
            if lowest_index:
                break
    return best


@helper
def guess_support(C: Array, q: Array, u: Array, active: ActiveSet) -> int:
    """A feasible start: solve on all with q < 0, drop what is negative, repeat; 0 if none."""
    n = q.shape[0]
    L, P, x = active.L, active.P, active.x
    m = 0 * n  # no constant, as in `minimise_on_support`
    for j in range(n):
        if q[j] < 0.0:
            P[m] = j
            m += 1
    for _ in range(GUESS_ROUNDS):
        for a in range(m):
            for b in range(a + 1):
                L[a, b] = C[P[a], P[b]]
            x[a] = -q[P[a]]
        if not cholesky(L, m) or smallest_pivot(L, m) <= 4.0 * n * EPS:
            return 0
        solve_factored(L, x, m)
        kept = 0
        for a in range(m):
            if x[a] > 0.0:
                P[kept] = P[a]
                kept += 1
        if kept == m:
            for a in range(m):
                u[P[a]] = x[a]
                active.inside[P[a]] = 1
            return m
        m = kept
    return 0


@helper
def smallest_pivot(L: Array, m: int) -> float:
    """The smallest squared diagonal entry of a factor."""
    least = math.inf
    for a in range(m):
        least = min(least, L[a, a] * L[a, a])
    return least


@helper
def descends(q: Array, terms: float, P: Ints, m: int, x: Array, j: int) -> bool:
    """Whether (x on P, 1 on j) is a ray to rounding, with a slope negative beyond rounding."""
    slope, size = q[j], abs(q[j]) + terms
    for a in range(m):
        if x[a] < -RAY_SLACK:
            return False
        slope += q[P[a]] * x[a]
        size += (abs(q[P[a]]) + terms) * x[a]
    return slope < -4.0 * q.shape[0] * EPS * size


@helper
def at_precision(active: ActiveSet) -> bool:
    """Whether a task was left out because its dependence on the others is rounding."""
    left_out = 0
    for j in range(active.tabu.shape[0]):
        left_out += active.tabu[j]
    return left_out > 0


@helper
def warm_support(C: Array, u: Array, active: ActiveSet) -> int:
    """The independent part of the support of u as a start; what does not fit is set to zero."""
    m = 0 * u.shape[0]  # no constant, as in `minimise_on_support`
    for j in range(u.shape[0]):
        if u[j] > 0.0 and append(active, m, C, j):
            active.inside[j] = 1
            m += 1
        else:
            u[j] = 0.0
    return m


@helper
def length(x: Array, m: int) -> float:
    """1 + sum |x|, the size of the direction (x, 1)."""
    total = 1.0
    for a in range(m):
        total += abs(x[a])
    return total


@helper
def nonnegative_minimum(
    C: Array,
    q: Array,
    u: Array,
    active: ActiveSet,
    m: int,
    cap: int,
    guess: bool,
    terms: float,
) -> tuple[int, int, int]:
    """Solve from (u, active, m), which is kept for the next q; return (code, m, steps).

    Cold start: u zero, a `clear` support, m = 0; `guess` a support first if most tasks may be in
    it. On RAY, u holds the ray and the support is not reusable. `terms` is the size of the sums of
    which q is the result: their rounding must not pass for a ray; inf where the minimum is known to
    exist.
    """
    n = q.shape[0]
    P, inside, tabu, x = active.P, active.inside, active.tabu, active.x
    for j in range(n):
        tabu[j] = 0
    if guess and m == 0 and n >= GUESS_FROM:
        m = guess_support(C, q, u, active)
    steps = 0
    entering = steps - 1  # no constant, as in `minimise_on_support`
    while steps < cap:
        m, deletions = minimise_on_support(q, u, active, m, entering)
        steps += 1 + deletions
        entering = cheapest(C, q, u, active, m, steps > 5 * n)
        if entering < 0:
            return SOLVED, m, steps
        while not append(active, m, C, entering):
            for a in range(m):
                x[a] = -C[entering, P[a]]
            pivot = active.L[m, m]
            solve_factored(active.L, x, m)
            if pivot < -NEGATIVE_LIMIT and pivot < -NEGATIVE_LIMIT * length(x, m) ** 2:
                return NOT_CONVEX, m, steps
            block, t = first_blocker(u, P, m, x)
            price = dot(C[entering], u, n) + q[entering]
            # so long a way for this gain that the curvature called zero would end it before
            endless = block < 0 or t * max(4.0 * n * EPS, abs(pivot)) > -price
            if endless and not descends(q, terms, P, m, x, entering):
                tabu[entering] = 1
                break
            if endless:
                for j in range(n):
                    u[j] = 0.0
                for a in range(m):
                    u[P[a]] = max(x[a], 0.0)
                u[entering] = 1.0
                return RAY, m, steps
            for a in range(m):
                u[P[a]] += t * x[a]
            u[entering] += t
            u[P[block]] = 0.0
            inside[P[block]] = 0
            delete(active, m, block)
            m -= 1
            steps += 1
        if not tabu[entering]:
            inside[entering] = 1
            m += 1
    return CAPPED, m, steps
