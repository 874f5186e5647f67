"""One scalar to call `.backward()` on, for any method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fairopt.arrays import GRAM_ERROR, Array
from fairopt.errors import InvalidInput
from fairopt.solution import Solution
from fairopt.torch.aggregating import report
from fairopt.torch.loss_methods import LossMethod, is_loss_method
from fairopt.torch.methods import Method, checked_method
from fairopt.torch.task_losses import collected, loss_list
from fairopt.torch.updates import gram


def weighted_loss(
    losses: Any,
    method: Method | LossMethod,
    shared: Sequence[Tensor] | None = None,
    *,
    present: Sequence[bool] | None = None,
) -> tuple[Tensor, Solution]:
    """The weighted sum of the losses, whose gradient is the direction of the method.

    The weights count for *all* parameters, heads included. A method that weighs losses costs one
    backward pass, the one you call; a method that needs gradients (`GradNorm`, `FairGrad`, ...)
    first differentiates each loss for the shared parameters.

    Args:
        losses: K scalar losses, a sequence, a dict or a 1-D tensor.
        method: A record such as `FAMO()` or `FairGrad(2.0)`.
        shared: Parameters whose gradients count, for methods that need gradients.
        present: K booleans for methods that weigh losses; an absent task has no part in the sum.

    Returns:
        (sum of weights[k] losses[k], solution). Weights are constants; where the solution is not ok
        they are what it says.

    Raises:
        InvalidInput: for what is no method or no scalar losses, and for missing `shared`.

    Example:
        >>> import torch
        >>> from fairopt.torch import FAMO
        >>> w = torch.tensor(2.0, requires_grad=True)
        >>> loss, solution = weighted_loss({"a": w**2, "b": 8 * w}, FAMO())
        >>> loss.backward()
        >>> solution.weights, w.grad
        (array([0.8, 0.2]), tensor(4.8000))
    """
    losses = collected(losses)
    tensors = loss_list(losses)
    if is_loss_method(method):
        A = _gram(tensors, shared) if method.needs_gram else None
        solution = method.weigh(losses, gram=A, present=present)
    else:
        checked_method(method)
        if present is not None:
            raise InvalidInput("present", present, "None for methods that solve a Gram matrix")
        solution = method.solve(_gram(tensors, shared), gram_error=GRAM_ERROR)
        report(solution)
    kept = [True] * len(tensors) if present is None else present
    pairs = zip(solution.weights.tolist(), tensors, kept, strict=True)
    return torch.stack([w * loss.reshape(()) for w, loss, here in pairs if here]).sum(), solution


def _gram(losses: Sequence[Tensor], shared: Sequence[Tensor] | None) -> Array:
    """Inner products of the gradients of all losses for the shared parameters."""
    parameters = [] if shared is None else list(shared)
    if not parameters:
        raise InvalidInput("shared", shared, "the parameters whose gradients the method needs")
    return gram(
        [
            list(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True))
            for loss in losses
        ]
    )
