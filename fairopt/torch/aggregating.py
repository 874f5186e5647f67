"""From updates to the direction of a method."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import numpy as np

from fairopt import checks
from fairopt.arrays import GRAM_ERROR, Array
from fairopt.solution import Solution, Status
from fairopt.torch.escalation import escalated
from fairopt.torch.methods import Method, checked_method
from fairopt.torch.updates import (
    Update,
    columns,
    combined,
    products,
    rebuild,
    stacked,
    summed,
)

_log = logging.getLogger("fairopt.torch")


def aggregate(
    updates: Sequence[Update], method: Method, *, per: str = "all"
) -> tuple[Update, Solution]:
    """The direction of a method, and the solution it came from.

    Method: the float64 Gram matrix of the updates, and the weights that `method` finds for it.
    Where that leaves them open and the method can do more (`PreciseMethod`: `DualCone`, `UPGrad`
    and `FairGrad` at alpha = 0), the Gram matrix of the same updates in twice the digits, formed
    once on the CPU: it resolves margins between tasks down to about 1e-12, where float64 ends near
    1e-4, and such a step takes some ten times as long. The better of both answers counts; it is
    combined in twice the digits too, so that large weights may cancel.

    Args:
        updates: K updates of one structure; None in place of a tensor stands for zero.
        method: A record such as `FairGrad(2.0)`.
        per: "all" decides once for the whole update, "tensor" for every tensor of it on its own
            (the solution is then a batch, one row per tensor).

    Returns:
        (direction, solution). If the solution is not ok the direction is the combination of its
        weights (zero at a stationary point); nothing raises unless `.require()` is called. Where
        one float each is too little for the weights, `solution.low` holds the second one.

    Example:
        >>> import torch
        >>> from fairopt.torch import FairGrad
        >>> direction, solution = aggregate([torch.eye(2)[0], torch.eye(2)[1]], FairGrad(1.0))
        >>> direction, solution.ok
        (tensor([1., 1.]), True)
    """
    checked_method(method)
    whole = checks.choice("per", per, ("all", "tensor")) == "all"
    positions = columns(updates)
    grams = [products(column) for column in positions]
    A = summed(grams) if whole else stacked(grams)
    solution = method.solve(A, gram_error=GRAM_ERROR)
    groups = [positions] if whole else [[column] for column in positions]
    solution, again = escalated(method, solution, groups, A[None] if whole else A)
    report(solution)
    shape = (len(positions), len(updates))
    rows = np.broadcast_to(solution.weights, shape).tolist()
    seconds = _second_floats(solution, shape, range(len(positions)) if whole and again else again)
    leaves = [combined(*each) for each in zip(positions, rows, seconds, strict=True)]
    return rebuild(updates[0], iter(leaves)), solution


def _second_floats(
    solution: Solution, shape: tuple[int, int], again: Collection[int]
) -> list[Array | None]:
    """For each position the second floats of its weights; None where sums in float64 will do."""
    if solution.low is None and not again:
        return [None] * shape[0]
    low = np.broadcast_to(0.0 if solution.low is None else solution.low, shape)
    return [row if i in again or row.any() else None for i, row in enumerate(low)]


def report(solution: Solution) -> None:
    """Warn about STEP_LIMIT, UNDECIDED and NOT_FINITE, once per run and status."""
    status = np.asarray(solution.status)
    for serious in (Status.STEP_LIMIT, Status.UNDECIDED, Status.NOT_FINITE):
        if np.any(status == serious) and serious not in _said:
            _said.add(serious)
            sentence = serious.sentence if status.ndim else solution.sentence
            _log.warning("%s; this is said once", sentence)


_said: set[Status] = set()
"""The statuses already logged."""
