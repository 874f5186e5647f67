"""The K gradients of the shared parameters, as rows of flat buffers.

One (K, D) buffer for each device and dtype, or what a pass with all tasks at once returned, so that
Gram matrix and combination read memory in one sweep; the gradient of a parameter is a view of a
row. Gradients of `Embedding(sparse=True)` are kept as the rows that some task touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import torch
from torch import Tensor

from fairopt.torch.step.ranks import Ranks

Gradient = Tensor | None


@dataclass(frozen=True)
class Block:
    """Parameters of one device and dtype, side by side."""

    rows: Tensor | list[Tensor]  # (K, D), or K of (D,)
    parameters: list[Tensor]

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """Where each parameter begins and ends in a row."""
        found, end = [], 0
        for p in self.parameters:
            found.append((end, end + p.numel()))
            end += p.numel()
        return found

    def pieces(self, flat: Tensor) -> list[Tensor]:
        """One row, or a direction, as tensors of the parameters' shapes."""
        pairs = zip(self.parameters, self.bounds, strict=True)
        return [flat[begin:end].view(p.shape) for p, (begin, end) in pairs]


@dataclass(frozen=True)
class SparseBlock:
    """One parameter of which every task touches a few slices only."""

    parameter: Tensor
    indices: Tensor  # (1, U)
    rows: Tensor  # (K, U * size of a slice)

    def piece(self, flat: Tensor) -> Tensor:
        """A direction as a sparse gradient."""
        p = self.parameter
        values = flat.view(self.indices.shape[1], *p.shape[1:])
        return torch.sparse_coo_tensor(
            self.indices, values, p.shape, check_invariants=False
        ).coalesce()


