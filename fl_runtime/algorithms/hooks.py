"""Overrides that nobody would call: a method of the user's own that its base class never asks.

Algorithms share names of methods that a subclass may override (`Synchronous.coefficients`,
`server_step`, and so on), but not every road through an algorithm passes all of them: a shared
trunk has no step of its own for each task, an asynchronous server no coefficients. An override that
is never called would be ignored in silence, so it is found here, before anything runs.

Method: which methods are called is read from the code, beginning with the members of `Algorithm`
that the loop calls, and going on with every name that is mentioned on the way. What is mentioned
need not happen, so nothing is refused that could be called; what is not mentioned cannot happen.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from fairopt.errors import InvalidInput
from fl_runtime.algorithms.base import Algorithm
from fl_runtime.algorithms.synchronous import Synchronous
from fl_runtime.user_objects import OURS

WHEN_MADE = ("__init__", "__post_init__")
"""Called when a record is made."""


@dataclasses.dataclass(frozen=True)
class Ignored:
    """An override that is never called.

    Attributes:
        name: Of the method.
        place: File and line, in parentheses.
        base: The built-in class whose road is followed.
        hidden: Whether a field of that name stands before it.
    """

    name: str
    place: str
    base: str
    hidden: bool

    def __str__(self) -> str:
        never = f"{self.base} has a field of that name" if self.hidden else "never calls it"
        who = "" if self.hidden else f"{self.base}, from which it inherits, "
        return f"{self.name}{self.place}: {who}{never}, so it would be ignored"


def ignored_hooks(kind: type) -> list[Ignored]:
    """Methods of the user's own that override one of an algorithm of ours, and are never called.

    Example:
        >>> from fl_runtime.algorithms.fed_avg import FedAvg
        >>> ignored_hooks(FedAvg)
        []
    """
    own = [each for each in kind.__mro__ if not _is_ours(each)]
    bases = [each for each in kind.__mro__ if _is_ours(each)]
    if not own or not bases:
        return []
    hooks = {
        name
        for base in (*bases, Synchronous)
        for name, value in vars(base).items()
        if name[0] != "_" and _functions(value)
    }
    fields = {each.name for each in dataclasses.fields(kind)} if _is_record(kind) else set()
    reached = _reached(kind)
    found = []
    for name in sorted(hooks | fields):
        owner, value = _defined(kind, name)
        functions = _functions(value)
        if owner is None or owner not in own or not functions:
            continue
        if name in vars(owner).get("__annotations__", {}):
            continue  # a field, whose default happens to be a function
        hidden = name in fields
        if hidden or not any(function in reached for function in functions):
            found.append(Ignored(name, _place(functions[0]), bases[0].__name__, hidden))
    return found


def check_hooks(key: str, name: str, kind: type) -> None:
    """Refuse an algorithm of which something would be ignored.

    Raises:
        InvalidInput: With the class, the method, its file and line, and who never calls it.
    """
    for ignored in ignored_hooks(kind):
        raise InvalidInput(key, name, f"without {ignored}")


def _reached(kind: type) -> set[FunctionType]:
    """Functions that may be called when the loop plays an algorithm."""
    roots = [*WHEN_MADE, *(name for name in vars(Algorithm) if name[0] != "_")]
    packages = {_top(each) for each in kind.__mro__ if each is not object}
    found: set[FunctionType] = set()
    waiting: list[tuple[FunctionType, type | None]] = []
    for name in roots:
        waiting += _own(kind, name, kind.__mro__)
    while waiting:
        function, owner = waiting.pop()
        if function in found or (owner not in kind.__mro__ and _top(function) not in packages):
            continue
        found.add(function)
        waiting += _called(kind, function, owner)
    return found


def _called(
    kind: type, function: FunctionType, owner: type | None
) -> Iterator[tuple[FunctionType, type | None]]:
    """What a function mentions: methods of the algorithm, of bases, functions and classes."""
    names = set(_names(function.__code__))
    rest = kind.__mro__[kind.__mro__.index(owner) + 1 :] if owner in kind.__mro__ else ()
    for name in names:
        yield from _own(kind, name, kind.__mro__)
        if "super" in names:
            yield from _own(kind, name, rest)
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType):
            yield value, None
        elif isinstance(value, type):
            wanted = names if value in kind.__mro__ else vars(value).keys()
            for each in wanted:
                yield from _own(value, each, value.__mro__)


def _own(kind: type, name: str, order: tuple[type, ...]) -> Iterator[tuple[FunctionType, type]]:
    """The functions behind the first definition of a name, and the class that has it."""
    owner, value = _defined(kind, name, order)
    if owner is not None:
        yield from ((function, owner) for function in _functions(value))


def _defined(
    kind: type, name: str, order: tuple[type, ...] | None = None
) -> tuple[type | None, Any]:
    """The first class that defines a name, and what it defines."""
    for each in kind.__mro__ if order is None else order:
        if name in vars(each):
            return each, vars(each)[name]
    return None, None


def _functions(value: Any) -> list[FunctionType]:
    """The functions behind a method or property."""
    if isinstance(value, property):
        parts = [value.fget]
    elif isinstance(value, functools.cached_property):
        parts = [value.func]
    else:
        parts = [getattr(value, "__func__", value)]
    found = [part for part in parts if isinstance(part, FunctionType)]
    inner = [inspect.unwrap(part) for part in found]
    return [*found, *(part for part in inner if part not in found)]


def _names(code: CodeType) -> Iterator[str]:
    """All names and texts that a function mentions, inner functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
        elif isinstance(constant, str):
            yield constant


def _place(function: FunctionType) -> str:
    """File and line of a function, in parentheses."""
    code = function.__code__
    return f" ({Path(code.co_filename).name} line {code.co_firstlineno})"


def _top(found: Any) -> str:
    """The package that something is from."""
    return str(getattr(found, "__module__", "")).partition(".")[0]


def _is_ours(kind: type) -> bool:
    """Whether a class is one of the runtime."""
    return _top(kind) in OURS


def _is_record(kind: type) -> bool:
    """Whether a class is a dataclass."""
    return dataclasses.is_dataclass(kind)
