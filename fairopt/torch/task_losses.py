"""K losses in any container: as a list, as numbers, and by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput

_REQUIREMENT = "scalar losses: a 1-D tensor, a sequence, or a dict of tensors with one entry"


def collected(losses: Any) -> Any:
    """The losses as they are, but what can be gone through only once as a list."""
    return list(losses) if isinstance(losses, Iterator) else losses


def loss_list(losses: Any) -> list[Tensor]:
    """The K losses in their order, each a tensor with one real entry.

    Raises:
        InvalidInput: for none, and for what has more than one entry or is no real floating point.
    """
    if isinstance(losses, Tensor) and losses.ndim != 1:
        raise InvalidInput("losses", f"tensor of shape {tuple(losses.shape)}", _REQUIREMENT)
    parts = losses.values() if isinstance(losses, Mapping) else losses
    if not isinstance(parts, Iterable) or isinstance(parts, str):
        raise InvalidInput("losses", losses, _REQUIREMENT)
    found = list(parts)
    if not found:
        raise InvalidInput("losses", losses, "at least one loss")
    for name, loss in zip(loss_names(losses, len(found)), found, strict=True):
        scalar = isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point()
        if not scalar:
            raise InvalidInput(name, *_of_what_it_is(loss))
    return found


def _of_what_it_is(loss: Any) -> tuple[object, str]:
    """What an error says of something that is no loss: its picture, and what would be one."""
    requirement = "a tensor with one real floating-point entry"
    if loss is None:
        return loss, f"{requirement}; `present=` leaves out a task without labels in this batch"
    if isinstance(loss, Tensor) and loss.numel() != 1:
        return f"tensor of shape {tuple(loss.shape)}", f"{requirement}: reduce it, by .mean() say"
    return loss, requirement


def loss_names(losses: Any, count: int | None = None) -> list[str]:
    """How messages name each of them: losses[0], or losses['depth'] for a dict."""
    if isinstance(losses, Mapping):
        return [f"losses[{key!r}]" for key in losses]
    return [f"losses[{k}]" for k in range(len(losses) if count is None else count)]


def loss_values(losses: Any) -> Array:
    """(K,) numbers in float64, whatever their container; tensors cross to the CPU at once."""
    if isinstance(losses, Tensor) or _holds_tensors(losses):
        tensors = [loss.detach().reshape(()) for loss in loss_list(losses)]
        if len({(loss.device, loss.dtype) for loss in tensors}) == 1:
            return np.asarray(torch.stack(tensors).cpu().double().numpy())
        return np.array([loss.item() for loss in tensors])
    numbers = list(losses.values()) if isinstance(losses, Mapping) else losses
    values = checks.vector("losses", numbers)
    if values.ndim != 1:
        raise InvalidInput("losses", f"array of shape {values.shape}", "of shape (K,)")
    return values


def _holds_tensors(losses: Any) -> bool:
    """Whether a list, tuple or dict holds a tensor."""
    parts = losses.values() if isinstance(losses, Mapping) else losses
    return isinstance(parts, Iterable) and any(isinstance(part, Tensor) for part in parts)
