"""Gradients scaled by powers of two, and their Gram matrices with proven errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import EPS, Array, Ints
from fairopt.dual_cone_precise import SAFETY, TWICE, DoubleGram, combine, rescaled, scaled_gram
from fairopt.errors import InvalidInput
from fairopt.pareto import finite_gradients

_RUN = 256  # entries that BLAS may add in any order
_GROUP = 64  # runs whose Gram matrices are kept at a time
_ORDINARY = 1000  # exponents below it need no second thought about powers of two


@dataclass(frozen=True)
class Gradients:
    """Gradients g_k = 2^e_k H_k, with largest entries of H_k in [1/2, 1).

    Attributes:
        G, H: (K, D).
        e: (K,).
    """

    G: Array
    H: Array
    e: Ints


@np.errstate(all="ignore")
def scaled_gradients(gradients: ArrayLike) -> Gradients:
    """The checked argument."""
    G, _ = finite_gradients(gradients)
    e = np.frexp(np.abs(G).max(axis=1))[1]
    ordinary = np.abs(e).max() < _ORDINARY
    H = G * np.ldexp(1.0, -e)[:, None] if ordinary else np.ldexp(G, -e[:, None])
    return Gradients(G, H, e)


def one_reference(reference: ArrayLike | None, K: int) -> Array:
    """The checked reference weights, (K,), default 1 / K."""
    if reference is None:
        return np.full(K, 1.0 / K)
    r = checks.finite_vector("reference", reference, K)
    if r.ndim != 1:
        raise InvalidInput("reference", f"array of shape {r.shape}", f"of shape ({K},)")
    return r


def one_accuracy(accuracy: float) -> float:
    """The checked accuracy."""
    goal = checks.accuracy(accuracy)
    if np.ndim(goal):
        raise InvalidInput("accuracy", accuracy, "one number in (0, 1)")
    return float(goal)


@np.errstate(all="ignore")
def float_gram(gradients: Gradients) -> DoubleGram:
    """The Gram matrix in float64 with a proven error: runs in any order, their sums by halves."""
    H = gradients.H
    K, D = H.shape
    whole = D // _RUN * _RUN
    runs = H[:, :whole].reshape(K, -1, _RUN).transpose(1, 0, 2)
    A = H[:, whole:] @ H[:, whole:].T
    for begin in range(0, len(runs), _GROUP):
        group = runs[begin : begin + _GROUP]
        A += _by_halves(group @ group.transpose(0, 2, 1))
    additions = min(D, _RUN) + _GROUP.bit_length() + -(-len(runs) // _GROUP) + 1.0
    error = additions * 0.5 * EPS * SAFETY
    return scaled_gram(0.5 * A + 0.5 * A.T, np.zeros_like(A), error, gradients.e)


def _by_halves(parts: Array) -> Array:
    """The sum over the first axis."""
    while len(parts) > 1:
        half = len(parts) // 2
        rest = parts[2 * half :]
        parts = np.concatenate([parts[:half] + parts[half : 2 * half], rest])
    return np.asarray(parts[0])


def double_gram(gradients: Gradients, gram: DoubleGram) -> DoubleGram:
    """The Gram matrix of the same vectors in twice the digits."""
    from fairopt.kernels.gram.double_double_gram import gram_error

    H, e = gradients.H, gradients.e
    high, low = _kernel()(H)
    return rescaled(high, low, gram_error(H.shape[1]), e, gram.exponents - e)


def combination(
    gradients: Gradients, gram: DoubleGram, v: Array, low: Array
) -> tuple[Array, Array]:
    """sum_k (v_k + low_k) h_k as two floats, to (K + 2) 2^-103 sum_k |v_k| |h_k|."""
    f = gradients.e - gram.exponents
    return combine(gradients.H, np.ldexp(v, f), np.ldexp(low, f))


def reference_lengths(gradients: Gradients, gram: DoubleGram, y: Array) -> tuple[float, float]:
    """Bounds of |sum_k y_k h_k| from the sum itself, which may cancel."""
    K, D = gradients.H.shape
    high, _ = combination(gradients, gram, y, np.zeros(K))
    norm = length(high)
    rounding = (K + 2.0) * TWICE * float(np.abs(y).sum()) * SAFETY
    relative = (D + 4.0) * EPS
    return max(norm * (1.0 - relative) - rounding, 0.0), norm * (1.0 + relative) + rounding


def length(x: Array) -> float:
    """The Euclidean norm, whatever the exponents."""
    largest = float(np.abs(x).max(initial=0.0))
    return largest * float(np.linalg.norm(x / largest)) if largest > 0.0 else 0.0


@cache
def _kernel() -> Any:
    """The compiled Gram matrix, loaded by the first call."""
    from fairopt.kernels.gram.double_double_gram import double_double_gram as kernel

    return kernel
