"""A worker process, seen from the one that gives it work."""

from __future__ import annotations

import multiprocessing
import pickle
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch

from fairopt.errors import InvalidInput
from fl_runtime.execution.parcels import CPU, Channel, Parcel
from fl_runtime.execution.worker import EXECUTOR, FAILED, JOBS, MODELS, Answer, serve

PRELOADED = ["fl_runtime.execution.worker", "fl_runtime.execution.registry", "torch._dynamo"]
"""What a process imports once, from which workers are forked; PyTorch's optimisers and vectorised
gradients import the last one when they are first used."""

PATIENCE = 5.0
"""Seconds in which the operating system says how a process has ended."""


class WorkerProcess:
    """A process that was started, and what it has been given.

    What is sent to one that has died is lost without a word: `answer` says so.

    Args:
        number: Of the worker.
        device: Where it trains.
        home: Where the tensors of its answers go, if it trains on a GPU.

    Attributes:
        number: Of the worker.
        connection: Can be read when there is an answer, or will be none.
        has_loaded: Whether it has loaded the executor that it was given.
    """

    def __init__(self, number: int, device: str, home: torch.device = CPU) -> None:
        self.number, self.has_loaded = number, False
        self.connection, other = multiprocessing.Pipe()
        self._channel = Channel(self.connection, home)
        self._executor: Parcel | None = None
        self._models: Parcel | None = None
        self._process = _started(other, device)
        other.close()

    @property
    def pid(self) -> int:
        """What the operating system calls it."""
        return int(self._process.pid or 0)

    @property
    def is_alive(self) -> bool:
        """Whether it is there."""
        return bool(self._process.is_alive())

    def load(self, executor: Parcel, models: Parcel | None = None) -> None:
        """Give it an executor, and the models that jobs have in common, unless it has them."""
        if self._executor is not executor:
            self._send(EXECUTOR, executor)
            self._executor, self.has_loaded = executor, False
        if models is not None and self._models is not models:
            self._send(MODELS, models)
            self._models = models

    def give(self, jobs: Parcel) -> None:
        """Give it a group of jobs."""
        self._send(JOBS, jobs)

    def answer(self) -> Answer | None:
        """The next thing it says; None when it has loaded an executor.

        Raises:
            EOFError, OSError: It has died.
            InvalidInput: It cannot load the executor.
            Exception: Whatever training has raised, with a note that says where.
        """
        word, received = self._channel.receive()
        if word == FAILED:
            raise self._error(*received.content())
        found: Answer | str = received.content()
        self.has_loaded = True
        return found if isinstance(found, Answer) else None

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    @property
    def fate(self) -> str:
        """How a process that has died did so."""
        self._process.join(PATIENCE)
        code = self._process.exitcode
        if code is None:
            return "fell silent"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def _send(self, word: str, parcel: Parcel) -> None:
        """Send something."""
        with suppress(OSError):
            self._channel.send(word, parcel)

    def _error(self, text: str, packed: bytes | None) -> Exception:
        """What the process was stopped by."""
        last = text.strip().splitlines()[-1]
        if not self.has_loaded:
            requirement = f"1: workers cannot load what they are to train ({last})"
            return InvalidInput("run.workers", "several", requirement)
        try:
            error = pickle.loads(packed or b"")  # what a worker of this very run has written
        except Exception:  # noqa: BLE001 (whatever the user's error does)
            error = RuntimeError(last)
        error.add_note(f"in worker {self.number}, where it says:\n{text}")
        return error  # type: ignore[no-any-return]


def _started(connection: Connection, device: str) -> Any:
    """A process: forked from one that has imported PyTorch and nothing else, or a fresh one.

    A process that was itself forked, after its parent had made that one, cannot use it.

    Raises:
        InvalidInput: This process may start no others.
    """
    known = multiprocessing.get_all_start_methods()
    if multiprocessing.get_start_method() not in known:  # joblib's, which a fresh process lacks
        multiprocessing.set_start_method("spawn", force=True)
    methods = [m for m in ("forkserver", "spawn") if m in known]
    for method in methods:
        context: Any = multiprocessing.get_context(method)
        context.set_forkserver_preload(PRELOADED)
        process = context.Process(target=serve, args=(connection, device), daemon=True)
        try:
            with suppress(ChildProcessError):
                process.start()
                return process
        except AssertionError as error:
            requirement = f"1 in a process that may start no others ({error})"
            raise InvalidInput("run.workers", "several", requirement) from error
    raise InvalidInput("run.workers", "several", f"1 where processes start by neither of {methods}")
