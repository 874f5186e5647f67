"""Mixing weights of decoders by attention between their updates (FedHCA2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput


def cross_attention_weights(
    gram: ArrayLike, dimension: int, *, temperature: float | None = None
) -> Array:
    r"""Row-stochastic weights softmax(<x_i, x_j> / T) of K updates, self included.

    Problem: update i mixes the updates x_j of one parameter tensor with weights
    :math:`a_i = \mathrm{softmax}_j(\langle x_i, x_j\rangle / T)`, T = sqrt(dimension) by default:
    attention with the raw updates as queries, keys and values.

    Args:
        gram: (..., K, K) inner products of the updates. Not scale-free: the unit matters.
        dimension: Entries of one update, d >= 1.
        temperature: T > 0 instead of sqrt(d). Updates of root mean square 1e-3 give uniform weights
            at the default, as <x_i, x_j> / sqrt(d) ~ sqrt(d) 1e-6; a smaller T, such as the mean
            squared norm, sharpens them.

    Returns:
        (..., K, K), rows sum to one. Equal updates and vanishing updates give 1 / K.

    Method: softmax with the row maximum subtracted.

    Raises:
        InvalidInput: for wrong shapes, NaN, inf, clear asymmetry, negative diagonal, T <= 0.

    Source: FedHCA2 (arXiv 2311.13250), Hyper Cross Attention Aggregation; T is ours.

    Example:
        >>> cross_attention_weights([[2.0, 0.0], [0.0, 2.0]], 4).round(4)
        array([[0.7311, 0.2689],
               [0.2689, 0.7311]])
    """
    A, _ = checks.gram_matrix(gram)
    _facts(A)
    d = checks.count("dimension", dimension, 1)
    T = np.sqrt(d) if temperature is None else checks.positive_number("temperature", temperature)
    with np.errstate(over="ignore", invalid="ignore"):
        raised = np.exp((A - A.max(axis=-1, keepdims=True)) / T)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _facts(A: Array) -> None:
    """Finite, symmetric, with a diagonal >= 0."""
    checks.all_where("gram", A, np.isfinite(A), "finite")
    diagonal = np.diagonal(A, axis1=-2, axis2=-1)
    checks.all_where("diagonal of gram", diagonal, diagonal >= 0.0, ">= 0, squared norms")
    d = np.sqrt(diagonal)
    gap = np.abs(A - np.swapaxes(A, -1, -2))
    if (gap > 1e-3 * d[..., :, None] * d[..., None, :]).any():
        raise InvalidInput("gram", A, "symmetric, as a Gram matrix is")
