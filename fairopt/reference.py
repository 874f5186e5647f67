"""Reference implementations: each problem as it is written, in cvxpy or in exact fractions.

They are slow; the kernels are tested against them. Accuracy is that of the conic solver (about 1e-6
of a direction on well-scaled input). Needs the extra `reference`; cvxpy is imported by the first
call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput, NotSolved
from fairopt.extras import extra

GAP = 1e-8  # the default of Clarabel; it calls tighter answers inaccurate on power cones


def _cvxpy() -> Any:
    """The module, imported by the first call."""
    with extra("reference"):
        import cvxpy

    return cvxpy


def factor(gram: ArrayLike) -> Array:
    """Gradients (K, D), one per row, whose inner products are the given matrix.

    Example:
        >>> G = factor([[2.0, 1.0], [1.0, 2.0]])
        >>> (G @ G.T).round(12)
        array([[2., 1.],
               [1., 2.]])
    """
    A, _ = checks.gram_matrix(gram)
    if A.ndim != 2:
        raise InvalidInput("gram", f"array of shape {A.shape}", "one (K, K) matrix")
    values, vectors = np.linalg.eigh(0.5 * (A + A.T))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def fairgrad(gram: ArrayLike, alpha: float, priority: ArrayLike | None = None) -> Array:
    """Weights p s^-alpha at the maximum of sum p u_alpha(<g_k, d>) - ||d||^2 / 2 over d.

    Setting the derivative to zero gives d = sum p_k <g_k, d>^-alpha g_k: the normalisation in
    which the equation A w = (p / w)^(1/alpha) is written. For 0 < alpha < inf.

    Example:
        >>> fairgrad([[4.0]], 1.0).round(4)
        array([0.5])
    """
    cp = _cvxpy()

    G = factor(gram)
    alpha = checks.positive_number("alpha", alpha)
    p = np.ones(len(G)) if priority is None else checks.positive_vector("priority", priority)
    d = cp.Variable(G.shape[1])
    s = G @ d
    utility = cp.log(s) if alpha == 1.0 else cp.power(s, 1.0 - alpha) / (1.0 - alpha)
    _solve(cp, cp.Maximize(p @ utility - 0.5 * cp.sum_squares(d)), [])
    return np.asarray(p * (G @ d.value) ** -alpha)


def min_norm(gram: ArrayLike) -> Array:
    """The minimiser of ||G^T v||^2 over the simplex.

    Example:
        >>> min_norm([[1.0, 0.0], [0.0, 4.0]]).round(4)
        array([0.8, 0.2])
    """
    cp = _cvxpy()

    G = factor(gram)
    v = cp.Variable(len(G), nonneg=True)
    _solve(cp, cp.Minimize(cp.sum_squares(v @ G)), [cp.sum(v) == 1.0])
    return np.asarray(v.value)


def dual_cone_projection(gram: ArrayLike, reference: ArrayLike) -> Array:
    """The direction nearest to G^T r with <g_k, d> >= 0, as weights r + multipliers.

    Example:
        >>> dual_cone_projection([[1.0, -1.0], [-1.0, 4.0]], [1.0, 0.0]).round(4)
        array([1.  , 0.25])
    """
    cp = _cvxpy()

    G = factor(gram)
    r = checks.finite_vector("reference", reference, len(G))
    d = cp.Variable(G.shape[1])
    progress = G @ d >= 0.0
    _solve(cp, cp.Minimize(0.5 * cp.sum_squares(d - r @ G)), [progress])
    return np.asarray(r + progress.dual_value)


def conflict_averse(gram: ArrayLike, c: float, reference: ArrayLike | None = None) -> Array:
    """The d of best worst-case progress with ||d - g0|| <= c ||g0||, in coordinates of `factor`.

    Here g0 = G^T r.

    Example:
        >>> conflict_averse([[1.0]], 0.5).round(4)
        array([1.5])
    """
    cp = _cvxpy()

    G = factor(gram)
    r = _reference(reference, len(G))
    radius = checks.number("c", c, 0.0, np.finfo(float).max, "finite and >= 0")
    centre = r @ G
    d = cp.Variable(G.shape[1])
    ball = cp.norm(d - centre) <= radius * np.linalg.norm(centre)
    _solve(cp, cp.Maximize(cp.min(G @ d)), [ball])
    return np.asarray(d.value)


def upgrad(gram: ArrayLike, reference: ArrayLike | None = None) -> Array:
    """The combination of the projections of every single gradient, one programme each.

    Example:
        >>> upgrad([[1.0, 0.0], [0.0, 1.0]]).round(4)
        array([0.5, 0.5])
    """
    K = len(factor(gram))
    r = _reference(reference, K)
    return np.asarray(r @ np.array([dual_cone_projection(gram, unit) for unit in np.eye(K)]))


def _reference(reference: ArrayLike | None, tasks: int) -> Array:
    """The given reference, or the mean."""
    if reference is None:
        return np.full(tasks, 1.0 / tasks)
    return checks.finite_vector("reference", reference, tasks)


def allocation(
    routing: ArrayLike,
    capacity: ArrayLike,
    alpha: float,
    priority: ArrayLike | None = None,
    upper: ArrayLike | None = None,
) -> Array:
    """Alpha-fair rates under R x <= c, x <= upper, for finite alpha; about 1e-4 of a rate.

    Example:
        >>> allocation([[1, 1, 0], [1, 0, 1]], [1.0, 1.0], 1.0).round(3)
        array([0.333, 0.667, 0.667])
    """
    R, c = checks.real_array("routing", routing), checks.real_array("capacity", capacity)
    bound = np.full(R.shape[1], np.inf) if upper is None else checks.real_array("upper", upper)
    held = np.flatnonzero(np.isfinite(bound))

    def limits(x: Any) -> list[Any]:
        return [R @ x <= c] + ([x[held] <= bound[held]] if len(held) else [])

    return allocation_on_set(limits, R.shape[1], alpha, priority)


def allocation_on_set(
    constraints: Callable[[Any], list[Any]],
    flows: int,
    alpha: float,
    priority: ArrayLike | None = None,
) -> Array:
    """Alpha-fair rates x >= 0 on any convex set, for constraints that are not R x <= c.

    Args:
        constraints: From a cvxpy variable of shape (flows,) to a list of cvxpy constraints.
        flows: Number of rates.
        alpha: In [0, inf]. At inf levels are found one by one, each with a programme per open flow.
        priority: (flows,) > 0, default ones; no effect at inf.

    Returns:
        (flows,) rates to the accuracy of the conic solver; no certificate.

    Raises:
        NotSolved: if cvxpy finds no optimum (an empty or unbounded set among the reasons).

    Example:
        >>> import cvxpy
        >>> allocation_on_set(lambda x: [cvxpy.norm(x) <= 1.0], 2, 1.0, [1.0, 3.0]).round(3)
        array([0.5  , 0.866])
    """
    cp = _cvxpy()
    power = checks.number("alpha", alpha, 0.0, np.inf, "a number in [0, inf]")
    p = np.ones(flows) if priority is None else checks.positive_vector("priority", priority, flows)
    if power == np.inf:
        return _level_by_level(cp, constraints, flows)
    x = cp.Variable(flows, nonneg=True)
    if power == 0.0:
        utility = x
    elif power == 1.0:
        utility = cp.log(x)
    else:
        utility = cp.power(x, 1.0 - power) / (1.0 - power)
    _solve(cp, cp.Maximize(p @ utility), constraints(x))
    return np.asarray(x.value)


def allocation_on_polytope(
    T: ArrayLike,
    alpha: float,
    *,
    G: ArrayLike | None = None,
    h: ArrayLike | None = None,
    A: ArrayLike | None = None,
    b: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    priority: ArrayLike | None = None,
) -> Array:
    """Alpha-fair utilities T z under G z <= h, A z = b, z >= 0; about 1e-4 of a utility.

    Example:
        >>> allocation_on_polytope([[1, 1, 0], [0, 0, 1]], 1.0, A=[[1, 1, 1]], b=[1.0]).round(3)
        array([0.5, 0.5])
    """
    cp = _cvxpy()
    rows = checks.real_array("T", T)
    n, k = rows.shape
    w = np.ones(n) if weights is None else checks.positive_vector("weights", weights, n)
    z = cp.Variable(k, nonneg=True)
    limits = []
    if G is not None and h is not None:
        limits.append(checks.real_array("G", G) @ z <= checks.real_array("h", h))
    if A is not None and b is not None:
        limits.append(checks.real_array("A", A) @ z == checks.real_array("b", b))
    found = allocation_on_set(lambda x: [*limits, x == (rows / w[:, None]) @ z], n, alpha, priority)
    return np.asarray(found * w)


SETTLED = 1e-5  # relative: a rate that cannot exceed the level by more is settled


def _level_by_level(cp: Any, constraints: Callable[[Any], list[Any]], flows: int) -> Array:
    """Max-min fair rates: raise the least open rate, settle the flows that cannot exceed it."""
    settled = np.full(flows, np.nan)
    while np.isnan(settled).any():
        x, t = cp.Variable(flows, nonneg=True), cp.Variable()
        fixed, open_ = np.flatnonzero(~np.isnan(settled)), np.flatnonzero(np.isnan(settled))
        kept = [x[fixed] >= settled[fixed] * (1.0 - SETTLED)] if len(fixed) else []
        _solve(cp, cp.Maximize(t), [*constraints(x), *kept, x[open_] >= t])
        level, best = float(t.value), {}
        for i in open_:
            _solve(
                cp, cp.Maximize(x[i]), [*constraints(x), *kept, x[open_] >= level * (1 - SETTLED)]
            )
            best[i] = float(x.value[i])
        lowest = min(best.values())
        for i, most in best.items():
            if most <= max(level * (1.0 + 100.0 * SETTLED), lowest):
                settled[i] = level
    return settled


def max_min_rates(
    routing: Sequence[Sequence[Rational]],
    capacity: Sequence[Rational],
    upper: Sequence[Rational | None] | None = None,
) -> list[Fraction]:
    """Max-min fair rates in exact fractions, by progressive filling.

    Example:
        >>> max_min_rates([[1, 1, 0], [1, 0, 1]], [1, 2])
        [Fraction(1, 2), Fraction(1, 2), Fraction(3, 2)]
    """
    R = [[Fraction(entry) for entry in row] for row in routing]
    n = len(R[0])
    bounds = [None] * n if upper is None else list(upper)
    rates: list[Fraction | None] = [None] * n
    while None in rates:
        level = min(_levels(R, capacity, bounds, rates).values())
        stop = [i for i, top in _levels(R, capacity, bounds, rates).items() if top == level]
        for i in stop:
            rates[i] = level
    return [rate for rate in rates if rate is not None]


def _levels(
    R: list[list[Fraction]],
    capacity: Sequence[Rational],
    upper: Sequence[Rational | None],
    rates: list[Fraction | None],
) -> dict[int, Fraction]:
    """For every open flow the common rate at which its first link is full, or its bound."""
    tops: dict[int, Fraction] = {}
    for row, limit in zip(R, capacity, strict=True):
        users = [i for i, entry in enumerate(row) if entry > 0 and rates[i] is None]
        if users:
            spent = sum((row[i] * x for i, x in enumerate(rates) if x is not None), Fraction(0))
            level = (Fraction(limit) - spent) / sum(row[i] for i in users)
            tops |= {i: min(level, tops.get(i, level)) for i in users}
    for i, bound in enumerate(upper):
        if bound is not None and rates[i] is None:
            tops[i] = min(Fraction(bound), tops.get(i, Fraction(bound)))
    return tops


def _solve(cp: Any, objective: Any, constraints: list[Any]) -> None:
    """Solve tightly; anything but an optimum is an error."""
    problem = cp.Problem(objective, constraints)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=GAP, tol_gap_rel=GAP, tol_feas=GAP)
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise NotSolved(f"cvxpy: {problem.status}")
