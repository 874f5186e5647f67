"""Our methods as TorchJD weightings and aggregators; TorchJD is imported by the first call."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from fairopt.torch.aggregating import aggregate, report
from fairopt.torch.derivatives import precision
from fairopt.torch.methods import Method


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
