"""A node's side without a network: the examples of its clients, and their training.

A node builds the same tasks as the server, from its own copy of the configuration. What its data
functions give is its own business: with data that are loaded client by client (`data.sources`) it
needs those of its own clients only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, read_config
from fl_runtime.execution.executor import repeatable
from fl_runtime.flower.handshake import Introduction, settings_of, versions_here
from fl_runtime.flower.messages import Packed, packed_updates, unpacked_jobs
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import resolved
from fl_runtime.running.one_run import torch_threads
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Task

KEPT = 4
"""Arms and seeds whose tasks a process keeps: a run has one at a time."""


class Site:
    """One node in one arm with one seed.

    Attributes:
        config: Of the arm.
        clients: Whose examples it has.
        name: What it is called in messages to people.
    """

    def __init__(
        self, config: Config, seed: int, clients: Sequence[int], *, name: str = ""
    ) -> None:
        """Build the tasks.

        Raises:
            InvalidInput: Something about the configuration does not hold here, such as data that
                are missing; or there are no such clients.
        """
        self.config, self.clients, self.name = config, tuple(clients), name
        count = config.clients.num_clients
        if not self.clients or any(not 0 <= client < count for client in self.clients):
            raise InvalidInput("clients", list(clients), f"some of 0 .. {count - 1}")
        self.parts: Parts = assemble(config, seed)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All that clients train."""
        federation = self.parts.federation
        return (*federation.tasks, *federation.companions)

    def introduction(self) -> Introduction:
        """What the node tells; the examples of every client are loaded once for it.

        Raises:
            InvalidInput: Examples of a client are missing.
        """
        return Introduction(
            clients=self.clients,
            examples={
                task.name: tuple(len(task.shards[client]) for client in self.clients)
                for task in self.tasks
            },
            versions=versions_here(),
            settings=settings_of(self.config),
            name=self.name,
        )

    def train(self, tree: Any) -> Packed:
        """The answers to the jobs of a message.

        Raises:
            InvalidInput: A job is about a client or a task that is not here.
        """
        numbered = unpacked_jobs(tree)
        for _, job in numbered:
            self._check(job)
        run = self.config.run
        with torch_threads(run.threads), repeatable(torch.device(run.device)):
            self.parts.executor.submit(job for _, job in numbered)
            updates: list[Update] = []
            while found := self.parts.executor.poll():
                updates += found
        return packed_updates(_matched(numbered, updates))

    def _check(self, job: Job) -> None:
        """Refuse a job that is not for this node."""
        choose("job task", job.task, {task.name: None for task in self.tasks})
        if job.client not in self.clients:
            raise InvalidInput("job client", job.client, f"one of this node: {self.clients}")


def _matched(
    numbered: Sequence[tuple[int, Job]], updates: Sequence[Update]
) -> list[tuple[int, Update]]:
    """Updates with the numbers of their jobs; jobs with one key are answered in their order."""
    waiting: dict[tuple[str, int, int], list[int]] = {}
    for number, job in numbered:
        waiting.setdefault((job.task, job.client, job.version), []).append(number)
    return [(waiting[u.task, u.client, u.version].pop(0), u) for u in updates]


@lru_cache(maxsize=KEPT)
def site(path: str, arm: str, seed: int, clients: tuple[int, ...], name: str) -> Site:
    """The node of a configuration file, built once in a process.

    Raises:
        InvalidInput: The file is wrong, or has no such arm.
    """
    arms = arm_configs(resolved(read_config(Path(path))))
    return Site(choose("arm", arm, arms), seed, clients, name=name)


def numbers_of(text: str) -> tuple[int, ...]:
    """Numbers of clients from words: single ones and ranges, with commas.

    Raises:
        InvalidInput: It is something else.

    Example:
        >>> numbers_of("0-3,7")
        (0, 1, 2, 3, 7)
    """
    found: list[int] = []
    for part in str(text).split(","):
        first, dash, last = part.strip().partition("-")
        try:
            found += range(int(first), int(last if dash else first) + 1)
        except ValueError:
            requirement = "numbers and ranges such as 0-3,7"
            raise InvalidInput("clients", text, requirement) from None
    if not found:
        raise InvalidInput("clients", text, "at least one number; ranges go up")
    return tuple(found)
