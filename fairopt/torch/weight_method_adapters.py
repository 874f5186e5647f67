"""Any method behind the `WeightMethod` interface of released multi-task code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fairopt import checks
from fairopt.torch.loss_methods import LossMethod, is_loss_method
from fairopt.torch.methods import Method, checked_method
from fairopt.torch.training_step import HEADS, backward
from fairopt.torch.weighted_loss import weighted_loss


def as_weight_method(method: Method | LossMethod, *, heads: str = "unit") -> WeightMethodAdapter:
    """An object for the training loops of the NashMTL, FAMO and FairGrad repositories.

    Where they look methods up in a table, put a function there:
    ``METHODS["fair"] = lambda n_tasks, device: as_weight_method(FairGrad(2.0))``.

    Args:
        method: A record such as `FairGrad(2.0)` or `FAMO()`.
        heads: For methods that combine gradients, as in `backward`; those that weigh losses weigh
            them for all parameters.

    Raises:
        InvalidInput: for what is no method.

    Example:
        >>> from fairopt.torch import FAMO
        >>> shared, head = (torch.tensor(x, requires_grad=True) for x in (2.0, 3.0))
        >>> weighting = as_weight_method(FAMO())
        >>> loss, extra = weighting.backward(
        ...     torch.stack([shared**2, shared * head]),
        ...     shared_parameters=[shared],
        ...     task_specific_parameters=[head],
        ... )
        >>> extra["weights"], shared.grad
        (tensor([0.6000, 0.4000]), tensor(3.6000))
    """
    if not is_loss_method(method):
        checked_method(method)
    return WeightMethodAdapter(method, checks.choice("heads", heads, HEADS))


class WeightMethodAdapter:
    """`get_weighted_loss`, `backward`, `parameters` and `update` of a method.

    Gradients are not clipped: the loops' optimisers decide. There is nothing to hand to an
    optimiser, `parameters()` is empty; `state_dict` and `load_state_dict` are the method's.
    """

    def __init__(self, method: Method | LossMethod, heads: str) -> None:
        self.method = method
        self.heads = heads

    def get_weighted_loss(
        self,
        losses: Tensor,
        shared_parameters: Sequence[Tensor] | Tensor | None = None,
        task_specific_parameters: Sequence[Tensor] | Tensor | None = None,
        last_shared_parameters: Sequence[Tensor] | Tensor | None = None,
        representation: Sequence[Tensor] | Tensor | None = None,
        **others: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """(loss to differentiate, {"weights", "solution"}).

        Gradients are those for the shared parameters; for `GradNorm` for the last shared ones
        where they are given.
        """
        watched = shared_parameters
        if is_loss_method(self.method) and last_shared_parameters is not None:
            watched = last_shared_parameters
        loss, solution = weighted_loss(losses, self.method, _parameters(watched))
        weights = torch.as_tensor(solution.weights, dtype=losses.dtype, device=losses.device)
        return loss, {"weights": weights, "solution": solution}

    def backward(
        self,
        losses: Tensor,
        shared_parameters: Sequence[Tensor] | Tensor | None = None,
        task_specific_parameters: Sequence[Tensor] | Tensor | None = None,
        last_shared_parameters: Sequence[Tensor] | Tensor | None = None,
        representation: Sequence[Tensor] | Tensor | None = None,
        **others: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Fill the gradients; returns the weighted loss, detached, and what went with it."""
        if is_loss_method(self.method) or self.heads == "weighted":
            loss, extra = self.get_weighted_loss(
                losses,
                shared_parameters,
                task_specific_parameters,
                last_shared_parameters,
                representation,
            )
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach(), extra
        shared = _parameters(shared_parameters) or []
        solution = backward(list(losses), shared, self.method)
        weights = torch.as_tensor(solution.weights, dtype=losses.dtype, device=losses.device)
        return (weights * losses.detach()).sum(), {"weights": weights, "solution": solution}

    __call__ = backward

    def parameters(self) -> list[Tensor]:
        """Nothing: a method moves its own numbers."""
        return []

    def update(self, losses: Tensor) -> None:
        """Losses of the same batch after the step, for `FAMO`; others ignore them."""
        if hasattr(self.method, "update"):
            self.method.update(losses)

    def state_dict(self) -> dict[str, Any]:
        """What the method remembers."""
        state = getattr(self.method, "state", None)
        return {} if state is None else state.state_dict()

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from there."""
        if saved:
            self.method.state.load_state_dict(saved)  # type: ignore[union-attr]


def _parameters(given: Sequence[Tensor] | Tensor | None) -> list[Tensor] | None:
    """A list, also of one."""
    if given is None:
        return None
    return [given] if isinstance(given, Tensor) else list(given)
