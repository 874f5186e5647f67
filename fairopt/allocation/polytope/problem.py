"""The problem on a polytope as the caller stated it, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fairopt import checks
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.errors import InvalidInput

LARGEST_ALPHA = 200.0  # beyond it, alpha = inf answers the same question
PASSES = 3  # of bound propagation; a bound that needs more is left at inf
ABOVE = 1.0 + 1e-12  # on a propagated bound, more than its rounding


@dataclass(frozen=True, eq=False)
class Polytope:
    """Maximise sum_i p_i u_alpha((T z)_i / w_i) subject to G z <= h, A z = b, z >= 0.

    Attributes:
        T: (n, k) `scipy.sparse.csr_array`, no entry twice.
        G: (m, k) the same.
        h: (m,) finite.
        A: (e, k) the same as G.
        b: (e,) finite.
        alpha: In [0, 200], or inf.
        weights: (n,) w > 0.
        priority: (n,) p > 0.
        price_unit: Log of the unit in which prices are told.
    """

    T: Any
    G: Any
    h: Array
    A: Any
    b: Array
    alpha: float
    weights: Array
    priority: Array
    price_unit: float = 0.0

    @property
    def utilities(self) -> int:
        """Number n of utilities."""
        return int(self.T.shape[0])

    @property
    def variables(self) -> int:
        """Number k of variables."""
        return int(self.T.shape[1])

    @cached_property
    def sizes(self) -> tuple[Any, Any, Any]:
        """|T|, |G|, |A|."""
        return abs(self.T), abs(self.G), abs(self.A)

    @cached_property
    def log_priority(self) -> Array:
        """Log p + (alpha - 1) log w: for finite alpha the weights only change priorities."""
        return np.asarray(np.log(self.priority) + (self.alpha - 1.0) * np.log(self.weights))

    @cached_property
    def levels(self) -> Any:
        """T with its rows divided by the weights."""
        return scaled(self.T, 1.0 / self.weights, np.ones(self.variables))

    @cached_property
    def bounds(self) -> Array:
        """(k,) upper bounds of every variable that single constraints imply; inf where none does.

        Every row g z <= h gives z_j <= (h + sum over g_i < 0 of |g_i| bound_i) / g_j for g_j > 0.
        """
        from scipy import sparse

        rows: Any = sparse.vstack([self.G, self.A, -self.A]).tocoo()
        room = np.concatenate([self.h, self.b, -self.b])
        up, down = rows.data > 0.0, rows.data < 0.0
        bound = np.full(self.variables, np.inf)
        for _ in range(PASSES):
            most = room.copy()
            np.add.at(most, rows.row[down], -rows.data[down] * bound[rows.col[down]])
            new = bound.copy()
            np.minimum.at(new, rows.col[up], most[rows.row[up]] / rows.data[up] * ABOVE)
            new = np.maximum(new, 0.0)
            if np.array_equal(new, bound):
                break
            bound = new
        return bound

    @cached_property
    def closed(self) -> BoolArray:
        """(n,) utilities that single constraints keep at zero: sums of variables of bound zero."""
        can = self.T.copy()
        can.data = ((can.data != 0.0) & (self.bounds[can.indices] > 0.0)).astype(float)
        return np.asarray(can.sum(axis=1) == 0.0)

    def without(self, dropped: BoolArray) -> Polytope:
        """The same without some utilities; they are still kept at zero or more."""
        from scipy import sparse

        kept = ~dropped
        signs: Any = -self.T[np.flatnonzero(dropped)]
        positive = np.bincount(signs.nonzero()[0][signs.data > 0.0], minlength=signs.shape[0])
        needed: Ints = np.flatnonzero(positive)
        G = sparse.vstack([self.G, signs[needed]]).tocsr() if len(needed) else self.G
        return replace(
            self,
            T=self.T[np.flatnonzero(kept)],
            G=G,
            h=np.concatenate([self.h, np.zeros(len(needed))]),
            weights=self.weights[kept],
            priority=self.priority[kept],
        )

    def on_variables(self, kept: Ints) -> Polytope:
        """The problem in which all other variables are zero."""
        return replace(self, T=self.T[:, kept], G=self.G[:, kept], A=self.A[:, kept])


def scaled(matrix: Any, rows: Array, columns: Array) -> Any:
    """The sparse matrix with rows and columns multiplied by numbers."""
    result = matrix.copy()
    result.data = result.data * np.repeat(rows, np.diff(result.indptr)) * columns[result.indices]
    return result


def read(
    T: object,
    G: object,
    h: object,
    A: object,
    b: object,
    alpha: object,
    weights: object,
    priority: object,
) -> Polytope:
    """The checked problem; every refusal names the argument."""
    rows = _matrix("T", T, None)
    n, k = rows.shape
    if n == 0 or k == 0:
        raise InvalidInput("T", f"array of shape {rows.shape}", "with at least one row and column")
    power = checks.number("alpha", alpha, 0.0, np.inf, ALPHA)
    if LARGEST_ALPHA < power < np.inf:
        raise InvalidInput("alpha", alpha, ALPHA)
    limits, room = _constraints("G", G, "h", h, k)
    equal, value = _constraints("A", A, "b", b, k)
    return Polytope(
        rows,
        limits,
        room,
        equal,
        value,
        power,
        _positive("weights", weights, n),
        _positive("priority", priority, n),
    )


ALPHA = f"a number in [0, {LARGEST_ALPHA:g}], or inf"


def _constraints(
    left: str, matrix: object, right: str, vector: object, k: int
) -> tuple[Any, Array]:
    """Matrix and right-hand side, both given or both None."""
    if matrix is None and vector is None:
        return _matrix(left, np.zeros((0, k)), k), np.zeros(0)
    if matrix is None or vector is None:
        missing, given = (left, right) if matrix is None else (right, left)
        raise InvalidInput(missing, None, f"given where {given} is")
    rows = _matrix(left, matrix, k)
    return rows, _each(right, vector, rows.shape[0], f"rows of {left}")


def _matrix(argument: str, value: object, columns: int | None) -> Any:
    """A matrix of finite numbers in compressed rows, duplicates added and zeros dropped."""
    from scipy import sparse

    what = "an array or scipy sparse matrix of finite numbers, two-dimensional"
    what += "" if columns is None else f", with {columns} columns as T"
    if sparse.issparse(value):
        given: Any = value
        if given.dtype.kind not in "fiu":
            raise InvalidInput(argument, f"dtype {given.dtype}", what)
        shape, matrix = given.shape, given
    else:
        matrix = checks.real_array(argument, value, what)
        shape = matrix.shape
    if len(shape) != 2 or (columns is not None and shape[1] != columns):
        raise InvalidInput(argument, f"array of shape {shape}", what)
    rows = sparse.csr_array(matrix, dtype=np.float64, copy=True)
    rows.sum_duplicates()
    checks.all_where(argument, rows.data, np.isfinite(rows.data), what)
    rows.eliminate_zeros()
    return rows


def _each(argument: str, value: object, size: int, of: str) -> Array:
    """One finite number for each."""
    array = checks.real_array(argument, value)
    if array.shape != (size,):
        what = f"of shape ({size},), one for each of the {of}"
        raise InvalidInput(argument, f"array of shape {array.shape}", what)
    checks.all_where(argument, array, np.isfinite(array), "finite numbers")
    return array


def _positive(argument: str, value: object, size: int) -> Array:
    """One number > 0 for each utility, default ones."""
    if value is None:
        return np.ones(size)
    array = _each(argument, value, size, "rows of T")
    checks.all_where(argument, array, array > 0.0, "finite and > 0")
    return array
