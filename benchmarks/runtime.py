"""One round of federated averaging: our executors, a plain PyTorch loop, and other projects.

Baseline: the loop that one would write by hand, on the same clients. Ours and the loop are timed in
turn in one process, round after round, as ratios with quartiles; the rule behind
`executor = "auto"` rests on these figures. Flower and pfl run as processes of their own where they
are installed (`pip install 'flwr[simulation]' pfl`), so their ratios are looser; each is set beside
a loop timed in the same minute. Nothing is evaluated; a round is local training and the mean.

    python benchmarks/runtime.py [--clients 10 --clients 100] [--full] [--device cuda] [--json]
"""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.peers.workload import (  # noqa: E402
    LEARNING_RATE,
    WORKLOADS,
    Workload,
    build,
    shard,
    train,
)
from fl_runtime.algorithms.aggregation import data_weighted, step_tasks  # noqa: E402
from fl_runtime.execution.executor import Executor  # noqa: E402
from fl_runtime.execution.registry import EXECUTORS, resolve_executor  # noqa: E402
from fl_runtime.training.job import Job  # noqa: E402
from fl_runtime.training.task import (  # noqa: E402
    Examples,
    LocalTraining,
    Task,
    float_state,
    load_params,
)

PEERS = {"flower": ("flwr", "flower_rounds"), "pfl": ("pfl", "pfl_rounds")}
"""Other projects: the package that must be there, and the script."""

PEER_CLIENTS = 10
"""Clients per round of the other projects; more only takes longer."""

PEER_SECONDS = 300
"""After this long a peer's process is given up, and the table says so."""

Found = dict[str, dict[str, float]]


def task_of(workload: Workload, clients: int, device: str) -> Task:
    """The workload as a task of ours."""
    shards = [Examples(*shard(workload, client)) for client in range(clients)]
    moved = tuple(Examples(s.features.to(device), s.labels.to(device)) for s in shards)
    model = build(workload).to(device)
    initial = {key: value.clone() for key, value in float_state(model).items()}
    training = LocalTraining(learning_rate=LEARNING_RATE, local_epochs=1, batch_size=workload.batch)
    return Task("bench", model, initial, moved, moved[0], moved[0], training)


def our_round(task: Task, executor: Executor, clients: Sequence[int]) -> None:
    """Jobs through an executor, then the aggregation."""
    executor.submit(Job(task.name, client, 0, 0.0, task.initial, seed=client) for client in clients)
    step_tasks({task.name: task.initial}, executor.poll(), data_weighted)


def plain_round(task: Task, workload: Workload, clients: Sequence[int]) -> None:
    """What one would write by hand."""
    states = []
    for client in clients:
        load_params(task.model, task.initial)
        train(task.model, workload, client)
        states.append({key: value.clone() for key, value in float_state(task.model).items()})
    for key in states[0]:
        torch.stack([state[key] for state in states]).mean(dim=0)


def seconds(work: Callable[[], None], device: str) -> float:
    """Wall time of one call, with everything on the device finished."""
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(workload: Workload, clients: int, rounds: int, device: str) -> Found:
    """Interleaved rounds of all, after one of each to warm up: time over the plain loop's."""
    task = task_of(workload, clients, device)
    everyone = range(clients)
    runners: dict[str, Callable[[], None]] = {
        "plain": functools.partial(plain_round, task, workload, everyone)
    }
    for name, make in EXECUTORS.items():
        runners[name] = functools.partial(our_round, task, make([task]), everyone)
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds + 1):
        for name, work in runners.items():
            times[name].append(seconds(work, device))
    plain = np.array(times.pop("plain")[1:])
    found: Found = {"plain": {"ms": 1e3 * float(np.median(plain))}}
    for name, spent in times.items():
        low, middle, high = np.quantile(plain / np.array(spent[1:]), [0.25, 0.5, 0.75])
        found[name] = {"speed": float(middle), "low": float(low), "high": float(high)}
    return found


def peers(name: str, workload: Workload, rounds: int) -> Iterator[tuple[str, str]]:
    """Speed of the other projects relative to a loop timed just before and after."""
    task = task_of(workload, PEER_CLIENTS, "cpu")
    everyone = range(PEER_CLIENTS)
    for peer, (package, script) in PEERS.items():
        if importlib.util.find_spec(package) is None:
            yield peer, "not installed"
            continue
        command = [sys.executable, "-m", f"benchmarks.peers.{script}", name]
        loops = [seconds(lambda: plain_round(task, workload, everyone), "cpu") for _ in range(5)]
        try:
            ran = subprocess.run(
                [*command, str(PEER_CLIENTS), str(rounds)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=PEER_SECONDS,
                check=True,
            )
            theirs = float(np.median(json.loads(ran.stdout.splitlines()[-1])))
        except (subprocess.SubprocessError, ValueError, IndexError) as error:
            yield peer, f"did not run ({type(error).__name__})"
            continue
        loops += [seconds(lambda: plain_round(task, workload, everyone), "cpu") for _ in range(5)]
        yield peer, f"{float(np.median(loops)) / theirs:.2f} ({1e3 * theirs:.0f} ms)"


def main(
    rounds: Annotated[int, typer.Option(help="Timed rounds of each.")] = 9,
    clients: Annotated[list[int], typer.Option(help="Clients per round.")] = [10, 100],  # noqa: B006
    full: Annotated[bool, typer.Option(help="Also 1,000 clients, and the other projects.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time a round of each workload every way."""
    torch.set_num_threads(1)
    if device == "cuda" and not torch.cuda.is_available():
        Console().print("no usable CUDA device here; nothing was measured")
        raise typer.Exit(0)
    counts = [*clients, 1000] if full else clients
    results = {
        (name, count): measure(workload, count, rounds if count < 1000 else 3, device)
        for name, workload in WORKLOADS.items()
        for count in counts
    }
    others = {
        name: dict(peers(name, workload, rounds)) if full else {}
        for name, workload in WORKLOADS.items()
    }
    if as_json:
        flat = {f"{name}, {count} clients": found for (name, count), found in results.items()}
        print(json.dumps({"device": device, "rounds": flat, "peers": others}, indent=2))
        return
    Console(width=120).print(_table(results, device))
    for name, found in others.items():
        for peer, words in found.items():
            Console(width=120).print(f"{name}, {PEER_CLIENTS} clients, {peer}: {words}")


def _table(results: dict[tuple[str, int], Found], device: str) -> Table:
    """Speeds relative to the plain loop."""
    table = Table(title=f"Rounds per second over a plain loop's, {device} (median, quartiles)")
    for header in ("workload", "clients", "plain ms", *EXECUTORS, "auto picks"):
        table.add_column(header, justify="right")
    for (name, count), found in results.items():
        cells = (
            f"{r['speed']:.2f} ({r['low']:.2f} .. {r['high']:.2f})"
            for r in (found[executor] for executor in EXECUTORS)
        )
        picked = resolve_executor("auto", device=device, clients_per_task=count)
        table.add_row(name, str(count), f"{found['plain']['ms']:.1f}", *cells, picked)
    return table


if __name__ == "__main__":
    typer.run(main)
