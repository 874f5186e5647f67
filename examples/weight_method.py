"""fairopt behind the `WeightMethod` interface of the NashMTL, FAMO and FairGrad repositories.

Their training scripts look a method up by name and call `backward`, `parameters` and `update`. One
line makes any method of fairopt available there:

    METHODS["fair"] = lambda n_tasks, device: as_weight_method(FairGrad(2.0))

Run with: python examples/weight_method.py
"""

from __future__ import annotations

import torch

from fairopt.torch import FAMO, FairGrad, as_weight_method

METHODS = {
    "fair": lambda n_tasks, device: as_weight_method(FairGrad(2.0)),
    "famo": lambda n_tasks, device: as_weight_method(FAMO()),
}


def train(name: str, steps: int = 50) -> list[float]:
    """Losses after the loop of those repositories, with their names and arguments."""
    torch.manual_seed(0)
    body, heads = torch.nn.Linear(4, 8), torch.nn.ModuleList(torch.nn.Linear(8, 1) for _ in "ab")
    x = torch.randn(64, 4)
    y = x[:, :2] * torch.tensor([1.0, 10.0])
    weight_method = METHODS[name](2, "cpu")
    optimizer = torch.optim.Adam([*body.parameters(), *heads.parameters()], lr=0.02)

    def losses() -> torch.Tensor:
        features = torch.tanh(body(x))
        each = [(h(features)[:, 0] - y[:, k]).square().mean() for k, h in enumerate(heads)]
        return torch.stack(each)

    for _ in range(steps):
        optimizer.zero_grad()
        weight_method.backward(
            losses=losses(),
            shared_parameters=list(body.parameters()),
            task_specific_parameters=list(heads.parameters()),
        )
        optimizer.step()
        with torch.no_grad():
            weight_method.update(losses())
    return losses().tolist()


def main() -> None:
    """Print the losses of both methods."""
    for name in METHODS:
        print(name, " ".join(f"{loss:.3f}" for loss in train(name)))


if __name__ == "__main__":
    main()
