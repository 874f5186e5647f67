"""Several processes take the step of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fairopt import torch as ft
from tests.fairopt.torch import two_ranks

ROOT = Path(__file__).parents[3]


def one_process(heads):
    """The same training on the whole batch: a loss is the sum over the rows that have labels."""
    network = two_ranks.Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05, weight_decay=0.5)
    weights = []
    for step in range(two_ranks.STEPS):
        x, y, labelled = two_ranks.data(step)
        optimizer.zero_grad()
        outputs = network(x)
        parts = [slice(0, 4), slice(4, 8)]
        per_rank = [two_ranks.losses_of([out[rows] for out in outputs], y, rows) for rows in parts]
        losses = [
            sum(per_rank[r][k] * float(labelled[r, k]) for r in range(2))
            for k in range(two_ranks.TASKS)
        ]
        solution = ft.backward(
            losses, network.shared, two_ranks.method(), present=labelled.any(0), heads=heads
        )
        weights.append(solution.require().weights)
        optimizer.step()
    return network, np.stack(weights)


@pytest.mark.parametrize("heads", ["unit", "weighted"])
def test_two_ranks_of_ddp_agree_with_one_process(heads, tmp_path):
    network, weights = one_process(heads)
    outs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    script = [sys.executable, "-m", "tests.fairopt.torch.two_ranks"]
    ranks = [
        subprocess.Popen([*script, str(r), str(tmp_path / "store"), str(out), heads], cwd=ROOT)
        for r, out in enumerate(outs)
    ]
    try:
        assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    for out in outs:
        found = torch.load(out)
        np.testing.assert_allclose(found["weights"].numpy(), weights, rtol=1e-9)
        for name, p in network.named_parameters():
            torch.testing.assert_close(found["parameters"][name], p.detach())


def test_a_sum_of_gram_matrices_for_disjoint_parameters():
    """Two halves of a model, each on a rank of its own, played by one process after the other."""
    torch.manual_seed(0)
    halves = [torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    maps = torch.randn(3, 2, 5, dtype=torch.float64)

    def losses(part):
        return [(maps[k, part] * halves[part]).sum() for k in range(3)]

    grams = [ft.gram([maps[k, part] for k in range(3)]) for part in range(2)]
    whole = ft.FairGrad(2.0).solve(sum(grams))
    mean = sum(grams).sum() ** 0.5 / 3.0
    factor = mean / (whole.weights @ sum(grams) @ whole.weights) ** 0.5
    for part in range(2):
        other = torch.from_numpy(grams[1 - part])
        solution = ft.backward(
            losses(part),
            [halves[part]],
            ft.FairGrad(2.0),
            reduce=lambda A, other=other: A + other,
            reduce_what="gram",
        )
        np.testing.assert_allclose(solution.require().weights, whole.weights, rtol=1e-12)
        wanted = torch.from_numpy(whole.weights) @ maps[:, part]
        torch.testing.assert_close(halves[part].grad, wanted)
        ft.backward(
            losses(part),
            [halves[part]],
            ft.FairGrad(2.0),
            reduce=lambda A, other=other: A + other,
            reduce_what="gram",
            length="mean",
        )
        torch.testing.assert_close(halves[part].grad, wanted * (1.0 + factor))


@pytest.mark.parametrize("reduce", [lambda t: None, lambda t: t[:1]])
def test_a_reduce_that_returns_something_else(reduce):
    p = torch.ones(3, requires_grad=True)
    with pytest.raises(InvalidInput, match="reduce"):
        ft.backward([p.sum(), p.square().sum()], [p], ft.Mean(), reduce=reduce)
