"""Gram matrices and combinations of tensors in twice the digits: on the CPU, block by block.

For the few updates that a float64 Gram matrix cannot decide. Entries of every floating dtype are
exact in float64; their products and sums are numbers of two floats
(`fairopt.kernels.gram.double_double_gram`). Nothing is concatenated: `BLOCK` entries of each task
are copied at a time. Compiled code is imported by the first call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fairopt.arrays import Array, Ints

BLOCK = 1 << 18  # entries of one tensor copied at a time: 2 MB per task
_LAST_BIT = 2.0**-1074  # what the range of floats can take from an entry of either matrix

Column = Sequence[Tensor | None]  # the tensors of all tasks at one position; None stands for zero


def double_gram(positions: Sequence[Column], gram: Array) -> tuple[Array, Array, float]:
    """Inner products of the tasks as high + low, and the largest error in units of |g_i| |g_j|.

    Args:
        positions: For every position in the structure of the updates, the K tensors there.
        gram: (K, K) the same in float64; only the lengths are used, to scale.

    Example:
        >>> column = [torch.tensor([1.0, 1e-9]), torch.tensor([1.0, 0.0])]
        >>> high, low, error = double_gram([column], np.ones((2, 2)))
        >>> float(high[0, 0] - 1.0), float(f"{low[0, 0]:.3g}"), error < 1e-29
        (0.0, 1e-18, True)
    """
    from fairopt.kernels.double_double import TWICE
    from fairopt.kernels.gram.double_double_gram import double_double_gram, gram_error

    e = np.frexp(np.sqrt(np.diagonal(gram)))[1]
    scale = np.ldexp(1.0, -e)[:, None]
    high, low = np.zeros(gram.shape), np.zeros(gram.shape)
    parts, longest = 0, 1
    for column in positions:
        for block in _blocks(column):
            high, low = _added(high, low, *double_double_gram(block * scale))
            parts, longest = parts + 1, max(longest, block.shape[1])
    both = e[:, None] + e[None, :]
    high, low = np.ldexp(high, both), np.ldexp(low, both)
    sizes = np.diagonal(high)
    least = float(sizes[sizes > 0.0].min(initial=1.0))
    return high, low, gram_error(longest) + parts * TWICE + _LAST_BIT / least


def double_combined(column: Column, weights: Array, low: Array) -> Tensor | None:
    """sum_k (weights_k + low_k) g_k at one position, rounded once to float64, then to the dtype.

    Example:
        >>> column = [torch.tensor([1.0, 1.0]), torch.tensor([-1.0, 1e-20])]
        >>> weights = np.array([1e18, 1e18])  # float64 sums would lose the second entry's 1e-2
        >>> double_combined(column, weights, np.array([0.0, 0.5]))[0]
        tensor(-0.5000)
    """
    from fairopt.kernels.gram.double_double_gram import double_double_combination

    first = next((x for x in column if x is not None), None)
    if first is None:
        return None
    e = _exponents(column)
    c = int(np.max(np.frexp(weights)[1] + e))  # terms of the scaled sum are at most 1
    v, rest = np.ldexp(weights, e - c), np.ldexp(low, e - c)
    parts = [
        double_double_combination(np.ldexp(block, -e[:, None]), v, rest)[0]
        for block in _blocks(column)
    ]
    total = np.ldexp(np.concatenate([np.empty(0), *parts]), c)
    flat = torch.from_numpy(total).to(dtype=first.dtype)
    return flat.to(device=first.device).reshape(first.shape)


def _blocks(column: Column) -> Iterator[Array]:
    """(K, m) float64 copies of the next m entries of all tasks."""
    flat = [None if x is None else x.detach().reshape(-1) for x in column]
    entries = next((x.numel() for x in flat if x is not None), 0)
    for begin in range(0, entries, BLOCK):
        block = np.zeros((len(flat), min(BLOCK, entries - begin)))
        for row, x in zip(block, flat, strict=True):
            if x is not None:
                part = x[begin : begin + BLOCK].to(device="cpu", dtype=torch.float64)
                row[:] = part.numpy()
        yield block


def _exponents(column: Column) -> Ints:
    """(K,) the e with entries of size at most 2^e; 0 for a task without entries."""
    largest = [
        0.0 if x is None or x.numel() == 0 else float(x.detach().abs().amax()) for x in column
    ]
    return np.asarray(np.frexp(np.array(largest))[1], dtype=np.int64)


def _added(a: Array, a_low: Array, b: Array, b_low: Array) -> tuple[Array, Array]:
    """`fairopt.kernels.double_double.accumulate` of matrices."""
    total, lost = _two_sum(a, b)
    return _two_sum(total, lost + (a_low + b_low))


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded a + b and its exact error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
