"""One client after the other, in this process.

`SequentialExecutor` is the reference implementation, and the one to debug with: an error inside a
job says which task, client and round it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from fl_runtime.execution.executor import (
    answer,
    joint_groups,
    placed,
    seed_torch,
)
from fl_runtime.training.job import Job, Update
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.joint_training import train_jointly
from fl_runtime.training.local_training import Client, Trained, train_locally
from fl_runtime.training.task import Task


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
        rate = tasks[0].training.at(jobs[0].version).learning_rate
        return [answer(job, one, rate) for job, one in zip(jobs, trained, strict=True)]


def _train_one(task: Task, job: Job) -> Trained:
    """One client on one task."""
    client = Client(
        task.shards[job.client],
        job.seed,
        JobOptions.of(job.config),
        job.client_state,
    )
    settings, start = task.training.at(job.version), task.complete(job.payload)
    return train_locally(task.model, start, client, settings, task.loss).only(job.payload)
