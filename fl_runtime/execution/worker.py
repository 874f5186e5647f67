"""What a worker process does: it is given an executor once, and then groups of jobs.

A worker keeps nothing from one group to the next but the executor's tasks: models are overwritten,
generators are seeded by the job, what clients keep travels with their jobs. So a group may be given
to any worker, and given again to another one where the first has died.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch import Tensor

from fl_runtime.execution.executor import repeatable
from fl_runtime.execution.parcels import Channel, Parcel, Received
from fl_runtime.training.job import Job, Update
from fl_runtime.training.stacks import Row, Stack

EXECUTOR, MODELS, JOBS = "executor", "models", "jobs"
"""What a worker is sent: once, once in every poll, and group by group."""

DONE, FAILED = "done", "failed"
"""How it answers to an executor and to jobs."""

LOADED = "loaded"
"""What it says of an executor."""


@dataclass(frozen=True)
class Settings:
    """Settings of PyTorch that the bytes of a result depend on.

    Attributes:
        threads: Intra-op threads.
        dtype: Of what is made without one.
        precision: Of products of float32 matrices on a GPU.
    """

    threads: int
    dtype: torch.dtype
    precision: str

    @classmethod
    def here(cls) -> Settings:
        """Those of this process."""
        precision = torch.get_float32_matmul_precision()
        return cls(torch.get_num_threads(), torch.get_default_dtype(), precision)

    def take(self) -> None:
        """Have them in this process."""
        torch.set_num_threads(self.threads)
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision(self.precision)


@dataclass(frozen=True)
class Answer:
    """What came of a group of jobs.

    Attributes:
        updates: Of its jobs, in order; their differences are empty where there is a stack.
        stack: The differences side by side, if the jobs were trained as a stack.
    """

    updates: Sequence[Update]
    stack: Stack | None

    @classmethod
    def of(cls, updates: Sequence[Update]) -> Answer:
        """From what an executor gives; rows of one stack travel as the stack."""
        first = updates[0].delta
        if not isinstance(first, Row):
            return cls(updates, None)
        return cls([replace(update, delta={}) for update in updates], first.rows.stack)


def serve(connection: Connection, device: str) -> None:
    """Train what comes until the other end of the connection is gone.

    Args:
        connection: To the process that sends jobs.
        device: Where to train what that process has on a GPU.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout = sys.stderr  # what users' functions print is no result
    place = torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    channel = Channel(connection, place)
    with repeatable(place):
        try:
            _serve(channel)
        except (EOFError, OSError):
            return


def _serve(channel: Channel) -> None:
    """Answer everything that comes."""
    worker = Worker()
    while True:
        word, received = channel.receive()
        try:
            answer = worker.answer(word, received)
            parcel = None if answer is None else Parcel(answer)
        except Exception as error:  # noqa: BLE001 (whatever a user's code does)
            channel.send(FAILED, Parcel(_told(error)))
            continue
        if parcel is not None:
            channel.send(DONE, parcel)


class Worker:
    """What a worker process has been given."""

    def __init__(self) -> None:
        self._executor: Any = None
        self._models: Sequence[Tensor] = ()

    def answer(self, word: str, received: Received) -> Answer | str | None:
        """What is said to a message; None for nothing."""
        content = received.content(self._models)
        if word == MODELS:
            self._models = content
            return None
        if word == EXECUTOR:
            settings, self._executor = content
            settings.take()
            return LOADED
        jobs: Sequence[Job] = content
        return Answer.of(self._executor.train(jobs))


def _told(error: Exception) -> tuple[str, bytes | None]:
    """An error as text, and as an object if it can be sent."""
    text = "".join(traceback.format_exception(error))
    try:
        return text, pickle.dumps(error)
    except Exception:  # noqa: BLE001 (whatever a user's error does)
        return text, None


def _end_with_parent() -> None:
    """Wait for the end of the process that sends jobs, in whatever way it ends; then end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
