"""Our methods as TorchJD weightings, aggregators and scalarizers; the call imports TorchJD."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput
from fairopt.torch.aggregating import aggregate, report
from fairopt.torch.derivatives import precision
from fairopt.torch.loss_methods import LossMethod, is_loss_method
from fairopt.torch.methods import Method
from fairopt.torch.weighted_loss import weighted_loss

LENGTHS = ("own", "mean")


@_disable_dynamo
def _solved(method: Method, A: Tensor, own: bool) -> Tensor:
    """Weights of a method as a tensor like the Gram matrix."""
    matrix = A.detach().to(device="cpu", dtype=torch.float64).numpy()
    formed = str(A.dtype).removeprefix("torch.")
    if formed in checks.UNDERFLOW:
        checks.refuse_underflow(np.diagonal(matrix), formed)
    solution = method.solve(matrix, gram_error=precision(A))
    report(solution)
    factor = 1.0 if own else _to_mean_length(solution.weights, matrix)
    return torch.as_tensor(solution.weights * factor, dtype=A.dtype, device=A.device)


def _of_torchjd(part: str) -> Any:
    """A module of TorchJD."""
    try:
        return importlib.import_module(f"torchjd.{part}")
    except ModuleNotFoundError as error:
        if error.name != "torchjd":
            raise
        hint = "torchjd is not installed: pip install torchjd"
        raise ModuleNotFoundError(hint, name="torchjd") from None


def _to_mean_length(weights: Array, A: Array) -> float:
    """What makes a direction as long as the mean gradient; 1 for the zero direction."""
    own, mean = (float(v @ A @ v) for v in (weights, np.full(len(A), 1.0 / len(A))))
    return math.sqrt(max(mean, 0.0) / own) if own > 0.0 else 1.0


def as_torchjd_weighting(method: Method, length: str = "own") -> Any:
    """A TorchJD `Weighting` on Gramians, for its autogram engine.

    TorchJD multiplies the gradients of heads by the weights too, unlike `fairopt.torch.backward`,
    where heads have weight one: at a stationary point, where all weights are 0, heads stop as well.
    A Gramian with NaN raises, and so does one in float32 with a gradient shorter than about 3e-16,
    whose products underflow.

    Args:
        method: A record such as `FairGrad(2.0)`.
        length: "own", or "mean": the direction is as long as the mean gradient, so that learning
            rates carry over. FairGrad's own length grows as gradients shrink.

    Raises:
        InvalidInput: for another length, and as the method does for a Gramian.
        ModuleNotFoundError: TorchJD is not installed.
    """
    own = checks.choice("length", length, LENGTHS) == "own"
    base = _of_torchjd("aggregation").Weighting

    class FairoptWeighting(base):  # type: ignore[misc, valid-type]
        """Weights of a fairopt method."""

        def forward(self, gramian: Tensor) -> Tensor:
            """Weights of the rows."""
            return _solved(method, gramian, own)

    return FairoptWeighting()


def as_torchjd_aggregator(method: Method, length: str = "own") -> Any:
    """A TorchJD `Aggregator` on Jacobians, for its autojac engine.

    Args:
        method: A record such as `FairGrad(2.0)`.
        length: "own", or "mean", as for `as_torchjd_weighting`.

    Raises:
        InvalidInput: for another length, and as `aggregate`.
        ModuleNotFoundError: TorchJD is not installed.
    """
    own = checks.choice("length", length, LENGTHS) == "own"
    base = _of_torchjd("aggregation").Aggregator

    class FairoptAggregator(base):  # type: ignore[misc, valid-type]
        """Direction of a fairopt method."""

        def forward(self, matrix: Tensor) -> Tensor:
            """Combine the rows."""
            direction, _ = aggregate(list(matrix), method)
            size = direction.norm()
            if own or not size > 0:
                return direction  # type: ignore[no-any-return]
            return direction * (matrix.mean(dim=0).norm() / size)  # type: ignore[no-any-return]

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
    base = _of_torchjd("scalarization").Scalarizer

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
