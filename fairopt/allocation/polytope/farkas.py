"""Whether multipliers prove that a polytope is empty, or that part of it can only be zero.

Both verdicts have strict margins that no unit of rows, right-hand sides or variables changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.arrays import Array

NEGLIGIBLE = 1e-12  # of the largest multiplier, in units of rows: rounding of a zero
MARGIN = 1e-9  # relative: least contradiction, as the violation of a point that is still a solution
FAR = 1e4  # in units of the multipliers: a point of this size is excluded as well
ULPS = 1e-13  # of the largest right-hand side: what rounding makes of zero
ROUNDING = 1e-10  # relative: the tolerance of HiGHS

System = tuple[Any, Array, Any, Array, Any]


def without_rounding(system: System, y: Array) -> Array:
    """Multipliers with zeros where they are zero but for rounding."""
    G, _, A, _, T = system
    rows = np.concatenate([_largest(matrix) for matrix in (G, A, T)])
    size = np.abs(y) * rows
    used = (size > NEGLIGIBLE * size.max(initial=0.0)) | (rows == 0.0)
    return np.where(used, y, 0.0)


def _largest(matrix: Any) -> Array:
    """The largest entry of every row, 0 where there is none."""
    from scipy import sparse

    entries: Any = abs(sparse.csr_array(matrix)).tocoo()
    most = np.zeros(entries.shape[0])
    np.maximum.at(most, entries.row, entries.data)
    return most


def proves_empty(system: System, y: Array) -> bool:
    """Whether y = (lambda, nu, pi) proves that no z >= 0 has G z <= h, A z = b, T z >= 0.

    G' lambda + A' nu - T' pi >= 0 and h' lambda + b' nu < 0, where multipliers that are rounding
    do not count, what the first lacks is far less than the second has, and that is more than
    rounding of the largest right-hand side.

    Args:
        system: (G, h, A, b, T).
        y: (m + e + n,).

    Example:
        >>> none = np.zeros((0, 1))
        >>> system = none, np.zeros(0), np.ones((2, 1)), np.array([1.0, 2.0]), none
        >>> proves_empty(system, np.array([1.0, -1.0])), proves_empty(system, np.array([1.0, 1.0]))
        (True, False)
    """
    if not np.isfinite(y).all():
        return False
    y = without_rounding(system, y)
    right, total, lack = _sums(system, y, np.zeros(system[0].shape[1]))
    least = max(MARGIN * total, FAR * lack * total, ULPS * _largest_term(system, y))
    return bool(right < -least)


def proves_zero(system: System, y: Array, earned: Array) -> bool:
    """Whether y proves earned'z <= 0 on the polytope, to rounding of its terms.

    G' lambda + A' nu - T' pi >= earned and h' lambda + b' nu <= 0.
    """
    if not np.isfinite(y).all():
        return False
    y = without_rounding(system, y)
    right, total, lack = _sums(system, y, earned)
    return bool(right <= ROUNDING * total and lack <= ROUNDING)


def _largest_term(system: System, y: Array) -> float:
    """The largest multiplier times the largest right-hand side, in units of rows."""
    G, h, A, b, _ = system
    rows, right = np.concatenate([_largest(G), _largest(A)]), np.abs(np.concatenate([h, b]))
    limit = np.divide(right, rows, out=np.zeros_like(right), where=rows > 0.0)
    return float((np.abs(y[: len(rows)]) * rows).max(initial=0.0) * limit.max(initial=0.0))


def _sums(system: System, y: Array, earned: Array) -> tuple[float, float, float]:
    """The sum h' lambda + b' nu, the size of its terms, and what columns lack, relative to theirs.

    The last is inf where a sign is wrong.
    """
    G, h, A, b, T = system
    m, e = len(h), len(b)
    lam, nu, pi = y[:m], y[m : m + e], y[m + e :]
    sums = G.T @ lam + A.T @ nu - T.T @ pi - earned
    size = abs(G).T @ lam + abs(A).T @ np.abs(nu) + abs(T).T @ pi + np.abs(earned)
    lacking = np.maximum(-sums, 0.0)
    share = np.divide(lacking, size, out=np.zeros_like(lacking), where=size > 0.0)
    lack = float(share.sum()) if (lam >= 0.0).all() and (pi >= 0.0).all() else np.inf
    return float(h @ lam + b @ nu), float(np.abs(h) @ lam + np.abs(b) @ np.abs(nu)), lack
