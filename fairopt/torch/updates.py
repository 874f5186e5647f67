"""Large updates to a small Gram matrix, and weights back to one direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fairopt import checks
from fairopt.arrays import GRAM_ERROR, Array
from fairopt.errors import InvalidInput
from fairopt.torch.double_double import double_combined

BLOCK = 1 << 18  # entries of one tensor lifted to float64 at a time: 2 MB per task
RUN = 256  # entries summed in one run; the sums of runs are added pairwise

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
    parts = [
        _block_products([x[begin : begin + BLOCK] for x in flat], device)
        for begin in range(0, max(flat[0].numel(), 1), BLOCK)
    ]
    result = parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
    return 0.5 * (result + result.T)


def _block_products(rows: list[Tensor], device: torch.device) -> Tensor:
    """Inner products of one block in float64, summed in short runs and then pairwise.

    One long run of a matrix product errs by up to its length in eps (840 eps were measured at a
    million entries); runs of `RUN` and torch's pairwise sum of them stay below `GRAM_ERROR`.
    """
    block = torch.stack([x.to(device=device, dtype=torch.float64) for x in rows])
    whole = block.shape[1] // RUN * RUN
    rest = block[:, whole:] @ block[:, whole:].T
    if whole == 0:
        return rest
    runs = block[:, :whole].reshape(len(rows), -1, RUN).transpose(0, 1)
    return torch.bmm(runs, runs.mT).sum(0) + rest


def summed(products: list[Tensor]) -> Array:
    """Their sum as a NumPy array, with one transfer from each device."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for product in products:
        by_device.setdefault(product.device, []).append(product)
    return np.asarray(sum(torch.stack(group).sum(0).cpu().numpy() for group in by_device.values()))


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
    """Error of the entries of `gram` in units of unit-norm updates: 16 eps of float64.

    It is the error of the matrix as the Gram matrix of the updates *as they are*, whatever their
    dtype: products of bfloat16 or float32 numbers are exact in float64, and sums are short. How far
    the updates themselves are from some true gradients is another question.

    Example:
        >>> gram_error([torch.zeros(3), torch.zeros(3)]) == 16 * 2.0**-52
        True
    """
    columns(updates)
    return GRAM_ERROR


def combine(updates: Sequence[Update], weights: ArrayLike, low: ArrayLike | None = None) -> Update:
    """sum_k (weights[k] + low[k]) updates[k], of the same structure, dtype and device.

    Args:
        updates: K updates of one structure.
        weights: (K,).
        low: (K,) second floats of the weights, as in `Solution.low`. Summed in float64 where the
            device has it, large weights that cancel lose the direction: terms of 1e9 leave errors
            of 1e-7. With `low`, zeros included, the sum is formed on the CPU in twice the digits
            and rounded once.

    Returns:
        The combination, with None where every update has None.

    Example:
        >>> combine([[torch.ones(2)], [torch.zeros(2)]], [0.25, 1.0])
        [tensor([0.2500, 0.2500])]
        >>> nearly_opposite = [torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 2.0**-60])]
        >>> combine(nearly_opposite, [2.0**60, 2.0**60], [0.5, 0.0])
        tensor([0.5000, 1.0000])
    """
    w = checks.finite_vector("weights", weights, len(updates)).tolist()
    rest = None if low is None else checks.finite_vector("low", low, len(updates))
    return rebuild(updates[0], iter([combined(column, w, rest) for column in columns(updates)]))


def combined(
    column: list[Tensor | None], w: list[float], low: Array | None = None
) -> Tensor | None:
    """One position of the combination; with `low` in twice the digits."""
    if low is not None:
        return double_combined(column, np.array(w), low)
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
