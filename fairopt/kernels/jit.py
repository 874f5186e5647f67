"""The decorators of all kernels, in one place.

Compiled code is cached on disk next to the source or in the user's cache folder. Where neither can
be written (a read-only installation) the kernel is compiled in memory instead. numba notices a
change of a kernel's own file only, not of the files of its helpers; so the name under which it
caches carries a digest of the whole folder.

A gufunc is cached in two files, its core and its loop, and the loop calls the core by a name that
its process made up. Two processes that compile one kernel at once would leave the core of one and
the loop of the other, and whoever loads them crashes; so a lock lets one process compile at a time,
and the next one finds both files.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numba.extending
from filelock import FileLock
from numba.core.bytecode import FunctionIdentity
from numba.core.options import DefaultOptions

# Division by zero gives inf or NaN as in NumPy; helpers are called by kernels only, so the wrappers
# that let Python call them would double the compile time for nothing.
_HELPER: dict[str, Any] = {
    "error_model": "numpy",
    "nogil": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "forceinline": False,
}

# A function that only reads and writes arrays of its caller need not count references to them: with
# a dozen arrays in a NamedTuple the counting would take as long as a problem of two tasks. numba
# does so in its own sorting; it refuses to make arrays in such a function, and a test checks that
# none returns any. The option is private to numba; where it is gone, references are counted.
_BORROWING, _OWNING = (
    ({**_HELPER, "_nrt": False}, {**_HELPER, "_nrt": True})
    if hasattr(DefaultOptions, "_nrt")
    else (_HELPER, _HELPER)
)

helper: Callable[..., Any] = numba.njit(**_BORROWING)
"""A function that works in the arrays it is given and returns numbers."""

allocating: Callable[..., Any] = numba.njit(**_OWNING)
"""A helper that makes arrays for its own use."""

inlined: Callable[..., Any] = numba.njit(inline="always")
"""A helper whose statements become its caller's: it returns arrays, or has one caller only."""

solver: Callable[..., Any] = numba.njit(**{**_BORROWING, "forceinline": True})
"""All that a gufunc does once it has memory; copying so many arguments would cost more."""

intrinsic: Callable[..., Any] = numba.extending.intrinsic
"""Instructions that are written down in LLVM's language, because numba has no words for them."""

# Sums may be reordered and fused; nothing may be assumed about NaN, inf or signed zeros.
summing: Callable[..., Any] = numba.njit(fastmath={"reassoc", "contract"}, **_BORROWING)


def number_functions_apart() -> None:
    """Let this process name its compiled functions unlike any other process.

    numba numbers functions from 1 in every process and puts the number into the symbol names of
    what it caches. Two kernels compiled by two processes then hold different functions of one name,
    and whoever loads both calls the wrong ones: a crash. The counter is private to numba; where it
    is gone, kernels are not cached by `gufunc` (see there).
    """
    FunctionIdentity._unique_ids = itertools.count(1 + (secrets.randbits(40) << 16))


def source_digest(folder: Path) -> str:
    """Digest of every source file in a folder and below."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def lock_file(digest: str) -> Path:
    """What a process locks while it compiles, one per user; the lock ends with the process."""
    user = getattr(os, "getuid", lambda: 0)()
    return Path(tempfile.gettempdir(), f"fairopt-{user}-{digest}.lock")


def gufunc(types: str, layout: str) -> Callable[[Callable[..., None]], Any]:
    """A NumPy generalised ufunc with one explicit signature, cached where possible."""

    def decorate(function: Callable[..., None]) -> Any:
        digest = source_digest(Path(__file__).parent)
        function.__qualname__ += "_" + digest
        try:
            with FileLock(lock_file(digest)):
                return _build(function, types, layout, cache=NAMED_APART)
        except (RuntimeError, OSError):  # numba: "cannot cache function", or no space to write
            return _build(function, types, layout, cache=False)

    return decorate


def _build(function: Callable[..., None], types: str, layout: str, *, cache: bool) -> Any:
    """Compile now; the bare NumPy ufunc has the smallest call overhead."""
    built = numba.guvectorize([types], layout, cache=cache)(function)
    return getattr(built, "ufunc", built)


NAMED_APART = hasattr(FunctionIdentity, "_unique_ids")
"""Whether kernels of several processes can share a cache folder."""

if NAMED_APART:
    number_functions_apart()
