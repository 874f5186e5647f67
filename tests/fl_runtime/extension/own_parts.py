"""Parts that a user might write: one of every kind that a configuration can name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_runtime.algorithms import FedAvg
from fl_runtime.data.partitions import Shards
from fl_runtime.running.one_run import Event
from fl_runtime.training.local_training import Client, Trained, train_locally
from fl_runtime.training.task import LocalTraining, Params
from mechanisms import Outcome

SEEN: list[str] = []
"""What `watch` has seen."""


@dataclass(frozen=True, kw_only=True)
class Mine(FedAvg):
    """FedAvg under another name."""

    strength: float = 1.0


def points(count: int = 60) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Two classes of points."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    return (rng.normal(size=(count, 3)) + labels[:, None]).astype(np.float32), labels


def net(
    example_shape: tuple[int, ...], num_classes: int, hidden: Sequence[int], width: int = 4
) -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(example_shape[0], width), nn.ReLU(), nn.Linear(width, num_classes)
    )


@dataclass(frozen=True)
class Smoothed:
    """Cross-entropy with targets that are not quite sure."""

    smoothing: float = 0.1

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Per example."""
        return nn.functional.cross_entropy(
            outputs, targets, reduction="none", label_smoothing=self.smoothing
        )


def margin(outputs: Tensor, targets: Tensor) -> Tensor:
    """How far the right class is ahead of chance."""
    return outputs.softmax(dim=1).gather(1, targets[:, None])[:, 0]


margin.higher_is_better = True  # type: ignore[attr-defined]
margin.range = (0.0, 1.0)  # type: ignore[attr-defined]


def shorter(
    model: nn.Module, start: Params, client: Client, settings: LocalTraining, passes: int = 1
) -> Trained:
    """Local training with a number of passes of its own."""
    settings = replace(settings, local_epochs=passes)
    return train_locally(model, start, client, settings, Smoothed())


@dataclass(frozen=True)
class InOrder:
    """Examples in their order."""

    reverse: bool = False

    def split(self, labels: NDArray[np.int64], num_clients: int, rng: Generator) -> Shards:
        """Equal parts."""
        order = np.arange(labels.size)[:: -1 if self.reverse else 1]
        return tuple(np.array_split(order, num_clients))


def everybody_cheap(bids: Any, budget: Any) -> Outcome:
    """Who bids at most the budget over the number of pairs."""
    bids = np.asarray(bids)
    winners = bids <= budget / bids.size
    payments = np.where(winners, budget / bids.size, 0.0)
    return Outcome(winners, payments, winners.sum(axis=0))


@dataclass(frozen=True)
class AllOne:
    """Costs of one, times a factor."""

    factor: float = 1.0

    def draw(self, rng: Generator, num_clients: int, num_tasks: int) -> NDArray[np.float64]:
        """The same for everybody."""
        return np.full((num_clients, num_tasks), self.factor)


@dataclass(frozen=True)
class Weekly:
    """A delay of whole days."""

    mean: float = 3.0

    def draw(self, rng: Generator, count: int) -> NDArray[np.float64]:
        """One to five days."""
        return self.mean - 2.0 + rng.integers(5, size=count)


@dataclass(frozen=True)
class EvenHours:
    """On in every second hour."""

    def present(self, seed: int, num_clients: int, now: float) -> NDArray[np.bool_]:
        """All or none."""
        return np.full(num_clients, int(now) % 2 == 0)


class Signs(torch.optim.Optimizer):
    """Steps of one length."""

    def __init__(self, params: Any, lr: float = 0.1, factor: float = 1.0) -> None:
        super().__init__(params, {"lr": lr, "factor": factor})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is not None:
                    value.sub_(group["lr"] * group["factor"] * value.grad.sign())


def watch(event: Event) -> None:
    """Note the kind of an event."""
    SEEN.append(event.kind)
