"""The executors against a plain PyTorch loop, as ratios measured in one process.

Peer: the loop a user would write for one round of federated averaging on digits (a model, an
optimiser, minibatches), nothing else. Ours: the same clients as jobs of the sequential or stacked
executor, and the weighted mean. All are timed in turn, round after round; medians and quartiles
are printed. The rule behind `executor = "auto"` rests on these figures.

    python benchmarks/runtime.py [--rounds 15] [--clients 20 --clients 100] [--json]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from fl_runtime.algorithms import weighted_mean_step
from fl_runtime.data import load_dataset
from fl_runtime.executor import Executor
from fl_runtime.executors import EXECUTORS
from fl_runtime.job import Job
from fl_runtime.models import build_model
from fl_runtime.partitions import IID
from fl_runtime.task import LocalTraining, Task, float_state, load_params, make_task

MODELS = {"linear": [], "mlp": [32], "cnn": [32]}
SETTINGS = LocalTraining(learning_rate=0.05, local_epochs=1, batch_size=8)


def digits_task(model: str, clients: int) -> Task:
    """The digits, dealt at random to clients."""
    data = load_dataset("digits")
    shape = data.features.shape[1:]
    module = build_model(model, shape, data.num_classes, MODELS[model], seed=0)
    return make_task(model, data, module, SETTINGS, IID(), num_clients=clients, seed=0)


def our_round(task: Task, executor: Executor) -> None:
    """Jobs through an executor, then the aggregation."""
    executor.submit(
        Job(task.name, client, 0, 0.0, task.initial, seed=client)
        for client in range(len(task.shards))
    )
    weighted_mean_step({task.name: task.initial}, executor.poll())


def plain_round(task: Task) -> None:
    """What one would write by hand."""
    states = []
    for shard in task.shards:
        load_params(task.model, task.initial)
        optimizer = torch.optim.SGD(task.model.parameters(), lr=SETTINGS.learning_rate)
        for batch in torch.split(torch.randperm(len(shard)), SETTINGS.batch_size):
            loss = nn.functional.cross_entropy(
                task.model(shard.features[batch]), shard.labels[batch]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        states.append({key: value.clone() for key, value in float_state(task.model).items()})
    for key in states[0]:
        torch.stack([state[key] for state in states]).mean(dim=0)


def seconds(work: Callable[[], None]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(model: str, clients: int, rounds: int) -> dict[str, dict[str, float]]:
    """Interleaved rounds of all, after one of each to warm up: time over the plain loop's."""
    task = digits_task(model, clients)
    executors = {name: make([task]) for name, make in EXECUTORS.items()}
    times: dict[str, list[float]] = {name: [] for name in ("plain", *executors)}
    for _ in range(rounds + 1):
        times["plain"].append(seconds(lambda: plain_round(task)))
        for name, executor in executors.items():
            times[name].append(seconds(lambda e=executor: our_round(task, e)))
    plain = np.array(times.pop("plain")[1:])
    found = {"plain": {"ms": 1e3 * float(np.median(plain))}}
    for name, spent in times.items():
        low, middle, high = np.quantile(np.array(spent[1:]) / plain, [0.25, 0.5, 0.75])
        found[name] = {"ratio": float(middle), "low": float(low), "high": float(high)}
    return found


def main(
    rounds: Annotated[int, typer.Option(help="Timed rounds of each.")] = 15,
    clients: Annotated[list[int], typer.Option(help="Clients per round.")] = [4, 20, 100],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time a round of each model family every way."""
    torch.set_num_threads(1)
    results = {
        f"{model}, {count} clients": measure(model, count, rounds)
        for model in MODELS
        for count in clients
    }
    if as_json:
        print(json.dumps(results, indent=2))
        return
    table = Table(title="One round on digits, over a plain loop (quartiles)")
    for header in ("model", "plain ms", *EXECUTORS):
        table.add_column(header, justify="right")
    for name, found in results.items():
        cells = (
            f"{r['ratio']:.2f} ({r['low']:.2f} .. {r['high']:.2f})"
            for r in (found[executor] for executor in EXECUTORS)
        )
        table.add_row(name, f"{found['plain']['ms']:.1f}", *cells)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
