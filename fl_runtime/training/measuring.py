r"""Metrics over a set that is evaluated in batches: by sums of statistics, or on all at once.

Most metrics add up (`scores.Metric`): :math:`\phi(\sum_i s(o_i, y_i))`, with statistics s of each
example. Some, such as the area under a curve, need all outputs at once (`WholeMetric`): these are
kept until the end of a set, and refused where they are larger than `LARGEST_OUTPUTS`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor

from fairopt.errors import InvalidInput
from fl_runtime.training.examples import FLOAT_BYTES
from fl_runtime.training.scores import AnyMetric, Metric, WholeMetric, check_statistics, refused

LARGEST_OUTPUTS = 2**30
"""Bytes of outputs that a metric may need at once."""


class Measure(Protocol):
    """A metric on its way through a set."""

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """One more batch."""
        ...

    def value(self) -> float:
        """The figure of all batches."""
        ...


class _Sums:
    """By sums of statistics, in float64."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._totals: Tensor | None = None

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add its statistics."""
        seen = self._metric.statistics(outputs, targets).double().sum(dim=0)
        self._totals = seen if self._totals is None else self._totals + seen

    def value(self) -> float:
        """Of the sums."""
        return math.nan if self._totals is None else self._metric.value(self._totals.cpu())


class _Everything:
    """On all outputs at once."""

    def __init__(self, metric: WholeMetric) -> None:
        self._metric = metric
        self._batches: list[tuple[Tensor, Tensor]] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Keep it."""
        self._batches.append((outputs.detach().cpu(), targets.cpu()))

    def value(self) -> float:
        """Of all outputs and targets."""
        outputs, targets = (torch.cat(part) for part in zip(*self._batches, strict=True))
        return float(self._metric.of_all(outputs, targets))


def is_whole(metric: Any) -> TypeGuard[WholeMetric]:
    """Whether a metric needs everything at once."""
    return bool(getattr(metric, "whole", False))


def measures(metrics: Mapping[str, AnyMetric]) -> dict[str, Measure]:
    """Fresh measures by name.

    Example:
        >>> from fl_runtime.training.scores import PLAIN
        >>> seen = measures(PLAIN)["acc"]
        >>> seen.add(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
        >>> seen.add(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
        >>> seen.value()
        0.5
    """
    return {name: _measure(metric) for name, metric in metrics.items()}


def _measure(metric: Any) -> Measure:
    """How a metric is computed: from everything at once, or from sums over batches."""
    return _Everything(metric) if is_whole(metric) else _Sums(metric)


def check_metric(key: str, metric: AnyMetric, outputs: Tensor, targets: Tensor, count: int) -> None:
    """Refuse a metric that gives something else than it should.

    Args:
        key: Where the configuration names it.
        metric: The metric.
        outputs: Of few examples.
        targets: Of these.
        count: Examples of the largest set that is to be measured.

    Raises:
        InvalidInput: Statistics that are not of shape (n, m), or a metric that needs more than
            `LARGEST_OUTPUTS` bytes of outputs at once.
    """
    if not is_whole(metric):
        check_statistics(key, metric, outputs, targets)  # type: ignore[arg-type]
        return
    size = FLOAT_BYTES * count * math.prod(outputs.shape[1:])
    if size > LARGEST_OUTPUTS:
        requirement = (
            "at most 1 GiB: it needs all outputs at once, metrics by statistics (acc, mae) do not"
        )
        raise InvalidInput(key, f"{size / 2**30:.1f} GiB of outputs", requirement)
    try:
        found = metric.of_all(outputs.detach(), targets)
        float(found)
    except Exception as error:  # whatever the user's metric does
        raise refused(key, error, outputs, targets) from error
