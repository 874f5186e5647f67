"""Appends to the files of a run: one process at a time, whole lines, and a count of what is there.

History lines are written before the checkpoint that counts them and holds their hash, so that what
a kill has left is known to the byte.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import digest
from fl_runtime.history import ROWS_FILE, encode_row
from fl_runtime.running.checkpoint import load_checkpoint, save_checkpoint
from fl_runtime.running.model_files import SavedModel, write_model
from fl_runtime.running.moments import Moment, rows_of, write_moment

HISTORY = ROWS_FILE
TIMING = "timing.jsonl"
CHECKPOINT = Path("checkpoint", "state.safetensors")

WORKER_DEATHS = "worker_deaths"
"""Key of wall-clock figures: workers that died in a round and were replaced."""

_PROGRESS_KEYS = {"digest", "finished", "state", "history_bytes", "history_hash"}


@dataclass
class Writer:
    """Appends rows to locked files and replaces the checkpoint that counts them.

    Attributes:
        folder: Of the run.
        history: File of the rows, at its end.
        timing: File of the wall-clock figures.
        hash: Running hash of the rows.
        state: File of the checkpoint.
    """

    folder: Path
    history: BinaryIO
    timing: BinaryIO
    hash: Any
    state: Path

    def row(self, row: Mapping[str, Any]) -> None:
        """Append a row to the history."""
        self.rows_again(encode_row(row))

    def rows_again(self, lines: bytes) -> None:
        """Append whole lines to the history."""
        self.history.write(lines)
        self.history.flush()
        self.hash.update(lines)

    def seconds(self, row: Mapping[str, Any]) -> None:
        """Append a row of wall-clock figures."""
        self.timing.write(encode_row(row))
        self.timing.flush()

    def model(self, model: SavedModel) -> None:
        """Write a trained model."""
        write_model(self.folder, model)

    def keep(
        self,
        index: int,
        digest: str,
        state: Mapping[str, Any],
        run: tuple[str, int],
        last: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the last moment of an arm and seed, with the rows that have led to it.

        Args:
            index: Its place among all arms and seeds.
            digest: Of the configuration.
            state: The tree of its `RunState`.
            run: Its arm and seed.
            last: The last row of a run that goes on, if it is another one than that written.
        """
        self.history.seek(0)
        rows = rows_of(self.history.read(), *run)
        if last is not None:
            rows = rows[: rows[:-1].rfind(b"\n") + 1] + encode_row(last)
        write_moment(self.folder / CHECKPOINT.parent, Moment(index, digest, state, rows))

    def checkpoint(self, record: Mapping[str, Any]) -> None:
        """Replace the checkpoint by one that counts everything written so far."""
        counted = {
            "history_bytes": self.history.tell(),
            "history_hash": self.hash.hexdigest(),
        }
        save_checkpoint(self.state, {**record, **counted})

    def back_to(self, size: int, record: Mapping[str, Any]) -> None:
        """Forget the rows after so many bytes, and that any of them was done.

        Args:
            size: Bytes that stay.
            record: The checkpoint from then on.
        """
        self.history.seek(0)
        self.hash = hashlib.sha256(self.history.read(size))
        self.checkpoint(record)
        self.history.truncate()


def nothing_done(config: Config) -> dict[str, Any]:
    """The checkpoint of a run before its first step."""
    return {
        "digest": digest(config),
        "finished": 0,
        "state": None,
        "history_bytes": 0,
        "history_hash": hashlib.sha256().hexdigest(),
    }


def read_progress(state: Path, digest: str) -> dict[str, Any]:
    """A checkpoint that a `Writer` has left.

    Raises:
        InvalidInput: It is missing, damaged, or belongs to another configuration.
    """
    record = load_checkpoint(state)
    if record.keys() != _PROGRESS_KEYS:
        raise InvalidInput("checkpoint", sorted(record), "one written by a run")
    if record["digest"] != digest:
        folder = str(state.parent.parent)
        requirement = "made with the config.toml beside it, which has changed"
        raise InvalidInput("checkpoint", folder, requirement)
    return record


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """History and timing of a run folder, of which this process is the only writer."""
    with (path / HISTORY).open("r+b") as history, (path / TIMING).open("ab") as timing:
        lock(history, path)
        yield history, timing


def counted(content: bytes, progress: Mapping[str, Any], path: Path) -> tuple[int, Any]:
    """How many bytes of a history its checkpoint counts, and the running hash of them."""
    size = progress["history_bytes"]
    found = hashlib.sha256(content[:size])
    if found.hexdigest() != progress["history_hash"]:
        requirement = "one that begins with the lines its checkpoint counted; it was changed"
        raise InvalidInput("history", str(path / HISTORY), requirement)
    return size, found


def lock(history: BinaryIO, path: Path) -> None:
    """Refuse a second writer; the operating system lets go when a process ends, however it ends.

    A history that another process has replaced since it was opened is refused as well.
    """
    if sys.platform == "win32":  # no advisory locks: two writers are not detected there
        return
    import fcntl

    try:
        fcntl.flock(history.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        moved = not os.path.samestat(os.fstat(history.fileno()), (path / HISTORY).stat())
    except OSError as error:
        raise InvalidInput("DIR", str(path), "a run that no other process is writing") from error
    if moved:
        raise InvalidInput("DIR", str(path), "a run that no other process is writing")
