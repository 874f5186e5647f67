"""A node owns the examples of its clients: a server trains without ever loading one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.execution.pool import WorkerPool
from fl_runtime.flower.handshake import counts_of
from fl_runtime.flower.messages import packed_jobs, unpacked_updates
from fl_runtime.flower.site import Site
from fl_runtime.flower.wall_clock import Heard, WallClock
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import run
from fl_runtime.simulation.clock import PendingJob
from fl_runtime.training.job import Update
from fl_runtime.training.remote_shards import without_examples

SIZES = (7, 4, 9, 5)
HERE: set[int] = set()
"""Clients whose examples are in this place; it changes as this process plays server and nodes."""


class Records:
    """Examples of the clients that are here; the sizes of others are a guess."""

    outputs, fingerprint = 2, "v1"

    def __init__(self) -> None:
        self.sizes = np.array([n if k in HERE else 1 for k, n in enumerate(SIZES)])

    def load(self, client: int) -> Any:
        if client not in HERE:
            raise PermissionError(f"client {client} is elsewhere")
        return rows(client, SIZES[client])

    def held_out(self, part: str) -> Any:
        return rows(len(part) + 10, 30)


def rows(seed: int, count: int) -> Any:
    inputs = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    return inputs, (inputs.sum(axis=1) > 0.0).astype(np.int64)


def config() -> Config:
    return check_config(
        {
            "run": {"algorithm": "fed-avg", "num_server_rounds": 3, "executor": "sequential"},
            "task": [{"name": "a", "data": f"{__name__}:Records", "model": "linear"}],
            "clients": {"num_clients": 4, "partition": "natural"},
        }
    )


def site(*clients: int) -> Site:
    """A node, built where its data are."""
    HERE.clear()
    HERE.update(clients)
    try:
        made = Site(config(), 0, clients, name=str(clients))
        for task in made.tasks:
            list(map(task.shards.__getitem__, clients))  # kept from now on
        return made
    finally:
        HERE.clear()


@dataclass
class Sites:
    """Carries jobs to nodes in this process, and makes the parts of their server."""

    sites: Sequence[Site]
    heard: list[Heard] = field(default_factory=list)

    def send(self, entries: Sequence[PendingJob], seconds: float) -> None:
        for here in self.sites:
            jobs = {e.number: e.job for e in entries if e.job.client in here.clients}
            tree = here.train(packed_jobs(list(jobs.items()), ("fed-avg", 0)).tree).tree
            for number, update in unpacked_updates(tree, jobs).items():
                assert isinstance(update, Update)
                self.heard.append(Heard(number, update))

    def listen(self) -> list[Heard]:
        heard, self.heard = self.heard, []
        return heard

    def give_up(self, entries: Sequence[PendingJob]) -> None:
        raise AssertionError("nothing is late here")

    def figures(self) -> dict[str, float]:
        return {}

    def __call__(self, config: Config, seed: int, pool: WorkerPool | None = None) -> Parts:
        parts = assemble(config, seed)
        told = counts_of([here.introduction() for here in self.sites], ["a"], 4)
        tasks = tuple(without_examples(t, told[t.name]) for t in parts.federation.tasks)
        return replace(
            parts, federation=replace(parts.federation, tasks=tasks), wall=WallClock(self)
        )


def test_a_run_without_examples_at_the_server_is_the_embedded_run() -> None:
    nodes = Sites([site(0, 3), site(1), site(2)])
    mine = run(config(), assembled=nodes)
    HERE.update(range(4))
    try:
        wanted = run(config())
    finally:
        HERE.clear()
    for row, other in zip(mine.rounds("fed-avg", 0), wanted.rounds("fed-avg", 0), strict=True):
        for column in ("num-examples", "train_loss", "a/val_loss", "a/eval_acc"):
            assert row[column] == pytest.approx(other[column], abs=1e-6)


def test_data_that_are_missing_are_named() -> None:
    HERE.update({0})
    try:
        with pytest.raises(InvalidInput, match="client 1 is elsewhere"):
            Site(config(), 0, [0, 1]).introduction()
    finally:
        HERE.clear()
