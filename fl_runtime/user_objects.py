"""Objects of the user's own modules: found by name, blamed by file and line, and fingerprinted.

A `fingerprint` is what a run records of an object that it was given, so that another one is refused
when the run is taken up again.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from fairopt.choices import suggestion
from fairopt.errors import InvalidInput

NO_FILE = "no file"
"""Fingerprint of what has no source file, such as an object of an interactive session."""

OURS = ("fl_runtime", "fairopt", "mechanisms")
"""Packages whose version a run records anyway."""

_PYTHON = Path(sysconfig.get_paths()["stdlib"])
_INSTALLED = ("site-packages", "dist-packages")


def load_object(argument: str, reference: str) -> Callable[..., object]:
    """The function that ``"package.module:function"`` names.

    Raises:
        InvalidInput: The module cannot be imported or has no such callable.

    Example:
        >>> load_object("data", "math:sqrt")(4.0)
        2.0
    """
    found = loaded(argument, reference, "function")
    if not callable(found):
        raise InvalidInput(argument, reference, "the name of a function")
    return found  # type: ignore[no-any-return]


def loaded(argument: str, reference: str, what: str = "object") -> Any:
    """The object that ``"package.module:object"`` names.

    Raises:
        InvalidInput: The module cannot be imported (with file and line), or has no such object.
    """
    module, _, attribute = reference.partition(":")
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):  # as in a command that was installed
        sys.path.insert(0, here)
    try:
        imported = importlib.import_module(module)
        return getattr(imported, attribute)
    except (Exception, SystemExit) as error:  # whatever the user's module does while it is imported
        near = ""
        if isinstance(error, AttributeError) and error.name == attribute:
            near = suggestion(attribute, [name for name in vars(imported) if name[0] != "_"])
        reason = f"{said(error)}{near}{_where_it_is_looked_for(module, error)}"
        raise InvalidInput(argument, reference, f"package.module:{what} ({reason})") from error


def said(error: BaseException) -> str:
    """What went wrong in a user's code, with the place nearest to the mistake.

    Example:
        >>> said(ValueError("too small"))
        'ValueError: too small'
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{_place_of_error(error)}"


def fingerprint(argument: str, reference: str) -> str:
    """What a run records of the object that ``"package.module:object"`` names.

    Of an installed package it is name and version of its distribution. Of the user's own module it
    is the sha256 of its source file; where it uses other modules of the user's own, one of all
    their files. What only functions import when they are called is not seen.

    Raises:
        InvalidInput: There is no such object.
    """
    found = loaded(argument, reference)
    named = sys.modules[reference.partition(":")[0]]
    if not _is_users(named):
        return _version_of(named)
    modules: dict[str, ModuleType] = {}
    _collect(named, modules)
    behind = inspect.getmodule(found)
    if behind is not None and _is_users(behind):
        _collect(behind, modules)
    files = [modules[name].__file__ for name in sorted(modules)]
    hashes = [hashlib.sha256(Path(str(file)).read_bytes()).hexdigest() for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _collect(module: ModuleType, found: dict[str, ModuleType]) -> None:
    """A module of the user's own and those that its names come from."""
    if module.__name__ in found:
        return
    found[module.__name__] = module
    for value in vars(module).values():
        behind = value if isinstance(value, ModuleType) else inspect.getmodule(type(value))
        if isinstance(value, type) or callable(value):
            behind = sys.modules.get(getattr(value, "__module__", None) or "")
        if behind is not None and _is_users(behind):
            _collect(behind, found)


def _is_users(module: ModuleType) -> bool:
    """Whether a module has a file that belongs to no installed package, nor to Python or to us."""
    file = getattr(module, "__file__", None)
    if not file or module.__name__.partition(".")[0] in OURS:
        return False
    path = Path(file)
    return (
        not _PYTHON.samefile(path.parent)
        and not any(part in _INSTALLED for part in path.parts)
        and _PYTHON not in path.parents
    )


def _version_of(module: ModuleType) -> str:
    """Distribution and version behind a module that is not the user's own."""
    top = module.__name__.partition(".")[0]
    if top in sys.stdlib_module_names and top != "__main__":
        return f"python {sys.version_info.major}.{sys.version_info.minor}"
    names = metadata.packages_distributions().get(top, [])
    return f"{names[0]} {metadata.version(names[0])}" if names else NO_FILE


def place_of(kind: type) -> str:
    """File and line where a class is defined."""
    try:
        return f", {Path(inspect.getfile(kind)).name} line {inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):
        return ""


def _place_of_error(error: BaseException) -> str:
    """File and line of the last step in the user's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f", {Path(error.filename).name} line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        inside = Path(__file__).parent in path.parents or _PYTHON in path.parents
        if not inside and not frame.filename.startswith("<"):
            return f", {path.name} line {frame.lineno}"
    return ""


def _where_it_is_looked_for(module: str, error: BaseException) -> str:
    """A hint where the user's own module is not found, as after a change of the folder."""
    if not isinstance(error, ModuleNotFoundError) or not f"{module}.".startswith(f"{error.name}."):
        return ""
    return f"; it is looked for in the current folder {Path.cwd()} and those of PYTHONPATH"
