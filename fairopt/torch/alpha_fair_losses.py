"""Alpha-fairness applied to the losses of any method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput
from fairopt.torch.task_losses import collected, loss_list, loss_names, loss_values

REACH = 0.875  # of the exponents of a dtype; the rest is for the gradients that are multiplied
SQUARES = 0.5  # of those of float64, in which gradients are multiplied by each other
MOST = float(np.finfo(np.float64).max)

Losses = TypeVar("Losses")


def alpha_fair_losses(
    losses: Losses,
    alpha: float,
    *,
    priority: ArrayLike | Mapping[Any, float] | None = None,
    floor: float | None = None,
) -> Losses:
    r"""The losses of K tasks under the alpha-fair function, for any method to work on.

    Problem: minimise :math:`\sum_k p_k \, l_k^{1-\alpha} / (1 - \alpha)`, at alpha = 1
    :math:`\sum_k p_k \log l_k`. What a method sees are the gradients
    :math:`p_k \, l_k^{-\alpha} \nabla l_k`: alpha = 0 leaves the losses as they are, at alpha = 1
    only relative improvement counts (a loss in another unit changes nothing), and larger alpha
    favours the tasks whose loss is *already small*. That is why infinity is refused: the limit
    trains the task with the smallest loss alone, which is no fairness (max-min fairness of the
    improvements is ``FairGrad(inf)``).

    Args:
        losses: K scalar losses > 0, a sequence or a dict of tensors or a 1-D tensor.
        alpha: Power in [0, inf).
        priority: p, K numbers > 0 (for a dict also a dict with its keys); default ones.
        floor: If given, below it the function goes on along its tangent, so that losses that are
            zero or negative keep a gradient, that of a loss of this size. A number > 0.

    Returns:
        The new losses in the same structure, dtype and device, still part of the graph. From
        alpha = 1 on they may be negative, which `FAMO` and `GradNorm` refuse and `Uncertainty` and
        `IMTLL` have no rest point for: let those weigh the losses as they are.

    Method: factors are formed as exp(log p - alpha log l) in float64. Should the largest of them
    leave [1/R, R] (R = 6e33 for float32, 1e154 for float64), all of them are divided by one common
    number (it is the same problem in another unit), so that neither they nor the squares in a
    Gram matrix overflow or all of them vanish; ratios of the factors are exact. Values beyond the
    largest number of the dtype are reported as that; no gradient depends on them. Can be
    differentiated twice.

    Raises:
        InvalidInput: for alpha outside the range (infinity by name), losses that are no scalars or
            not > 0 without a `floor`, other priorities or floors. A NaN or infinite loss is passed
            on as a NaN gradient, for whoever watches over the step.

    Source: FairGrad (arXiv 2402.15638), alpha-fair loss functions for other methods; tangent and
    common unit are our completion.

    Example:
        >>> import torch
        >>> losses = torch.tensor([0.1, 10.0], requires_grad=True)
        >>> alpha_fair_losses(losses, 1.0).sum().backward()
        >>> losses.grad  # l^-1
        tensor([10.0000,  0.1000])
        >>> alpha_fair_losses({"depth": torch.tensor(4.0)}, 0.5)
        {'depth': tensor(4.)}
    """
    power = checks.number("alpha", alpha, 0.0, math.inf, "a number in [0, inf)")
    if math.isinf(power):
        raise InvalidInput("alpha", alpha, "finite: the limit trains the smallest loss alone")
    lift = None if floor is None else checks.positive_number("floor", floor)
    losses = collected(losses)
    values = loss_values(losses)
    names = loss_names(losses)
    if lift is None and (values <= 0.0).any():
        k = int(np.argmax(values <= 0.0))
        raise InvalidInput(names[k], float(values[k]), "> 0, or raised by `floor`")
    tensors = loss_list(losses)
    logs = np.log(_priorities(priority, losses, len(tensors)))
    narrowest = min((one.dtype for one in tensors), key=lambda dtype: torch.finfo(dtype).max)
    logs = logs - _common_log(logs, values, power, lift, narrowest)
    new = _transformed(losses, tensors, logs, power, lift or 0.0)
    return _rebuilt(losses, new)  # type: ignore[no-any-return]


def _transformed(
    losses: Any, tensors: list[Tensor], logs: Array, alpha: float, floor: float
) -> list[Tensor] | Tensor:
    """Every loss, or the tensor of all of them at once."""
    apply: Any = _AlphaFair.apply
    if isinstance(losses, Tensor):
        return apply(losses, torch.as_tensor(logs, dtype=_wide(losses)), alpha, floor)  # type: ignore[no-any-return]
    pairs = zip(tensors, logs.tolist(), strict=True)
    return [apply(x, torch.tensor(log, dtype=_wide(x)), alpha, floor) for x, log in pairs]


def _rebuilt(losses: Any, new: Any) -> Any:
    """The new losses in the structure of the old ones."""
    if isinstance(losses, Mapping):
        return dict(zip(losses, new, strict=True))
    return tuple(new) if isinstance(losses, tuple) else new


def _wide(loss: Tensor) -> torch.dtype:
    """The precision to compute in: float64 where the device has it."""
    return torch.float32 if loss.device.type == "mps" else torch.float64


def _priorities(priority: Any, losses: Any, K: int) -> Array:
    """(K,) positive numbers in the order of the losses."""
    if priority is None:
        return np.ones(K)
    if isinstance(priority, Mapping):
        if not isinstance(losses, Mapping) or set(priority) != set(losses):
            raise InvalidInput("priority", list(priority), "the keys of a dict of losses")
        priority = [priority[key] for key in losses]
    given = checks.positive_vector("priority", priority, K)
    if given.ndim != 1:
        raise InvalidInput("priority", f"array of shape {given.shape}", f"of shape ({K},)")
    return given


def _common_log(
    logs: Array, values: Array, alpha: float, floor: float | None, dtype: torch.dtype
) -> float:
    """Log of what all factors are divided by, so that the largest is within range; mostly 0."""
    known = np.isfinite(values)
    if not known.any():
        return 0.0
    sizes = values[known] if floor is None else np.maximum(values[known], floor)
    largest = float(np.max(logs[known] - alpha * np.log(sizes)))
    reach = min(REACH * math.log(torch.finfo(dtype).max), SQUARES * math.log(MOST))
    return largest - min(max(largest, -reach), reach)


class _AlphaFair(torch.autograd.Function):
    """exp(log_factor) u(l), continued below `floor` by its tangent; the gradient is formed apart.

    The derivative of a power by autograd passes through numbers that overflow where the result does
    not, and `log_factor` must not meet a value that has overflowed already.
    """

    @staticmethod
    def forward(loss: Tensor, log_factor: Tensor, alpha: float, floor: float) -> Tensor:
        """The value, at most the largest number of the dtype."""
        l = loss.to(log_factor.dtype)
        log_factor = log_factor.to(l.device)
        size = l.clamp(min=floor)
        slope = torch.exp(log_factor - alpha * size.log())
        if alpha == 1.0:
            value = log_factor.exp() * size.log()
        else:
            value = torch.exp(log_factor + (1.0 - alpha) * size.log()) / (1.0 - alpha)
        largest = torch.finfo(loss.dtype).max
        value = (value + slope * (l - size)).clamp(-largest, largest)
        return torch.where(l.isfinite(), value, l).to(loss.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the losses, to be differentiated again."""
        loss, log_factor, ctx.alpha, ctx.floor = inputs
        ctx.save_for_backward(loss, log_factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The incoming gradient times p l^-alpha."""
        loss, log_factor = ctx.saved_tensors
        l = loss.to(log_factor.dtype)
        log_factor = log_factor.to(l.device)
        factor = torch.exp(log_factor - ctx.alpha * l.clamp(min=ctx.floor).log())
        factor = torch.where(l.isfinite(), factor, math.nan)
        return (gradients[0] * factor).to(loss.dtype), None, None, None
