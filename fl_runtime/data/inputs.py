"""Inputs of a model: one array (or tensor), or several by name, which it takes as keywords.

Texts with their masks, graphs as padded arrays, images with a table beside them: whatever has
several parts per example is a dictionary, and all parts have the examples as their first axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")

Shape = tuple[int, ...]
Shapes = Shape | Mapping[str, Shape]
"""Of one example."""


def each(function: Callable[[Part], Made], inputs: Part | Mapping[str, Part]) -> Any:
    """The function of the one part, or of every part by its name.

    Example:
        >>> each(len, [1, 2]), each(len, {"ids": [1, 2], "mask": [1]})
        (2, {'ids': 2, 'mask': 1})
    """
    if isinstance(inputs, Mapping):
        return {name: function(part) for name, part in inputs.items()}
    return function(inputs)


def together(function: Callable[[list[Any]], Made], several: Sequence[Any]) -> Any:
    """The function of several inputs at once, part by part.

    Example:
        >>> together(sum, [{"a": 1, "b": 2}, {"a": 3, "b": 4}]), together(sum, [1, 3])
        ({'a': 4, 'b': 6}, 4)
    """
    first = several[0]
    if isinstance(first, Mapping):
        return {name: function([inputs[name] for inputs in several]) for name in first}
    return function(list(several))


def parts_of(inputs: Part | Mapping[str, Part]) -> dict[str, Part]:
    """All parts by name; the one part has none."""
    return dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a model."""
    return ((), dict(inputs)) if isinstance(inputs, Mapping) else ((inputs,), {})


def called(model: Callable[..., Any], inputs: Any) -> Any:
    """What a model gives for inputs.

    Example:
        >>> called(len, [1, 2]), called(dict, {"ids": 1})
        (2, {'ids': 1})
    """
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def shapes_of(inputs: Any) -> Any:
    """Shape of one example, of every part if there are several."""
    return each(lambda part: tuple(part.shape[1:]), inputs)


def size_of(shapes: Shapes) -> int:
    """Numbers of one example.

    Example:
        >>> size_of((2, 3)), size_of({"ids": (4,), "length": ()})
        (6, 5)
    """
    return sum(math.prod(shape) for shape in parts_of(shapes).values())
