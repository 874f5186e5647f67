"""Examples as tensors, and the examples of many clients as views of one tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_runtime.data.dataset import Data
from fl_runtime.data.inputs import each, parts_of
from fl_runtime.training.losses import counted, present

Features = Tensor | Mapping[str, Tensor]
"""What a model takes: a tensor, or tensors by name, which it takes as keywords."""

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Examples:
    """Features and targets as tensors on one device.

    Attributes:
        features: (n, ...) numbers, or such by name.
        targets: (n, ...) of what the task's loss takes: (n,) int64 for classes. What is missing is
            NaN in floats and -100 in integers.
        weights: (n,) of each example in a training step, or None for ones.
    """

    features: Any
    targets: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return int(self.targets.shape[0])

    def at(self, index: Tensor | slice) -> Examples:
        """Those of the examples, with their weights.

        Example:
            >>> Examples({"a": torch.arange(3), "b": torch.ones(3)}, torch.arange(3)).at(
            ...     torch.tensor([2, 0])
            ... ).features["a"]
            tensor([2, 0])
        """
        features = each(lambda part: part[index], self.features)
        weights = None if self.weights is None else self.weights[index]
        return Examples(features, self.targets[index], weights)

    @property
    def labels(self) -> Tensor:
        """The targets, where they are classes."""
        return self.targets

    @cached_property
    def complete(self) -> bool:
        """Whether no target is missing."""
        return bool(present(self.targets).all())

    @cached_property
    def num_counted(self) -> int:
        """Examples with at least one target."""
        return len(self) if self.complete else int(counted(self.targets).sum())

    @cached_property
    def num_targets(self) -> int:
        """Targets that are there: pixels, tokens, labels."""
        return int(present(self.targets).sum())

    @property
    def numbers(self) -> int:
        """Numbers of one example and of its targets, but for a single label."""
        targets = math.prod(self.targets.shape[1:]) if self.targets.ndim > 1 else 0
        parts: dict[str, Tensor] = parts_of(self.features)
        return targets + sum(math.prod(part.shape[1:]) for part in parts.values())


class Shards(tuple[Examples, ...]):
    """Examples of every client as views of one tensor, in the order of the clients.

    They are moved to a device and checked at once, which for many small shards is most of the work.

    Attributes:
        whole: The examples of all clients.

    Example:
        >>> whole = Examples(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        >>> [shard.labels.tolist() for shard in Shards.of(whole, [1, 2])]
        [[0], [1, 1]]
    """

    whole: Examples

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards.of, (self.whole, [len(shard) for shard in self])

    @classmethod
    def of(cls, whole: Examples, sizes: Sequence[int]) -> Shards:
        """The examples cut into shards of those sizes."""
        cut = {
            name: torch.split(part, list(sizes)) for name, part in parts_of(whole.features).items()
        }
        targets = torch.split(whole.targets, list(sizes))
        if isinstance(whole.features, Mapping):
            rows = zip(*cut.values(), strict=True)
            features: Any = [dict(zip(cut, row, strict=True)) for row in rows]
        else:
            features = cut[""]
        found = cls(map(Examples, features, targets))
        found.whole = whole
        for shard in found if whole.complete else ():
            shard.__dict__["complete"] = True  # what is true of the whole need not be asked again
        return found


def examples_of(data: Data, index: NDArray[np.int64], device: torch.device | str) -> Examples:
    """Those examples as tensors on the device, floats in the precision that models are made of."""

    def tensor(part: NDArray[Any]) -> Tensor:
        found = torch.from_numpy(part[index])
        kind = torch.get_default_dtype() if found.is_floating_point() else found.dtype
        if torch.device(device).type == "cuda":
            return found.to(kind).pin_memory().to(device, non_blocking=True)
        return found.to(device, kind)

    return Examples(each(tensor, data.inputs), tensor(data.targets))
