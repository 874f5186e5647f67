"""Large updates to a small Gram matrix, and weights back to one direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fairopt import checks
from fairopt.arrays import EPS, Array
from fairopt.errors import InvalidInput

BLOCK = 1 << 20  # entries of one tensor lifted to float64 at a time: 8 MB per task

Update = Any  # a tensor, or a list, tuple or dict of tensors (None stands for zero)


def _leaves(update: Update) -> list[Tensor | None]:
    """The tensors of an update in a fixed order."""
    if isinstance(update, Tensor) or update is None:
        return [update]
    if isinstance(update, dict):
        return [leaf for key in update for leaf in _leaves(update[key])]
    if isinstance(update, list | tuple):
        return [leaf for part in update for leaf in _leaves(part)]
    raise InvalidInput("updates", update, "tensors, or lists or dicts of tensors")


def columns(updates: Sequence[Update]) -> list[list[Tensor | None]]:
    """For every position in the structure, the K tensors there."""
    if isinstance(updates, dict) or len(updates) == 0:
        raise InvalidInput("updates", updates, "a sequence of at least one update")
    keys = [_structure(update) for update in updates]
    for k, key in enumerate(keys):
        if key != keys[0]:
            raise InvalidInput(f"updates[{k}]", key, f"of the structure of updates[0], {keys[0]}")
    reordered = [updates[0], *(_like(updates[0], update) for update in updates[1:])]
    positions = [list(column) for column in zip(*map(_leaves, reordered), strict=True)]
    for column in positions:
        shapes = {tuple(leaf.shape) for leaf in column if leaf is not None}
        if len(shapes) > 1:
            raise InvalidInput("updates", sorted(shapes), "tensors of equal shapes over the tasks")
        for leaf in column:
            if leaf is not None and not leaf.is_floating_point():
                raise InvalidInput("updates", leaf.dtype, "real floating-point tensors")
    return positions


def _structure(update: Update) -> object:
    """What two updates must have in common, as something printable."""
    if isinstance(update, dict):
        return {key: _structure(update[key]) for key in sorted(update, key=str)}
    if isinstance(update, list | tuple):
        return [_structure(part) for part in update]
    return "tensor"


def _like(first: Update, update: Update) -> Update:
    """The update with its keys in the order of the first one."""
    if isinstance(first, dict):
        return {key: _like(first[key], update[key]) for key in first}
    if isinstance(first, list | tuple):
        return [_like(a, b) for a, b in zip(first, update, strict=True)]
    return update


def _wide(device: torch.device) -> bool:
    """Whether the device computes in float64."""
    return device.type != "mps"


def products(column: list[Tensor | None]) -> Tensor:
    """Inner products of the K tensors of one position, in float64, still on their device."""
    known = [leaf for leaf in column if leaf is not None]
    if not known:
        return torch.zeros((len(column), len(column)), dtype=torch.float64)
    device = known[0].device if _wide(known[0].device) else torch.device("cpu")
    flat = [
        (torch.zeros_like(known[0]) if leaf is None else leaf).detach().reshape(-1)
        for leaf in column
    ]
    result = torch.zeros((len(column), len(column)), dtype=torch.float64, device=device)
    for begin in range(0, flat[0].numel(), BLOCK):
        rows = [x[begin : begin + BLOCK].to(device=device, dtype=torch.float64) for x in flat]
        block = torch.stack(rows)
        result += block @ block.T
    return 0.5 * (result + result.T)


def summed(products: list[Tensor]) -> Array:
    """Their sum as a NumPy array, with one transfer from each device."""
    totals: dict[torch.device, Tensor] = {}
    for product in products:
        before = totals.get(product.device)
        totals[product.device] = product if before is None else before + product
    return np.asarray(sum(total.cpu().numpy() for total in totals.values()))


def stacked(products: list[Tensor]) -> Array:
    """All of them as one NumPy array, with one transfer if they are on one device."""
    if len({product.device for product in products}) == 1:
        return np.asarray(torch.stack(products).cpu().numpy())
    return np.array([product.cpu().numpy() for product in products])


def gram(updates: Sequence[Update]) -> Array:
    """Inner products of K updates, (K, K) float64 NumPy.

    Args:
        updates: K updates of one structure: tensors, or lists or dicts of tensors, of any device
            and floating dtype; None in place of a tensor stands for zero (an unused parameter).

    Method: accumulated in float64 (on the CPU for devices without it), one tensor position at a
    time and in blocks, without concatenating the updates; K x K numbers leave a GPU, once.

    Raises:
        InvalidInput: for different structures or shapes, integer or complex tensors.

    Example:
        >>> gram([{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([0.0, 1.0])}])
        array([[5., 2.],
               [2., 1.]])
    """
    return summed([products(column) for column in columns(updates)])


def gram_error(updates: Sequence[Update]) -> float:
    """Error of the Gram entries in units of unit-norm updates: 4 K eps of their lowest precision.

    Example:
        >>> gram_error([torch.zeros(3), torch.zeros(3)]) == 8 * 2.0**-23
        True
    """
    kinds = {leaf.dtype for update in updates for leaf in _leaves(update) if leaf is not None}
    eps = max((torch.finfo(kind).eps for kind in kinds), default=EPS)
    return min(4.0 * len(updates) * eps, 1.0)


def combine(updates: Sequence[Update], weights: ArrayLike) -> Update:
    """sum_k weights[k] updates[k], of the same structure, dtype and device.

    Summed in float64 where the device has it. None where every update has None.

    Example:
        >>> combine([[torch.ones(2)], [torch.zeros(2)]], [0.25, 1.0])
        [tensor([0.2500, 0.2500])]
    """
    w = checks.finite_vector("weights", weights, len(updates)).tolist()
    return rebuild(updates[0], iter([combined(column, w) for column in columns(updates)]))


def combined(column: list[Tensor | None], w: list[float]) -> Tensor | None:
    """One position of the combination."""
    known = [(x.detach(), a) for x, a in zip(column, w, strict=True) if x is not None]
    if not known:
        return None
    first = known[0][0]
    wide = torch.float64 if _wide(first.device) else torch.float32
    total = torch.zeros(first.shape, dtype=wide, device=first.device)
    for x, a in known:
        if a != 0.0:
            total.add_(x, alpha=a)
    return total.to(first.dtype)


def rebuild(update: Update, leaves: Any) -> Update:
    """The structure of an update filled with other leaves."""
    if isinstance(update, dict):
        return {key: rebuild(update[key], leaves) for key in update}
    if isinstance(update, list):
        return [rebuild(part, leaves) for part in update]
    if isinstance(update, tuple):
        parts = [rebuild(part, leaves) for part in update]
        return type(update)(*parts) if hasattr(update, "_fields") else tuple(parts)
    return next(leaves)
