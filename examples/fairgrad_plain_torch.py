"""FairGrad in a plain PyTorch training loop: two lines change.

A shared layer serves three regression tasks whose targets have very different scales. The mean loss
trains the loudest task only; FairGrad (alpha = 2) gives every task its progress.

Run with: python examples/fairgrad_plain_torch.py
"""

from __future__ import annotations

import torch

from fairopt.torch import FairGrad, Mean, Method, backward

STEPS = 400
SCALES = (1.0, 0.1, 0.01)


def train(method: Method) -> list[float]:
    """Relative test error of each task after training with one method."""
    torch.manual_seed(0)
    x, test_x = torch.randn(256, 8), torch.randn(512, 8)
    teachers = [scale * torch.randn(8) for scale in SCALES]
    body = torch.nn.Sequential(torch.nn.Linear(8, 24), torch.nn.Tanh())
    heads = [torch.nn.Linear(24, 1) for _ in SCALES]
    everything = [*body.parameters(), *(p for head in heads for p in head.parameters())]
    optimizer = torch.optim.SGD(everything, lr=0.05, momentum=0.9)
    for _ in range(STEPS):
        optimizer.zero_grad()
        features = body(x)
        losses = [
            (head(features)[:, 0] - torch.tanh(x @ w / scale) * scale).square().mean()
            for head, w, scale in zip(heads, teachers, SCALES, strict=True)
        ]
        backward(losses, list(body.parameters()), method)  # instead of sum(losses).backward()
        torch.nn.utils.clip_grad_norm_(body.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        features = body(test_x)
        return [
            float((head(features)[:, 0] / scale - torch.tanh(test_x @ w / scale)).square().mean())
            for head, w, scale in zip(heads, teachers, SCALES, strict=True)
        ]


def main() -> None:
    """Print the relative error of every task for both methods."""
    for name, method in (("mean", Mean()), ("fairgrad, alpha = 2", FairGrad(2.0))):
        errors = "  ".join(f"{error:.3f}" for error in train(method))
        print(f"{name:<20} relative squared test error by task: {errors}")


if __name__ == "__main__":
    main()
