"""Where local training happens: jobs go in, updates come out.

`SequentialExecutor` trains one client after the other. It is the reference, and the debugger: an
error inside a job says which task, client and round it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fairopt.errors import InvalidInput
from fl_runtime.local_training import Client, Trained, train_locally
from fl_runtime.task import Params, Task
from fl_runtime.work import Work


@dataclass(frozen=True)
class Job:
    """One piece of work for one client.

    Attributes:
        task: Name of the task to train.
        client: Index of the client.
        version: Version of the model it starts from (the server round in synchronous systems).
        sent_at: Virtual time of dispatch.
        payload: Parameters to start from.
        seed: Seed of all randomness of this job.
        client_state: What the client keeps between its jobs (personal parts, optimiser state).
        config: Wishes beyond the task's training settings, plain values and tensors; the keys are
            the attributes of `work.Work`.
    """

    task: str
    client: int
    version: int
    sent_at: float
    payload: Params
    seed: int
    client_state: Mapping[str, Tensor] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Update:
    """What a client sends back.

    Attributes:
        task: Name of the task.
        client: Index of the client.
        version: Version the client started from.
        delta: Trained parameters minus the payload.
        num_examples: Examples trained on, the weight of this update in a mean.
        client_state: What the client keeps.
        metrics: Figures of the training: `train_loss`, `learning_rate`, `aggregation_weight` as the
            job had it, and `start_loss` if the job asked for it.
    """

    task: str
    client: int
    version: int
    delta: Params
    num_examples: int
    client_state: Mapping[str, Tensor] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        """Whether every entry of the difference is a finite number."""
        return all(bool(torch.isfinite(value).all()) for value in self.delta.values())


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
        """Run everything that is queued."""
        jobs, self._queue = self._queue, []
        with torch.random.fork_rng():
            return [self._run(job) for job in jobs]

    def _run(self, job: Job) -> Update:
        """Train one client; an error says where it happened."""
        task = self._tasks[job.task]
        seed_torch(job.seed)
        with placed(job):
            client = Client(
                task.shards[job.client],
                np.random.default_rng(job.seed),
                Work.of(job.config),
                job.client_state,
            )
            start = task.complete(job.payload)
            trained = train_locally(task.model, start, client, task.training)
            return answer(job, trained, task.training.learning_rate)


def answer(job: Job, trained: Trained, learning_rate: float) -> Update:
    """The update that a trained client sends."""
    echoed = {
        "learning_rate": learning_rate,
        "aggregation_weight": float(job.config.get("aggregation_weight", 1.0)),
    }
    return Update(
        task=job.task,
        client=job.client,
        version=job.version,
        delta=trained.delta,
        num_examples=trained.num_examples,
        client_state=trained.client_state,
        metrics={**echoed, **trained.metrics},
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
