"""What a float64 Gram matrix leaves undecided, solved again from one of twice the digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache, partial
from typing import Any

import numpy as np

from fairopt.arrays import Array
from fairopt.dual_cone import default_accuracy
from fairopt.solution import Solution, Status, worst
from fairopt.torch.double_double import Column, double_gram
from fairopt.torch.methods import Method

_VECTORS = ("weights", "certificate", "dual", "low")  # one number per task


def escalated(
    method: Method, solution: Solution, groups: Sequence[Sequence[Column]], grams: Array
) -> tuple[Solution, list[int]]:
    """The solution with what the matrix left open solved again, where the method can and it helps.

    Open is what is UNDECIDED, and what is PARETO_STATIONARY although the projection that it stands
    for is not determined (`FairGrad` at alpha = 0): the matrix as rounded is stationary then, the
    updates need not be.

    Args:
        method: Asked by its `solve_double`, if it has one.
        solution: Of one problem, or a batch of them.
        groups: For each problem the positions it is about.
        grams: (problems, K, K) their float64 Gram matrices.

    Returns:
        The better answers, and the indices of the problems that got a new one.
    """
    solve = getattr(method, "solve_double", None)
    status = np.asarray(solution.status)
    if solve is None or not status.any() or status.size != len(groups):
        return solution, []
    errors = np.broadcast_to(solution.direction_error, status.shape)
    accuracy = default_accuracy(np.asarray(solution.gram_error))
    vague = np.equal(status, Status.PARETO_STATIONARY) & (errors > accuracy)
    steps = np.broadcast_to(solution.iterations, status.shape)
    found: dict[int, Solution] = {}
    for i in np.flatnonzero(vague | np.equal(status, Status.UNDECIDED)).tolist():
        again = solve(cache(partial(double_gram, groups[i], grams[i])))
        if again is not None and _better(again, float(errors.flat[i])):
            found[i] = replace(again, iterations=int(steps.flat[i]) + int(again.iterations))
    if status.ndim == 0:
        return found.get(0, solution), list(found)
    return _with_rows(solution, found), list(found)


def _better(found: Solution, error: float) -> bool:
    """Whether an answer says more than UNDECIDED with that bound."""
    if found.status == Status.UNDECIDED:
        return float(found.direction_error) < error
    return bool(worst([int(found.status), Status.UNDECIDED]) == Status.UNDECIDED)


def _with_rows(batch: Solution, rows: dict[int, Solution]) -> Solution:
    """A batch with some of its problems replaced by single solutions."""
    if not rows:
        return batch
    changed: dict[str, Any] = {}
    for name in (field.name for field in fields(Solution)):
        values = {i: getattr(row, name) for i, row in rows.items()}
        old = getattr(batch, name)
        if old is None and all(value is None for value in values.values()):
            continue
        missing: Any = 0.0 if name == "low" else np.nan
        shape = batch.weights.shape if name in _VECTORS else np.shape(batch.status)
        new = np.array(np.broadcast_to(missing if old is None else old, shape))
        for i, value in values.items():
            new[i] = missing if value is None else value
        changed[name] = new
    return replace(batch, **changed)
