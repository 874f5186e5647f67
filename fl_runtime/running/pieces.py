"""Pieces of a run, one for each arm and seed, that several processes work on side by side.

    pieces/000/history.jsonl      its rows so far
    pieces/000/timing.jsonl       its wall-clock seconds
    pieces/000/state.safetensors  its checkpoint, as that of a run

They are numbered in the order of the configuration. A piece that has ended is put into the files of
the run as soon as all before it are there, and goes away. So the files of the run are at every
moment those of a run in one process which has been stopped there, and whoever goes on with it, with
however many processes, takes the pieces up that are left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import digest
from fl_runtime.running.checkpoint import save_checkpoint
from fl_runtime.running.moments import Moment, read_moment, rows_of, write_moment
from fl_runtime.running.writer import (
    CHECKPOINT,
    HISTORY,
    TIMING,
    Writer,
    counted,
    opened,
    read_progress,
)

FOLDER = "pieces"
"""Within the folder of a run."""

_STATE = CHECKPOINT.name
_PARTIAL = ".partial"


@dataclass(frozen=True)
class Piece:
    """The files of one arm with one seed.

    Attributes:
        run: Folder of the run.
        index: Its place among all arms and seeds.
        digest: Of the configuration.
    """

    run: Path
    index: int
    digest: str

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.run / FOLDER / f"{self.index:03}"

    @property
    def exists(self) -> bool:
        """Whether it has been begun and is not part of the run's own files yet."""
        return self.path.exists()

    def begin(self, rows: bytes = b"", state: Mapping[str, Any] | None = None) -> None:
        """Make its files, whole or not at all, instead of those that are there.

        Args:
            rows: Lines of its history so far.
            state: Where it stands after them.
        """
        folder = self.path.with_name(f"{self.path.name}.{os.getpid()}{_PARTIAL}")
        folder.mkdir(parents=True)
        (folder / HISTORY).write_bytes(rows)
        record = {"digest": self.digest, "finished": self.index, "state": state}
        there = {"history_bytes": len(rows), "history_hash": sha256(rows).hexdigest()}
        save_checkpoint(folder / _STATE, {**record, **there})
        self.remove()
        folder.rename(self.path)

    def progress(self) -> dict[str, Any]:
        """Its last checkpoint.

        Raises:
            InvalidInput: It is missing, damaged, or belongs to another configuration.
        """
        return read_progress(self.path / _STATE, self.digest)

    def rows(self, progress: Mapping[str, Any]) -> bytes:
        """The lines that a checkpoint counts.

        Raises:
            InvalidInput: They are not what it counted.
        """
        content = (self.path / HISTORY).read_bytes()
        return content[: counted(content, progress, self.path)[0]]

    def is_finished(self) -> bool:
        """Whether it has come to its end."""
        return bool(self.progress()["finished"] > self.index)

    @contextmanager
    def taken_up(self) -> Iterator[tuple[dict[str, Any], Writer]]:
        """Its last checkpoint, and the only writer of it from there on.

        Raises:
            InvalidInput: Another process is writing, or a file is damaged.
        """
        with opened(self.path) as (history, timing):
            progress = self.progress()
            size, found = counted(history.read(), progress, self.path)
            history.seek(size)
            history.truncate()
            yield progress, Writer(self.run, history, timing, found, self.path / _STATE)

    def remove(self) -> None:
        """Delete its files."""
        if self.exists:
            gone = self.path.with_name(f"{self.path.name}.{os.getpid()}.old{_PARTIAL}")
            self.path.rename(gone)
            shutil.rmtree(gone)


def begin_pieces(
    writer: Writer, config: Config, progress: Mapping[str, Any], runs: list[tuple[str, int]]
) -> list[Piece]:
    """The pieces of a run, with files for all that are not in the run's own.

    What the run's own files hold of an arm and seed that has not ended is put into its piece, which
    is whole before they forget it. A piece whose last moment was kept begins with that.
    """
    pieces = [Piece(writer.folder, index, digest(config)) for index in range(len(runs))]
    finished = progress["finished"]
    if progress["state"] is not None:
        writer.history.seek(0)
        content = writer.history.read(progress["history_bytes"])
        rows = rows_of(content, *runs[finished])
        pieces[finished].begin(rows, progress["state"])
        record = {"digest": progress["digest"], "finished": finished, "state": None}
        writer.back_to(len(content) - len(rows), record)
    for piece in pieces[finished:]:
        if not piece.exists:
            moment = read_moment(writer.folder / CHECKPOINT.parent, piece.index, piece.digest)
            piece.begin(*((moment.rows, moment.state) if moment else ()))
    return pieces


def take_over(writer: Writer, piece: Piece) -> dict[str, Any]:
    """Put what there is of a piece into the files of the run, which have all before it.

    Returns:
        Its checkpoint.
    """
    progress = piece.progress()
    writer.rows_again(piece.rows(progress))
    if (piece.path / TIMING).exists():
        writer.timing.write((piece.path / TIMING).read_bytes())
        writer.timing.flush()
    writer.checkpoint({key: progress[key] for key in ("digest", "finished", "state")})
    piece.remove()
    return progress


def left_of(writer: Writer, config: Config, index: int) -> dict[str, Any]:
    """What there is of an arm and seed that the run's own files do not count.

    That is its piece, or its last moment where a run is extended. Its rows are in the history then.

    Returns:
        `finished` and `state`, as in a checkpoint.
    """
    piece = Piece(writer.folder, index, digest(config))
    if piece.exists:
        return take_over(writer, piece)
    moment = read_moment(writer.folder / CHECKPOINT.parent, index, piece.digest)
    if moment is not None:
        writer.rows_again(moment.rows)
    return {"finished": index, "state": moment and moment.state}


def remove_pieces(run: Path) -> None:
    """Delete all pieces of a run."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def keep_moments(pieces: Iterable[Piece]) -> None:
    """Keep where those have come to that have been begun and have not ended.

    One that has ended has kept its last moment itself.
    """
    for piece in pieces:
        progress = piece.progress() if piece.exists else {"state": None}
        if progress["state"] is not None:
            moment = Moment(piece.index, piece.digest, progress["state"], piece.rows(progress))
            write_moment(piece.run / CHECKPOINT.parent, moment)


def is_piece_file(path: Path) -> bool:
    """Whether a path within the folder of a run is that of a file of a piece.

    Example:
        >>> is_piece_file(Path("pieces/007/history.jsonl")), is_piece_file(Path("pieces/notes.md"))
        (True, False)
    """
    if len(path.parts) != 3 or path.parts[0] != FOLDER:
        return False
    number, *rest = path.parts[1].split(".")
    known = not rest or (rest[-1] == _PARTIAL[1:] and rest[0].isdecimal())
    return number.isdecimal() and known and path.name in (HISTORY, TIMING, _STATE)
