"""Units in which every row and column has entries of about 1, whatever the caller's units are.

The rows of T, G with h and A with b, and the columns of all, are divided by the square roots of
their largest entries until these are 1 (Ruiz); the right-hand sides are a column of their own, so
that the unit of z follows from them. Factors are rounded to powers of two: nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairopt.allocation.polytope.problem import Polytope
from fairopt.allocation.polytope.problem import scaled as rescaled
from fairopt.arrays import Array

SWEEPS = 30  # the exponents halve their distance to the limit in each
FEW = 30_000  # entries up to which the overhead of sparse products is the larger part
NEARER = 16.0  # than the first start, where it led nowhere
DENSE = 0.15  # share of entries above which a dense product is faster than a sparse one


@dataclass(frozen=True, eq=False)
class Scaled:
    """Maximise sum exp(log_weight) u_alpha(x), x = T z, G z <= h, A z = b, z >= 0, in own units.

    The log weights at any alpha are log_priority + (alpha - 1) log_unit.

    Attributes:
        B: (n + m + e, k) the rows of T, G, A, dense or sparse.
        right: (m + e,) h and b.
        n: Number of utilities.
        m: Number of inequalities.
        alpha: As stated.
        log_priority: (n,) log p.
        log_unit: (n,) log of x / ((T z)_i / w_i).
        column: (k,) z = column * scaled z.
        row: (n + m + e,) scaled row = row * given row.
    """

    B: Any
    right: Array
    n: int
    m: int
    alpha: float
    log_priority: Array
    log_unit: Array
    column: Array
    row: Array


def scale(problem: Polytope) -> Scaled:
    """The problem in its own units."""
    from scipy import sparse

    n, m = problem.utilities, len(problem.h)
    right = np.concatenate([problem.h, problem.b])
    last = sparse.csr_array(np.concatenate([np.zeros(n), right])[:, None])
    rows = sparse.vstack([problem.T, problem.G, problem.A])
    whole: Any = sparse.hstack([rows, last]).tocsr()
    up, across = _ruiz(whole)
    if right.any():  # then the last column is a unit of z and not of its own
        up, across = up * across[-1], across / across[-1]
    else:
        across[-1] = 1.0
    up, across = _power_of_two(up), _power_of_two(across)
    ready = rescaled(rows.tocsr(), up, across[:-1])
    size = float(np.prod(ready.shape))
    B = ready.toarray() if ready.nnz > DENSE * size or size <= FEW else ready
    log_unit = np.log(up[:n]) + np.log(problem.weights)
    log_priority = np.log(problem.priority)
    return Scaled(B, right * up[n:], n, m, problem.alpha, log_priority, log_unit, across[:-1], up)


def nearer(scaled: Scaled) -> Scaled:
    """The same in smaller units of z: a start at all ones is then nearer to zero."""
    return replace(
        scaled,
        right=scaled.right * NEARER,
        log_unit=scaled.log_unit + np.log(NEARER),
        column=scaled.column / NEARER,
        row=scaled.row * NEARER,
    )


def _ruiz(matrix: Any) -> tuple[Array, Array]:
    """Row and column factors after which all largest entries are about 1."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    log_entry = np.log(np.abs(matrix.data))
    up, across = np.zeros(matrix.shape[0]), np.zeros(matrix.shape[1])
    for _ in range(SWEEPS):
        size = log_entry + up[rows] + across[matrix.indices]
        for factor, index in ((up, rows), (across, matrix.indices)):
            most = np.full(len(factor), -np.inf)
            np.maximum.at(most, index, size)
            factor -= 0.5 * np.where(np.isfinite(most), most, 0.0)
    return np.exp(up), np.exp(across)


def _power_of_two(factor: Array) -> Array:
    """The next power of two."""
    return np.asarray(np.exp2(np.round(np.log2(factor))))
