"""Slow evident twins of the K x K problems: each is handed to cvxpy as it is written.

They exist to check the kernels and to be read; accuracy is that of the conic solver (about 1e-6 of
a direction on well-scaled input). Needs the extra `reference`; cvxpy is imported by the first call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.checks import Array
from fairopt.errors import InvalidInput, NotSolved

GAP = 1e-8  # the default of Clarabel; it calls tighter answers inaccurate on power cones


def _cvxpy() -> Any:
    """The module, imported by the first call."""
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
    p = np.ones(len(G)) if priority is None else checks.positive_vector("priority", priority)
    d = cp.Variable(G.shape[1])
    s = G @ d
    utility = cp.log(s) if alpha == 1.0 else cp.power(s, 1.0 - alpha) / (1.0 - alpha)
    _solve(cp, cp.Maximize(p @ utility - 0.5 * cp.sum_squares(d)), [])
    return np.asarray(p * (G @ d.value) ** -alpha)


def min_norm(gram: ArrayLike) -> Array:
    """The minimiser of ||G v||^2 over the simplex.

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
    """The direction nearest to G r with <g_k, d> >= 0, as weights r + multipliers.

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
    """The d of best worst progress with ||d - G r|| <= c ||G r||, in the coordinates of `factor`.

    Example:
        >>> conflict_averse([[1.0]], 0.5).round(4)
        array([1.5])
    """
    cp = _cvxpy()

    G = factor(gram)
    r = np.full(len(G), 1.0 / len(G)) if reference is None else np.asarray(reference, dtype=float)
    centre = r @ G
    d = cp.Variable(G.shape[1])
    ball = cp.norm(d - centre) <= c * np.linalg.norm(centre)
    _solve(cp, cp.Maximize(cp.min(G @ d)), [ball])
    return np.asarray(d.value)


def upgrad(gram: ArrayLike, reference: ArrayLike | None = None) -> Array:
    """The combination of the projections of every single gradient, one programme each.

    Example:
        >>> upgrad([[1.0, 0.0], [0.0, 1.0]]).round(4)
        array([0.5, 0.5])
    """
    K = len(factor(gram))
    r = np.full(K, 1.0 / K) if reference is None else np.asarray(reference, dtype=float)
    return np.asarray(r @ np.array([dual_cone_projection(gram, unit) for unit in np.eye(K)]))


def _solve(cp: Any, objective: Any, constraints: list[Any]) -> None:
    """Solve tightly; anything but an optimum is an error."""
    problem = cp.Problem(objective, constraints)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=GAP, tol_gap_rel=GAP, tol_feas=GAP)
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise NotSolved(f"cvxpy: {problem.status}")
