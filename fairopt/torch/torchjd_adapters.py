"""Our methods as TorchJD weightings, aggregators and scalarizers; the call imports TorchJD."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from fairopt.errors import InvalidInput
from fairopt.torch.aggregating import aggregate, report
from fairopt.torch.derivatives import precision
from fairopt.torch.loss_methods import LossMethod, is_loss_method
from fairopt.torch.methods import Method
from fairopt.torch.weighted_loss import weighted_loss


def _solved(method: Method, A: Tensor) -> Tensor:
    """Weights of a method as a tensor like the Gram matrix."""
    matrix = A.detach().to(device="cpu", dtype=torch.float64).numpy()
    solution = method.solve(matrix, gram_error=precision(A))
    report(solution)
    return torch.as_tensor(solution.weights, dtype=A.dtype, device=A.device)


def as_torchjd_weighting(method: Method) -> Any:
    """A TorchJD `Weighting` on Gramians, for its autogram engine. Needs torchjd."""
    base = importlib.import_module("torchjd.aggregation").Weighting

    class FairoptWeighting(base):  # type: ignore[misc, valid-type]
        """Weights of a fairopt method."""

        def forward(self, gramian: Tensor) -> Tensor:
            """Weights of the rows."""
            return _solved(method, gramian)

    return FairoptWeighting()


def as_torchjd_aggregator(method: Method) -> Any:
    """A TorchJD `Aggregator` on Jacobians, for its autojac engine. Needs torchjd."""
    base = importlib.import_module("torchjd.aggregation").Aggregator

    class FairoptAggregator(base):  # type: ignore[misc, valid-type]
        """Direction of a fairopt method."""

        def forward(self, matrix: Tensor) -> Tensor:
            """Combine the rows."""
            direction, _ = aggregate(list(matrix), method)
            return direction  # type: ignore[no-any-return]

    return FairoptAggregator()


def as_torchjd_scalarizer(method: LossMethod) -> Any:
    """A TorchJD `Scalarizer` of values of any shape, by a method that weighs losses. Needs torchjd.

    It has the method's `update` (`FAMO`) and `step` for the end of an epoch (`DWA`), like TorchJD's
    own; `reset` forgets. What the method remembers is in its `state_dict`.

    Raises:
        InvalidInput: for a method that needs gradients: that is a weighting, not a scalarizer.
    """
    if not is_loss_method(method) or method.needs_gram:
        raise InvalidInput("method", method, "one that weighs losses by their values")
    base = importlib.import_module("torchjd.scalarization").Scalarizer

    class FairoptScalarizer(base):  # type: ignore[misc, valid-type]
        """The weighted sum of a fairopt method."""

        def forward(self, values: Tensor, /) -> Tensor:
            """The sum."""
            loss, _ = weighted_loss(values.reshape(-1), method)
            return loss

        def update(self, values: Tensor, /) -> None:
            """Values of the same batch after the step of the model."""
            if hasattr(method, "update"):
                method.update(values.reshape(-1))

        def step(self) -> None:
            """The end of an epoch."""
            if hasattr(method, "end_epoch"):
                method.end_epoch()

        def reset(self) -> None:
            """Forget."""
            method.state.clear()

        def get_extra_state(self) -> dict[str, Any]:
            """What the method remembers, for `state_dict`."""
            return method.state.state_dict()

        def set_extra_state(self, saved: dict[str, Any]) -> None:
            """Continue from there."""
            method.state.load_state_dict(saved)

    return FairoptScalarizer()
