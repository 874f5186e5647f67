"""How long each executor takes for the clients of a round, task by task.

`auto` goes by shape, so that a run repeats; this goes by the clock, for whoever wants to know
whether the rule is right on their machine, and to name another executor in the configuration.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from fl_runtime.configuration.schema import Config, RunSection
from fl_runtime.execution.dense import DenseChain
from fl_runtime.execution.pool import WorkerPool, side_by_side
from fl_runtime.execution.registry import EXECUTORS, make_executor
from fl_runtime.execution.stacked import stackable
from fl_runtime.random_streams import torch_seed
from fl_runtime.running.build import assemble, clients_per_task, executors_of
from fl_runtime.training.job import Job
from fl_runtime.training.task import Task

REPEATS = 3
"""Of which the median is taken, after one to warm up."""


def probe(config: Config) -> dict[str, Any]:
    """Train the clients of a round by every executor that can.

    Args:
        config: Of which the first seed and the configuration as it stands are looked at.

    Returns:
        `device`; by task the number of `clients`, what `auto` takes, and `ms`, milliseconds of wall
        time by executor, None where a task is not for it.

    Raises:
        InvalidInput: Anything about the configuration that cannot be built.
    """
    seed = config.run.seeds[0]
    plain, asked = ({"executor": name} for name in ("sequential", "auto"))
    parts = assemble(config.model_copy(update={"run": config.run.model_copy(update=plain)}), seed)
    chosen = executors_of(config.model_copy(update={"run": config.run.model_copy(update=asked)}))
    count = min(config.clients.num_clients, max(1, round(clients_per_task(config))))
    found = {
        name: {
            "clients": count,
            "auto": way,
            "ms": {
                executor: _milliseconds(task, executor, count, config.run) for executor in EXECUTORS
            },
        }
        for (name, way), task in zip(chosen.items(), parts.federation.tasks, strict=True)
    }
    return {"device": config.run.device, "tasks": found}


def _milliseconds(task: Task, name: str, clients: int, run: RunSection) -> float | None:
    """Median time of one poll."""
    able = {"dense": lambda: DenseChain.of(task) is not None, "stacked": lambda: stackable(task)}
    if name in able and not able[name]():
        return None
    inner = make_executor([task], {task.name: name}, clients_per_stack=run.clients_per_stack)
    jobs = [
        Job(task.name, client, 0, 0.0, task.initial, torch_seed(0, "probe", client))
        for client in range(clients)
    ]
    with WorkerPool(run.workers, run.device) as pool:
        executor = side_by_side(inner, pool)
        spent = [_timed(executor, jobs, task.validation.targets.device) for _ in range(1 + REPEATS)]
    return 1e3 * median(spent[1:])


def _timed(executor: Any, jobs: Sequence[Job], device: torch.device) -> float:
    """Seconds until all answers are there."""
    began = time.perf_counter()
    executor.submit(jobs)
    executor.poll()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
