"""One-line validation errors of configuration values, in the spelling of the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from fairopt.choices import suggestion
from fairopt.errors import InvalidInput, Unshown

Record = TypeVar("Record")


def kebab(name: str) -> str:
    """A field's spelling in files.

    Example:
        >>> kebab("num_server_rounds")
        'num-server-rounds'
    """
    return name.replace("_", "-")


def record_from_table(
    table_name: str, kind: Callable[..., Record], table: Mapping[str, Any]
) -> Record:
    """A frozen record from a table whose keys are its fields.

    Args:
        table_name: Dotted name of the table, for messages.
        kind: A dataclass with type hints.
        table: Its fields with snake_case keys.

    Raises:
        InvalidInput: An unknown key (the nearest field is named), a missing one, or a wrong value.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Delay:
        ...     mean: float
        >>> record_from_table("clients.delay", Delay, {"maen": 1.0})
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: clients.delay.maen = 1.0, but it must be a known key of
        [clients.delay] (did you mean mean?): mean
    """
    hints = get_type_hints(kind)
    for key, value in table.items():
        if key not in hints:
            raise unknown_key([table_name, key], value, hints)
    values = {key: _checked(f"{table_name}.{key}", hints[key], table[key]) for key in table}
    needed = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]  # type: ignore[arg-type]
    absent = [name for name in needed if name not in table]
    if absent:
        raise missing_key([table_name, absent[0]])
    try:
        return kind(**values)
    except InvalidInput as error:
        name = f"{table_name}.{kebab(error.argument)}"
        raise InvalidInput(name, error.value, error.requirement) from None


def check_positive(name: str, value: float) -> None:
    """Refuse what is not a finite positive number.

    Example:
        >>> check_positive("mean", 0.0)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: mean = 0.0, but it must be finite and > 0
    """
    if not 0.0 < value < math.inf:
        raise InvalidInput(name, value, "finite and > 0")


def check_at_least(name: str, value: float, least: float) -> None:
    """Refuse what is not a finite number from `least` on."""
    if not least <= value < math.inf:
        raise InvalidInput(name, value, f"finite and >= {least:g}")


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse what is not an integer from `least` on, or between two ends.

    Example:
        >>> check_whole("rows", 0, 1, 10)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: rows = 0, but it must be a whole number from 1 to 10
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value <= (math.inf if most is None else most):
        ends = f", at least {least}" if most is None else f" from {least} to {most}"
        raise InvalidInput(name, value, f"a whole number{ends}")


def _checked(name: str, hint: Any, value: Any) -> Any:
    """One field's value, of exactly its type (an integer counts as a float, a list as a tuple)."""
    try:
        plain = tuple(value) if isinstance(value, list) else value
        return TypeAdapter(hint).validate_python(plain, strict=True)
    except ValidationError as error:
        raise first_validation_error(error, lambda path: (), prefix=[name]) from None


def first_validation_error(
    error: ValidationError,
    known_keys: Callable[[Sequence[str]], Iterable[str]],
    prefix: Sequence[str] = (),
) -> InvalidInput:
    """Pydantic's first validation error as `InvalidInput`.

    Where a key is missing and its table has one that nobody knows, the error is about the latter.

    Args:
        error: What pydantic raised.
        known_keys: The keys of the table at a path, for suggestions.
        prefix: Where the validated value itself stands in the file.
    """
    errors = error.errors()
    found = errors[0]
    if found["type"] == "missing":
        beside = (one for one in errors if one["loc"][:-1] == found["loc"][:-1])
        found = next((one for one in beside if one["type"] == "extra_forbidden"), found)
    path = [*prefix, *(str(part) for part in found["loc"])]
    shown = kebab(".".join(path)) or "CONFIG"
    if found["type"] == "extra_forbidden":
        return unknown_key(path, found["input"], known_keys(path[:-1]))
    if found["type"] == "missing":
        return missing_key(path)
    cause = found.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        return InvalidInput(f"{shown}.{kebab(cause.argument)}", cause.value, cause.requirement)
    return InvalidInput(shown, found["input"], _requirement(found["type"], found["msg"]))


def missing_key(path: Sequence[str]) -> InvalidInput:
    """The error of a required key that is not there."""
    return InvalidInput(kebab(".".join(path)), Unshown.MISSING, "this key is required")


def unknown_key(path: Sequence[str], value: object, known: Iterable[str]) -> InvalidInput:
    """The error of a key that no table has, with the nearest one that it has."""
    names = [kebab(name) for name in known]
    table = f"[{kebab('.'.join(path[:-1]))}]" if path[:-1] else "the file"
    near = suggestion(kebab(path[-1]), names)
    listing = f": {', '.join(names)}" if names else ", and it has none"
    return InvalidInput(kebab(".".join(path)), value, f"a known key of {table}{near}{listing}")


def _requirement(kind: str, message: str) -> str:
    """Pydantic's sentence as the end of ours."""
    if kind in ("too_short", "string_too_short"):
        return "not empty"
    if kind == "tuple_type":
        return "a list"
    for lead in ("Value error, ", "Input should be "):
        message = message.removeprefix(lead)
    return message[:1].lower() + message[1:]
