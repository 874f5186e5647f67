"""Choosing by name, with the nearest known name when there is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fairopt.errors import InvalidInput

Value = TypeVar("Value")


def choose(argument: str, name: object, table: Mapping[str, Value]) -> Value:
    """The entry of that name.

    Raises:
        InvalidInput: No such entry; the message names the nearest one and lists all.

    Example:
        >>> choose("rule", "max-min-fare", {"max-min-fair": 1, "budget-fair": 2})
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: rule = 'max-min-fare', but it must be one of max-min-fair,
        budget-fair (did you mean max-min-fair?)
    """
    if not isinstance(name, str) or name not in table:
        near = suggestion(str(name), table)
        raise InvalidInput(argument, name, f"one of {', '.join(table)}{near}")
    return table[name]


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)``, or nothing when no known name is close.

    Example:
        >>> suggestion("alpa", ["alpha", "signal"])
        ' (did you mean alpha?)'
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""
