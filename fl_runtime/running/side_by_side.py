"""A run by several processes: each works on one arm with one seed at a time, in files of its own.

The process that was called puts finished pieces into the history, in the order of the
configuration, and tells watchers what it reads in the files of the others. So a worker needs
nothing but the folder of the run and a number, and whatever becomes of a process, what it has
written is there.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fairopt.errors import FairoptError, InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs
from fl_runtime.execution.executor import repeatable
from fl_runtime.execution.pool import WorkerPool
from fl_runtime.history import decode_rows
from fl_runtime.processes.each_done import WorkerDied, each_done
from fl_runtime.processes.pools import Chosen, Workers
from fl_runtime.running.one_run import Event, Recorder, Watcher, one_run, torch_threads
from fl_runtime.running.pieces import Piece, begin_pieces, remove_pieces, take_over
from fl_runtime.running.run_folder import RunFolder, runs_of
from fl_runtime.running.writer import HISTORY, Writer
from mechanisms.backends import Backend, checked_backend

ORPHANS = 5.0
"""Seconds that a piece is waited for whose worker has lost its parent and is about to end."""

PARENT = 0.2
"""Seconds after which a worker looks whether its parent is still there."""

MOST_JOBS = 10_000
"""More processes are a typing error."""

_ALONE = threading.Lock()
"""PyTorch's settings and generators belong to a process, so it works on one piece at a time."""


@dataclass(frozen=True)
class Answer:
    """What a worker says of a piece that it has come to an end with.

    Attributes:
        warned: Warnings, each with its kind.
        error: What has stopped it; None for nothing.
    """

    warned: tuple[tuple[str, type[Warning]], ...] = ()
    error: Exception | None = None


def checked_workers(config: Config, jobs: Any = None, backend: Any = None) -> Chosen | None:
    """How many processes of which backend work on a run; None for this one alone.

    Forked ones are taken where that is safe: they start at once and share what is loaded.

    Args:
        config: Of the run.
        jobs: Arms and seeds at a time; by default one, or all that a given backend can do.
        backend: As in `mechanisms.backends.checked_backend`.

    Raises:
        InvalidInput: Not a number of processes, or a backend that cannot be used.
    """
    if jobs is not None and not (type(jobs) is int and 1 <= jobs <= MOST_JOBS):
        raise InvalidInput("jobs", jobs, f"an integer from 1 to {MOST_JOBS}")
    chosen = checked_backend(backend)
    if chosen is None and jobs in (None, 1):
        return None
    obstacle = _obstacle_to_forks(config)
    if chosen is None:
        chosen = Backend("fork" if obstacle is None else "loky")
    if chosen.kind == "fork" and obstacle is not None:
        raise InvalidInput("backend", "fork", f"loky {obstacle}")
    return jobs, chosen


def _obstacle_to_forks(config: Config) -> str | None:
    """Why a fork of this process could not train; None if it can."""
    if not hasattr(os, "fork") or sys.platform == "darwin":
        return "on this system"
    if config.run.device != "cpu" or torch.accelerator.is_available():
        return "where there is a GPU: PyTorch cannot use it, nor autograd, in a forked process"
    if config.run.workers > 1:
        return "where run.workers is above 1"
    return None if config.run.threads == 1 else "where run.threads is above 1"


def run_side_by_side(
    config: Config,
    writer: Writer,
    progress: Mapping[str, Any],
    on_event: Watcher | None,
    workers: Workers,
) -> None:
    """All runs that are not finished, several at a time.

    Args:
        config: Of the run.
        writer: Of its own files.
        progress: Their checkpoint.
        on_event: Called after each new row of a piece; the rows of a piece come in their order,
            those of different pieces as they happen.
        workers: Who works on them.

    Raises:
        FairoptError: A piece has failed, or ended its process twice; says which arm and seed.
        OSError: A file of a piece cannot be written.
    """
    runs = runs_of(config)
    pieces = begin_pieces(writer, config, progress, runs)
    ended = {piece.index for piece in pieces if piece.exists and piece.is_finished()}
    merged = _merge(writer, pieces, progress["finished"], ended)
    left = [index for index in range(merged, len(runs)) if index not in ended]
    told = _Told(pieces, runs, on_event)
    parent = None if workers.backend.is_cluster else os.getpid()
    work = partial(work_on, str(writer.folder), parent)
    pool = workers.pool(work, files=(writer.history, writer.timing))
    died = partial(_warn_of_death, runs)
    try:
        answers = each_done(pool, left, workers.jobs, look=told.all, died=died)
        with closing(answers):  # whatever stops this stops the workers
            for index, answer in answers:
                told.all([index])
                _check(answer)
                ended.add(index)
                merged = _merge(writer, pieces, merged, ended)
    except KeyboardInterrupt:
        told.all(left)
        raise
    except WorkerDied as error:
        where = _name(runs[error.item])
        raise FairoptError(f"{where}: its process has ended twice ({error.how})") from error
    remove_pieces(writer.folder)


