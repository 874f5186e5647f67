"""Ten kinds of task, tiny and generated: targets with holes, inputs of several parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fl_runtime.data.dataset import Data
from fl_runtime.data.inputs import each, shapes_of
from fl_runtime.data.partitions import IID
from fl_runtime.training.losses import loss_of
from fl_runtime.training.models import build_model
from fl_runtime.training.scores import metrics_of
from fl_runtime.training.task import LocalTraining, Task
from fl_runtime.training.task_from_data import make_task

SIZE = 90
CLASSES = 4
SYMBOLS = 5
STEPS = 6
HOLES = 0.3


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([SIZE, seed, *shape]).normal(size=(SIZE, *shape))


def with_holes(targets: np.ndarray, missing: float = np.nan) -> np.ndarray:
    """A share of the targets is missing, and all of some example's."""
    gone = np.random.default_rng(1).random(targets.shape) < HOLES
    gone[::11] = True
    return np.where(gone, missing, targets)


def labels() -> Data:
    x = noise(3)
    return Data(x, with_holes((x[:, 0] > 0) + 2 * (x[:, 1] > 0), -100), CLASSES)


def holed_regression() -> Data:
    x = noise(3)
    return Data(x, with_holes(x @ [1.0, -2.0, 0.5]), 1)


def robust_regression() -> Data:
    x = noise(3)
    return Data(x, x @ [3.0, 1.0, 0.0] + noise(seed=1) ** 3, 1)


def attributes() -> Data:
    x = noise(3)
    return Data(x, with_holes((x @ np.arange(15.0).reshape(3, 5) > 0).astype(float)), 5)


def pixels() -> Data:
    x = noise(2, 4, 4)
    return Data(x, with_holes((x[:, 0] > 0) + 2 * (x[:, 1] > 0), -100), CLASSES)


def depth() -> Data:
    x = noise(2, 4, 4)
    return Data(x, with_holes(np.abs(x).sum(1)), (4, 4))


def text() -> Data:
    """Count upwards from a random symbol; texts differ in length."""
    rng = np.random.default_rng(2)
    x = (rng.integers(SYMBOLS, size=(SIZE, 1)) + np.arange(STEPS)) % SYMBOLS
    after = (x + 1) % SYMBOLS
    padding = np.arange(STEPS) >= rng.integers(1, STEPS + 1, size=(SIZE, 1))
    return Data(x, np.where(padding, -100, after), SYMBOLS)


def several_outputs() -> Data:
    x = noise(3)
    return Data(x, np.stack([x[:, 0], x[:, 1] * 2.0, x.sum(1)], axis=1), 3)


def masked_text() -> Data:
    """The same with its padding said in the inputs, too: symbols, and which of them are there."""
    plain = text()
    return Data({"ids": plain.inputs, "mask": plain.targets != -100}, plain.targets, SYMBOLS)


def graphs() -> Data:
    """Points with weighted edges, of unequal numbers; the target is missing for some."""
    points, edges = noise(STEPS, 3), np.abs(noise(STEPS, STEPS))
    count = np.random.default_rng(3).integers(1, STEPS + 1, size=SIZE)
    there = np.arange(STEPS) < count[:, None]
    wanted = with_holes((points.sum(2) * there).sum(1))
    return Data({"points": points, "edges": edges, "count": count}, wanted, 1, standardise=True)


class PerPixel(nn.Module):
    """Two convolutions; a single channel is no axis."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(2, 6, 3, padding=1)
        self.head = nn.Conv2d(6, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = self.head(torch.relu(self.body(x)))
        return found.squeeze(1) if found.shape[1] == 1 else found


class NextToken(nn.Module):
    """A token's successor from the token and the mean of those before it."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, 8)
        self.head = nn.Linear(16, symbols)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.embed(x)
        steps = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        return self.head(torch.cat([seen, seen.cumsum(1) / steps], dim=2))


class Reading(nn.Module):
    """A token's successor from the token and the mean of those before it that are there."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, 8)
        self.head = nn.Linear(16, symbols)

    def forward(self, *, mask: Tensor, ids: Tensor) -> Tensor:
        there = mask.float()[:, :, None]
        seen = self.embed(ids) * there
        return self.head(torch.cat([seen, seen.cumsum(1) / there.cumsum(1).clamp(min=1.0)], dim=2))


class OnGraphs(nn.Module):
    """One step of messages, and the mean over the points that there are."""

    def __init__(self) -> None:
        super().__init__()
        self.send = nn.Linear(3, 6)
        self.head = nn.Linear(6, 1)

    def forward(self, points: Tensor, edges: Tensor, count: Tensor) -> Tensor:
        there = (torch.arange(STEPS, device=count.device) < count[:, None]).float()
        hidden = torch.relu(edges @ self.send(points)) * there[:, :, None]
        return self.head(hidden.sum(1) / count[:, None])


def mask_reader(
    example_shape: Mapping[str, tuple[int, ...]], outputs: int, hidden: object
) -> nn.Module:
    assert example_shape == {"ids": (STEPS,), "mask": (STEPS,)}
    return Reading(outputs)


def graph_net(example_shape: object, outputs: object, hidden: object) -> nn.Module:
    return OnGraphs()


def segmenter(example_shape: tuple[int, ...], outputs: int, hidden: object) -> nn.Module:
    return PerPixel(outputs)


def depth_net(example_shape: tuple[int, ...], outputs: object, hidden: object) -> nn.Module:
    return PerPixel(1)


def reader(example_shape: tuple[int, ...], outputs: int, hidden: object) -> nn.Module:
    return NextToken(outputs)


HERE = __name__
KINDS: Mapping[str, tuple[Callable[[], Data], str, object, list[str]]] = {
    "labels": (labels, "mlp", "cross-entropy", ["acc", "macro-f1"]),
    "regression with holes": (holed_regression, "mlp", "mse", ["rmse", "r2"]),
    "robust regression": (robust_regression, "mlp", {"name": "huber", "delta": 0.5}, ["mae"]),
    "attributes": (attributes, "mlp", "bce", ["label-acc"]),
    "pixels": (pixels, f"{HERE}:segmenter", "cross-entropy", ["miou", "pixel-acc"]),
    "depth": (depth, f"{HERE}:depth_net", "mae", ["mae", "rmse"]),
    "text": (text, f"{HERE}:reader", "token-cross-entropy", ["token-acc", "perplexity"]),
    "masked text": (masked_text, f"{HERE}:mask_reader", "token-cross-entropy", ["exact-match"]),
    "graphs": (graphs, f"{HERE}:graph_net", "huber", ["mae"]),
    "several outputs": (several_outputs, "mlp", "mse", ["r2"]),
}


def small_task(
    kind: str, training: LocalTraining, *, data: Data | None = None, **changed: Any
) -> Task:
    """One of them, dealt to five clients."""
    make, model, loss, metrics = KINDS[kind]
    data = (make() if data is None else data).checked(kind)
    hidden = [6] if model == "mlp" else []
    example = each(lambda part: torch.from_numpy(part[:1]), data.inputs)
    return make_task(
        kind,
        data,
        build_model(model, shapes_of(data.inputs), data.outputs, hidden, seed=0, example=example),
        training,
        IID(),
        num_clients=5,
        seed=0,
        **{
            "loss": loss_of("loss", loss),
            "metrics": metrics_of("metrics", metrics),
            **changed,
        },
    )
