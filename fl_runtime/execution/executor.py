"""What an executor is: jobs go in, updates come out; and what all executors do alike."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from fairopt.errors import InvalidInput
from fl_runtime.training.job import Job, Update
from fl_runtime.training.local_training import Trained

CUBLAS_WORKSPACE = ":4096:8"
"""One of the two settings with which cuBLAS repeats its sums (its documentation's larger one)."""


class Executor(Protocol):
    """Runs jobs. `submit` takes them, `poll` returns updates that have arrived."""

    def submit(self, jobs: Iterable[Job]) -> None:
        """Take jobs; they start in this order."""
        ...

    def poll(self) -> list[Update]:
        """Updates that are ready, each once; an empty list means nothing is under way."""
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
def placed(job: Job) -> Iterator[None]:
    """Errors inside get a note that says where they happened."""
    try:
        yield
    except Exception as error:
        error.add_note(
            f"in local training: task {job.task}, client {job.client}, round {job.version}"
        )
        raise


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
