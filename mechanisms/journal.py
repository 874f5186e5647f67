"""What a study has found so far, in a file: one that is killed goes on where it was.

A journal is JSON lines. The first says what it is; each of the others holds some results, with the
numbers of their items and the study that they belong to. A study is known by a hash of the
function, with its source, and of all items: whatever differs in rule, bids, seed or version is
another one, and several find room in one file.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fairopt import __version__
from fairopt.errors import InvalidInput
from mechanisms.plain_values import decode, describe, encode

HEADER = {"journal": "mechanisms", "format": 1}
_KEYS = {"study", "items", "results"}


class Journal:
    """The results of one study in an open file.

    Attributes:
        known: Results by the number of their item, of earlier processes.
    """

    def __init__(self, path: Path, file: BinaryIO, study: str) -> None:
        self.known: dict[int, Any] = {}
        self._path, self._file, self._study = path, file, study

    def write(self, numbers: Sequence[int], results: Sequence[Any]) -> None:
        """Append results, at once and whole.

        Raises:
            InvalidInput: They cannot be written as text.
        """
        try:
            line = {"study": self._study, "items": list(numbers), "results": encode(list(results))}
        except TypeError as error:
            raise _not_for(self._path, error) from None
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()


@contextmanager
def journal_of(
    path: str | Path, check: Callable[..., Any], items: Sequence[Any]
) -> Iterator[Journal]:
    """The journal at that place, made if there is none, for a study.

    Raises:
        InvalidInput: The file is none, it is damaged, another process is writing it, or the study
            has no description by which it could be recognised.
    """
    path = Path(path)
    study = _study_of(path, check, items)
    try:
        file = path.open("a+b")
    except OSError as error:
        raise InvalidInput("journal", str(path), f"a file that can be written ({error})") from error
    with file:
        _lock(file, path)
        file.seek(0)
        journal = Journal(path, file, study)
        whole = _read(path, file.read(), journal)
        file.truncate(whole)  # a line that a kill has cut
        if not whole:
            file.write(json.dumps(HEADER).encode() + b"\n")
            file.flush()
        yield journal


def _study_of(path: Path, check: Callable[..., Any], items: Sequence[Any]) -> str:
    """A hash of everything that results depend on."""
    try:
        told = [__version__, describe(check), describe(list(items))]
    except TypeError as error:
        raise _not_for(path, error) from None
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _read(path: Path, content: bytes, journal: Journal) -> int:
    """Learn what the file knows of the study; how many of its bytes are whole lines."""
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].splitlines()
    try:
        if content and (not lines or json.loads(lines[0]) != HEADER):
            raise ValueError("its first line says something else")
        for line in map(json.loads, lines[1:]):
            if line.keys() != _KEYS:
                raise ValueError("a line is another one")
            if line["study"] == journal._study:
                journal.known.update(zip(line["items"], decode(line["results"]), strict=True))
    except (ValueError, TypeError, AttributeError) as error:
        requirement = f"a journal of earlier studies, or a new file ({error})"
        raise InvalidInput("journal", str(path), requirement) from error
    return whole


def _not_for(path: Path, error: TypeError) -> InvalidInput:
    """The error about a study that has no place in a journal."""
    requirement = f"left out: {error} is no function or record of a module"
    return InvalidInput("journal", str(path), requirement)


def _lock(file: BinaryIO, path: Path) -> None:
    """Refuse a second process; the system lets go when one ends, however it ends."""
    if sys.platform == "win32":  # no advisory locks: two writers are not detected there
        return
    import fcntl

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InvalidInput("journal", str(path), "one that no other process is writing") from error
