"""What a job costs by worker processes beside one process, where its work takes 5 ms.

The work is a client's trainer that computes for 5 ms of processor time and then changes every entry
of its model. What is measured beyond it is the way there and back: the payload, which all clients
of a round share (or, `personal`, each has its own), and the difference that comes back.

Rounds of all contenders are interleaved, in another order each time. Shown are medians per job of
the processor time of all processes together, which other users of the machine hardly change, that
of the run's own process in it, and of wall time. On a machine with free processors a round of two
workers takes half of what they spend, or what the run's own process spends, if that is more.

    python -m benchmarks.pool [--workers 1 --workers 2] [--jobs 20] [--rounds 9]
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from fl_runtime.execution.pool import PoolExecutor, WorkerPool
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.training.examples import Examples
from fl_runtime.training.job import Job
from fl_runtime.training.local_training import Client, Trained
from fl_runtime.training.task import LocalTraining, Params, Task, float_state

WIDTHS = {"51k": 222, "5M": 2234}
"""Of a square layer with as many parameters."""

WORK = 5e-3
"""Seconds of processor time that a job takes."""

CLIENTS = 10


@dataclass(frozen=True)
class Working:
    """A trainer that computes for a while."""

    seconds: float

    def __call__(
        self, model: nn.Module, start: Params, client: Client, settings: LocalTraining
    ) -> Trained:
        """Every entry changes by one."""
        square, end = torch.ones(64, 64), time.process_time() + self.seconds
        while time.process_time() < end:
            square = (square @ square).clamp(max=1.0)
        delta = {key: torch.ones_like(value) for key, value in start.items()}
        return Trained(delta, {"train_loss": 0.0}, {}, 1, 1)


def task_of(width: int) -> Task:
    """A task whose clients work for `WORK`."""
    model = nn.Linear(width, width)
    some = Examples(torch.zeros(2, width), torch.zeros(2, dtype=torch.int64))
    task = Task(
        "task",
        model,
        {key: value.clone() for key, value in float_state(model).items()},
        (some,) * CLIENTS,
        some,
        some,
        LocalTraining(0.1, 1, 2),
    )
    return replace(task, trainer=Working(WORK))


def jobs_of(task: Task, count: int, *, personal: bool) -> list[Job]:
    """A round's jobs, from one model or each from one of its own."""
    payloads: list[Any] = [task.initial] * count
    if personal:
        payloads = [{k: v.clone() for k, v in task.initial.items()} for _ in range(count)]
    return [Job("task", k % CLIENTS, k, 0.0, payload, k) for k, payload in enumerate(payloads)]


def processor_seconds(executor: Any) -> tuple[float, float]:
    """Processor time of this process, and of the workers of an executor, since they began."""
    pool = getattr(executor, "pool", None)
    others = pool.processes.values() if pool is not None else ()
    clocks = [(~pid << 3) | 2 for pid in others]  # as clock_getcpuclockid has it on Linux
    return time.process_time(), sum(map(time.clock_gettime, clocks))


def measured(contenders: dict[str, Any], jobs: list[Job], rounds: int) -> dict[str, list[float]]:
    """Medians of milliseconds per job of every contender: all processors, own, wall."""
    spent: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contenders}
    order = list(contenders)
    for number in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            executor = contenders[name]
            began, (own, others) = time.perf_counter(), processor_seconds(executor)
            executor.submit(jobs)
            executor.poll()
            if number:  # the first one starts processes
                now, (after, theirs) = time.perf_counter(), processor_seconds(executor)
                all_ = after - own + theirs - others
                spent[name].append((all_, after - own, now - began))
    return {
        name: [1e3 * median(column) / len(jobs) for column in zip(*found, strict=True)]
        for name, found in spent.items()
    }


def main(
    workers: Annotated[list[int], typer.Option(help="Numbers of workers.")] = [1, 2],  # noqa: B006
    jobs: Annotated[int, typer.Option(help="Jobs of a round.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds of each.")] = 9,
) -> None:
    """Measure, and print a table."""
    torch.set_num_threads(1)
    names = ["in process", *(f"{count} workers" for count in workers)]
    table = Table("parameters", "payload", "by", "processors ms", "of these own", "wall ms")
    for size, width in WIDTHS.items():
        task = task_of(width)
        for kind in ("shared", "personal"):
            with ExitStack() as stack:
                inner = SequentialExecutor([task])
                contenders: dict[str, Any] = {"in process": inner}
                for count in workers:
                    pool = stack.enter_context(WorkerPool(count))
                    contenders[f"{count} workers"] = PoolExecutor(inner, pool)
                some = jobs_of(task, jobs, personal=kind == "personal")
                found = measured(contenders, some, rounds)
            for name in names:
                table.add_row(size, kind, name, *(f"{value:.1f}" for value in found[name]))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
