"""Small dense linear algebra on rows of preallocated arrays."""

from __future__ import annotations

import math

from fairopt.arrays import Array
from fairopt.kernels.jit import helper, summing

EPS = 2.0**-52
SHORT = 16  # rows; up to this size plain loops beat vectorised sums of parts of rows


@summing
def dot(a: Array, b: Array, n: int) -> float:
    """Sum of a[k] b[k] over the first n entries."""
    total = 0.0
    for k in range(n):
        total += a[k] * b[k]
    return total


@summing
def dot_abs(a: Array, b: Array, n: int) -> tuple[float, float]:
    """Sums of a[k] b[k] and of |a[k] b[k]|."""
    total = 0.0
    size = 0.0
    for k in range(n):
        product = a[k] * b[k]
        total += product
        size += abs(product)
    return total, size


@summing
def subtract_multiple(y: Array, factor: float, a: Array, n: int) -> None:
    """Subtract factor times a from y, on the first n entries."""
    for k in range(n):
        y[k] -= factor * a[k]


@helper
def fill(y: Array, value: float) -> None:
    """Set every entry (slices and broadcasting would triple the compile time)."""
    for k in range(y.shape[0]):
        y[k] = value


@helper
def copy(source: Array, target: Array) -> None:
    """Copy every entry."""
    for k in range(source.shape[0]):
        target[k] = source[k]


@helper
def short_cholesky(H: Array, n: int) -> bool:
    """`cholesky` in plain loops."""
    for i in range(n):
        for j in range(i):
            rest = H[i, j]
            for k in range(j):
                rest -= H[i, k] * H[j, k]
            H[i, j] = rest / H[j, j]
        pivot = H[i, i]
        for k in range(i):
            pivot -= H[i, k] * H[i, k]
        if not pivot > 0.0:
            return False
        H[i, i] = math.sqrt(pivot)
    return True


@helper
def short_solve(L: Array, y: Array, n: int) -> None:
    """`solve_factored` in plain loops."""
    for i in range(n):
        rest = y[i]
        for k in range(i):
            rest -= L[i, k] * y[k]
        y[i] = rest / L[i, i]
    for i in range(n - 1, -1, -1):
        y[i] /= L[i, i]
        for k in range(i):
            y[k] -= y[i] * L[i, k]


@helper
def cholesky(H: Array, n: int) -> bool:
    """Overwrite the lower triangle of H by its factor; False if a pivot is not positive."""
    if H.shape[0] <= SHORT:
        return short_cholesky(H, n)
    for i in range(n):
        for j in range(i):
            H[i, j] = (H[i, j] - dot(H[i], H[j], j)) / H[j, j]
        pivot = H[i, i] - dot(H[i], H[i], i)
        if not pivot > 0.0:
            return False
        H[i, i] = math.sqrt(pivot)
    return True


@helper
def solve_lower(L: Array, y: Array, n: int) -> None:
    """Overwrite y by the solution x of L x = y."""
    for i in range(n):
        y[i] = (y[i] - dot(L[i], y, i)) / L[i, i]


@helper
def solve_factored(L: Array, y: Array, n: int) -> None:
    """Overwrite y by the solution x of L L' x = y."""
    if L.shape[0] <= SHORT:
        short_solve(L, y, n)
        return
    solve_lower(L, y, n)
    for i in range(n - 1, -1, -1):
        y[i] /= L[i, i]
        subtract_multiple(y, y[i], L[i], i)
