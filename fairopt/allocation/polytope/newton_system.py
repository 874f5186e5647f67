"""The linear system of every Newton step, by dense Cholesky factors.

    [ R/Z  -B' ] [dz]   [a]
    [ B     E  ] [u ] = [c]        E = diag(1 / H, S / Lambda, 0),  B = (T; G; A)

By rows of B: (B D B' + E) u = c - B D a with D = Z/R, dz = D (a + B' u). By variables, where these
are fewer: (R/Z + T' H T + G' Lambda/S G) dz with a Schur complement for A. Both are scaled to a
unit diagonal, and every solution is refined against the system above.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.arrays import Array

RIDGE = 1e-14  # of the unit diagonal, where rounding takes the definiteness
MORE = 1e4  # times the ridge after a failed factorisation
TRIES = 4


REFINEMENTS = 3


class System:
    """The factorised system of one iterate.

    Args:
        B: (rows, k) rows of T, G and A.
        over: (n + m,) the diagonal E of the rows of T and G, > 0.
        barrier: (k,) r / z.
    """

    def __init__(self, B: Any, over: Array, barrier: Array) -> None:
        self.B, self.barrier = B, barrier
        self.E = np.concatenate([over, np.zeros(B.shape[0] - len(over))])
        self.split = len(over)
        self.by_rows = B.shape[0] <= B.shape[1]
        if self.by_rows:
            self.factor = _Cholesky(_gram(B, 1.0 / barrier), self.E)
            return
        first = B[: self.split]
        self.factor = _Cholesky(_gram(first.T, 1.0 / over), barrier)
        self.last = B[self.split :]
        if self.last.shape[0]:
            rows = self.last.toarray() if hasattr(self.last, "toarray") else self.last
            self.moved = self.factor.solve(rows.T)
            self.schur = _Cholesky(self.last @ self.moved, np.zeros(len(rows)))

    def solve(self, a: Array, c: Array) -> tuple[Array, Array]:
        """(dz, u), refined while that helps."""
        dz, u = self._once(a, c)
        left, right = self._lack(a, c, dz, u)
        size = _largest(right)
        for _ in range(REFINEMENTS):
            more, other = self._once(left, right)
            new = dz + more, u + other
            left, right = self._lack(a, c, *new)
            if not _largest(right) < size:
                break
            (dz, u), size = new, _largest(right)
        return dz, u

    def _lack(self, a: Array, c: Array, dz: Array, u: Array) -> tuple[Array, Array]:
        """Right-hand sides minus left-hand sides."""
        return a - self.barrier * dz + self.B.T @ u, c - self.B @ dz - self.E * u

    def _once(self, a: Array, c: Array) -> tuple[Array, Array]:
        """(dz, u) from the factor."""
        if self.by_rows:
            u = self.factor.solve(c - self.B @ (a / self.barrier))
            return (a + self.B.T @ u) / self.barrier, u
        first, over, k = self.B[: self.split], self.E[: self.split], self.split
        dz = self.factor.solve(a + first.T @ (c[:k] / over))
        u = np.zeros(len(c))
        if len(c) > k:
            u[k:] = self.schur.solve(c[k:] - self.last @ dz)
            dz = dz + self.moved @ u[k:]
        u[:k] = (c[:k] - first @ dz) / over
        return dz, u


def _largest(array: Array) -> float:
    """The largest absolute value."""
    return float(np.abs(array).max(initial=0.0))


def _gram(B: Any, d: Array) -> Array:
    """B diag(d) B' as a dense array."""
    if isinstance(B, np.ndarray):
        half = B * np.sqrt(d)
        return np.asarray(half @ half.T)
    from scipy import sparse

    half = B @ sparse.diags_array(np.sqrt(d))
    return np.asarray((half @ half.T).toarray())


class _Cholesky:
    """The factor of a positive semidefinite matrix plus a diagonal."""

    def __init__(self, matrix: Array, diagonal: Array) -> None:
        from scipy.linalg import lapack

        index = np.arange(len(diagonal))
        matrix[index, index] += diagonal
        size = matrix[index, index]
        scale = 1.0 / np.sqrt(np.where(size > 0.0, size, 1.0))
        matrix *= scale
        matrix *= scale[:, None]
        self.scale, self._potrs = scale, lapack.dpotrs
        ridge = RIDGE
        for _ in range(TRIES):
            matrix[index, index] = 1.0 + ridge
            self.factor, failed = lapack.dpotrf(matrix, lower=1)
            if not failed:
                return
            ridge *= MORE
        raise np.linalg.LinAlgError("the Newton system has no Cholesky factor")

    def solve(self, right: Array) -> Array:
        """The solution for one or several right-hand sides."""
        scale = self.scale if right.ndim == 1 else self.scale[:, None]
        found, _ = self._potrs(self.factor, scale * right, lower=1)
        return np.asarray(scale * found)
