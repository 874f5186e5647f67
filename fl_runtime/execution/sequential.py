"""Where local training happens: jobs go in, updates come out.

`SequentialExecutor` trains one client after the other. It is the reference, and the debugger: an
error inside a job says which task, client and round it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from fairopt.errors import InvalidInput
from fl_runtime.training.job import Job, Update
from fl_runtime.training.job_options import Work
from fl_runtime.training.joint_training import train_jointly
from fl_runtime.training.local_training import Client, Trained, train_locally
from fl_runtime.training.task import Task

__all__ = ["Executor", "Job", "SequentialExecutor", "Update", "answer", "check_device"]


class Executor(Protocol):
    """Runs jobs. `submit` takes them, `poll` returns updates that have arrived."""

    def submit(self, jobs: Iterable[Job]) -> None:
        """Take jobs; they start in this order."""
        ...

    def poll(self) -> list[Update]:
        """Updates that are ready, each once; an empty list means nothing is under way."""
        ...


class SequentialExecutor:
    """One job at a time, in the order of submission."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._queue: list[Job] = []

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        self._queue.extend(jobs)

    def poll(self) -> list[Update]:
        """Run everything that is queued; updates come in the order of submission."""
        jobs, self._queue = self._queue, []
        done: dict[int, Update] = {}
        with torch.random.fork_rng():
            for group in joint_groups(jobs):
                updates = self._run([jobs[index] for index in group])
                done.update(zip(group, updates, strict=True))
        return [done[index] for index in range(len(jobs))]

    def _run(self, jobs: Sequence[Job]) -> list[Update]:
        """Train one client, on one task or on several jointly; errors say where they happened."""
        tasks = [self._tasks[job.task] for job in jobs]
        seed_torch(jobs[0].seed)
        with placed(jobs[0]):
            if jobs[0].config.get("joint"):
                trained = train_jointly(tasks, jobs)
            else:
                trained = [_train_one(tasks[0], jobs[0])]
        rate = tasks[0].training.learning_rate
        return [answer(job, one, rate) for job, one in zip(jobs, trained, strict=True)]


def joint_groups(jobs: Sequence[Job]) -> list[list[int]]:
    """Positions of jobs trained together: joint ones of one client and table, the others alone."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, job in enumerate(jobs):
        table = job.config.get("joint")
        groups.setdefault((job.client, job.version, repr(table) if table else index), []).append(
            index
        )
    return list(groups.values())


def _train_one(task: Task, job: Job) -> Trained:
    """One client on one task."""
    client = Client(
        task.shards[job.client],
        job.seed,
        Work.of(job.config),
        job.client_state,
    )
    return train_locally(task.model, task.complete(job.payload), client, task.training)


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
