"""Task gradients in real training: an MLP, a small CNN, a small transformer.

Digits of scikit-learn with one binary task per digit ("is it a 3?"), in float32 and bfloat16; the
gradients are those of the shared trunk, their products `fairopt.torch.gram`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from fairopt.torch import gram

BATCH = 64
RATE = 0.05


class Transformer(nn.Module):
    """Rows of the image as tokens, one encoder layer, mean pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 64) to (n, 16)."""
        return self.layer(self.embed(x.reshape(-1, 8, 8))).mean(1)


def trunks() -> dict[str, tuple[nn.Module, int]]:
    """Trunk and width of its features by name."""
    return {
        "MLP": (nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()), 32),
        "CNN": (
            nn.Sequential(
                nn.Unflatten(1, (1, 8, 8)),
                nn.Conv2d(1, 8, 3),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3),
                nn.ReLU(),
                nn.Flatten(),
            ),
            128,
        ),
        "transformer": (Transformer(), 16),
    }


def digits() -> tuple[Tensor, Tensor]:
    """(n, 64) float64 images with entries in [0, 1], and their labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16.0), torch.tensor(labels)


def runs(steps: int, seed: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """(label, Gram matrices of all steps) for each trunk, dtype and number of tasks."""
    images, labels = digits()
    for dtype in (torch.float32, torch.bfloat16):
        x = images.to(dtype)
        for tasks in (3, 6, 10):
            for name in trunks():
                torch.manual_seed(seed)
                trunk, width = trunks()[name]
                trunk, heads = trunk.to(dtype), nn.Linear(width, tasks).to(dtype)
                label = f"{name}, {tasks} tasks, {str(dtype).removeprefix('torch.')}"
                yield label, list(grams(trunk, heads, x, labels, steps, seed))


def grams(
    trunk: nn.Module, heads: nn.Module, x: Tensor, labels: Tensor, steps: int, seed: int
) -> Iterator[np.ndarray]:
    """Gram matrix of the trunk's gradients at every step of SGD on the mean loss."""
    for rows in gradients(trunk, heads, x, labels, steps, seed):
        yield gram(rows)


def gradients(
    trunk: nn.Module, heads: nn.Module, x: Tensor, labels: Tensor, steps: int, seed: int
) -> Iterator[list[list[Tensor]]]:
    """The trunk's gradients, a list of tensors for each task, at every step of SGD."""
    shared, own = list(trunk.parameters()), list(heads.parameters())
    tasks = heads.out_features
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        batch = torch.from_numpy(rng.choice(len(x), BATCH, replace=False))
        scores = heads(trunk(x[batch]))
        target = (labels[batch][:, None] == torch.arange(tasks)).to(scores.dtype)
        losses = nn.functional.binary_cross_entropy_with_logits(
            scores.float(), target.float(), reduction="none"
        ).mean(0)
        rows = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
        yield [list(row) for row in rows]
        steps_of = torch.autograd.grad(losses.sum(), [*shared, *own])
        with torch.no_grad():
            for parameter, slope in zip([*shared, *own], steps_of, strict=True):
                parameter -= RATE * slope
