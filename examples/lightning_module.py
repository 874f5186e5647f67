"""A fair step in Lightning: manual optimisation, and `backward` in place of `manual_backward`.

Run with: python examples/lightning_module.py (needs lightning; it is not a dependency of fairopt)
"""

from __future__ import annotations

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from fairopt.torch import FairGrad, backward


class TwoTasks(lightning.LightningModule):
    """A trunk and two heads, whose losses differ by a factor of 1e4."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.trunk = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh())
        self.heads = torch.nn.ModuleList(torch.nn.Linear(8, 1) for _ in range(2))

    def losses(self, batch: list[torch.Tensor]) -> list[torch.Tensor]:
        """One per task."""
        x, y = batch
        features = self.trunk(x)
        return [(h(features)[:, 0] - y[:, k]).square().mean() for k, h in enumerate(self.heads)]

    def training_step(self, batch: list[torch.Tensor], _: int) -> None:
        """One step along the fair direction."""
        optimizer = self.optimizers()
        optimizer.zero_grad()
        backward(self.losses(batch), self.trunk.parameters(), FairGrad(2.0))
        optimizer.step()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as ever."""
        return torch.optim.Adam(self.parameters(), lr=0.01)


def train(epochs: int = 5) -> tuple[list[float], list[float]]:
    """Losses before and after."""
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    data = TensorDataset(x, x[:, :2] * torch.tensor([1.0, 100.0]))
    model = TwoTasks()
    before = [loss.item() for loss in model.losses(list(data.tensors))]
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(data, batch_size=16))
    return before, [loss.item() for loss in model.losses(list(data.tensors))]


def main() -> None:
    """Print the losses."""
    print(*train())


if __name__ == "__main__":
    main()
