"""Objects of the user's own modules: what a run records of them, and where they are defined.

A `fingerprint` is what a run records of an object that it was given, so that another one is refused
when the run is taken up again.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from types import ModuleType

from fairopt.user_objects import loaded

NO_FILE = "no file"
"""Fingerprint of what has no source file, such as an object of an interactive session."""

OURS = ("fl_runtime", "fairopt", "mechanisms")
"""Packages whose version a run records anyway."""

_PYTHON = Path(sysconfig.get_paths()["stdlib"])
_INSTALLED = ("site-packages", "dist-packages")


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
