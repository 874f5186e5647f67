"""One client after the other, in this process.

`SequentialExecutor` is the reference implementation, and the one to debug with: an error inside a
job says which task, client and round it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from fl_runtime.execution.crew import Crew
from fl_runtime.execution.executor import (
    answer,
    joint_groups,
    placed,
    seed_torch,
)
from fl_runtime.training.job import Job, Update
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.joint_training import train_jointly
from fl_runtime.training.local_training import Client, Trained, settled, train_on_device
from fl_runtime.training.task import Task
from fl_runtime.training.trainers import train_by


class SequentialExecutor:
    """One job at a time, in the order of submission; with several workers as many side by side."""

    def __init__(self, tasks: Sequence[Task], *, workers: int = 1) -> None:
        self.crew = Crew(tasks, workers)
        self._seeds = workers == 1
        self._queue: list[Job] = []

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        self._queue.extend(jobs)

    def poll(self) -> list[Update]:
        """Run everything that is queued; updates come in the order of submission."""
        jobs, self._queue = self._queue, []
        groups = joint_groups(jobs)
        with torch.random.fork_rng():
            found = self.crew.map(
                lambda number, group: self._run(number, [jobs[index] for index in group]), groups
            )
        done = {
            index: trained
            for group, several in zip(groups, found, strict=True)
            for index, trained in zip(group, several, strict=True)
        }
        tasks = self.crew.tasks[0]
        rates = [tasks[job.task].training.at(job.version).learning_rate for job in jobs]
        trained = settled([done[index] for index in range(len(jobs))])
        return [answer(*each) for each in zip(jobs, trained, rates, strict=True)]

    def _run(self, number: int, jobs: Sequence[Job]) -> list[Trained]:
        """Train one client, on one task or on several jointly; errors say where they happened."""
        tasks = [self.crew.tasks[number][job.task] for job in jobs]
        if self._seeds:  # workers have one generator in common, and models that draw nothing
            seed_torch(jobs[0].seed)
        with placed(jobs[0]):
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
