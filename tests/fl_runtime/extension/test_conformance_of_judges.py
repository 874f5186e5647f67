"""The laws of losses and metrics: built-in ones keep them, planted faults are caught by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from fairopt.errors import InvalidInput
from fl_runtime import check_loss, check_metric
from fl_runtime.training.losses import LOSSES, present
from fl_runtime.training.scores import METRICS
from tests.fl_runtime.extension import own_parts

HERE = own_parts.__name__


@pytest.mark.parametrize("name", LOSSES)
def test_built_in_losses_keep_all_laws(name: str) -> None:
    assert check_loss(name) == []


@pytest.mark.parametrize("name", METRICS)
def test_built_in_metrics_keep_all_laws(name: str) -> None:
    assert check_metric(name) == []


def test_own_ones_keep_them_on_data_without_holes() -> None:
    assert check_loss(f"{HERE}:Smoothed", missing=False) == []
    assert check_loss(own_parts.Smoothed(0.3), missing=False) == []
    assert check_metric(f"{HERE}:margin", missing=False) == []
    assert check_metric(own_parts.margin, missing=False) == []
    outputs, targets = torch.randn(6, 5), torch.arange(6) % 5
    assert check_loss(own_parts.Smoothed(), outputs, targets, missing=False) == []
    right = 30.0 * torch.eye(5)[targets]
    assert check_metric(own_parts.margin, outputs, targets, right=right, missing=False) == []


def each(outputs: Tensor, targets: Tensor) -> Tensor:
    """A sound loss of labels without holes."""
    return cross_entropy(outputs, targets, reduction="none")


def the_mean(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs, targets)


def over_the_batch(outputs: Tensor, targets: Tensor) -> Tensor:
    return each(outputs - outputs.mean(dim=0), targets)


def by_place(outputs: Tensor, targets: Tensor) -> Tensor:
    return each(outputs, targets) * torch.arange(1, len(targets) + 1)


def with_dice(outputs: Tensor, targets: Tensor) -> Tensor:
    return each(outputs, targets) * (1.0 + random.random())


def in_place(outputs: Tensor, targets: Tensor) -> Tensor:
    found = each(outputs, targets)
    targets.copy_((targets + 1) % 4)
    return found


def by_the_value(outputs: Tensor, targets: Tensor) -> Tensor:
    found = each(outputs, targets)
    return found if float(found.detach().sum()) > 0.0 else 2.0 * found


def without_slope(outputs: Tensor, targets: Tensor) -> Tensor:
    return each(outputs, targets) * 0.0


def infinite_slope(outputs: Tensor, targets: Tensor) -> Tensor:
    return each(outputs, targets) + (outputs[:, 0] - outputs[:, 0].detach()).abs().sqrt()


def negative_counts(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    found = each(outputs, targets)
    return found, -torch.ones_like(found)


def counts_what_is_missing(outputs: Tensor, targets: Tensor) -> Tensor:
    return each(outputs, targets)


def slope_of_nothing(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Zero times NaN is NaN in the gradient."""
    there = present(targets)
    error = torch.where(there, mse_loss(outputs.squeeze(-1), targets, reduction="none"), 0.0)
    return error, there.to(outputs.dtype)


LOSS_FAULTS: dict[Callable[..., Any], str] = {
    the_mean: "one number per example, or sums and counts",
    negative_counts: "one number per example, or sums and counts",
    over_the_batch: "each example by itself",
    by_place: "each example by itself",
    with_dice: "a function of outputs and targets",
    in_place: "a function of outputs and targets",
    by_the_value: "the same as a stack",
    without_slope: "finite, and a slope that is finite",
    infinite_slope: "finite, and a slope that is finite",
    counts_what_is_missing: "missing targets count nothing",
    slope_of_nothing: "missing targets count nothing",
}


@pytest.mark.parametrize("loss", LOSS_FAULTS, ids=lambda loss: loss.__name__)
def test_a_fault_of_a_loss_is_caught_by_its_law(loss: Callable[..., Any]) -> None:
    found = check_loss(loss)
    assert LOSS_FAULTS[loss] in [one.law for one in found]
    assert all(one.witness and "\n" not in one.witness for one in found)


@dataclass(frozen=True)
class Hits:
    """Accuracy of labels, with a mistake."""

    fault: str = ""
    higher_is_better: bool = True
    range: tuple[float, float] | None = (0.0, 1.0)

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        right = ((outputs.argmax(dim=1) == targets) & present(targets)).double()
        there = present(targets).double()
        if self.fault == "shares":
            return torch.stack([right / len(targets), there / len(targets)], dim=1)
        if self.fault == "place":
            return torch.stack([right * torch.arange(len(right)), there], dim=1)
        if self.fault == "dice":
            return torch.stack([right + random.random(), there], dim=1)
        if self.fault == "holes":
            return torch.stack([right, torch.ones_like(there)], dim=1)
        if self.fault == "changes":
            outputs.neg_()
        return right if self.fault == "flat" else torch.stack([right, there], dim=1)

    def value(self, totals: Tensor) -> float:
        if self.fault == "percent":
            return 100.0 * float(totals[0] / totals[1])
        return float(totals[0] / totals[1])


METRIC_FAULTS = {
    "shares": "adds up over batches",
    "place": "in any order",
    "dice": "a function of outputs and targets",
    "changes": "a function of outputs and targets",
    "holes": "missing targets count nothing",
    "flat": "statistics of each example",
    "percent": "its range is reached, and not exceeded",
}


@pytest.mark.parametrize("fault", METRIC_FAULTS)
def test_a_fault_of_a_metric_is_caught_by_its_law(fault: str) -> None:
    outputs, targets = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), None
    targets = torch.arange(8) % 4
    found = check_metric(Hits(fault), outputs, targets, right=20.0 * torch.eye(4)[targets])
    assert METRIC_FAULTS[fault] in [one.law for one in found]
    assert check_metric(Hits(), outputs, targets, right=20.0 * torch.eye(4)[targets]) == []


@pytest.mark.parametrize(
    ("metric", "law"),
    [
        (Hits(higher_is_better=False, range=(1.0, 0.0)), "a model without an error is better"),
        (Hits(range=None, higher_is_better=False), "a model without an error is better"),
        (Hits(range=(1.0, 0.0)), "its range is reached, and not exceeded"),
        (Hits(range=(0.0, 0.9)), "its range is reached, and not exceeded"),
        (Hits(range=(-1.0, 1.0)), "its range is reached, and not exceeded"),
    ],
)
def test_a_wrong_direction_or_range_is_caught(metric: Any, law: str) -> None:
    assert law in [one.law for one in check_metric(metric)]


def test_what_cannot_be_tried_is_refused() -> None:
    def of_graphs(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("graphs only")

    with pytest.raises(InvalidInput, match="graphs only"):
        check_loss(of_graphs)
    of_graphs.higher_is_better = True  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="graphs only"):
        check_metric(of_graphs)
    with pytest.raises(InvalidInput, match="direction"):
        check_metric(each)
    with pytest.raises(InvalidInput, match="given with outputs"):
        check_loss("mse", torch.zeros(3))
    with pytest.raises(InvalidInput, match="given with outputs"):
        check_metric("mae", torch.zeros(3), torch.zeros(2))
    with pytest.raises(InvalidInput, match="did you mean huber"):
        check_loss("hubr")
