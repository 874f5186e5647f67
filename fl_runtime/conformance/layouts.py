"""Batches of the usual kinds: labels, pixels, tokens, numbers, several labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fl_runtime.training.losses import MISSING

EXAMPLES = 11
CLASSES = 4
SURE = 20.0
"""Logit of a model that does not doubt: the others' share is beyond the last digit of float32."""


@dataclass(frozen=True)
class Layout:
    """A batch.

    Attributes:
        name: What kind it is.
        outputs: Of a model that knows nothing.
        targets: Without any that is missing.
        right: Outputs of a model without an error; None where nobody knows them.
        wrong: Outputs of a model that is always wrong, or further off than any constant.
    """

    name: str
    outputs: Tensor
    targets: Tensor
    right: Tensor | None = None
    wrong: Tensor | None = None

    def without(self, example: int) -> Tensor:
        """The targets, of which all of one example are missing."""
        found = self.targets.clone()
        found[example] = torch.nan if found.is_floating_point() else MISSING
        return found

    def rest(self, example: int) -> Tensor:
        """(n,) bool, all examples but that one."""
        kept = torch.ones(len(self.targets), dtype=torch.bool)
        kept[example] = False
        return kept


def layouts() -> Iterator[Layout]:
    """Batches of all kinds, the same at every call.

    Example:
        >>> [each.name for each in layouts()]
        ['labels', 'one number', 'numbers', 'several labels', 'pixels', 'tokens']
    """
    rng = torch.Generator().manual_seed(5)

    def noise(*shape: int) -> Tensor:
        return torch.randn(EXAMPLES, *shape, generator=rng)

    def classes(*shape: int) -> Tensor:
        """All of them occur."""
        count = torch.Size((EXAMPLES, *shape)).numel()
        drawn = torch.randperm(count, generator=rng) % CLASSES
        return drawn.reshape(EXAMPLES, *shape)

    yield _classes("labels", noise(CLASSES), classes(), 1)
    for name, shape in (("one number", ()), ("numbers", (3,))):
        wanted = noise(*shape)
        wrong = wanted.mean() - 3.0 * (wanted - wanted.mean()) + 5.0
        outputs = noise(1) if not shape else noise(*shape)
        right, off = (found.clone().reshape(outputs.shape) for found in (wanted, wrong))
        yield Layout(name, outputs, wanted, right, off)
    yes = (classes(3) % 2).float()
    yield Layout("several labels", noise(3), yes, SURE * (2 * yes - 1), -SURE * (2 * yes - 1))
    yield _classes("pixels", noise(CLASSES, 3, 2), classes(3, 2), 1)
    yield _classes("tokens", noise(5, CLASSES), classes(5), -1)


def _classes(name: str, outputs: Tensor, targets: Tensor, axis: int) -> Layout:
    """Targets that are classes; wrong is whoever takes each for the next one."""
    right, wrong = (_sure(found, axis) for found in (targets, (targets + 1) % CLASSES))
    return Layout(name, outputs, targets, right, wrong)


def _sure(classes: Tensor, axis: int) -> Tensor:
    """Outputs without a doubt."""
    return SURE * torch.nn.functional.one_hot(classes, CLASSES).float().movedim(-1, axis)
