"""Whole rounds of federated averaging with evaluation, against the loop that one would write.

Baseline: plain PyTorch on the same shards, with one model, its optimiser per client, a running
weighted sum, and evaluation of both held-out sets in batches of a thousand. Ours is `one_round`:
dispatch, local training, aggregation, the checks and both evaluations, by `executor = "auto"` and
by others that are asked for. All are run in turn in one process; who begins alternates. Time is
that of the processor (user and system), so that neighbours on the machine count for little; a
figure is the median over rounds of ours over theirs, with quartiles. Below 1 is faster.

Data are digits, and generated images of the shape of Fashion-MNIST (70,000 of 28 x 28, ten
classes), of which 28,000 are held out. Also timed: setting up 100,000 clients.

    python benchmarks/whole_rounds.py [--rounds 15] [--only fashion] [--json]
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from fl_runtime.configuration.toml_files import check_config  # noqa: E402
from fl_runtime.running.build import assemble  # noqa: E402
from fl_runtime.running.experiment import resolved  # noqa: E402
from fl_runtime.running.loop import Evaluator, one_round  # noqa: E402
from fl_runtime.running.run_state import RunState  # noqa: E402
from fl_runtime.training.task import Examples, Task  # noqa: E402

IMAGES = 70_000
CLASSES = 10
EVALUATED = 1000
"""Examples that the plain loop evaluates at a time."""


@functools.cache
def images() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Gaussian classes of the shape of Fashion-MNIST."""
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=IMAGES)
    means = rng.normal(size=(CLASSES, 1, 28, 28), scale=0.3).astype(np.float32)
    noise = rng.normal(size=(IMAGES, 1, 28, 28)).astype(np.float32)
    return means[labels] + noise, labels


DIGITS = {"data": "digits", "model": "mlp", "hidden": [32]}
FASHION = {"data": "benchmarks.whole_rounds:images"}


@dataclass(frozen=True)
class Workload:
    """What is trained, and the ratio that is hoped for.

    Attributes:
        task: Keys of the task.
        clients: All of them.
        active: Of these, in a round.
        batch: Examples per step.
        hoped: Ours over theirs at most.
        keys: Further keys of `run`.
    """

    task: Mapping[str, Any]
    clients: int
    active: int
    batch: int
    hoped: float
    keys: Mapping[str, Any] = field(default_factory=dict)


WORKLOADS = {
    "digits, 100 clients": Workload(DIGITS, 100, 100, 8, 0.22),
    "digits, 400 clients": Workload(DIGITS, 400, 400, 8, 0.22),
    "digits, 1000 clients": Workload(DIGITS, 1000, 1000, 8, 0.22),
    "fashion, MLP [64]": Workload(FASHION | {"model": "mlp", "hidden": [64]}, 100, 30, 20, 0.75),
    "fashion, MLP [200]": Workload(FASHION | {"model": "mlp", "hidden": [200]}, 600, 60, 20, 0.95),
    "fashion, CNN [32]": Workload(FASHION | {"model": "cnn", "hidden": [32]}, 600, 20, 20, 1.0),
}


class Plain:
    """Federated averaging as one would write it by hand."""

    def __init__(self, task: Task, workload: Workload) -> None:
        self.task, self.workload = task, workload
        self.model = task.model
        self.state = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.rng = np.random.default_rng(0)

    def round(self) -> tuple[float, ...]:
        """Train the active clients, average, evaluate on both held-out sets."""
        workload, total, seen = self.workload, {}, 0
        for client in self.rng.choice(workload.clients, workload.active, replace=False):
            shard = self.task.shards[client]
            self.model.load_state_dict(self.state)
            self._train(shard.features, shard.targets)
            with torch.no_grad():
                for key, value in self.model.state_dict().items():
                    mine = value * len(shard)
                    total[key] = total[key] + mine if key in total else mine
            seen += len(shard)
        self.state = {key: value / seen for key, value in total.items()}
        self.model.load_state_dict(self.state)
        return (*self._evaluated(self.task.validation), *self._evaluated(self.task.test))

    def _train(self, features: Tensor, labels: Tensor) -> None:
        """One pass of a client."""
        self.model.train()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        for batch in torch.randperm(len(labels)).split(self.workload.batch):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.model(features[batch]), labels[batch])
            loss.backward()
            optimizer.step()

    def _evaluated(self, examples: Examples) -> tuple[float, float]:
        """Loss and accuracy."""
        self.model.eval()
        loss = hits = 0.0
        with torch.no_grad():
            for x, y in zip(
                examples.features.split(EVALUATED), examples.targets.split(EVALUATED), strict=True
            ):
                outputs = self.model(x)
                loss += float(nn.functional.cross_entropy(outputs, y, reduction="sum"))
                hits += float((outputs.argmax(dim=1) == y).sum())
        return loss / len(examples), hits / len(examples)


