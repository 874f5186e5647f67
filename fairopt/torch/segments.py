"""Tensors on the CPU as rows of memory for the compiled kernels: products and combinations.

Nothing is copied but leaves that are not contiguous, or of a dtype that the kernels do not read
(8-bit floats). The work is cut into pieces of a fixed size, in threads where PyTorch has several;
the result does not depend on their number. Compiled code is imported by the first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairopt.arrays import Array, Ints
from fairopt.torch.double_double import Column

PIECE = 1 << 20  # entries of a row in one call of a kernel: a millisecond or more
LARGE = 1 << 22  # bytes from which NumPy asks for large pages
_KINDS = {torch.float64: 1, torch.float32: 2, torch.bfloat16: 3, torch.float16: 4}  # as the kernels
_BYTES = np.array([0, 8, 4, 2, 2])
_WRITTEN = (torch.float64, torch.float32, torch.bfloat16)  # what the kernels can round to
_TILE = 4  # rows that the kernel of combinations takes at a time


@dataclass(frozen=True)
class Segments:
    """K rows of S stretches of memory.

    Attributes:
        addresses, kinds: (S, K); kind 0 stands for zeros.
        lengths: (S,) entries.
        tensors: What owns the memory.
    """

    addresses: Ints
    kinds: Ints
    lengths: Ints
    tensors: list[Tensor]

    def only(self, i: int) -> Segments:
        """The rows at one position."""
        part = slice(i, i + 1)
        return Segments(self.addresses[part], self.kinds[part], self.lengths[part], self.tensors)


def readable(column: Column) -> bool:
    """Whether all tensors are plain ones on the CPU; None is."""
    return all(
        x is None
        or (type(x) in (Tensor, torch.nn.Parameter) and x.is_cpu and x.layout is torch.strided)
        for x in column
    )


def segments(columns: Sequence[Column]) -> Segments:
    """One stretch for each position."""
    leaves = [[None if x is None else _plain(x) for x in column] for column in columns]
    sizes = [next((x.numel() for x in row if x is not None), 0) for row in leaves]
    return Segments(
        _table([[0 if x is None else x.data_ptr() for x in row] for row in leaves]),
        _table([[0 if x is None else _KINDS[x.dtype] for x in row] for row in leaves]),
        np.array(sizes, dtype=np.int64),
        [x for row in leaves for x in row if x is not None],
    )


def _table(rows: list[list[int]]) -> Ints:
    """A matrix of whole numbers."""
    return np.array(rows, dtype=np.int64)


def _plain(x: Tensor) -> Tensor:
    """The same numbers in one stretch of memory that a kernel can read."""
    x = x.detach().resolve_neg()
    return (x if x.dtype in _KINDS else x.to(torch.float32)).contiguous()


def inner_products(columns: Sequence[Column]) -> Array:
    """(K, K) sums over all positions, to `fairopt.kernels.tensors.GRAM_BOUND` + 1 units.

    Example:
        >>> inner_products([[torch.tensor([1.0, 2.0]), None], [torch.ones(1), torch.ones(1)]])
        array([[6., 1.],
               [1., 1.]])
    """
    from fairopt.kernels.tensors import inner_products as kernel

    pieces = _pieces(segments(columns))
    parts = _each(kernel, [(part.addresses, part.kinds, part.lengths) for part in pieces])
    return _sum(parts, len(columns[0]))


def inner_products_each(columns: Sequence[Column]) -> Array:
    """(positions, K, K): those of each position by itself."""
    from fairopt.kernels.tensors import inner_products as kernel

    whole = segments(columns)
    K = len(columns[0])
    cut = [_pieces(whole.only(i)) for i in range(len(columns))]
    pieces = [(part.addresses, part.kinds, part.lengths) for parts in cut for part in parts]
    grams = iter(_each(kernel, pieces))
    return np.array([_sum([next(grams) for _ in parts], K) for parts in cut])


def combinations(columns: Sequence[Column], weights: Sequence[float]) -> list[Tensor | None]:
    """For each position sum_k weights[k] x_k, summed in float64 and rounded to the first dtype.

    Example:
        >>> combinations([[torch.tensor([1.0, 2.0]), None]], [0.5, 1.0])
        [tensor([0.5000, 1.0000])]
    """
    from fairopt.kernels.tensors import combination as kernel

    used = [k for k, weight in enumerate(weights) if weight != 0.0]  # 0 times inf is not asked for
    firsts = [next((x for x in column if x is not None), None) for column in columns]
    known = [i for i, x in enumerate(firsts) if x is not None]
    sums = [_target(x) for x in firsts if x is not None]
    padding = [None] * (_TILE - len(used) % _TILE)
    sources = [[*(columns[i][k] for k in used), *padding] for i in known]
    w = np.array([*(weights[k] for k in used), *(0.0 for _ in padding)])
    if sums:
        whole, targets = segments(sources), segments([[x] for x in sums])
        whole = Segments(whole.addresses, whole.kinds, targets.lengths, whole.tensors)
        pairs = zip(_pieces(whole), _pieces(targets), strict=True)
        _each(
            kernel,
            [
                (a.addresses, a.kinds, a.lengths, w, b.addresses[:, 0], b.kinds[:, 0])
                for a, b in pairs
            ],
        )
    found: list[Tensor | None] = [None] * len(columns)
    for i, total in zip(known, sums, strict=True):
        found[i] = total.to(columns_dtype(columns[i]))
    return found


def columns_dtype(column: Column) -> torch.dtype:
    """The dtype of the first tensor, which is that of a combination."""
    return next(x.dtype for x in column if x is not None)


def _target(x: Tensor) -> Tensor:
    """Memory for a combination, in float32 where the kernel cannot round to the dtype itself.

    NumPy asks for large pages, without which writing to ten million new entries takes as long as
    reading ten updates.
    """
    dtype = x.dtype if x.dtype in _WRITTEN else torch.float32
    if x.numel() * dtype.itemsize < LARGE:
        return torch.empty(x.shape, dtype=dtype, device="cpu")
    memory = np.empty(x.numel() * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(memory).view(dtype).reshape(x.shape)


def _pieces(whole: Segments) -> list[Segments]:
    """The same rows in pieces of at most `PIECE` entries, of one or several stretches."""
    if whole.lengths.sum() <= PIECE:
        return [whole]
    counts = -(-whole.lengths // PIECE)
    position = np.repeat(np.arange(len(counts)), counts)
    first: Ints = np.repeat(np.cumsum(counts) - counts, counts)
    begin = PIECE * (np.arange(len(position)) - first)
    lengths = np.minimum(PIECE, whole.lengths[position] - begin)
    kinds = whole.kinds[position]
    addresses: Ints = whole.addresses[position] + _BYTES[kinds] * begin[:, None]
    cuts, filled = [0], 0
    for i, length in enumerate(lengths.tolist()):
        if filled + length > PIECE:
            cuts.append(i)
            filled = 0
        filled += length
    bounds = zip(cuts, [*cuts[1:], len(lengths)], strict=True)
    return [
        Segments(addresses[a:b], kinds[a:b], lengths[a:b], whole.tensors)
        for a, b in bounds
        if b > a
    ]


def _each(kernel: Any, pieces: list[tuple[Any, ...]]) -> list[Any]:
    """The results for all pieces, in their order."""

    def one(piece: tuple[Any, ...]) -> Any:
        with np.errstate(all="ignore"):  # what overflows, here or in the dtype, is judged later
            return kernel(*piece)

    threads = min(torch.get_num_threads(), len(pieces))
    if threads < 2:
        return [one(piece) for piece in pieces]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, pieces))


def _sum(parts: list[Array], K: int) -> Array:
    """Their sum, in twice the digits and then rounded."""
    if len(parts) == 1:
        return parts[0]
    high, low = np.zeros((K, K)), np.zeros((K, K))
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused elsewhere
        for part in parts:
            total = high + part
            back = total - high
            low += (high - (total - back)) + (part - back)
            high = total
        return np.where(np.isfinite(high), high + low, high)
