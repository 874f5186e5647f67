"""fairopt inside LibMTL: a method as a weighting class that `Trainer` finds by its name.

Run with: python examples/libmtl_weighting.py (needs LibMTL and what it imports)

In a script of LibMTL two lines are enough:

    LibMTL.weighting.Fair = as_libmtl_weighting(FairGrad(2.0))
    trainer = Trainer(..., weighting="Fair", weight_args={})

Here the class is joined to a small model as `Trainer` does it, without data sets and epochs.
"""

from __future__ import annotations

import torch

from fairopt.torch import FairGrad, as_libmtl_weighting

TASKS = ("near", "far")
SCALES = {"near": 1.0, "far": 100.0}


class TwoHeads(torch.nn.Module):
    """What LibMTL calls an architecture: shared parameters, and how they are found."""

    def __init__(self) -> None:
        super().__init__()
        self.task_name, self.task_num = list(TASKS), len(TASKS)
        self.device, self.rep_grad, self.epoch = torch.device("cpu"), False, 0
        self.encoder = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh())
        self.decoders = torch.nn.ModuleDict({task: torch.nn.Linear(8, 1) for task in TASKS})

    def get_share_params(self):
        """Parameters that all tasks reach."""
        return self.encoder.parameters()

    def zero_grad_share_params(self):
        """Forget their gradients."""
        self.encoder.zero_grad()


def train(steps: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses of both tasks before and after."""
    torch.manual_seed(0)
    model = type("Model", (TwoHeads, as_libmtl_weighting(FairGrad(2.0))), {})()
    model.init_param()
    x = torch.randn(64, 4)
    y = {task: scale * torch.tanh(x[:, :1]) for task, scale in SCALES.items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    history = []
    for _ in range(steps):
        features = model.encoder(x)
        losses = torch.stack([(model.decoders[t](features) - y[t]).square().mean() for t in TASKS])
        history.append(losses.detach())
        optimizer.zero_grad()
        model.backward(losses)
        optimizer.step()
    return history[0], history[-1]


def main() -> None:
    """Print the losses."""
    first, last = train()
    for task, before, after in zip(TASKS, first.tolist(), last.tolist(), strict=True):
        print(f"{task:<5} loss {before:10.3f} -> {after:10.3f}")


if __name__ == "__main__":
    main()
