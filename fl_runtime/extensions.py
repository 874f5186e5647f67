"""A user's own parts: a name, ``package.module:object``, or a table of either with its fields.

Everything that a configuration chooses by name can be the user's own, in the same three ways:

    partition = "dirichlet"                                 # a built-in name
    partition = "mine:ByWriter"                             # an object of a module
    partition = { name = "mine:ByWriter", least = 10 }      # one with its fields

A `Kind` says what may stand there: the built-ins, and the members that an object needs. `resolve`
finds the object, fills in its fields and checks the members. There is nothing to register: a module
is imported when a configuration names it, from the current folder or those of PYTHONPATH.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from types import MappingProxyType
from typing import Any

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fairopt.user_objects import loaded, said
from fl_runtime.user_objects import place_of
from fl_runtime.validation_errors import record_from_table, unknown_key

Entry = str | dict[str, Any]
"""What a configuration may say: a name or reference, or a table with ``name`` and fields."""

Maker = Callable[[str, str, Any, Mapping[str, Any]], Any]
"""From the key of an entry, its name, what was found there, and fields, to the object."""


@dataclass(frozen=True)
class Kind:
    """What can be chosen at one place of a configuration.

    Attributes:
        name: What it is called, in the singular.
        key: Where a configuration chooses it.
        built_ins: Objects by name.
        protocol: The protocol of its objects; None where objects are functions.
        arguments: Of a function of this kind, by position.
        maker: How an object is made of what was found, where that is not as for all kinds.
        looks: Whether something in a module looks like one, where that is not as for all kinds.
        words: What a user's own object is, where that is more than protocol or arguments say.
    """

    name: str
    key: str
    built_ins: Mapping[str, Any]
    protocol: type | None = None
    arguments: tuple[str, ...] = ()
    maker: Maker | None = None
    looks: Callable[[Any], bool] | None = None
    words: str = ""

    @property
    def members(self) -> tuple[str, ...]:
        """Names that an object of this kind has."""
        if self.protocol is None:
            return ()
        own = (vars(kind) for kind in self.protocol.__mro__ if kind.__module__ not in _NOT_OURS)
        return tuple(dict.fromkeys(name for one in own for name in one if name[0] != "_"))

    @property
    def wanted(self) -> str:
        """What a user's own object of this kind is."""
        if self.words:
            return self.words
        if self.protocol is None:
            return f"a function ({', '.join(self.arguments)})"
        return f"a dataclass with {', '.join(self.members)}"

    def offers(self, found: object) -> bool:
        """Whether an object of a module looks like one of this kind; nothing is called."""
        if self.looks is not None:
            return self.looks(found)
        record = isinstance(found, type) and is_dataclass(found)
        if self.protocol is None:
            called = inspect.isfunction(found) or (
                isinstance(found, type) and not record and bool(self.arguments)
            )
            return called and begins_with(found, self.arguments)
        if not record or inspect.isabstract(found) or _absent(found, self.members):
            return False
        return all(_alike(found, self.protocol, name) for name in self.members)


_NOT_OURS = ("typing", "builtins", "abc")


def resolve(
    kind: Kind,
    entry: Entry,
    *,
    key: str = "",
    table: str = "",
    fields: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """The object that an entry of a configuration stands for.

    Args:
        kind: What may stand there.
        entry: A name of a built-in, ``package.module:object``, or a table of ``name`` and fields.
        key: Dotted key of the entry, for messages; that of the kind if empty.
        table: Dotted name of the table that holds the fields; the key if empty.
        fields: That stand elsewhere in the configuration; those of the entry come first.

    Returns:
        For kinds with a protocol the record, made from its fields; else the function, with the
        fields as its keyword arguments.

    Raises:
        InvalidInput: An unknown name or field (the nearest is named), a module that cannot be
            imported or an object that cannot be made (with file and line), or one that lacks a
            member.

    Example:
        >>> from fl_runtime.simulation.delays import DELAY
        >>> resolve(DELAY, {"name": "uniform", "low": 0.5, "high": 1.5}).mean
        1.0
        >>> resolve(DELAY, "math:sqrt")
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: clients.delay.model = 'math:sqrt', but it must be a dataclass
        with mean, draw
    """
    key = key or kind.key
    name, own = taken_apart(entry, key)
    if not kind.built_ins and ":" not in name:
        raise InvalidInput(key, name, f"package.module:object, {kind.wanted}")
    found = loaded(key, name) if ":" in name else choose(key, name, kind.built_ins)
    made = _made(kind, (key, name), found, {**fields, **own}, table or key)
    lacking = [*_absent(made, kind.members), *_not_methods(made, kind)]
    if lacking:
        place = place_of(type(made))
        raise InvalidInput(key, name, f"{kind.wanted} ({lacking[0]} is missing{place})")
    return made


def taken_apart(entry: object, key: str) -> tuple[str, dict[str, Any]]:
    """Name and fields of an entry.

    Raises:
        InvalidInput: It is neither a text nor a table with a name.

    Example:
        >>> taken_apart({"name": "dirichlet", "concentration": 0.3}, "clients.partition")
        ('dirichlet', {'concentration': 0.3})
    """
    table: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"name": entry}
    fields = {key: value for key, value in table.items() if key != "name"}
    if not isinstance(table.get("name"), str):
        raise InvalidInput(key, entry, "a name, package.module:object, or a table with a name")
    return table["name"], fields


