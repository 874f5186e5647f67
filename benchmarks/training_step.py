"""A training step with a fair direction beside a plain one: time and memory, from one process.

One step is the forward pass of K tasks on a shared trunk and all that fills `.grad`; the plain one
is `sum(losses).backward()`. All contenders run interleaved, in another order each
round, on a fresh batch each; times are in
plain steps, as median (lower-upper quartile); memory is the peak of tensors allocated in a step.
With `features` the residual asked for is 1e-2, all others solve to the last digits. TorchJD runs
its own UPGrad and plain averaging (the price of its Jacobians alone), through `mtl_backward` and
through `autogram`; LibMTL's FairGrad, whose weights come from SciPy's least squares, is included if
it is installed (its source, as the release is older).

The tasks are random halves of the ten digits, as many small classifications of the same images.

Run with: python benchmarks/training_step.py [--models MLP CNN transformer] [--tasks 3 10 40 200]
    [--rounds 15] [--device cpu] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from fairopt.torch import FairGrad, backward

ALPHA = 2.0
BATCH = 64
SLOW = 3.0  # seconds: contenders above it get three rounds
MIB = 2.0**20


class Transformer(nn.Module):
    """Rows of the image as tokens, two encoder layers, mean pooling."""

    def __init__(self, side: int = 16, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Linear(side, width)
        layer = nn.TransformerEncoderLayer(width, 4, 128, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, side, side) to (n, width)."""
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            found: Tensor = self.layers(self.embed(x.squeeze(1))).mean(1)
        return found


def trunk(name: str) -> tuple[nn.Module, int]:
    """A trunk for images of 16 x 16 and the width of its features."""
    if name == "MLP":
        layers = [nn.Flatten(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()]
        return nn.Sequential(*layers), 128
    if name == "CNN":
        first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(512, 64), nn.ReLU()), 64
    return Transformer(), 64


class Workload:
    """One model with K heads, and batches."""

    def __init__(self, name: str, K: int, device: str) -> None:
        torch.manual_seed(0)
        self.rng = np.random.default_rng(0)
        body, width = trunk(name)
        self.body = body.to(device)
        self.heads = nn.ModuleList([nn.Linear(width, 2) for _ in range(K)]).to(device)
        images, labels = load_digits(return_X_y=True)
        small = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16.0
        self.images = interpolate(small, scale_factor=2).to(device)
        self.labels = torch.tensor(labels, device=device)
        self.halves = torch.tensor(self.rng.integers(0, 2, size=(K, 10)), device=device)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of the trunk and the heads."""
        return [*self.body.parameters(), *self.heads.parameters()]

    def forward(self) -> tuple[Tensor, list[Tensor]]:
        """Features and losses of a fresh batch."""
        index = torch.tensor(self.rng.integers(0, len(self.labels), size=BATCH))
        index = index.to(self.labels.device)
        z = self.body(self.images[index])
        labels = self.labels[index]
        halves = zip(self.heads, self.halves, strict=True)
        return z, [cross_entropy(head(z), half[labels]) for head, half in halves]


Step = Callable[[Workload], None]


def plain(work: Workload) -> None:
    """The floor."""
    _, losses = work.forward()
    torch.stack(losses).sum().backward()


def ours(work: Workload) -> None:
    """The exact step."""
    _, losses = work.forward()
    backward(losses, work.body.parameters(), FairGrad(ALPHA))


def ours_with_features(work: Workload) -> None:
    """The same with the features named."""
    z, losses = work.forward()
    backward(losses, work.body.parameters(), FairGrad(ALPHA), features=z)


def torchjd_steps(device: str) -> dict[str, Step]:
    """TorchJD's ways, if it is installed."""
    if importlib.util.find_spec("torchjd") is None:
        return {}
    from torchjd.aggregation import Mean, UPGrad, UPGradWeighting
    from torchjd.autogram import Engine
    from torchjd.autojac import jac_to_grad, mtl_backward

    def with_jacobians(aggregator: Any) -> Step:
        def step(work: Workload) -> None:
            z, losses = work.forward()
            mtl_backward(losses, features=z)
            jac_to_grad(work.body.parameters(), aggregator)

        return step

    engines: dict[int, Any] = {}

    def with_gramian(work: Workload) -> None:
        engine = engines.setdefault(id(work), Engine(work.body, batch_dim=None))
        _, losses = work.forward()
        stacked = torch.stack(losses)
        stacked.backward(UPGradWeighting()(engine.compute_gramian(stacked)))

    return {
        "TorchJD UPGrad": with_jacobians(UPGrad()),
        "TorchJD mean": with_jacobians(Mean()),
        "TorchJD autogram": with_gramian,
    }


