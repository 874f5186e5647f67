"""What an executor is: jobs go in, updates come out; and what all executors do alike."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from fairopt.errors import InvalidInput
from fl_runtime.training.job import Job, Update
from fl_runtime.training.local_training import Trained
from fl_runtime.training.stacks import Row
from fl_runtime.training.task import Task

CUBLAS_WORKSPACE = ":4096:8"
"""One of the two settings with which cuBLAS repeats its sums (its documentation's larger one)."""

NAMED = 8
"""Clients that a message names."""


class Executor(Protocol):
    """Runs jobs. `submit` takes them, `poll` returns updates that have arrived."""

    def submit(self, jobs: Iterable[Job]) -> None:
        """Take jobs; they start in this order."""
        ...

    def poll(self) -> list[Update]:
        """Updates that are ready, each once; an empty list means nothing is under way."""
        ...


@dataclass(frozen=True)
class Group:
    """Jobs that are trained together.

    Attributes:
        index: Their positions among those that were submitted.
        kind: What they have in common with others that could be in their stack; None of jobs that
            are trained one by one, or jointly.
    """

    index: Sequence[int]
    kind: Hashable = None


class GroupedExecutor(Executor, Protocol):
    """An executor in this process, of which others may train a group at a time.

    How jobs are grouped depends on the jobs and on what the executor was made with, so it is the
    same wherever and by however many the groups are trained.
    """

    @property
    def tasks(self) -> Mapping[str, Task]:
        """What jobs may be about, by name."""
        ...

    def groups(self, jobs: Sequence[Job]) -> list[Group]:
        """How jobs are grouped; groups of one kind follow each other."""
        ...

    def train(self, jobs: Sequence[Job], place: Sequence[Row] | None = None) -> list[Update]:
        """Train one of these groups; a stack writes differences into the place, if there is one."""
        ...


def joint_groups(jobs: Sequence[Job]) -> list[list[int]]:
    """Positions of jobs trained together: joint ones of one client and table, the others alone."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, job in enumerate(jobs):
        table = job.config.get("joint")
        groups.setdefault((job.client, job.version, repr(table) if table else index), []).append(
            index
        )
    return list(groups.values())


def answer(job: Job, trained: Trained, learning_rate: float) -> Update:
    """The update that a trained client sends."""
    echoed: Mapping[str, float] = job.config.get("echo", {})
    return Update(
        task=job.task,
        client=job.client,
        version=job.version,
        delta=trained.delta,
        num_examples=trained.num_examples,
        client_state=trained.client_state,
        metrics={"learning_rate": learning_rate, **echoed, **trained.metrics},
        num_steps=trained.num_steps,
    )


@contextmanager
def placed(jobs: Sequence[Job]) -> Iterator[None]:
    """Errors inside get a note that says where they happened."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in local training: {described(jobs)}")
        raise


def described(jobs: Sequence[Job]) -> str:
    """Which jobs these are, for messages.

    Example:
        >>> jobs = [Job("wine", client, 3, 0.0, {}, 0) for client in (4, 7)]
        >>> described(jobs[:1]), described(jobs)
        ('task wine, client 4, round 3', 'task wine, clients 4, 7, round 3')
    """
    named: Mapping[str, Sequence[object]] = {
        "task": [job.task for job in jobs],
        "client": [job.client for job in jobs],
        "round": [job.version for job in jobs],
    }
    return ", ".join(_listed(word, list(dict.fromkeys(found))) for word, found in named.items())


def _listed(word: str, found: Sequence[object]) -> str:
    """A word and what it is about, cut where that is long."""
    some = ", ".join(map(str, found[:NAMED]))
    rest = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{word}{'s' if len(found) > 1 else ''} {some}{rest}"


def seed_torch(seed: int) -> None:
    """Seed the global generators, on GPUs only where CUDA is in use.

    `torch.manual_seed` does the same, but formats a stack trace per call while CUDA is not in use,
    which cost a tenth of a training run.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


def check_device(name: str) -> torch.device:
    """The device of that name, if this machine has it.

    Raises:
        InvalidInput: CUDA was asked for and there is none, or none of that number.

    Example:
        >>> check_device("cpu")
        device(type='cpu')
    """
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("device", name, "cpu: this machine has no usable CUDA device")
    count = torch.cuda.device_count()
    if device.type == "cuda" and device.index is not None and device.index >= count:
        raise InvalidInput("device", name, f"one of the {count} CUDA devices, cuda:{count - 1}")
    return device


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """PyTorch with algorithms that give the same bytes again on a GPU, where it has such.

    A CPU needs none of it. What has no such algorithm warns. The workspace of cuBLAS must have been
    set before CUDA is first used; it is left as it is where the user has set it.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn, tuned = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn, tuned
