"""Steps that are always defined, and as precise as the gradients allow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fairopt import Solution, Status
from fairopt.torch import DualCone, FairGrad, MinNorm, UPGrad, aggregate
from fl_runtime.training.directions import Direction, outcome


def wedge(margin):
    rows = [[1.0, 0.0, 0.0], [-1.0, margin, 0.0], [0.3, -1.0, 0.2]]
    return [torch.tensor(row, dtype=torch.float64) for row in rows]


@pytest.mark.parametrize("margin", [1e-5, 1e-7, 3e-8, 1e-11])
@pytest.mark.parametrize("method", [UPGrad(), FairGrad(0.0), DualCone([0.0, 0.0, 1.0])], ids=repr)
def test_projections_that_the_gram_matrix_cannot_decide_are_steps(method, margin):
    """The mean, or none, before; now the direction of the method, of the wanted length."""
    updates = wedge(margin)
    mean = sum(updates) / 3.0
    own, _ = aggregate(updates, Direction(method, "own"))
    plain, known = aggregate(updates, method)
    step, solution = aggregate(updates, Direction(method, "mean"))
    assert known.ok
    assert solution.ok
    torch.testing.assert_close(own, plain)
    torch.testing.assert_close(step.norm(), mean.norm(), rtol=1e-9, atol=0.0)
    torch.testing.assert_close(step / step.norm(), plain / plain.norm(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [UPGrad(), DualCone([0.0, 0.0, 1.0])], ids=repr)
@pytest.mark.parametrize("length", ["own", "mean"])
def test_what_no_digits_decide_is_still_the_mean(method, length):
    step, solution = aggregate(wedge(0.0), Direction(method, length))
    assert solution.status == Status.UNDECIDED
    torch.testing.assert_close(step, sum(wedge(0.0)) / 3.0)


@pytest.mark.parametrize("length", ["own", "mean"])
def test_no_step_at_a_stationary_point(length):
    for method in (FairGrad(0.0), MinNorm()):
        step, solution = aggregate(wedge(0.0)[:2], Direction(method, length))
        if length == "mean" or method != MinNorm():
            assert outcome(solution.status) == "stationary"
        torch.testing.assert_close(step, torch.zeros(3, dtype=torch.float64), atol=1e-15, rtol=0.0)


def test_a_direction_that_vanishes_is_not_blown_up():
    """More tasks than dimensions: the projection is zero, known to 1e-15 of the gradients."""
    G = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 2)))
    step, solution = aggregate(list(G), Direction(UPGrad()))
    assert outcome(solution.status) == "stationary"
    assert step.abs().max() == 0.0
    gram = (G @ G.T).numpy()
    found = Direction(UPGrad()).solve_double(lambda: (gram, 0.0 * gram, 1e-14))
    assert outcome(found.status) == "stationary"


def test_methods_without_more_digits_decline():
    assert Direction(MinNorm()).solve_double(pytest.fail) is None
    assert Direction(FairGrad(2.0)).solve_double(pytest.fail) is None


def test_the_outcome_of_a_batch_is_that_of_its_worst_problem():
    """Compared one by one, an array of statuses was an error; by its largest number it was ok."""
    statuses = np.array([Status.STEP_LIMIT, Status.ROUNDING_LIMITED, Status.OPTIMAL])
    assert Status(int(statuses.max())) in (Status.OPTIMAL, Status.ROUNDING_LIMITED)
    assert outcome(statuses) == "undecided"
    assert outcome(statuses[1:]) == "decided"
    assert outcome([Status.PARETO_STATIONARY, Status.ROUNDING_LIMITED]) == "stationary"
    batch = Solution(np.zeros((3, 2)), statuses, np.zeros(3), np.zeros(3, dtype=np.int64))
    assert outcome(batch.status) == "undecided"
    for status in Status:
        known = {0: "decided", 7: "decided", 1: "stationary"}
        assert outcome(status) == known.get(int(status), "undecided")
