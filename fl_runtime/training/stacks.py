"""Models of many clients side by side, and one of them as a mapping.

What was trained as a stack is kept as a stack: an update's difference is a `Row` of it, which reads
like any mapping of entries, so whoever does not know better takes tensors out of it one by one.
Whoever does (a weighted sum, a checkpoint, the check for finite numbers) goes over the stack once
instead of once per client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

Stack = dict[str, Tensor]
"""Entries with a leading client axis."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Models of several clients.

    Attributes:
        stack: Entries, each (clients, ...).
    """

    stack: Stack

    def __len__(self) -> int:
        return int(next(iter(self.stack.values())).shape[0])

    @cached_property
    def finite(self) -> list[bool]:
        """Whether all numbers of a row are finite; the device is asked once for all rows.

        Where a Euclidean length is finite, everything is. It can overflow where nothing else does,
        so what it finds is looked at once more by the largest number, which takes ten times longer.
        """
        seen = self._bounded(2.0)
        return seen if all(seen) else self._bounded(torch.inf)

    def _bounded(self, order: float) -> list[bool]:
        """Whether the norms of that order of all entries of a row are finite."""
        norms = [
            torch.linalg.vector_norm(value.flatten(1), ord=order, dim=1)
            for value in self.stack.values()
            if value[0].numel()
        ]
        seen: list[bool] = torch.stack([torch.isfinite(one) for one in norms]).all(dim=0).tolist()
        return seen

    def views(self, key: str) -> Sequence[Tensor]:
        """An entry of every row, without a copy, and the same tensors at every call."""
        if key not in self._views:
            self._views[key] = self.stack[key].unbind()
        return self._views[key]

    @cached_property
    def _views(self) -> dict[str, Sequence[Tensor]]:
        """What `views` has made."""
        return {}

    def split(self) -> list[Row]:
        """All rows."""
        return [Row(self, index) for index in range(len(self))]


@dataclass(frozen=True, eq=False)
class Row(Mapping[str, Tensor]):
    """One model of a stack, which stays alive as long as one of its rows.

    Attributes:
        rows: The stack.
        index: Which one.

    Whoever keeps a model for longer than a round keeps `alone` of it.

    Example:
        >>> first, second = Rows({"w": torch.tensor([[1.0, 2.0], [3.0, torch.inf]])}).split()
        >>> second["w"], first.is_finite, second.is_finite
        (tensor([3., inf]), True, False)
    """

    rows: Rows
    index: int

    def __getitem__(self, key: str) -> Tensor:
        return self.rows.views(key)[self.index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows.stack)

    def __len__(self) -> int:
        return len(self.rows.stack)

    @property
    def is_finite(self) -> bool:
        """Whether all of its numbers are finite."""
        return self.rows.finite[self.index]


def alone(model: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The model without a stack behind it."""
    if isinstance(model, Row):
        return {key: value.clone() for key, value in model.items()}
    return model


def gathered(models: Sequence[Mapping[str, Tensor]]) -> Stack | None:
    """Rows of stacks as one stack, in their order; None if one of the models is no row.

    All rows of one stack in their order are that stack, without a copy.
    """
    chosen: list[tuple[Rows, list[int]]] = []
    for model in models:
        if not isinstance(model, Row):
            return None
        if not chosen or chosen[-1][0] is not model.rows:
            chosen.append((model.rows, []))
        chosen[-1][1].append(model.index)
    parts = [_selected(rows, index) for rows, index in chosen]
    if len(parts) == 1:
        return parts[0]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _selected(rows: Rows, index: Sequence[int]) -> Stack:
    """Those rows of one stack."""
    if list(index) == list(range(len(rows))):
        return rows.stack
    return {key: value[list(index)] for key, value in rows.stack.items()}
