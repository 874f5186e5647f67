"""Compiled kernels on disk, one file each, which is replaced as a whole.

Who finds a file uses it and waits for nobody. Who does not compiles under a lock, so that processes
which start together compile once; but nobody waits longer than `LONGEST_WAIT` for another one, who
may have been stopped. Then both compile, and the file of the later one replaces the other. Lock
files stay: deleting one would let two processes hold "the" lock. Nothing that can be written
anywhere, and nothing is kept: the kernel is compiled in memory.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from filelock import FileLock, Timeout
from numba.core import config as numba_config

config: Any = numba_config  # its names are made when it is imported

LONGEST_WAIT = 60.0  # seconds; all kernels together compile in about half of it
SILENT = 1.0  # seconds of compiling in a process without a word
AHEAD = ", some seconds (all ahead of the first call: python -m fairopt compile)"

Reader = Callable[[bytes], Any]
"""A kernel from the content of its file; None if the file is of no use."""

Maker = Callable[[bool], tuple[Any, bytes | None]]
"""Compile; return the kernel and the content of its file, if any. The argument: is it locked?"""


def kernel(name: str, sources: str, read: Reader, make: Maker) -> Any:
    """The kernel of that name and digest of sources, from its file or compiled."""
    file = f"{name}-{_key(sources)}"
    found = _look(file, read)
    if found is not None:
        return found
    with notice(name.rpartition(".")[2]):
        folder = writable()
        if folder is None:
            return make(False)[0]
        lock = FileLock(folder / f"{file}.lock", timeout=LONGEST_WAIT)
        try:
            lock.acquire()
        except (Timeout, OSError, NotImplementedError):
            return _made(folder / f"{file}.kernel", make, locked=False)
        try:
            found = _look(file, read)
            return _made(folder / f"{file}.kernel", make, locked=True) if found is None else found
        finally:
            lock.release()


def source_digest(folder: Path) -> str:
    """Digest of every source file in a folder and below."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _key(sources: str) -> str:
    """Digest of everything that machine code depends on."""
    return hashlib.sha256(f"{sources} {_machine()}".encode()).hexdigest()[:16]


@cache
def _machine() -> str:
    """Versions, processor and numba's settings, in one line."""
    import llvmlite.binding as llvm

    versions = (sys.implementation.cache_tag, numba.__version__, llvmlite.__version__)
    asked_for = (config.CPU_NAME, config.CPU_FEATURES)
    host = (llvm.get_process_triple(), llvm.get_host_cpu_name())
    processor = (asked_for, host, llvm.get_host_cpu_features().flatten())
    names = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
    settings = [getattr(config, name, None) for name in names]
    return repr((versions, np.__version__, processor, settings))


def _folders() -> list[Path]:
    """Where files may lie: as numba does, in NUMBA_CACHE_DIR, or by the sources, or the user's."""
    if config.CACHE_DIR:
        return [Path(config.CACHE_DIR) / "fairopt"]
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [Path(__file__).parent / "__pycache__", Path(user) / "fairopt"]


def _look(file: str, read: Reader) -> Any:
    """The kernel in the first file that is of use, or None."""
    for folder in _folders():
        with suppress(OSError):
            found = read((folder / f"{file}.kernel").read_bytes())
            if found is not None:
                return found
    return None


def writable() -> Path | None:
    """The first folder in which a file can be made."""
    for folder in _folders():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    return None


def _made(path: Path, make: Maker, *, locked: bool) -> Any:
    """Compile, and leave the file if there is room for it."""
    made, content = make(locked)
    if content is not None:
        with suppress(OSError):
            _replace(path, content)
    return made


def _replace(path: Path, content: bytes) -> None:
    """Put a whole file in the place of another one, or of none."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        new.write_bytes(content)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


@contextmanager
def notice(name: str) -> Iterator[None]:
    """Say once in a process what it is waiting for, if that and what was before take a while."""
    timer = threading.Timer(max(SILENT - sum(_waited()), 0.0), _say, (name,))
    timer.daemon = True
    begun = time.monotonic()
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _waited().append(time.monotonic() - begun)


def say_nothing() -> None:
    """For whoever tells the user more than this file would."""
    _once().append("")


@cache
def _waited() -> list[float]:
    """Seconds that this process has compiled, by kernel."""
    return []


@cache
def _once() -> list[str]:
    """What has been said in this process."""
    return []


def _say(name: str) -> None:
    """One sentence on standard error."""
    if not _once() and sys.stderr is not None:
        _once().append(name)
        with suppress(OSError, ValueError):  # closed
            sys.stderr.write(f"fairopt: compiling {name} for this machine, once{AHEAD}\n")
            sys.stderr.flush()
