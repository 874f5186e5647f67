"""Objects of the user's own modules: found by name, blamed by file and line.

Command lines and configurations name them as ``package.module:object``.
"""

from __future__ import annotations

import importlib
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairopt.choices import suggestion
from fairopt.errors import InvalidInput
from fairopt.extras import OURS

_HERE = Path(__file__).parent.parent
_PYTHON = Path(sysconfig.get_paths()["stdlib"])


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

    Args:
        argument: Where it is named, for the error.
        reference: Its module, which is looked for in the current folder too, and its name there.
        what: What is wanted, for the error.

    Raises:
        InvalidInput: The module cannot be imported (with file and line), or has no such object.

    Example:
        >>> loaded("--rule", "math:squrt")
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: --rule = 'math:squrt', but it must be package.module:object
        (AttributeError: module 'math' has no attribute 'squrt' (did you mean sqrt?))
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


def _place_of_error(error: BaseException) -> str:
    """File and line of the last step in the user's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f", {Path(error.filename).name} line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if not _is_inside(path) and not frame.filename.startswith("<"):
            return f", {path.name} line {frame.lineno}"
    return ""


def _is_inside(path: Path) -> bool:
    """Whether a file belongs to this library or to Python."""
    return _PYTHON in path.parents or any(_HERE / name in path.parents for name in OURS)


def _where_it_is_looked_for(module: str, error: BaseException) -> str:
    """A hint where the user's own module is not found, as after a change of the folder."""
    if not isinstance(error, ModuleNotFoundError) or not f"{module}.".startswith(f"{error.name}."):
        return ""
    return f"; it is looked for in the current folder {Path.cwd()} and those of PYTHONPATH"
