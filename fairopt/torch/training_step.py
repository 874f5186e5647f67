"""One multi-task training step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fairopt import checks
from fairopt.errors import InvalidInput
from fairopt.solution import Solution
from fairopt.torch.aggregating import aggregate
from fairopt.torch.methods import Method

HEADS = ("unit", "weighted")


def backward(
    losses: Sequence[Tensor],
    shared: Sequence[Tensor],
    method: Method,
    *,
    heads: str = "unit",
    retain_graph: bool = False,
) -> Solution:
    """One multi-task backward pass: like `sum(losses).backward()`, with a fair direction.

    Adds the direction to `.grad` of the shared parameters, and to every other parameter the
    gradient of its losses: with weight one ("unit", as released FairGrad code does) or with the
    weights of the solution ("weighted").

    Args:
        losses: K scalar losses.
        shared: Parameters that all tasks share; one a task does not use counts as zero there.
        method: A record such as `FairGrad(2.0)`.
        heads: "unit" or "weighted".
        retain_graph: As in PyTorch.

    Returns:
        The solution; where it is not ok see `aggregate`.

    Raises:
        InvalidInput: for no losses, losses that are no scalars, or no shared parameters.
    """
    unit = checks.choice("heads", heads, HEADS) == "unit"
    parameters = list(shared)
    if not parameters or not losses or any(loss.numel() != 1 for loss in losses):
        raise InvalidInput("losses and shared", len(losses), "scalar losses, shared parameters")
    kept = [p.grad for p in parameters]
    try:
        updates = (_separate_backward if unit else _gradients)(losses, parameters, retain_graph)
        direction, solution = aggregate(updates, method)
        if not unit:
            _differentiate(_weighted_sum(losses, solution), retain_graph)
    finally:
        for p, old in zip(parameters, kept, strict=True):
            p.grad = old
    for p, old, new in zip(parameters, kept, direction, strict=True):
        step = torch.zeros_like(p) if new is None else new
        p.grad = step if old is None else old + step
    return solution


def _separate_backward(
    losses: Sequence[Tensor], parameters: list[Tensor], retain_graph: bool
) -> list[list[Tensor | None]]:
    """One backward pass per loss: heads accumulate, shared gradients are taken away."""
    updates = []
    for k, loss in enumerate(losses):
        for p in parameters:
            p.grad = None
        _differentiate(loss, retain_graph or k + 1 < len(losses))
        updates.append([p.grad for p in parameters])
    return updates


def _gradients(
    losses: Sequence[Tensor], parameters: list[Tensor], _: bool
) -> list[list[Tensor | None]]:
    """Gradients of every loss for the shared parameters alone."""
    for p in parameters:
        p.grad = None
    return [
        list(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True))
        for loss in losses
    ]


def _weighted_sum(losses: Sequence[Tensor], solution: Solution) -> Tensor:
    """sum_k w_k loss_k."""
    pairs = zip(solution.weights.tolist(), losses, strict=True)
    return torch.stack([w * loss.reshape(()) for w, loss in pairs]).sum()


def _differentiate(loss: Tensor, retain_graph: bool) -> None:
    """Accumulate the gradient of one loss into every parameter."""
    torch.autograd.backward([loss], retain_graph=retain_graph)
