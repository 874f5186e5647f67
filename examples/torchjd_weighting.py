"""fairopt inside TorchJD: its engines compute the Jacobian or Gramian, fairopt the weights.

Two ways, on two regression tasks that share a layer and whose losses differ by a factor of 1e4:

- autojac: `mtl_backward` fills Jacobians of the shared parameters, an aggregator combines them;
- autogram: `Engine` computes the Gramian of the losses without Jacobians, a weighting weighs them.

Run with: python examples/torchjd_weighting.py (needs torchjd)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchjd.autogram import Engine
from torchjd.autojac import jac_to_grad, mtl_backward

from fairopt.torch import FairGrad, Mean, Method, as_torchjd_aggregator, as_torchjd_weighting

STEPS = 500
SCALES = (1.0, 1e-2)


class TwoHeads(nn.Module):
    """A shared layer and a linear head per task."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(16, 1) for _ in SCALES)

    def forward(self, x: Tensor) -> Tensor:
        """(tasks, batch) predictions."""
        features = self.body(x)
        return torch.stack([head(features)[:, 0] for head in self.heads])


def problem() -> tuple[TwoHeads, Tensor, Tensor]:
    """Model, inputs and (tasks, batch) targets, the same for every method."""
    torch.manual_seed(0)
    x = torch.randn(128, 6)
    teachers = torch.randn(len(SCALES), 6)
    return TwoHeads(), x, torch.tensor(SCALES)[:, None] * torch.tanh(teachers @ x.T)


def relative_errors(model: TwoHeads, x: Tensor, y: Tensor) -> list[float]:
    """Mean squared error of each task over the variance of its targets."""
    with torch.no_grad():
        return ((model(x) - y).square().mean(dim=1) / y.var(dim=1)).tolist()


def with_jacobians(method: Method) -> list[float]:
    """Train through TorchJD's autojac and an aggregator of fairopt."""
    model, x, y = problem()
    aggregator = as_torchjd_aggregator(method)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        features = model.body(x)
        losses = [
            (head(features)[:, 0] - target).square().mean()
            for head, target in zip(model.heads, y, strict=True)
        ]
        optimizer.zero_grad()
        mtl_backward(losses, features=features)
        jac_to_grad(model.body.parameters(), aggregator)
        optimizer.step()
    return relative_errors(model, x, y)


def with_gramians(method: Method) -> list[float]:
    """Train through TorchJD's autogram and a weighting of fairopt."""
    model, x, y = problem()
    weighting = as_torchjd_weighting(method)
    engine = Engine(model.body, batch_dim=None)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        losses = (model(x) - y).square().mean(dim=1)
        optimizer.zero_grad()
        losses.backward(weighting(engine.compute_gramian(losses)))
        optimizer.step()
    return relative_errors(model, x, y)


def main() -> None:
    """Print the relative error of both tasks for both ways and two methods."""
    for name, method in (("mean", Mean()), ("fairgrad, alpha = 1", FairGrad(1.0))):
        for way, train in (("autojac", with_jacobians), ("autogram", with_gramians)):
            errors = "  ".join(f"{error:.4f}" for error in train(method))
            print(f"{name:<20} {way:<9} relative squared error by task: {errors}")


if __name__ == "__main__":
    main()
