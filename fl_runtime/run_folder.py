"""The files of a run: who may write them, what is in them, and how a stopped run is taken up again.

    config.toml     the resolved configuration, with versions
    history.jsonl   one line per recruitment and round; the same bytes for the same configuration
    timing.jsonl    wall-clock seconds, kept apart because they never repeat
    checkpoint/     state.safetensors: the state after the last whole round
    summary.json    figures per arm, written at the end
    plots/          pictures, written at the end

History lines are written before the checkpoint that counts them. After a kill, lines beyond the
checkpoint are cut off and the round is done again, to the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fairopt.errors import InvalidInput
from fl_runtime.checkpoint import load_checkpoint, save_checkpoint
from fl_runtime.config import Config
from fl_runtime.config_files import check_config, digest, dump_toml, read_toml, snake_keys
from fl_runtime.history import encode_row

CONFIG = "config.toml"
HISTORY = "history.jsonl"
TIMING = "timing.jsonl"
SUMMARY = "summary.json"
CHECKPOINT = Path("checkpoint", "state.safetensors")
PLOTS = "plots"

_VERSIONED = ("fairopt", "numpy", "torch", "scikit-learn")


@dataclass(frozen=True)
class RunFolder:
    """One run on disk.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config, *, fresh: bool = False) -> RunFolder:
        """Start a new run.

        Args:
            path: A folder that does not exist or is empty.
            config: The configuration to record.
            fresh: Replace an earlier run at that place (but never any other folder).

        Raises:
            InvalidInput: The folder holds something.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            earlier_run = path.is_dir() and (path / CONFIG).exists() and (path / HISTORY).exists()
            if not (fresh and earlier_run):
                remedy = "--fresh replaces it, resume goes on" if earlier_run else "nothing is lost"
                raise InvalidInput("--out", str(path), f"a new or empty folder ({remedy})")
            shutil.rmtree(path)
        (path / CHECKPOINT).parent.mkdir(parents=True, exist_ok=True)
        recorded = config.model_copy(update={"versions": versions()})
        write_whole(path / CONFIG, dump_toml(recorded))
        (path / HISTORY).touch()
        return cls(path)

    def config(self) -> Config:
        """The configuration the run was started with."""
        return check_config(snake_keys(read_toml(self.path / CONFIG)))

    def progress(self, config: Config) -> dict[str, Any]:
        """The last checkpoint, or an empty record before the first.

        Raises:
            InvalidInput: The checkpoint is damaged, or belongs to another configuration.
        """
        if not (self.path / CHECKPOINT).exists():
            return {"digest": digest(config), "history_bytes": 0, "finished": 0, "state": None}
        record = load_checkpoint(self.path / CHECKPOINT)
        if record.get("digest") != digest(config):
            raise InvalidInput(
                "checkpoint", str(self.path), f"made with the {CONFIG} beside it, which has changed"
            )
        return record

    @contextmanager
    def writer(self, history_bytes: int) -> Iterator[Writer]:
        """The only writer of this run, from that length of the history on.

        Raises:
            InvalidInput: Another process is writing, or the history is shorter than it should be.
        """
        with (
            (self.path / HISTORY).open("r+b") as history,
            (self.path / TIMING).open("ab") as timing,
        ):
            _lock(history.fileno(), self.path)
            if os.fstat(history.fileno()).st_size < history_bytes:
                raise InvalidInput(
                    "history",
                    str(self.path / HISTORY),
                    f"at least as long as when the checkpoint was made ({history_bytes} bytes)",
                )
            history.truncate(history_bytes)
            history.seek(history_bytes)
            yield Writer(self, history, timing)


@dataclass
class Writer:
    """Appends rows and replaces the checkpoint of a locked run folder."""

    folder: RunFolder
    history: Any
    timing: Any

    def row(self, row: Mapping[str, Any]) -> None:
        """Append a row to the history."""
        self.history.write(encode_row(row))
        self.history.flush()

    def seconds(self, row: Mapping[str, Any]) -> None:
        """Append a row of wall-clock figures."""
        self.timing.write(encode_row(row))
        self.timing.flush()

    def checkpoint(self, record: Mapping[str, Any]) -> None:
        """Replace the checkpoint by one that counts everything written so far."""
        whole = {**record, "history_bytes": self.history.tell()}
        save_checkpoint(self.folder.path / CHECKPOINT, whole)


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of a history."""
    return {name: metadata.version(name) for name in _VERSIONED}


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is never seen half-written."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write the figures of a finished run."""
    write_whole(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")


def _lock(descriptor: int, path: Path) -> None:
    """Refuse a second writer; the operating system lets go when a process ends, however it ends."""
    if sys.platform == "win32":  # no advisory locks: two writers are not detected there
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InvalidInput("DIR", str(path), "a run that no other process is writing") from error
