"""From updates to the direction of a method."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput
from fairopt.solution import Solution, Status
from fairopt.torch.escalation import escalated
from fairopt.torch.methods import Method, checked_method, solved
from fairopt.torch.scaling import Scaled, in_given_units, scaled, without_answer
from fairopt.torch.updates import (
    Update,
    columns,
    combinations,
    gram_matrices,
    gram_matrix,
    not_finite,
    rebuild,
)

_log = logging.getLogger("fairopt.torch")


@_disable_dynamo
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
        one float each is too little for the weights, `solution.low` holds the second one. Updates
        whose squares over- or underflow float64 are solved in another unit; where no unit or no
        weights fit, the status is OUT_OF_RANGE, and also where the direction overflows the dtype
        of its tensors (it then holds inf, as a gradient scaler expects).

    Raises:
        InvalidInput: as `gram`; for inf or NaN with the update and the tensor that has it.

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
    groups = [positions] if whole else [[column] for column in positions]
    grams = gram_matrix(positions)[None] if whole else gram_matrices(positions)
    problems = scaled(groups, grams, gram_matrix, method)
    solution = _solved(updates, positions, method, problems.grams[0] if whole else problems.grams)
    solution, again = escalated(method, solution, problems.groups, problems.grams)
    solution = in_given_units(solution, problems, method)
    shape = (len(positions), len(updates))
    rows = np.broadcast_to(solution.weights, shape).tolist()
    seconds = _second_floats(solution, shape, range(len(positions)) if whole and again else again)
    leaves = combinations(positions, rows, seconds)
    solution = _representable(solution, problems, [leaves] if whole else [[x] for x in leaves])
    report(solution)
    return rebuild(updates[0], iter(leaves)), solution


def _solved(
    updates: Sequence[Update], positions: list[list[Tensor | None]], method: Method, A: Array
) -> Solution:
    """The answer of the method; a refusal of its matrix is one of the update behind it."""
    try:
        return solved(method, A)
    except InvalidInput as refusal:
        if np.isfinite(A).all():
            raise
        named = not_finite(updates, positions)
        if named is not None:
            raise named from refusal
    missing = np.zeros(A.shape[:-1]), np.full(A.shape[:-2], np.inf)
    status = np.full(A.shape[:-2], Status.OUT_OF_RANGE, dtype=np.int64)
    if A.ndim == 2:
        return Solution(missing[0], Status.OUT_OF_RANGE, np.inf, 0)
    return Solution(missing[0], status, missing[1], np.zeros(A.shape[:-2], dtype=np.int64))


def _representable(
    solution: Solution, problems: Scaled, groups: Sequence[Sequence[Tensor | None]]
) -> Solution:
    """OUT_OF_RANGE where the direction overflowed; sum_k |w_k| |g_k| mostly shows that it cannot.

    Only where it does not are the tensors themselves looked at.
    """
    squares = np.diagonal(problems.grams, axis1=-2, axis2=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.log2(np.abs(np.atleast_2d(solution.weights))) + 0.5 * np.log2(squares)
    largest = sizes.max(axis=-1) + problems.exponents + np.log2(squares.shape[-1]) + 1.0
    bad = np.zeros(len(largest), dtype=bool)
    for i, (group, size) in enumerate(zip(groups, largest, strict=True)):
        bad[i] = any(_overflows(leaf, size) for leaf in group if leaf is not None)
    return without_answer(solution, bad)


def _overflows(leaf: Tensor, size: float) -> bool:
    """Whether entries, of at most 2^size, are inf or NaN; says so once for each dtype."""
    if size < np.log2(torch.finfo(leaf.dtype).max) or bool(leaf.isfinite().all()):
        return False
    _warn_overflow_once(leaf.dtype)
    return True


@cache
def _warn_overflow_once(dtype: torch.dtype) -> None:
    """The cache remembers the dtypes already logged."""
    _log.warning("a direction overflows %s and holds inf; this is said once", dtype)


def _second_floats(
    solution: Solution, shape: tuple[int, int], again: Collection[int]
) -> list[Array | None]:
    """For each position the second floats of its weights; None where sums in float64 will do."""
    if solution.low is None and not again:
        return [None] * shape[0]
    low = np.broadcast_to(0.0 if solution.low is None else solution.low, shape)
    return [row if i in again or row.any() else None for i, row in enumerate(low)]


def report(solution: Solution) -> None:
    """Warn about STEP_LIMIT and UNDECIDED once, and about tasks that are to blame once each.

    These are tasks that are not finite, and those that alone are stationary, which stops all.
    """
    status = np.asarray(solution.status)
    for serious in (Status.STEP_LIMIT, Status.UNDECIDED, Status.NOT_FINITE):
        if np.any(status == serious):
            _say_once(serious.sentence if status.ndim else _without_numbers(solution, serious))
    if not status.ndim and solution.stationary_alone() is not None:
        _say_once(f"{solution.sentence}; `present=` leaves it out")


def _without_numbers(solution: Solution, status: Status) -> str:
    """What names a task, or else the sentence of the status: numbers differ from step to step."""
    return solution.sentence if status is Status.NOT_FINITE else status.sentence


def _say_once(sentence: str) -> None:
    """Log a sentence that has not been logged yet."""
    if sentence not in _said:
        _said.add(sentence)
        _log.warning("fairopt: %s; this is said once", sentence)


_said: set[str] = set()
"""The sentences already logged."""
