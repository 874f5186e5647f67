"""How kernels are compiled: ahead of the first call, remembered on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.event import Event, Listener, install_listener

from fairopt.kernels.jit import source_digest
from fairopt.kernels.kernel_cache import notice

F = TypeVar("F", bound=Callable[..., Any])


def compiled(signature: str) -> Callable[[F], F]:
    """Compile a function for one explicit signature.

    The machine code is cached next to the source, under a name with a digest of this folder, since
    numba does not notice changes of the files that helpers come from. Where no folder can be
    written (a read-only installation) the function is compiled in every process instead of failing.
    Compiling that takes a while is said once on the error stream; loading is not.
    """

    def decorate(function: F) -> F:
        function.__qualname__ += "_" + source_digest(Path(__file__).parent)
        room = (function.__module__ or "kernels").rpartition(".")[2]
        with _said_if_compiled(f"the auctions' {room}"):
            try:
                return cast(F, _jit(signature, cache=True)(function))
            except RuntimeError:  # numba: "no locator available", nothing is writable
                return cast(F, _jit(signature, cache=False)(function))

    return decorate


def _jit(signature: str, *, cache: bool) -> Any:
    """Numba's decorator with the options that every kernel shares."""
    return njit([signature], cache=cache, nogil=True, error_model="numpy")


class _Compiling(Listener):
    """Calls somebody when numba begins to compile, which it does not where it finds a file."""

    def __init__(self, begun: Callable[[], object]) -> None:
        self._begun = begun

    def on_start(self, event: Event) -> None:
        """A function, or one that it calls, is being compiled."""
        self._begun()

    def on_end(self, event: Event) -> None:
        """Nothing: the notice ends with the outermost function."""


@contextmanager
def _said_if_compiled(name: str) -> Iterator[None]:
    """A notice that begins when numba begins to compile."""
    with ExitStack() as stack:
        begun: list[str] = []

        def begin() -> None:
            if not begun:
                begun.append(name)
                stack.enter_context(notice(name))

        with install_listener("numba:compile", _Compiling(begin)):
            yield
