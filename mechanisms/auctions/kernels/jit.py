"""How kernels are compiled: ahead of the first call, remembered on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

from fairopt.kernels.jit import source_digest
from fairopt.kernels.kernel_cache import notice

F = TypeVar("F", bound=Callable[..., Any])


def compiled(signature: str) -> Callable[[F], F]:
    """Compile a function for one explicit signature.

    The machine code is cached next to the source, under a name with a digest of this folder, since
    numba does not notice changes of the files that helpers come from. Where no folder can be
    written (a read-only installation) the function is compiled in every process instead of failing.
    What takes a while is said once on the error stream.
    """

    def decorate(function: F) -> F:
        function.__qualname__ += "_" + source_digest(Path(__file__).parent)
        room = (function.__module__ or "kernels").rpartition(".")[2]
        with notice(f"the auctions' {room}"):
            try:
                return cast(F, _jit(signature, cache=True)(function))
            except RuntimeError:  # numba: "no locator available", nothing is writable
                return cast(F, _jit(signature, cache=False)(function))

    return decorate


def _jit(signature: str, *, cache: bool) -> Any:
    """Numba's decorator with the options that every kernel shares."""
    return njit([signature], cache=cache, nogil=True, error_model="numpy")
