"""Any method as a weighting of LibMTL's `Trainer`; LibMTL is imported by the call."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput
from fairopt.torch.loss_methods import LossMethod, is_loss_method
from fairopt.torch.methods import Method, checked_method
from fairopt.torch.training_step import HEADS, backward
from fairopt.torch.weighted_loss import weighted_loss


def as_libmtl_weighting(method: Method | LossMethod, *, heads: str = "unit") -> type:
    """A LibMTL weighting class. Needs LibMTL, and `rep_grad=False` in its `Trainer`.

    LibMTL looks classes up by name, so give it one. `Trainer` calls `update_w` after each step
    only for the name "FAMO"; use that name for `FAMO()`::

        import LibMTL.weighting
        LibMTL.weighting.Fair = as_libmtl_weighting(FairGrad(2.0))
        trainer = Trainer(..., weighting="Fair", weight_args={}, arch_args={})

    The parameters of the method are those of its record, so `weight_args` is empty. What a method
    remembers is in the model's `state_dict`. `DWA()` without `period` closes its epochs with
    LibMTL's.

    Args:
        method: A record such as `FairGrad(2.0)` or `FAMO()`.
        heads: For methods that combine gradients, as in `backward`; those that weigh losses weigh
            them for all parameters.

    Raises:
        InvalidInput: for what is no method; while training for `rep_grad=True` and `weight_args`.
    """
    checks.choice("heads", heads, HEADS)
    if not is_loss_method(method):
        checked_method(method)
    base = importlib.import_module("LibMTL.weighting.abstract_weighting").AbsWeighting

    class FairoptWeighting(base):  # type: ignore[misc, valid-type]
        """Weights of a fairopt method."""

        def init_param(self) -> None:
            """No epoch is over yet."""
            self.closed = 0

        def backward(self, losses: Tensor, **weight_args: Any) -> Array:
            """Fill the gradients; returns the weights."""
            if weight_args:
                raise InvalidInput("weight_args", weight_args, "empty: the record has them")
            if self.rep_grad:
                raise InvalidInput("rep_grad", self.rep_grad, "False")
            if self.closed < self.epoch and hasattr(method, "end_epoch"):
                method.end_epoch()
            self.closed = self.epoch
            shared = list(self.get_share_params())
            if is_loss_method(method):
                loss, solution = weighted_loss(losses, method, shared)
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                solution = backward(list(losses), shared, method, heads=heads)
            return solution.weights

        def update_w(self, losses: Tensor) -> None:
            """Losses of the same batch after the step, for `FAMO`."""
            if hasattr(method, "update"):
                method.update(losses)

        def get_extra_state(self) -> dict[str, Any]:
            """What the method remembers, for `state_dict`."""
            state = getattr(method, "state", None)
            return {} if state is None else state.state_dict()

        def set_extra_state(self, saved: dict[str, Any]) -> None:
            """Continue from there."""
            if saved:
                method.state.load_state_dict(saved)  # type: ignore[union-attr]

    return FairoptWeighting
