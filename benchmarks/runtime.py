"""What the runtime adds to a plain PyTorch loop, as a ratio measured in one process.

Peer: the loop a user would write for one round of federated averaging on digits (a model, an
optimiser, minibatches), nothing else. Ours: the same clients as jobs of the sequential executor and
the weighted mean. Both are timed in turn, round after round; medians and quartiles are printed.

    python benchmarks/runtime.py [--rounds 15] [--clients 20] [--json]
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
from fl_runtime.executor import Job, SequentialExecutor
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


def our_round(task: Task) -> None:
    """Jobs through the executor, then the aggregation."""
    executor = SequentialExecutor([task])
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


def measure(model: str, clients: int, rounds: int) -> dict[str, float]:
    """Interleaved rounds of both, after one of each to warm up."""
    task = digits_task(model, clients)
    pairs = [
        (seconds(lambda: our_round(task)), seconds(lambda: plain_round(task)))
        for _ in range(rounds + 1)
    ][1:]
    ours, plain = np.array(pairs).T
    low, middle, high = np.quantile(ours / plain, [0.25, 0.5, 0.75])
    return {
        "ours_ms": 1e3 * float(np.median(ours)),
        "plain_ms": 1e3 * float(np.median(plain)),
        "ratio": float(middle),
        "ratio_low": float(low),
        "ratio_high": float(high),
    }


def main(
    rounds: Annotated[int, typer.Option(help="Timed rounds of each.")] = 15,
    clients: Annotated[int, typer.Option(help="Clients per round.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time a round of each model family both ways."""
    torch.set_num_threads(1)
    results = {model: measure(model, clients, rounds) for model in MODELS}
    if as_json:
        print(json.dumps(results, indent=2))
        return
    table = Table(title=f"One round, {clients} clients, digits: sequential executor / plain loop")
    for header in ("model", "plain ms", "ours ms", "ratio (quartiles)"):
        table.add_column(header, justify="right")
    for model, found in results.items():
        spread = f"{found['ratio']:.2f} ({found['ratio_low']:.2f} .. {found['ratio_high']:.2f})"
        table.add_row(model, f"{found['plain_ms']:.1f}", f"{found['ours_ms']:.1f}", spread)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