class Ours:
    """Rounds of the runtime."""

    def __init__(self, workload: Workload, executor: str) -> None:
        tree = {
            "run": {
                "algorithm": "fed-avg",
                "num_server_rounds": 10**6,
                "executor": executor,
                "keep_models": "none",
                **workload.keys,
            },
            "task": [{"name": "t", "learning_rate": 0.05, **workload.task}],
            "clients": {
                "num_clients": workload.clients,
                "fraction_train": workload.active / workload.clients,
                "batch_size": workload.batch,
            },
        }
        config = resolved(check_config(tree))
        self.executor = config.run.executor
        self.parts = assemble(config, 0)
        federation = self.parts.federation
        self.task = federation.tasks[0]
        self.evaluator = Evaluator(federation.tasks)
        self.current = RunState(self.parts.algorithm.init(federation, 0))

    def round(self) -> None:
        """One round."""
        self.current, _, _ = one_round(self.parts, self.current, self.evaluator)


def seconds(work: Callable[[], object]) -> float:
    """Time of the processor for one call, user and system."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(workload: Workload, executors: list[str], rounds: int) -> dict[str, Any]:
    """Rounds in turn, after one of each to warm up."""
    ours = {executor: Ours(workload, executor) for executor in executors}
    plain = Plain(next(iter(ours.values())).task, workload)
    works: dict[str, Callable[[], object]] = {"plain": plain.round}
    works |= {name: one.round for name, one in ours.items()}
    spent: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        order = list(works) if number % 2 else list(works)[::-1]
        for name in order:
            spent[name].append(seconds(works[name]))
    theirs = np.array(spent["plain"][1:])
    found: dict[str, Any] = {"plain ms": 1e3 * float(np.median(theirs)), "hoped": workload.hoped}
    for name, one in ours.items():
        low, middle, high = np.quantile(np.array(spent[name][1:]) / theirs, [0.25, 0.5, 0.75])
        label = name if name == one.executor else f"{name} ({one.executor})"
        found[label] = {"ratio": float(middle), "low": float(low), "high": float(high)}
    return found


def set_up(clients: int) -> float:
    """Seconds of the processor for a federation of that many clients with one example each."""
    task = FASHION | {"data": "benchmarks.whole_rounds:many", "model": "linear"}
    tree = {
        "run": {"algorithm": "fed-avg", "num_server_rounds": 1},
        "task": [{"name": "t", **task}],
        "clients": {"num_clients": clients, "fraction_train": 100 / clients},
    }
    config = resolved(check_config(tree))
    return seconds(lambda: assemble(config, 0))


@functools.cache
def many() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Small examples for 100,000 clients."""
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=200_000)
    return rng.normal(size=(200_000, 8)).astype(np.float32) + labels[:, None] / CLASSES, labels


def main(
    rounds: Annotated[int, typer.Option(help="Timed rounds of each.")] = 15,
    only: Annotated[str, typer.Option(help="Workloads whose name has this.")] = "",
    executor: Annotated[list[str], typer.Option(help="What is timed.")] = ["auto"],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time whole rounds."""
    torch.set_num_threads(1)
    chosen = {name: one for name, one in WORKLOADS.items() if only in name}
    found = {name: measure(one, executor, rounds) for name, one in chosen.items()}
    clients = 100_000
    setting_up = [set_up(clients) for _ in range(3)] if only in "set-up" else []
    if as_json:
        print(json.dumps({"rounds": found, f"set-up of {clients}": setting_up}, indent=2))
        return
    table = Table(title="Processor time of a round over the plain loop's (median, quartiles)")
    for header in ("workload", "executor", "plain ms", "ratio", "hoped"):
        table.add_column(header, justify="right")
    for name, one in found.items():
        for label, figures in one.items():
            if isinstance(figures, dict):
                ratio = f"{figures['ratio']:.2f} ({figures['low']:.2f} .. {figures['high']:.2f})"
                table.add_row(name, label, f"{one['plain ms']:.1f}", ratio, f"{one['hoped']:.2f}")
    Console(width=120).print(table)
    if setting_up:
        print(f"set-up of {clients:,} clients: {', '.join(f'{s:.2f}' for s in setting_up)} s")


if __name__ == "__main__":
    typer.run(main)
