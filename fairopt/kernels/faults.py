"""What a kernel can find wrong with its arrays: codes, and the words for them."""

from __future__ import annotations

import numpy as np

from fairopt.arrays import Array

UNSETTLED = 99  # of a kernel for what is common: the full one must decide; no status, no fault
NOT_FINITE = 101
NEGATIVE_DIAGONAL = 102
ASYMMETRIC = 103
CAUCHY_SCHWARZ = 104
INDEFINITE = 105

ASYMMETRY_LIMIT = 1e-3  # of sqrt(A_ii A_jj); the rounding of a float16 matrix stays below it
EXCESS_LIMIT = 1e-3  # of |A_ij| over sqrt(A_ii A_jj), likewise


def words(matrix: Array, code: int) -> tuple[str, str]:
    """The place of the fault as '[i, j]' ('' for the whole matrix), and the requirement."""
    with np.errstate(all="ignore"):
        norms = np.sqrt(np.abs(matrix.diagonal()))
        size = np.outer(norms, norms)
    if code == NOT_FINITE:
        return _first(~np.isfinite(matrix)), "finite"
    if code == NEGATIVE_DIAGONAL:
        return _first(np.diag(matrix.diagonal() < 0.0)), ">= 0, a squared norm"
    if code == ASYMMETRIC:
        gap = np.abs(matrix - matrix.T) > ASYMMETRY_LIMIT * size
        return _first(gap), "equal to its mirror image (a Gram matrix is symmetric)"
    if code == CAUCHY_SCHWARZ:
        excess = np.maximum(np.abs(matrix), np.abs(matrix.T)) > (1.0 + EXCESS_LIMIT) * size
        return _first(excess), "at most sqrt(A_ii A_jj) (a Gram matrix obeys Cauchy-Schwarz)"
    return "", "positive semidefinite, as a Gram matrix is"


def _first(bad: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
    """The first marked entry."""
    i, j = np.argwhere(bad)[0] if bad.any() else (0, 0)
    return f"[{i}, {j}]"
