"""Optional packages: who needs one that is not installed is told how to get it, in one line.

The extras are those of `pyproject.toml`. Every import of an optional package stands in one of two
contexts: `extra` where a function or a module needs it, `exit_without` where a command line does.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit
from urllib.request import url2pathname

from fairopt.errors import FairoptError

OURS = ("fairopt", "mechanisms", "proofs", "fl_runtime")
ORIGIN = "direct_url.json"
"""Where an installer notes that a package came from a folder (PEP 610)."""
BAD_INPUT = 2
"""Exit status of a command line for whatever its user can correct."""


class MissingExtra(FairoptError, ModuleNotFoundError):
    """A package that is optional is needed now and not installed.

    Args:
        module: What could not be imported.
        extra: The extra of fairopt that brings it.

    Example:
        >>> raise MissingExtra("torch", "torch")
        Traceback (most recent call last):
        ...
        fairopt.extras.MissingExtra: torch is not installed: pip install '...[torch]'
    """

    def __init__(self, module: str, extra: str) -> None:
        self.extra = extra
        super().__init__(hint(module, extra), name=module)

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (str(self.name), self.extra)


def hint(module: str, extra: str) -> str:
    """How to get a module that is not installed, from where fairopt itself was installed.

    That is a folder for who has cloned the repository, and the name of the package otherwise.

    Args:
        module: What is not installed.
        extra: The extra of fairopt that brings it.

    Example:
        >>> hint("torch", "torch")
        "torch is not installed: pip install '...[torch]'"
    """
    source = "fairopt"
    with suppress(OSError, ValueError, KeyError, importlib.metadata.PackageNotFoundError):
        record = json.loads(importlib.metadata.distribution("fairopt").read_text(ORIGIN) or "{}")
        if "dir_info" in record:
            source = url2pathname(urlsplit(record["url"]).path)
    return f"{module} is not installed: pip install '{source}[{extra}]'"


@contextmanager
def extra(name: str, *modules: str) -> Iterator[None]:
    """Imports that need an extra.

    Args:
        name: The extra.
        modules: Looked for as well, without loading them, because a later import will need them.

    Raises:
        MissingExtra: An import found no such package. A module of ours that is not there is no
            matter of extras, and stays the error that it is.

    Example:
        >>> with extra("network"):
        ...     import no_such_graphs
        Traceback (most recent call last):
        ...
        fairopt.extras.MissingExtra: no_such_graphs is not installed: pip install '...[network]'
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(module, name)
    try:
        yield
    except MissingExtra:
        raise
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if not module or module in OURS:
            raise
        raise MissingExtra(module, name) from None


@contextmanager
def exit_without(name: str, *modules: str) -> Iterator[None]:
    """Imports of a command line: without the extra, one line and the end of the process.

    Args:
        name: The extra.
        modules: As for `extra`.

    Raises:
        SystemExit: With status 2.

    Example:
        >>> with exit_without("runtime"):
        ...     import no_such_package
        Traceback (most recent call last):
        ...
        SystemExit: 2
    """
    try:
        with extra(name, *modules):
            yield
    except MissingExtra as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(BAD_INPUT) from None
