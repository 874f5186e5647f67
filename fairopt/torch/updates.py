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
from fairopt.errors import InvalidInput, Unshown
from fairopt.torch import segments
from fairopt.torch.double_double import Column, double_combined

BLOCK = 1 << 22  # numbers of all updates that are lifted to float64 at a time on a device: 32 MB
RUN = 64  # entries that a matrix product adds in one run; the sums of runs are added by halves

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
    for i, column in enumerate(positions):
        _check(updates, i, column)
    return positions


def _check(updates: Sequence[Update], position: int, column: list[Tensor | None]) -> None:
    """Refuse a tensor that does not fit the others at its position."""
    first: tuple[int, torch.Size] | None = None
    for k, leaf in enumerate(column):
        if leaf is None:
            continue
        if not leaf.is_floating_point():
            name = leaf_name(updates, k, position)
            raise InvalidInput(name, leaf.dtype, "a real floating-point tensor")
        if leaf.layout is not torch.strided:
            raise InvalidInput(leaf_name(updates, k, position), leaf.layout, "a dense tensor")
        if first is None:
            first = k, leaf.shape
        elif leaf.shape != first[1]:
            shape = f"of shape {tuple(first[1])}, as {leaf_name(updates, first[0], position)}"
            raise InvalidInput(leaf_name(updates, k, position), tuple(leaf.shape), shape)


def leaf_name(updates: Sequence[Update], k: int, position: int) -> str:
    """How a caller writes the tensor of one update at a position, as in updates[3]['a'][0]."""
    return f"updates[{k}]" + _paths(updates[0])[position]


def _paths(update: Update) -> list[str]:
    """The indices that lead to each of `_leaves`."""
    if isinstance(update, dict):
        return [f"[{key!r}]{path}" for key in update for path in _paths(update[key])]
    if isinstance(update, list | tuple):
        return [f"[{i}]{path}" for i, part in enumerate(update) for path in _paths(part)]
    return [""]


def not_finite(updates: Sequence[Update], positions: Sequence[Column]) -> InvalidInput | None:
    """What to raise for the first tensor with inf or NaN; None if there is none."""
    for k in range(len(updates)):
        for i, column in enumerate(positions):
            leaf = column[k]
            if leaf is not None and not bool(leaf.detach().isfinite().all()):
                bad = leaf.detach()[~leaf.detach().isfinite()].reshape(-1)[0]
                return InvalidInput(leaf_name(updates, k, i), float(bad), "finite")
    return None


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


def gram_matrix(positions: Sequence[Column]) -> Array:
    """Inner products summed over positions: compiled on the CPU, by PyTorch elsewhere."""
    if not positions:
        raise InvalidInput("updates", Unshown.ITSELF, "trees with at least one tensor")
    near = [column for column in positions if segments.readable(column)]
    far = [column for column in positions if not segments.readable(column)]
    total = segments.inner_products(near) if near else 0.0
    return np.asarray(total + _summed([device_products(column) for column in far]))


def gram_matrices(positions: Sequence[Column]) -> Array:
    """(positions, K, K) inner products of each position, with one transfer if on one device."""
    if not positions:
        raise InvalidInput("updates", Unshown.ITSELF, "trees with at least one tensor")
    near = [i for i, column in enumerate(positions) if segments.readable(column)]
    far = [i for i in range(len(positions)) if i not in set(near)]
    found = np.empty((len(positions), len(positions[0]), len(positions[0])))
    if near:
        found[near] = segments.inner_products_each([positions[i] for i in near])
    if far:
        found[far] = _stacked([device_products(positions[i]) for i in far])
    return found


