r"""PCGrad: every task's gradient loses what conflicts with the others, one after the other.

Problem: none is solved; it is a procedure. With :math:`g_i^{PC} = g_i` at first, for every other
task j in a random order, if :math:`\langle g_i^{PC}, g_j\rangle < 0`,

.. math:: g_i^{PC} \leftarrow g_i^{PC} - \frac{\langle g_i^{PC}, g_j\rangle}{\|g_j\|^2} g_j .

The direction is the mean of the :math:`g_i^{PC}` (the paper's algorithm adds them up; the mean is
what the other rules here are measured against). Two tasks end without a conflict; three or more may
keep one.

Method: on the Gram matrix A alone. Row i of C holds the coefficients of :math:`g_i^{PC}`, and
:math:`\langle g_i^{PC}, g_j\rangle = (C A)_{ij}`.

Source: Yu et al. 2020 (arXiv 2001.06782), algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array
from fairopt.solution import Solution, Status


@dataclass(frozen=True)
class PCGrad:
    """PCGrad as a method record beside those of `fairopt.torch`.

    Attributes:
        seed: Seed of the orders; the same record gives the same weights for the same matrix.

    Example:
        >>> PCGrad(0).solve([[1.0, -0.5], [-0.5, 1.0]]).weights
        array([0.75, 0.75])
    """

    seed: int = 0

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The weights; there is no residual, so it is zero and the status is OPTIMAL."""
        A, _ = checks.gram_matrix(gram)
        if A.ndim != 2:
            return self._batch(A)
        return Solution(pcgrad_weights(A, np.random.default_rng(self.seed)), Status.OPTIMAL, 0.0, 0)

    def _batch(self, A: Array) -> Solution:
        """Every matrix of a batch on its own, each with the same orders."""
        rows = [self.solve(matrix).weights for matrix in A.reshape(-1, *A.shape[-2:])]
        zeros = np.zeros(A.shape[:-2], dtype=np.int64)
        return Solution(np.reshape(rows, A.shape[:-1]), zeros, zeros.astype(np.float64), zeros)


def pcgrad_weights(A: Array, rng: np.random.Generator) -> Array:
    """(K,) weights of the mean of the projected gradients; a zero gradient projects nothing."""
    K = len(A)
    C = np.eye(K)
    for i in range(K):
        for j in rng.permutation(K):
            product = C[i] @ A[:, j]
            if j != i and product < 0.0 < A[j, j]:
                C[i, j] -= product / A[j, j]
    weights: Array = C.mean(axis=0)
    return weights
