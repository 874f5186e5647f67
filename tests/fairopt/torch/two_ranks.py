"""What one rank of two does in `test_step_ranks`: a training of DistributedDataParallel.

Run as a script: two_ranks.py RANK PORT_FILE OUT HEADS. Writes its parameters and weights.
"""

from __future__ import annotations

import os
import sys

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fairopt import InvalidInput
from fairopt import torch as ft

STEPS, TASKS, RANKS = 3, 3, 2


class Network(nn.Module):
    """A trunk with a head per task and a layer that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.heads = nn.Linear(4, 6), nn.ModuleList([nn.Linear(6, 1) for _ in range(3)])
        self.idle = nn.Linear(2, 2)
        self.double()

    def forward(self, x: Tensor) -> list[Tensor]:
        """One column per task."""
        z = torch.tanh(self.trunk(x))
        return [head(z)[:, 0] for head in self.heads]

    @property
    def shared(self) -> list[Tensor]:
        """What is passed as such."""
        return [*self.trunk.parameters(), *self.idle.parameters()]


def data(step: int) -> tuple[Tensor, Tensor, Tensor]:
    """(x, y, labelled) of both ranks; labels of task k are missing on one rank or on both."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(8, TASKS, generator=generator, dtype=torch.float64)
    labelled = torch.ones(RANKS, TASKS, dtype=torch.bool)
    labelled[step % 2, step % TASKS] = False
    if step == 2:
        labelled[:, 1] = False
    return x, y, labelled


def losses_of(outputs: list[Tensor], y: Tensor, rows: slice) -> list[Tensor]:
    """Sums over some rows, divided by the size of the whole batch."""
    return [(out - y[rows, k]).square().sum() / len(y) for k, out in enumerate(outputs)]


def method() -> ft.FairGrad:
    """With priorities, which have to follow the tasks that are present."""
    return ft.FairGrad(2.0, priority=[1.0, 2.0, 3.0])


def total(tensor: Tensor) -> Tensor:
    """The sum over the ranks."""
    dist.all_reduce(tensor)
    return tensor


def main(rank: int, store: str, out: str, heads: str) -> None:
    """Train and save."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    network = Network()
    model = DistributedDataParallel(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05, weight_decay=0.5)
    rows, weights = slice(4 * rank, 4 * rank + 4), []
    for step in range(STEPS):
        x, y, labelled = data(step)
        optimizer.zero_grad()
        with model.no_sync():
            losses = losses_of(model(x[rows]), y, rows)
            solution = ft.backward(
                losses,
                network.shared,
                method(),
                present=labelled[rank],
                reduce=total,
                heads=heads,
            )
        weights.append(torch.from_numpy(solution.require().weights))
        optimizer.step()
    kept = {name: p.detach() for name, p in network.named_parameters()}
    torch.save({"weights": torch.stack(weights), "parameters": kept}, out)
    unlike = network.heads if rank else network.heads[:1]  # other heads on other ranks
    losses = [head(torch.tanh(network.trunk(x)))[:, 0].sum() for head in unlike]
    losses += [network.trunk(x).sum()] * (TASKS - len(losses))
    with pytest.raises(InvalidInput, match="on every rank"):
        ft.backward(losses, network.shared, method(), reduce=total)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
    sys.stdout.flush()
    os._exit(0)  # at its usual end a process may meet threads of gloo that are still at work
