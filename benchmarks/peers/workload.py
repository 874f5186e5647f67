"""The clients that every runner trains: generated data, small models, plain PyTorch."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES = 10
LEARNING_RATE = 0.05


@dataclass(frozen=True)
class Workload:
    """What a client holds and how it trains.

    Attributes:
        model: `mlp` or `cnn`.
        shape: Of one example.
        hidden: Width of the hidden layer of `mlp`.
        examples: Per client.
        batch: Examples per step.
        population: Clients there are.
    """

    model: str
    shape: tuple[int, ...]
    hidden: int
    examples: int
    batch: int
    population: int = 1000


WORKLOADS = {
    "digits mlp 64-32-10": Workload("mlp", (64,), 32, 16, 8),
    "mlp 784-64-10": Workload("mlp", (784,), 64, 100, 20),
    "cnn 28x28": Workload("cnn", (1, 28, 28), 0, 100, 20),
}


@functools.lru_cache(maxsize=4096)
def shard(workload: Workload, client: int) -> tuple[Tensor, Tensor]:
    """Features and labels of one client: Gaussian classes, a few classes each."""
    rng = torch.Generator().manual_seed(client)
    labels = torch.randint(CLASSES // 2, (workload.examples,), generator=rng)
    labels = (labels + client) % CLASSES
    noise = torch.randn(workload.examples, *workload.shape, generator=rng)
    return noise + labels.view(-1, *(1 for _ in workload.shape)) / CLASSES, labels


def build(workload: Workload) -> nn.Module:
    """The model."""
    if workload.model == "mlp":
        width = workload.shape[0]
        return nn.Sequential(
            nn.Linear(width, workload.hidden), nn.ReLU(), nn.Linear(workload.hidden, CLASSES)
        )
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        nn.Linear(256, CLASSES),
    )


def train(model: nn.Module, workload: Workload, client: int) -> None:
    """One local epoch of SGD, in place: what one would write by hand."""
    features, labels = shard(workload, client)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for batch in torch.split(torch.randperm(workload.examples), workload.batch):
        loss = nn.functional.cross_entropy(model(features[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
