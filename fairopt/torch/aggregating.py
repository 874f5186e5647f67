"""From updates to the direction of a method."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

import numpy as np

from fairopt import checks
from fairopt.solution import Solution, Status
from fairopt.torch.methods import Method
from fairopt.torch.updates import (
    Update,
    columns,
    combined,
    gram_error,
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

    Args:
        updates: K updates of one structure.
        method: A record such as `FairGrad(2.0)`.
        per: "all" decides once for the whole update, "tensor" for every tensor of it on its own
            (the solution is then a batch, one row per tensor).

    Returns:
        (direction, solution). If the solution is not ok the direction is the combination of its
        weights (zero at a stationary point); nothing raises unless `.require()` is called.

    Example:
        >>> import torch
        >>> from fairopt.torch import FairGrad
        >>> direction, solution = aggregate([torch.eye(2)[0], torch.eye(2)[1]], FairGrad(1.0))
        >>> direction, solution.ok
        (tensor([1., 1.]), True)
    """
    whole = checks.choice("per", per, ("all", "tensor")) == "all"
    positions = columns(updates)
    grams = [products(column) for column in positions]
    A = summed(grams) if whole else stacked(grams)
    solution = method.solve(A, gram_error=gram_error(updates))
    report(solution)
    rows = np.broadcast_to(solution.weights, (len(positions), len(updates))).tolist()
    leaves = [combined(column, row) for column, row in zip(positions, rows, strict=True)]
    return rebuild(updates[0], iter(leaves)), solution


def report(solution: Solution) -> None:
    """Warn about STEP_LIMIT and UNDECIDED, once per run and status."""
    for status in (Status.STEP_LIMIT, Status.UNDECIDED):
        if np.any(np.asarray(solution.status) == status):
            _warn_once(status)


@cache
def _warn_once(status: Status) -> None:
    """The cache remembers the statuses already logged."""
    _log.warning("%s; this is said once", status.sentence)
