"""What an executor is: jobs go in, updates come out; and what all executors do alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from fairopt.errors import InvalidInput
from fl_runtime.training.job import Job, Update
from fl_runtime.training.local_training import Trained


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
        InvalidInput: CUDA was asked for and there is none.

    Example:
        >>> check_device("cpu")
        device(type='cpu')
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("device", name, "cpu: this machine has no usable CUDA device")
    return torch.device(name)
