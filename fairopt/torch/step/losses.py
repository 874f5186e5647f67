"""The losses of one step, as people have them: a list, a vector, a dictionary, a generator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from fairopt.errors import InvalidInput
from fairopt.torch.task_losses import loss_list

Losses = Iterable[Tensor] | Mapping[Any, Tensor]


@dataclass(frozen=True)
class Tasks:
    """K losses in order.

    Attributes:
        values: Scalars.
        names: Of the tasks, if the losses came with some.
        present: Which of them count in this step.
    """

    values: list[Tensor]
    names: tuple[str, ...] | None
    present: list[bool]

    @property
    def indices(self) -> list[int]:
        """The tasks that count."""
        return [k for k, there in enumerate(self.present) if there]

    def name(self, k: int) -> str:
        """What to call task k in a message."""
        return f"task {k}" if self.names is None else f"task {self.names[k]!r}"


def tasks_of(losses: Losses, present: Any) -> Tasks:
    """Checked losses and who is present."""
    names = tuple(map(str, losses)) if isinstance(losses, Mapping) else None
    values = [loss.reshape(()) if loss.ndim else loss for loss in loss_list(losses)]
    return Tasks(values, names, present_tasks(present, len(values)))


def present_tasks(present: Any, K: int) -> list[bool]:
    """K booleans; None stands for all."""
    if present is None:
        return [True] * K
    if isinstance(present, Tensor):
        present = present.detach().cpu().numpy()
    mask = np.asarray(list(present) if isinstance(present, Iterable) else present)
    if mask.shape != (K,) or not (mask.dtype == bool or np.isin(mask, (0, 1)).all()):
        raise InvalidInput("present", mask.tolist(), f"{K} booleans, one per loss")
    return [bool(there) for there in mask]


def shared_parameters(shared: Iterable[Tensor] | Tensor) -> list[Tensor]:
    """Every trainable tensor of `shared` once (tied weights are one parameter).

    Raises:
        InvalidInput: for what is no tensor, an integer or complex one, or if nothing is trainable.
    """
    given = [shared] if isinstance(shared, Tensor) else list(shared)
    found: dict[int, Tensor] = {}
    for i, p in enumerate(given):
        if not isinstance(p, Tensor):
            raise InvalidInput(f"shared[{i}]", p, "a tensor; pass `module.parameters()`")
        if not p.is_floating_point():
            raise InvalidInput(f"shared[{i}]", p.dtype, "a real parameter, not a buffer of numbers")
        if p.requires_grad:
            found.setdefault(id(p), p)
    if not found:
        raise InvalidInput("shared", f"{len(given)} tensors", "at least one that requires grad")
    return list(found.values())


def no_way(shared: Sequence[Tensor]) -> InvalidInput:
    """The error of losses that reach no shared parameter."""
    return InvalidInput(
        "shared",
        f"{len(shared)} parameters that no loss reaches",
        "parameters that the losses were computed from (another module, a detached graph and"
        " re-entrant checkpointing, which hides them, are the usual reasons)",
    )


def features_of(features: Tensor | Sequence[Tensor] | None) -> list[Tensor]:
    """The features as a list; none given, none."""
    if features is None:
        return []
    found = [features] if isinstance(features, Tensor) else list(features)
    for i, z in enumerate(found):
        if not isinstance(z, Tensor) or not z.requires_grad:
            raise InvalidInput(f"features[{i}]", z, "a tensor that the shared parameters led to")
    return found