def device_products(column: Column) -> Tensor:
    """Inner products of the K tensors of one position, in float64, still on their device."""
    known = next(leaf for leaf in column if leaf is not None)
    device = known.device if _wide(known.device) else torch.device("cpu")
    flat = _flat(column, known)
    size = max(BLOCK // len(flat) // RUN, 1) * RUN
    parts = [
        _block_products([x[begin : begin + size] for x in flat], device)
        for begin in range(0, max(known.numel(), 1), size)
    ]
    result = _by_halves(torch.stack(parts))
    return 0.5 * (result + result.T)


def _flat(column: Column, known: Tensor) -> list[Tensor]:
    """The tensors as vectors, zeros in place of None."""
    return [
        (torch.zeros_like(known) if leaf is None else leaf).detach().reshape(-1) for leaf in column
    ]


def _block_products(rows: list[Tensor], device: torch.device) -> Tensor:
    """Inner products of one block in float64, summed in short runs and then by halves.

    One long run of a matrix product errs by up to its length in eps (840 eps were measured at a
    million entries). Here a product goes through at most `RUN` + log2(D / RUN) + 2 roundings; what
    is measured stays below `GRAM_ERROR`.
    """
    block = torch.stack([x.to(device=device, dtype=torch.float64) for x in rows])
    whole = block.shape[1] // RUN * RUN
    rest = block[:, whole:] @ block[:, whole:].T
    if whole == 0:
        return rest
    runs = block[:, :whole].reshape(len(rows), -1, RUN).transpose(0, 1)
    return _by_halves(torch.bmm(runs, runs.mT)) + rest


def _by_halves(parts: Tensor) -> Tensor:
    """Their sum over the first axis, in an order of which every device has the same bits."""
    while len(parts) > 1:
        half = len(parts) // 2
        parts = torch.cat([parts[:half] + parts[half : 2 * half], parts[2 * half :]])
    return parts[0]


def _summed(products: list[Tensor]) -> Array | float:
    """Their sum as a NumPy array, with one transfer from each device."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for product in products:
        by_device.setdefault(product.device, []).append(product)
    return sum(_by_halves(torch.stack(group)).cpu().numpy() for group in by_device.values())


def _stacked(products: list[Tensor]) -> Array:
    """All of them as one NumPy array, with one transfer if they are on one device."""
    if len({product.device for product in products}) == 1:
        return np.asarray(torch.stack(products).cpu().numpy())
    return np.array([product.cpu().numpy() for product in products])


def gram(updates: Sequence[Update]) -> Array:
    """Inner products of K updates, (K, K) float64 NumPy.

    Args:
        updates: K updates of one structure: tensors, or lists or dicts of tensors, of any device
            and floating dtype; None in place of a tensor stands for zero (an unused parameter).

    Method: accumulated in float64 (on the CPU for devices without it), in blocks and without
    copies of the updates; K x K numbers leave a GPU, once. On the CPU a compiled kernel reads
    every entry once and takes as long as some sums over the updates (3 to 4 of them at K = 16).

    Guarantee: on the CPU every entry is within 23 * 2^-53 |g_i| |g_j| of the exact one, for any
    number of entries and whatever they are (`fairopt.kernels.tensors`), unless squares leave the
    range of float64; elsewhere short sums are added by halves, and errors stay below
    `gram_error` as far as they have been measured.

    Raises:
        InvalidInput: for different structures or shapes, integer or complex tensors.

    Example:
        >>> gram([{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([0.0, 1.0])}])
        array([[5., 2.],
               [2., 1.]])
    """
    return gram_matrix(columns(updates))


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
    positions = columns(updates)
    leaves = combinations(positions, [w] * len(positions), [rest] * len(positions))
    return rebuild(updates[0], iter(leaves))


def combinations(
    positions: Sequence[Column], weights: Sequence[list[float]], low: Sequence[Array | None]
) -> list[Tensor | None]:
    """Every position of the combination, each with its weights; with `low` in twice the digits."""
    found: list[Tensor | None] = [None] * len(positions)
    together: dict[tuple[float, ...], list[int]] = {}
    for i, (column, w, rest) in enumerate(zip(positions, weights, low, strict=True)):
        if rest is not None:
            found[i] = double_combined(column, np.array(w), rest)
        elif segments.readable(column):
            together.setdefault(tuple(w), []).append(i)
        else:
            found[i] = device_combination(column, w)
    for same, indices in together.items():
        sums = segments.combinations([positions[i] for i in indices], same)
        for i, leaf in zip(indices, sums, strict=True):
            found[i] = leaf
    return found


def device_combination(column: Column, w: Sequence[float]) -> Tensor | None:
    """The combination of one position by PyTorch, in blocks and in float64 where there is any."""
    known = next((x for x in column if x is not None), None)
    if known is None:
        return None
    pairs = [(x.detach().reshape(-1), a) for x, a in zip(column, w, strict=True) if x is not None]
    pairs = [(x, a) for x, a in pairs if a != 0.0]
    total = torch.zeros(known.numel(), dtype=known.dtype, device=known.device)
    if not pairs:
        return total.reshape(known.shape)
    wide = torch.float64 if _wide(known.device) else torch.float32
    factors = torch.tensor([a for _, a in pairs], dtype=wide, device=known.device)
    size = max(BLOCK // len(pairs), 1)
    for begin in range(0, known.numel(), size):
        block = torch.stack([x[begin : begin + size].to(wide) for x, _ in pairs])
        total[begin : begin + size] = factors @ block
    return total.reshape(known.shape)


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
