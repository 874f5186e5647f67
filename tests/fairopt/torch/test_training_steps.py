"""Real training steps are decided, and tiny ones agree with exact rational projections."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from benchmarks.problems import training_steps
from benchmarks.problems.exact_directions import (
    exact_gram,
    exact_projection,
    exact_upgrad,
    length,
    root,
)
from fairopt import Status
from fairopt import torch as ft

STEPS = 20
TINY_STEPS = 8
METHODS = [
    ft.FairGrad(0.0),
    ft.FairGrad(2.0),
    ft.DualCone(),
    ft.UPGrad(),
    ft.ConflictAverse(0.5),
    ft.MinNorm(),
]


@pytest.fixture(scope="module")
def real_steps():
    """Gram matrices of 3, 6 and 10 tasks on three trunks in float32 and bfloat16."""
    return list(training_steps.runs(STEPS, 0))


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_no_real_step_is_undecided(method, real_steps):
    assert len(real_steps) == 18
    for label, grams in real_steps:
        assert len(grams) == STEPS
        for A in grams:
            assert method.solve(A).status == Status.OPTIMAL, label


def tiny_steps(dtype, tasks):
    """Updates of a trunk of 195 parameters, as tensors of two shapes."""
    images, labels = training_steps.digits()
    torch.manual_seed(tasks)
    trunk, heads = torch.nn.Linear(64, 3).to(dtype), torch.nn.Linear(3, tasks).to(dtype)
    yield from training_steps.gradients(trunk, heads, images.to(dtype), labels, TINY_STEPS, tasks)


def rational(update):
    return [Fraction(x) for part in update for x in part.double().reshape(-1).tolist()]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tasks", [3, 6])  # six gradients of three features conflict
@pytest.mark.parametrize("method", [ft.DualCone(), ft.UPGrad(), ft.FairGrad(0.0)], ids=repr)
def test_every_step_is_the_exact_projection(method, dtype, tasks):
    for updates in tiny_steps(dtype, tasks):
        direction, solution = ft.aggregate(updates, method)
        rows = [rational(update) for update in updates]
        A = exact_gram(rows)
        mean = [1.0 / tasks] * tasks
        if isinstance(method, ft.UPGrad):
            weights = exact_upgrad(A, mean)
            unit = sum(root(A[k][k]) for k in range(tasks)) / tasks
        else:
            r = mean if isinstance(method, ft.DualCone) else [1.0] * tasks
            weights = exact_projection(A, r)
            unit = length(A, [Fraction(x) for x in r])
        columns = zip(*rows, strict=True)
        exact = [sum(w * x for w, x in zip(weights, c, strict=True)) for c in columns]
        pairs = zip(rational(direction), exact, strict=True)
        off = root(sum((a - b) ** 2 for a, b in pairs))
        rounding = torch.finfo(dtype).eps * length(A, weights) + 1e-14 * unit
        assert solution.require().direction_error <= 1e-5
        assert off <= solution.direction_error * unit + rounding
