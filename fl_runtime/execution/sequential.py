"""One client after the other, in this process.

`SequentialExecutor` is the reference implementation, and the one to debug with: an error inside a
job says which task, client and round it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from fl_runtime.execution.executor import (
    Group,
    answer,
    joint_groups,
    placed,
    seed_torch,
)
from fl_runtime.training.job import Job, Update
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.joint_training import train_jointly
from fl_runtime.training.local_training import Client, Trained, settled, train_on_device
from fl_runtime.training.stacks import Row
from fl_runtime.training.task import Task
from fl_runtime.training.trainers import train_by


class SequentialExecutor:
    """One job at a time, in the order of submission."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks: Mapping[str, Task] = {task.name: task for task in tasks}
        self._queue: list[Job] = []

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        self._queue.extend(jobs)

    def poll(self) -> list[Update]:
        """Run everything that is queued; updates come in the order of submission."""
        jobs, self._queue = self._queue, []
        done: dict[int, Trained] = {}
        with torch.random.fork_rng():
            for group in joint_groups(jobs):
                done.update(zip(group, self._run([jobs[k] for k in group]), strict=True))
        return self._answers(jobs, [done[index] for index in range(len(jobs))])

    def groups(self, jobs: Sequence[Job]) -> list[Group]:
        """Jobs one by one, or those of a client that trains jointly."""
        return [Group(index) for index in joint_groups(jobs)]

    def train(self, jobs: Sequence[Job], place: Sequence[Row] | None = None) -> list[Update]:
        """One of the groups."""
        with torch.random.fork_rng():
            return self._answers(jobs, self._run(jobs))

    def _answers(self, jobs: Sequence[Job], trained: Sequence[Trained]) -> list[Update]:
        """What clients send."""
        rates = [self.tasks[job.task].training.at(job.version).learning_rate for job in jobs]
        return [answer(*each) for each in zip(jobs, settled(trained), rates, strict=True)]

    def _run(self, jobs: Sequence[Job]) -> list[Trained]:
        """Train one client, on one task or on several jointly; errors say where they happened."""
        tasks = [self.tasks[job.task] for job in jobs]
        seed_torch(jobs[0].seed)
        with placed(jobs):
            if jobs[0].config.get("joint"):
                return train_jointly(tasks, jobs)
            return [_train_one(tasks[0], jobs[0])]


def _train_one(task: Task, job: Job) -> Trained:
    """One client on one task."""
    client = Client(
        task.shards[job.client],
        job.seed,
        JobOptions.of(job.config),
        job.client_state,
    )
    settings, start = task.training.at(job.version), task.complete(job.payload)
    if task.trainer is not None:
        trained = train_by(task.trainer, task, start, client, settings)
    else:
        trained = train_on_device(task.model, start, client, settings, task.loss)
    return trained.only(job.payload)
