"""Redundant equalities dropped and contradictory ones found, by a pivoted QR factorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt.allocation.polytope.farkas import proves_empty, without_rounding
from fairopt.arrays import Array, Ints

DEPENDENT = 1e-11  # of the largest pivot of rows of length 1: a smaller one is rounding


@dataclass(frozen=True, eq=False)
class Equalities:
    """Which equalities are needed.

    Attributes:
        kept: Numbers of independent rows that imply the others.
        contradiction: (e,) y with A' y = 0 and b' y < 0, verified with margins: no z meets
            A z = b. None if there is none.
    """

    kept: Ints
    contradiction: Array | None


def independent(A: Any, b: Array) -> Equalities:
    """The rows of A that imply the others, or a combination 0 = 1.

    Example:
        >>> from scipy import sparse
        >>> A = sparse.csr_array([[1.0, 1.0], [2.0, 2.0]])
        >>> len(independent(A, np.array([1.0, 2.0])).kept)
        1
        >>> independent(A, np.array([1.0, 3.0])).contradiction is None
        False
    """
    from scipy.linalg import qr, solve_triangular

    e = len(b)
    if e == 0:
        return Equalities(np.arange(0), None)
    rows = A.toarray()
    length = np.abs(rows).max(axis=1)
    zero = length == 0.0
    if (zero & (b != 0.0)).any():
        row = int(np.flatnonzero(zero & (b != 0.0))[0])
        return Equalities(np.arange(0), -np.sign(b[row]) * np.eye(e)[row])
    size = np.where(zero, 1.0, length)
    triangle, order = qr((rows / size[:, None]).T, mode="r", pivoting=True)
    diagonal = np.abs(np.diagonal(triangle))
    rank = int((diagonal > DEPENDENT * max(1.0, diagonal.max(initial=0.0))).sum())
    first, others = order[:rank], order[rank:]
    share = solve_triangular(triangle[:rank, :rank], triangle[:rank, rank:])
    system = A[:0], np.zeros(0), A, b, A[:0]
    y = np.zeros((len(others), e))
    y[:, first], y[np.arange(len(others)), others] = -share.T, 1.0
    for each in y / size:
        proof = without_rounding(system, each)
        proof = -np.sign(b @ proof) * proof
        if proves_empty(system, proof):
            return Equalities(np.sort(first), proof)
    return Equalities(np.sort(first), None)
