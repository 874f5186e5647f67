"""The jobs of FedRAM's three stages, for clients that have been chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_runtime.algorithms.fed_ram_state import FedRAMState, shares_of_held
from fl_runtime.algorithms.reweighting import Vector, resampled_counts
from fl_runtime.algorithms.synchronous import make_job
from fl_runtime.random_streams import stream
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job


@dataclass(frozen=True)
class StagedJobs:
    """Makes the jobs of one dispatch.

    Attributes:
        state: The server's.
        federation: Tasks, companions and who holds what.
        now: Virtual time.
    """

    state: FedRAMState
    federation: Federation
    now: float

    def references(self, clients: NDArray[np.int64]) -> list[Job]:
        """Every client goes on with its own small models; nothing is kept but the result."""
        rows, tasks = np.nonzero(self.federation.eligible[clients])
        names = [companion.name for companion in self.federation.companions]
        own, models = self.state.references, self.state.models
        return [
            replace(
                self._small(client, task, {}, ".reference"),
                payload=own.model(models[names[task]], names[task], client),
                client_state={},
            )
            for client, task in zip(clients[rows].tolist(), tasks.tolist(), strict=True)
        ]

    def proxies(self, client: int, scales: Vector, reference: Vector) -> list[Job]:
        """A client's jobs on the proxies of its tasks.

        Args:
            client: Its number.
            scales: (num_tasks,) factors of the losses in a step.
            reference: (num_tasks,) losses of its references.
        """
        jobs = []
        for task in np.flatnonzero(self.federation.eligible[client]).tolist():
            count = self.federation.companions[task].sizes[client]
            config = {
                "weights": torch.full((count,), float(scales[task])),
                "measure_start": True,
                "measure_end": True,
                "echo": {"reference_loss": float(reference[task])},
            }
            jobs.append(self._small(client, task, config, ""))
        return jobs

    def agents(self, clients: NDArray[np.int64], config: Mapping[str, Any]) -> list[Job]:
        """Every task's own model, on examples drawn by the client's task weights."""
        jobs = []
        for client in clients.tolist():
            counts = self.counts(client)
            for task in np.flatnonzero(counts).tolist():
                drawn = self._drawn(client, task, int(counts[task]))
                chosen = {} if drawn is None else {"examples": drawn}
                jobs.append(self._job(self.federation, client, task, {**config, **chosen}))
        return jobs

    def counts(self, client: int) -> NDArray[np.int64]:
        """(num_tasks,) examples that a client draws, as many together as it holds."""
        held = self.federation.eligible[client]
        sizes = [task.sizes[client] for task in self.federation.tasks]
        shares = shares_of_held(self.state.task_weights[client], held)
        return resampled_counts(shares, int(np.dot(sizes, held)))

    def _drawn(self, client: int, task: int, count: int) -> Tensor | None:
        """Positions in the shard, repeated only where there are too few; None for all of it."""
        chosen = self.federation.tasks[task]
        size = chosen.sizes[client]
        if count == size:
            return None
        keys = self.state.stage_round, client, chosen.name
        rng = stream(self.state.seed, "resample", *keys)
        return torch.from_numpy(rng.choice(size, count, replace=count > size))

    def _small(self, client: int, task: int, config: Mapping[str, Any], purpose: str) -> Job:
        """A job on a companion."""
        small = replace(self.federation, tasks=self.federation.companions, companions=())
        return self._job(small, client, task, config, purpose)

    def _job(
        self,
        federation: Federation,
        client: int,
        task: int,
        config: Mapping[str, Any],
        purpose: str = "",
    ) -> Job:
        """A job whose random streams are those of the round within the stage."""
        return make_job(
            replace(self.state, server_round=self.state.stage_round, stage_start=0),
            federation,
            client,
            task,
            self.now,
            seed_name=federation.tasks[task].name + purpose,
            config=config,
        )
