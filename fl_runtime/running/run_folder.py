"""The files of a run: who may write them, what is in them, and how a stopped run is taken up again.

    config.toml     the resolved configuration, with versions and fingerprints of input files
    history.jsonl   one line per event of a run; the same bytes for the same configuration
    timing.jsonl    wall-clock seconds and dead workers, kept apart because they never repeat
    checkpoint/     state.safetensors: the state after the last whole round, with jobs in flight;
                    000.safetensors and so on: the last moment of every arm and seed (`moments`)
    pieces/         of arms and seeds that other processes work on (`pieces`)
    models/         the models at the end of every arm and seed, and the best (`model_files`)
    summary.json    figures per arm, written at the end (`fl_runtime.runs`)
    plots/          pictures, likewise

A folder appears whole, with a checkpoint of nothing done and already locked by the process that
makes it, so of several that start at one place one gets it. History lines are written before the
checkpoint that counts them and holds their hash. After a kill, lines beyond the checkpoint are cut
off and the round is done again, to the same bytes; anything else that is missing or differs is
damage, which is reported and never repaired.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from fairopt.errors import InvalidInput
from fl_runtime.configuration.input_hashes import check_inputs
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import (
    arm_configs,
    check_config,
    digest,
    dump_toml,
    read_toml,
)
from fl_runtime.history import History, history_of
from fl_runtime.running.checkpoint import save_checkpoint
from fl_runtime.running.model_files import is_model_file
from fl_runtime.running.moments import (
    Moment,
    check_extension,
    is_moment,
    read_moment,
    rows_of,
    write_moment,
)
from fl_runtime.running.pieces import Piece, is_piece_file, keep_moments, remove_pieces
from fl_runtime.running.writer import (
    CHECKPOINT,
    HISTORY,
    TIMING,
    WORKER_DEATHS,
    Writer,
    counted,
    lock,
    nothing_done,
    opened,
    read_progress,
)

CONFIG = "config.toml"
SUMMARY = "summary.json"
PICTURE = Path("plots", "accuracy.png")
FIGURES = Path("plots", "figures.png")

_OWN_FILES = {CONFIG, HISTORY, TIMING, SUMMARY, str(CHECKPOINT), str(PICTURE), str(FIGURES)}
_PARTIAL = ".partial"
_VERSIONED = ("fairopt", "numpy", "torch", "scikit-learn")
_LOCKS = sys.platform != "win32"


@dataclass(frozen=True)
class RunFolder:
    """One run on disk.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    @contextmanager
    def begin(cls, path: Path, config: Config, *, fresh: bool = False) -> Iterator[Writer]:
        """The only writer of a new run.

        Args:
            path: A folder that does not exist or is empty.
            config: The configuration to record.
            fresh: Replace an earlier run at that place, if nothing else is in the folder and no
                process is writing it.

        Raises:
            InvalidInput: The folder holds something that may not be replaced, another process
                begins a run there, or it can not be made.
        """
        path = path.resolve()
        with ExitStack() as files:
            try:
                with ExitStack() as until_in_place:
                    occupied = _occupied(path, fresh=fresh)
                    if occupied is not None:
                        until_in_place.enter_context(occupied)
                    made = until_in_place.enter_context(_made(path, config))
                    both = files.enter_context(opened(made)) if _LOCKS else None
                    _put_in_place(made, path, replace=occupied is not None)
                history, timing = both or files.enter_context(opened(path))
            except OSError as error:
                reason = f"a folder that can be made ({error.strerror or error})"
                raise InvalidInput("--out", str(path), reason) from error
            yield Writer(path, history, timing, hashlib.sha256(), path / CHECKPOINT)

    def config(self) -> Config:
        """The configuration the run was started with.

        Raises:
            InvalidInput: The folder is not a run.
        """
        if not (self.path / CONFIG).is_file():
            raise InvalidInput("DIR", str(self.path), f"the folder of a run (with a {CONFIG})")
        return check_config(read_toml(self.path / CONFIG))

    def reword(self, config: Config) -> bool:
        """Take title and claims from a configuration whose history this is.

        Args:
            config: As `experiment.resolved` gives it.

        Returns:
            Whether it is; if not, nothing has been changed.
        """
        mine = self.config()
        if digest(mine) != digest(config):
            return False
        run = mine.run.model_copy(update={"title": config.run.title})
        said = mine.model_copy(update={"run": run, "claim": config.claim})
        if said != mine:
            write_whole(self.path / CONFIG, dump_toml(said))
        return True

    def seconds(self) -> float:
        """Wall-clock seconds that rounds have taken, those that were done again among them."""
        path, spent = self.path / TIMING, 0.0
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            with suppress(ValueError):
                spent += json.loads(line)["seconds"]
        return spent

    def progress(self, config: Config) -> dict[str, Any]:
        """The last checkpoint.

        Raises:
            InvalidInput: It is missing, damaged, or belongs to another configuration.
        """
        return read_progress(self.path / CHECKPOINT, digest(config))

    def is_finished(self, config: Config) -> bool:
        """Whether every arm has come to its end with every seed."""
        return bool(self.progress(config)["finished"] == len(runs_of(config)))

    def rounds_done(self, config: Config, progress: Mapping[str, Any]) -> int:
        """Rounds that need not be done again: those a checkpoint counts, and of runs to extend."""
        return len(self.lines_done(config, progress))

    def lines_done(self, config: Config, progress: Mapping[str, Any]) -> list[bytes]:
        """Their rows, as they are written."""
        done = [(self.path / HISTORY).read_bytes()[: progress["history_bytes"]]]
        first = progress["finished"] + (progress["state"] is not None)
        for piece in self.pieces(config)[first:]:
            moment = self.moment(config, piece.index)
            if piece.exists:
                done.append(piece.rows(piece.progress()))
            elif moment is not None:
                done.append(moment.rows)
        lines = (line for rows in done for line in rows.splitlines())
        return [line for line in lines if line.startswith(b'{"event":"round"')]

    def pieces(self, config: Config) -> list[Piece]:
        """Of all arms and seeds, whether there are files of them or not."""
        return [Piece(self.path, k, digest(config)) for k in range(len(runs_of(config)))]

    def moment(self, config: Config, index: int) -> Moment | None:
        """The last moment of that arm and seed that was kept, if any was."""
        return read_moment(self.path / CHECKPOINT.parent, index, digest(config))

    def history(self, config: Config) -> History:
        """The rows of this run, also while it is being written.

        A history holds at least the lines of the checkpoint before it, and they are what they were.
        Whole lines that follow are read as well, unless the run is finished: then there are none.

        Raises:
            InvalidInput: The checkpoint is damaged or belongs to another configuration, or the
                history is not what it counted.
        """
        progress, path = self.progress(config), self.path / HISTORY
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidInput("history", str(path), f"a readable file ({error})") from error
        rest = content[counted(content, progress, self.path)[0] :]
        if rest and progress["finished"] == len(runs_of(config)):
            raise InvalidInput("history", str(path), "one that ends with the lines of its run")
        return history_of(content[: content.rfind(b"\n") + 1], path)

    def summary(self) -> dict[str, Any]:
        """The figures of a finished run, as `write_summary` wrote them."""
        return json.loads((self.path / SUMMARY).read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def worker_deaths(self) -> dict[str, int]:
        """How many workers have died and been replaced, by arm, where any has.

        A line that a kill has cut off counts for nothing.
        """
        path = self.path / TIMING
        found: Counter[str] = Counter()
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            with suppress(ValueError):
                row = json.loads(line)
                found[row["arm"]] += row.get(WORKER_DEATHS, 0)
        return {arm: count for arm, count in found.items() if count}

    @contextmanager
    def taken_up(
        self, rounds: int | None = None
    ) -> Iterator[tuple[Config, dict[str, Any], Writer]]:
        """Configuration, last checkpoint, and the only writer of this run from there on.

        Nothing is read before this process is the only one that may write.

        Args:
            rounds: Extend the run to that many rounds; None to leave it as it is.

        Raises:
            InvalidInput: Another process is writing, a file is damaged, the history is not what the
                checkpoint counted, its data have changed, or the run cannot be extended so; nothing
                has been cut off then.
        """
        with ExitStack() as files:
            try:
                history, timing = files.enter_context(opened(self.path))
            except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
                reason = f"a run whose files can be written ({error.filename}: {error.strerror})"
                raise InvalidInput("DIR", str(self.path), reason) from error
            config = self.config()
            progress = self.progress(config)
            _warn_of_versions(config.versions)
            check_inputs(config)
            content = history.read()
            size, found = counted(content, progress, self.path)
            if rounds is not None and rounds != config.run.num_server_rounds:
                config = self._extended(config, progress, content[:size], rounds)
                progress = self.progress(config)
                size, found = counted(b"", progress, self.path)
            history.seek(size)
            history.truncate()
            writer = Writer(self.path, history, timing, found, self.path / CHECKPOINT)
            yield config, progress, writer

    def _extended(
        self, config: Config, progress: Mapping[str, Any], content: bytes, rounds: int
    ) -> Config:
        """The configuration of a run with more rounds, which begins anew from its last moments.

        A kill between any two of the writes leaves a run that ends with the rows it had before,
        since every last moment holds the rows that led to it.
        """
        finished, runs = progress["finished"], runs_of(config)
        check_extension(config, rounds)
        pieces = self.pieces(config)
        ended = {*range(finished), *(p.index for p in pieces if p.exists and p.is_finished())}
        for index, (arm, seed) in enumerate(runs):
            if index in ended and self.moment(config, index) is None:
                which = f'arm "{arm}", seed {seed}'
                requirement = f"left out: {which} has ended and its last moment was not kept"
                raise InvalidInput("rounds", rounds, requirement)
        if progress["state"] is not None:
            rows = rows_of(content, *runs[finished])
            moment = Moment(finished, digest(config), progress["state"], rows)
            write_moment(self.path / CHECKPOINT.parent, moment)
        keep_moments(pieces[finished + (progress["state"] is not None) :])
        save_checkpoint(self.path / CHECKPOINT, nothing_done(config))
        remove_pieces(self.path)
        before = (*config.run.extended_from, config.run.num_server_rounds)
        run = {"num_server_rounds": rounds, "extended_from": before}
        longer = config.model_copy(update={"run": config.run.model_copy(update=run)})
        write_whole(self.path / CONFIG, dump_toml(longer))
        return longer


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of a history."""
    return {name: metadata.version(name) for name in _VERSIONED}


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is never seen half-written."""
    temporary = path.with_name(path.name + _PARTIAL)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write the figures of a finished run."""
    write_whole(folder / SUMMARY, json.dumps(summary, indent=2, allow_nan=False) + "\n")


def _occupied(path: Path, *, fresh: bool) -> BinaryIO | None:
    """The history, locked, of an idle run at that place that may be replaced; None if it is free.

    Raises:
        InvalidInput: There is something else, or a run that may not be replaced.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    if not (path.is_dir() and (path / CONFIG).is_file() and (path / HISTORY).is_file()):
        raise InvalidInput("--out", str(path), "a new or empty folder")
    if not fresh:
        requirement = "a new or empty folder (--fresh replaces the run there, resume goes on)"
        raise InvalidInput("--out", str(path), requirement)
    found = (file.relative_to(path) for file in path.rglob("*") if not file.is_dir())
    foreign = sorted(str(file) for file in found if not _is_own(file))
    if foreign:
        requirement = f"a folder with nothing but a run in it (there is {foreign[0]})"
        raise InvalidInput("--out", str(path), requirement)
    history = (path / HISTORY).open("rb")
    try:
        lock(history, path)
    except BaseException:
        history.close()
        raise
    return history


def _is_own(file: Path) -> bool:
    """Whether a path within a run's folder is that of a file which runs write."""
    whole = Path(str(file).removesuffix(_PARTIAL))
    return (
        str(whole) in _OWN_FILES or is_model_file(whole) or is_moment(whole) or is_piece_file(whole)
    )


def runs_of(config: Config) -> list[tuple[str, int]]:
    """Arm and seed of every run, in order."""
    return [(arm, seed) for seed in config.run.seeds for arm in arm_configs(config)]


@contextmanager
def _made(path: Path, config: Config) -> Iterator[Path]:
    """A whole new run folder under a temporary name; it goes away unless it gets another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{os.getpid()}")
    folder.mkdir()
    try:
        (folder / CHECKPOINT).parent.mkdir()
        save_checkpoint(folder / CHECKPOINT, nothing_done(config))
        recorded = config.model_copy(update={"versions": versions()})
        (folder / CONFIG).write_text(dump_toml(recorded), encoding="utf-8")
        (folder / HISTORY).touch()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(made: Path, path: Path, *, replace: bool) -> None:
    """Rename a folder to its place, which is free; what is to be replaced goes away last.

    Where nothing can take that place, what was there is put back.
    """
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        if replace:
            path.rename(old)
        if path.is_dir():
            path.rmdir()
        made.rename(path)
    except BaseException as error:
        if old.exists() and not path.exists():
            old.rename(path)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            reason = "a folder in which no other process begins a run"
            raise InvalidInput("--out", str(path), reason) from error
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _warn_of_versions(recorded: Mapping[str, str]) -> None:
    """Say so when a run goes on with other packages than it began with."""
    now = versions()
    changed = [f"{k} {v} (now {now[k]})" for k, v in recorded.items() if now.get(k, v) != v]
    if changed:
        warnings.warn(
            f"the run began with {', '.join(changed)}: its history may not repeat", stacklevel=3
        )
