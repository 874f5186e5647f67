"""The decorators of all kernels, in one place.

A kernel is compiled as one module where that is supported (`one_module`), else by numba in its own
way, and kept on disk (`kernel_cache`) under a name with a digest of this whole folder: numba would
notice a change of a kernel's own file only, not of the files of its helpers. Where nothing can be
written (a read-only installation) it is compiled in memory instead.

numba caches a gufunc in two files, its core and its loop, and the loop calls the core by a name
that its process made up. Two processes that compile one kernel at once would leave the core of one
and the loop of the other, and whoever loads them crashes; so numba may write and read its files
only under the lock, or when a file of ours says that both are there.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numba.extending
from numba.core.bytecode import FunctionIdentity
from numba.core.options import DefaultOptions

from fairopt.kernels import kernel_cache, one_module
from fairopt.kernels.kernel_cache import source_digest as source_digest

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


def gufunc(types: str, layout: str) -> Callable[[Callable[..., None]], Any]:
    """A NumPy generalised ufunc with one explicit signature, cached where possible."""

    def decorate(function: Callable[..., None]) -> Any:
        function.__qualname__ += "_" + _sources()

        def read(content: bytes) -> Any:
            return _read(content, function, types, layout)

        def make(locked: bool) -> tuple[Any, bytes | None]:
            return _made(function, types, layout, cache=locked and NAMED_APART)

        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        return kernel_cache.kernel(name, _sources(), read, make)

    return decorate


@cache
def _sources() -> str:
    """Digest of the kernels, as this process found them."""
    return source_digest(Path(__file__).parent)


BY_NUMBA = b"compiled by numba, in files of its own\n"


def _read(content: bytes, function: Callable[..., None], types: str, layout: str) -> Any:
    """The kernel that a file stands for, or None."""
    if content == BY_NUMBA:
        try:
            return _build(function, types, layout, cache=True)
        except (RuntimeError, OSError):
            return None
    code = one_module.Code.from_bytes(content)
    if code is None:
        return None
    try:
        return one_module.loaded(code, function, layout)
    except one_module.Unsupported:
        return None


def _made(
    function: Callable[..., None], types: str, layout: str, *, cache: bool
) -> tuple[Any, bytes | None]:
    """Compile; return the kernel, and what to keep of it in a file."""
    if one_module.TRIED:
        try:
            code = one_module.compiled(function, types, layout)
            return one_module.loaded(code, function, layout), code.to_bytes()
        except one_module.Unsupported:
            pass
    if cache:
        try:
            return _build(function, types, layout, cache=True), BY_NUMBA
        except (RuntimeError, OSError):  # numba: "cannot cache function", or no space to write
            pass
    return _build(function, types, layout, cache=False), None


def _build(function: Callable[..., None], types: str, layout: str, *, cache: bool) -> Any:
    """Compile now; the bare NumPy ufunc has the smallest call overhead."""
    built = numba.guvectorize([types], layout, cache=cache)(function)
    return getattr(built, "ufunc", built)


NAMED_APART = hasattr(FunctionIdentity, "_unique_ids")
"""Whether kernels of several processes can share a cache folder."""

if NAMED_APART:
    number_functions_apart()