def _made(
    kind: Kind, what: tuple[str, str], found: Any, fields: Mapping[str, Any], table: str
) -> Any:
    """The object with its fields filled in."""
    key, name = what
    if kind.maker is not None:
        return kind.maker(key, name, found, fields)
    if kind.protocol is None:
        return _with_keywords(kind, what, found, fields, table)
    if isinstance(found, type) and is_dataclass(found):
        try:
            return record_from_table(table, found, fields)
        except InvalidInput:
            raise
        except Exception as error:  # whatever the user's record does when it is made
            requirement = f"one that can be made ({said(error)})"
            raise InvalidInput(key, name, requirement) from error
    if isinstance(found, type) or fields or _absent(found, kind.members):
        raise InvalidInput(key, name, kind.wanted)
    return found


def _with_keywords(
    kind: Kind, what: tuple[str, str], found: Any, fields: Mapping[str, Any], table: str
) -> Any:
    """A function with fields as keyword arguments beyond those that it is called with."""
    key, name = what
    if isinstance(found, type) and is_dataclass(found):
        found, fields = record_from_table(table, found, fields), {}
    if not callable(found):
        raise InvalidInput(key, name, kind.wanted)
    if not fields:
        return found
    known = inspect.signature(found).parameters
    free = list(known)[len(kind.arguments) :]
    for field, value in fields.items():
        if field not in free:
            raise unknown_key([table, field], value, free)
    return functools.partial(found, **fields)


def _absent(found: object, members: tuple[str, ...]) -> list[str]:
    """Members that neither the object nor, if it is a class, its fields have."""
    bases = getattr(found, "__mro__", ())
    declared = {name for kind in bases for name in vars(kind).get("__annotations__", ())}
    return [name for name in members if name not in declared and not hasattr(found, name)]


def _not_methods(made: object, kind: Kind) -> list[str]:
    """Members that are methods of the protocol, and something else of the object."""
    return [
        name
        for name in kind.members
        if inspect.isfunction(getattr(kind.protocol, name, None))
        and hasattr(made, name)
        and not callable(getattr(made, name))
    ]


def begins_with(function: Any, arguments: tuple[str, ...]) -> bool:
    """Whether a function takes these arguments first, and needs no others."""
    parameters = inspect.signature(function).parameters
    needed = [key for key, each in parameters.items() if each.default is inspect.Parameter.empty]
    return tuple(parameters)[: len(arguments)] == arguments and set(needed) <= set(arguments)


def _alike(found: object, protocol: type, name: str) -> bool:
    """Whether a method has the arguments that the protocol's has; other members are alike."""
    mine, wanted = (getattr(kind, name, None) for kind in (found, protocol))
    if not inspect.isfunction(wanted):
        return True
    if not inspect.isfunction(mine):
        return False
    return list(inspect.signature(mine).parameters) == list(inspect.signature(wanted).parameters)


def described(kinds: Mapping[str, Kind], module: str) -> Iterator[tuple[str, str, str]]:
    """What a module offers: kind, reference, and the first line of its documentation.

    Raises:
        InvalidInput: The module cannot be imported.
    """
    loaded("--from", f"{module}:__name__")
    for name, found in vars(sys.modules[module]).items():
        if name[0] != "_" and getattr(found, "__module__", None) == module:
            for kind in kinds.values():
                if kind.offers(found):
                    yield kind.name, f"{module}:{name}", first_line(found)


def first_line(found: object) -> str:
    """The first line of an object's own documentation; a text is its own.

    Formulas lose their markup. A class without a text of its own is described by its base.

    Example:
        >>> first_line(first_line)
        "The first line of an object's own documentation; a text is its own."
    """
    if isinstance(found, str):
        return found
    line = (_own_text(found) or "").partition("\n")[0]
    if not line:
        bases = [base.__name__ for base in getattr(found, "__bases__", ()) if base is not object]
        line = "no docstring" + (f"; based on {', '.join(bases)}" if bases else "")
    return re.sub(r":\w+:`([^`]*)`", _without_latex, line)


def _without_latex(formula: re.Match[str]) -> str:
    """A formula in plain characters."""
    plain = formula[1].replace("\\leftarrow", "<-").replace("\\sim", "~")
    return plain.replace("\\", "")


def _own_text(found: object) -> str | None:
    """The docstring that stands with an object: no base's, and none that Python wrote."""
    if not isinstance(found, type):
        return inspect.getdoc(found)
    text = vars(found).get("__doc__")
    written = is_dataclass(found) and str(text).startswith(f"{found.__name__}(")
    return None if text is None or written else inspect.cleandoc(text)