def work_on(folder: str, parent: int | None, index: int) -> Answer:
    """Work on a piece of a run until it ends; what a worker does.

    Args:
        folder: Of the run.
        parent: Process whose end is the worker's as well; None if it lives elsewhere.
        index: Of the piece.
    """
    with _ALONE, _outlived_by(parent), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", UserWarning)
        error = None
        try:
            _advance(Path(folder), index)
        except Exception as found:  # noqa: BLE001 (raised again where it can be reported)
            error = found
    warned = tuple((str(one.message), one.category) for one in seen)
    return Answer(warned, error)


def _advance(folder: Path, index: int) -> None:
    """Take a piece up and bring it to its end."""
    if not folder.is_dir():
        requirement = "a folder that the workers of the cluster see under the same name"
        raise InvalidInput("--out", str(folder), requirement)
    config = RunFolder(folder).config()
    arm, seed = runs_of(config)[index]
    piece = RunFolder(folder).pieces(config)[index]
    try:
        with ExitStack() as stack:
            stack.enter_context(torch_threads(config.run.threads))
            stack.enter_context(repeatable(torch.device(config.run.device)))
            pool = stack.enter_context(WorkerPool(config.run.workers, config.run.device))
            progress, writer = stack.enter_context(_free(piece))
            if progress["finished"] == index:
                recorder = Recorder(writer, piece.digest, index, arm, seed, None)
                one_run(arm_configs(config)[arm], seed, recorder, progress["state"], pool)
    except Exception as error:
        raise _placed(error, _name((arm, seed))) from error


@contextmanager
def _free(piece: Piece) -> Iterator[tuple[dict[str, Any], Writer]]:
    """A piece as soon as no process that has lost its parent is at it any more."""
    until = time.monotonic() + ORPHANS
    with ExitStack() as files:
        while True:
            try:
                taken = files.enter_context(piece.taken_up())
                break
            except InvalidInput as error:
                if error.argument != "DIR" or time.monotonic() > until:
                    raise
            time.sleep(PARENT)
        yield taken


@contextmanager
def _outlived_by(parent: int | None) -> Iterator[None]:
    """End this process as soon as its parent has ended, in whatever way."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(PARENT):
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM if os.name == "nt" else signal.SIGKILL)

    if parent is None or os.getpid() == parent:
        yield
        return
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _placed(error: Exception, where: str) -> Exception:
    """The error with the arm and seed it is about, and as one that can be sent."""
    if isinstance(error, InvalidInput):
        return InvalidInput(f"{where}, {error.argument}", error.value, error.requirement)
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, f"{where}: {error.strerror}", error.filename)
    error.add_note(f"in {where}")
    error.add_note(f"in a worker process:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 (an error of the user's own may not be made to travel)
        return RuntimeError(f"{where}: {type(error).__name__}: {error}")
    return error


def _check(answer: Answer) -> None:
    """Warn as the worker did; raise what has stopped it."""
    for text, kind in answer.warned:
        warnings.warn(text, kind, stacklevel=4)
    if answer.error is not None:
        raise answer.error


def _merge(writer: Writer, pieces: Sequence[Piece], merged: int, ended: Collection[int]) -> int:
    """Put all pieces into the run's files that follow those there; how many are there now."""
    while merged in ended:
        take_over(writer, pieces[merged])
        merged += 1
    return merged


def _warn_of_death(runs: Sequence[tuple[str, int]], index: int, how: str) -> None:
    """Say so when a worker has died."""
    text = f"{_name(runs[index])}: its process ended ({how}); it is started once more"
    warnings.warn(text, stacklevel=4)


def _name(run: tuple[str, int]) -> str:
    """A piece in words."""
    return f'arm "{run[0]}", seed {run[1]}'


@dataclass
class _Told:
    """Tells a watcher of the rows that other processes write.

    Attributes:
        pieces: Of the run.
        runs: Arm and seed of each.
        on_event: Whom.
        seen: Bytes of the history of each that are known; those of earlier processes are.
    """

    pieces: Sequence[Piece]
    runs: Sequence[tuple[str, int]]
    on_event: Callable[[Event], None] | None
    seen: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        begun = [piece for piece in self.pieces if piece.exists]
        self.seen = {piece.index: piece.progress()["history_bytes"] for piece in begun}

    def all(self, indices: Collection[int]) -> None:
        """Everything that is new in these pieces.

        One that is done again after a kill has the same bytes again, so what is known stays known.
        """
        for index in sorted(indices):
            self._new(index)

    def _new(self, index: int) -> None:
        """The new rows of a piece, as far as they are whole lines."""
        with (self.pieces[index].path / HISTORY).open("rb") as history:
            history.seek(self.seen[index])
            content = history.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.seen[index] += len(whole)
        if self.on_event is not None:
            for row in decode_rows(whole):
                self.on_event(Event(row["event"], *self.runs[index], row))