def libmtl_steps(device: str) -> dict[str, Step]:
    """LibMTL's FairGrad, if it is installed, with what its `Trainer` would set."""
    if importlib.util.find_spec("LibMTL") is None:
        return {}
    weighting = importlib.import_module("LibMTL.weighting.FairGrad").FairGrad()

    def step(work: Workload) -> None:
        _, losses = work.forward()
        weighting.rep_grad, weighting.device = False, torch.device(device)
        weighting.task_num = len(losses)
        weighting.get_share_params = work.body.parameters
        weighting.zero_grad_share_params = lambda: work.body.zero_grad(set_to_none=False)
        for name in ("grad_index", "grad_dim"):  # of another model
            vars(weighting).pop(name, None)
        weighting.backward(torch.stack(losses), FairGrad_alpha=ALPHA)

    return {"LibMTL FairGrad": step}


def contenders(device: str) -> dict[str, Step]:
    """All steps by name, the plain one first."""
    own = {"plain": plain, "fairopt": ours, "fairopt features": ours_with_features}
    return {**own, **torchjd_steps(device), **libmtl_steps(device)}


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds(step: Step, work: Workload, device: str) -> float:
    """Time of one step from empty gradients: on the CPU that of the processor."""
    for p in work.parameters:
        p.grad = None
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    synchronise(device)
    begin = clock()
    step(work)
    synchronise(device)
    return clock() - begin


def peak(step: Step, work: Workload, device: str) -> float:
    """Peak MiB of tensors allocated in one step."""
    for p in work.parameters:
        p.grad = None
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(work)
        return float(torch.cuda.max_memory_allocated() - before) / MIB
    with silence(), torch.profiler.profile(profile_memory=True) as profile:
        step(work)
    most = total = 0
    assert profile.profiler is not None
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            total += event.nbytes()
            most = max(most, total)
    return most / MIB


@contextmanager
def silence() -> Iterator[None]:
    """Nothing on standard error, where the profiler reports its own start and end."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def measure(name: str, K: int, rounds: int, device: str) -> Iterator[dict[str, Any]]:
    """One row per contender."""
    steps, times = contenders(device), {}
    works = {label: Workload(name, K, device) for label in steps}  # engines leave hooks on modules
    for label, step in list(steps.items()):
        work = works[label]
        try:
            seconds(step, work, device)  # compiles, and learns what can be vmapped
            times[label] = [seconds(step, work, device)]
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            yield {"model": name, "K": K, "step": label, "error": str(error).splitlines()[0]}
            del steps[label]
    order = np.random.default_rng(0)
    for k in range(rounds):
        for label in order.permutation(list(steps)):
            step = steps[label]
            if k < 3 or times[label][0] < SLOW:
                times[label].append(seconds(step, works[label], device))
    base = np.median(times["plain"])
    for label, step in steps.items():
        quartiles = np.quantile(times[label], [0.25, 0.5, 0.75]) / base
        yield {
            "model": name,
            "K": K,
            "step": label,
            "plain_steps": quartiles.tolist(),
            "ms": 1e3 * float(np.median(times[label])),
            "peak_mib": peak(step, works[label], device),
        }


def table(rows: list[dict[str, Any]]) -> Table:
    """What a person reads."""
    found = Table(title="one training step")
    for column in ("model", "K", "step", "plain steps", "ms", "peak MiB"):
        found.add_column(column, justify="left" if column in ("model", "step") else "right")
    last = None
    for row in rows:
        if last is not None and last != (row["model"], row["K"]):
            found.add_section()
        last = (row["model"], row["K"])
        if "error" in row:
            found.add_row(row["model"], str(row["K"]), row["step"], row["error"][:40], "-", "-")
            continue
        low, middle, high = row["plain_steps"]
        ratio = f"{middle:.2f} ({low:.2f}-{high:.2f})"
        cells = (row["step"], ratio, f"{row['ms']:.1f}", f"{row['peak_mib']:.1f}")
        found.add_row(row["model"], str(row["K"]), *cells)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["MLP", "CNN", "transformer"])
    parser.add_argument("--tasks", nargs="+", type=int, default=[3, 10, 40, 200])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console()
    pairs = [(name, K) for name in options.models for K in options.tasks]
    rows: list[dict[str, Any]] = []
    for name, K in track(pairs, description="workloads", console=console):
        rows += measure(name, K, options.rounds, options.device)
    console.print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