@dataclass
class Rows:
    """All gradients of a step; filled row by row or several rows at once.

    Attributes:
        K: Tasks.
        parameters: Of the dense gradients, in the order in which `set` takes them; after them come
            those in `waiting`.
        blocks: Their gradients, once there are some.
        sparse: Parameters with sparse gradients, once all are known.
        waiting: Parameters whose gradients may be sparse, and these gradients.
        flat: Whether gradients always go to the flat buffers, which are alike on all ranks.
    """

    K: int
    parameters: list[Tensor]
    blocks: list[Block] = field(default_factory=list)
    sparse: list[SparseBlock] = field(default_factory=list)
    waiting: list[tuple[Tensor, list[Gradient]]] = field(default_factory=list)
    flat: bool = False

    @classmethod
    def empty(
        cls, K: int, parameters: Sequence[Tensor], sparse: Sequence[Tensor], flat: bool
    ) -> Rows:
        """Room for the parameters, and for those that may be sparse."""
        groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for p in parameters:
            groups.setdefault((p.device, p.dtype), []).append(p)
        ordered = [p for group in groups.values() for p in group]
        return cls(K, ordered, waiting=[(p, [None] * K) for p in sparse], flat=flat)

    @property
    def inputs(self) -> list[Tensor]:
        """What to differentiate for, in order."""
        return self.parameters + [p for p, _ in self.waiting]

    def _buffers(self) -> list[Block]:
        """Flat buffers, made when the first row comes."""
        if not self.blocks and self.parameters:
            kinds = groupby(self.parameters, key=lambda p: (p.device, p.dtype))
            self.blocks = [_room(self.K, list(group)) for _, group in kinds]
        return self.blocks

    def set(self, k: int, gradients: Sequence[Gradient]) -> None:
        """Fill row k; None is zero."""
        pieces = [piece for block in self._buffers() for piece in block.pieces(block.rows[k])]
        dense, rest = gradients[: len(pieces)], gradients[len(pieces) :]
        pairs = list(zip(pieces, dense, strict=True))
        empty = [a for a, g in pairs if g is None]
        full = [(a, g.to_dense()) for a, g in pairs if g is not None]
        if full:
            torch._foreach_copy_([a for a, _ in full], [g for _, g in full])
        if empty:
            torch._foreach_zero_(empty)
        for (_, kept), g in zip(self.waiting, rest, strict=True):
            kept[k] = g

    def set_several(self, begin: int, count: int, gradients: Sequence[Gradient]) -> None:
        """Fill `count` rows from gradients that have them as their first dimension.

        Parameters with sparse gradients take one row at a time.
        """
        parts = [
            block.rows[begin : begin + count, first:last]  # type: ignore[call-overload]
            for block in self._buffers()
            for first, last in block.bounds
        ]
        for part, p, g in zip(parts, self.parameters, gradients, strict=True):
            part.copy_((_zeros(count, p) if g is None else g).reshape(count, -1))

    def set_all(self, first: Sequence[Gradient], last: Sequence[Gradient]) -> None:
        """All rows but one from gradients that have them as their first dimension, and the last.

        They are kept as they come, without a copy, unless they have to lie side by side.
        """
        if self.flat:
            self.set_several(0, self.K - 1, first)
            self.set(self.K - 1, last)
            return
        for p, many, one in zip(self.parameters, first, last, strict=True):
            rows = (_zeros(self.K - 1, p) if many is None else many).reshape(self.K - 1, -1)
            end = _zeros(1, p) if one is None else one
            self.blocks.append(Block([*rows.unbind(), end.reshape(-1)], [p]))

    def finish(self, ranks: Ranks) -> None:
        """Settle what waited, and add up over the ranks.

        Sparse gradients become the slices that some task touches; whole rows where the parameter
        has dense gradients too, such as a tied one.
        """
        for p, gradients in self.waiting:
            known = [g for g in gradients if g is not None]
            slices = all(g.layout == torch.sparse_coo and g.sparse_dim() == 1 for g in known)
            if slices and known:
                self.sparse.append(_sparse_block(p, gradients))
                continue
            block = Block(_zeros(self.K, p).reshape(self.K, -1), [p])
            for k, g in enumerate(gradients):
                if g is not None:
                    block.rows[k] = g.to_dense().reshape(-1)
            self.blocks.append(block)
        self.waiting = []
        if not ranks.alone:
            self.blocks = [
                replace(block, rows=ranks.total(block.rows))
                for block in self.blocks
                if isinstance(block.rows, Tensor)  # all of them are, as they are flat
            ]

    @property
    def updates(self) -> list[list[Tensor]]:
        """What `aggregate` takes: for each task the rows of all blocks."""
        parts = [part.rows for part in self.blocks] + [part.rows for part in self.sparse]
        return [[rows[k] for rows in parts] for k in range(self.K)]

    def gradients(self, direction: Sequence[Gradient]) -> list[tuple[Tensor, Tensor]]:
        """A direction of the structure of one update as (parameter, gradient) pairs."""
        found: list[tuple[Tensor, Tensor]] = []
        flats = [flat for flat in direction if flat is not None]  # rows leave no None
        for block, flat in zip(self.blocks, flats, strict=False):
            found += zip(block.parameters, block.pieces(flat), strict=True)
        rest = flats[len(self.blocks) :]
        found += [(b.parameter, b.piece(flat)) for b, flat in zip(self.sparse, rest, strict=True)]
        return found


def _room(K: int, parameters: list[Tensor]) -> Block:
    """Rows, not filled, for parameters of one device and dtype."""
    D, first = sum(p.numel() for p in parameters), parameters[0]
    return Block(torch.empty((K, D), dtype=first.dtype, device=first.device), parameters)


def _zeros(count: int, p: Tensor) -> Tensor:
    """That many gradients of a parameter that no loss moves."""
    return torch.zeros((count, *p.shape), dtype=p.dtype, device=p.device)


def _sparse_block(p: Tensor, gradients: list[Gradient]) -> SparseBlock:
    """The slices that some gradient touches, dense."""
    known = [(k, g.coalesce()) for k, g in enumerate(gradients) if g is not None]
    union = torch.unique(torch.cat([g.indices()[0] for _, g in known]))
    rows = torch.zeros((len(gradients), len(union), *p.shape[1:]), dtype=p.dtype, device=p.device)
    for k, g in known:
        rows[k, torch.searchsorted(union, g.indices()[0])] = g.values()
    return SparseBlock(p, union[None], rows.reshape(len(gradients), -1))
