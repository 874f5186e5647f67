"""The losses of one step, as people have them: a list, a vector, a dictionary, a generator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
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


def tasks_of(losses: Losses, present: Any) -> Tasks:
    """Checked losses and who is present; an absent task may have anything for a loss."""
    names = tuple(map(str, losses)) if isinstance(losses, Mapping) else None
    parts = _parts(losses)
    there = present_tasks(present, list(losses) if isinstance(losses, Mapping) else len(parts))
    given = dict(zip(losses, parts, strict=True)) if isinstance(losses, Mapping) else parts
    loss_list(_present_only(given, there))
    like = next((x for x, here in zip(parts, there, strict=True) if here), torch.zeros(()))
    values = [x if _is_loss(x) else torch.zeros_like(like).detach() for x in parts]
    return Tasks([x.reshape(()) if x.ndim else x for x in values], names, there)


def _parts(losses: Any) -> list[Any]:
    """What stands for each task; refused if it is no collection, or empty."""
    if isinstance(losses, Tensor):
        return loss_list(losses) if losses.ndim != 1 else list(losses.unbind())
    found = losses.values() if isinstance(losses, Mapping) else losses
    if not isinstance(found, Iterable) or isinstance(found, str):
        return list(loss_list(losses))  # says what is wrong
    parts = list(found)
    return parts if parts else list(loss_list(parts))


def _present_only(given: Any, there: list[bool]) -> Any:
    """The losses with a harmless one in place of each absent one, so that names stay."""
    if isinstance(given, dict):
        pairs = zip(given.items(), there, strict=True)
        return {key: x if here else torch.zeros(()) for (key, x), here in pairs}
    return [x if here else torch.zeros(()) for x, here in zip(given, there, strict=True)]


def _is_loss(x: Any) -> bool:
    """Whether it can stand for a loss."""
    return isinstance(x, Tensor) and x.numel() == 1 and x.is_floating_point()


def present_tasks(present: Any, tasks: int | list[Any]) -> list[bool]:
    """K booleans for K tasks, or their names; None stands for all; a dict goes by name."""
    K = tasks if isinstance(tasks, int) else len(tasks)
    if present is None:
        return [True] * K
    if isinstance(present, Mapping):
        if isinstance(tasks, int) or set(present) != set(tasks):
            names = "" if isinstance(tasks, int) else f": {', '.join(map(repr, tasks))}"
            requirement = f"a dict with the names of all losses{names}"
            raise InvalidInput("present", list(present), requirement)
        present = [present[name] for name in tasks]
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
        used = "; module.parameters() can be gone through once: make a list of it"
        requirement = f"at least one that requires grad{'' if given else used}"
        raise InvalidInput("shared", f"{len(given)} tensors", requirement)
    return list(found.values())


def no_way(shared: Sequence[Tensor]) -> InvalidInput:
    """The error of losses that reach no shared parameter."""
    return InvalidInput(
        "shared",
        f"{len(shared)} parameters that no loss reaches",
        "parameters that the losses were computed from (another module, torch.no_grad, a detached"
        " graph and re-entrant checkpointing, which hides them, are the usual reasons)",
    )


def features_of(features: Tensor | Sequence[Tensor] | None) -> list[Tensor]:
    """The features as a list; none given, none."""
    if features is None:
        return []
    if not isinstance(features, Tensor | Iterable):
        raise InvalidInput("features", features, "a tensor, or several")
    given = [features] if isinstance(features, Tensor) else list(features)
    found = list({id(z): z for z in given}.values())
    for i, z in enumerate(found):
        if not isinstance(z, Tensor) or not z.requires_grad:
            raise InvalidInput(f"features[{i}]", z, "a tensor that the shared parameters led to")
    return found
