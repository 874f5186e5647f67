"""Results of audits and studies as JSON and back, to the bit and without executing anything.

What JSON has no sign for is ``{"$": kind, "of": parts}``: tuples, fractions, decimals, arrays,
floats that are not finite, and the records of this package by the name of their class.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

PACKAGE = "mechanisms."
"""Whose records can be read back."""


def encode(value: Any) -> Any:
    """A value in terms of JSON.

    Raises:
        TypeError: It has no such form; the message is the name of its type.

    Example:
        >>> encode((Fraction(1, 3), [True, None]))
        {'$': 'tuple', 'of': [{'$': 'Fraction', 'of': '1/3'}, [True, None]]}
        >>> decode(encode((Fraction(1, 3), [True, None])))
        (Fraction(1, 3), [True, None])
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$": "float", "of": repr(value)}
    if type(value) is list:
        return [encode(each) for each in value]
    if isinstance(value, np.generic):
        return {"$": "scalar", "of": [value.dtype.name, encode(value.item())]}
    if isinstance(value, np.ndarray):
        cells = [encode(each) for each in value.ravel().tolist()]
        return {"$": "array", "of": [value.dtype.name, list(value.shape), cells]}
    if type(value) in (Fraction, Decimal):
        return {"$": type(value).__name__, "of": str(value)}
    if type(value) is tuple:
        return {"$": "tuple", "of": [encode(each) for each in value]}
    if isinstance(value, Mapping):
        return {"$": "dict", "of": [[encode(k), encode(v)] for k, v in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        parts = [encode(getattr(value, each.name)) for each in fields(value) if each.init]
        return {"$": f"{type(value).__module__}:{type(value).__qualname__}", "of": parts}
    raise TypeError(type(value).__name__)


def decode(node: Any) -> Any:
    """What `encode` was given.

    Raises:
        ValueError: It is no encoded value.
    """
    if isinstance(node, list):
        return [decode(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.keys() != {"$", "of"}:
        raise ValueError("no value of a study")
    kind, parts = node["$"], node["of"]
    if kind in _KINDS:
        return _KINDS[kind](parts)
    return _record_class(kind)(*map(decode, parts))


def describe(value: Any) -> Any:
    """A value, or a function of a module with its source, in terms of JSON: to be recognised by.

    Raises:
        TypeError: It has no such form; the message is its name.
    """
    if isinstance(value, functools.partial):
        return ["partial", *map(describe, (value.func, list(value.args), dict(value.keywords)))]
    if isinstance(value, types.FunctionType):
        if value.__closure__ or "<" in value.__qualname__:
            raise TypeError(value.__qualname__)
        try:
            source = inspect.getsource(value)
        except (OSError, TypeError):
            raise TypeError(value.__qualname__) from None
        return [f"{value.__module__}:{value.__qualname__}", source]
    if isinstance(value, type):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, list | tuple):
        return [describe(each) for each in value]
    if isinstance(value, dict):
        return [[key, describe(each)] for key, each in value.items()]
    if is_dataclass(value) and not isinstance(value, type):
        name = f"{type(value).__module__}:{type(value).__qualname__}"
        return [name, *(describe(getattr(value, each.name)) for each in fields(value))]
    return encode(value)


def _array(parts: list[Any]) -> Any:
    """An array of a type, a shape and cells."""
    kind, shape, cells = parts
    table = np.empty(len(cells), dtype=kind)
    table[:] = [decode(each) for each in cells]
    return table.reshape(shape)


def _record_class(name: str) -> Any:
    """The class of a record of this package."""
    module, _, path = name.partition(":")
    found = None
    if module.startswith(PACKAGE):
        found = getattr(importlib.import_module(module), path, None)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise ValueError(f"{name} is no record of this package")
    return found


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "float": float,
    "scalar": lambda parts: np.dtype(parts[0]).type(decode(parts[1])),
    "array": _array,
    "Fraction": Fraction,
    "Decimal": Decimal,
    "tuple": lambda parts: tuple(map(decode, parts)),
    "dict": lambda parts: {decode(key): decode(value) for key, value in parts},
}
