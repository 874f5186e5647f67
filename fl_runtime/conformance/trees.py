"""Nested values compared: states, jobs and updates as plain trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def plain(node: Any) -> Any:
    """Dictionaries, lists and values, with copies of all tensors and arrays."""
    if isinstance(node, Tensor):
        return node.detach().clone()
    if isinstance(node, np.ndarray):
        return torch.from_numpy(node.copy())
    if is_dataclass(node) and not isinstance(node, type | Mapping):
        return {each.name: plain(getattr(node, each.name)) for each in fields(node)}
    if isinstance(node, Mapping):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    return node


def differences(one: Any, other: Any, tolerance: float = 0.0, path: str = "") -> Iterator[str]:
    """Paths at which two plain trees differ, by more than a share of what is there.

    Example:
        >>> list(differences({"w": torch.ones(2), "n": 3}, {"w": torch.zeros(2), "n": 3}))
        ['w']
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            where = f"{path}.{key}" if path else key
            if key in one and key in other:
                yield from differences(one[key], other[key], tolerance, where)
            else:
                yield where
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, tolerance, f"{path}.{index}" if path else str(index))
    elif not _close(one, other, tolerance):
        yield path


def _close(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two leaves are equal, numbers up to a tolerance."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return torch.allclose(
            one.double(), other.double(), rtol=tolerance, atol=tolerance, equal_nan=True
        )
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True))
    return type(one) is type(other) and bool(one == other)


def tensors(node: Any) -> Iterator[Tensor]:
    """All tensors of a plain tree."""
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from tensors(value)
