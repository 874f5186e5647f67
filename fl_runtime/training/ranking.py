"""How well scores rank: areas under curves, which need all outputs of a set at once.

A label is right or wrong for each example (0 or 1), and its score is the model's logit. Of classes
each is a label by the log-odds of its probability, one against the rest; of two classes the second
one. A figure is the mean over the labels that some examples have and some have not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairopt.errors import InvalidInput, Unshown
from fl_runtime.training.losses import check_classes, check_labels, like_targets, present

Label = tuple[NDArray[np.bool_], NDArray[np.float64]]
"""(m,) which examples have it, and (m,) their scores."""


@dataclass(frozen=True)
class AreaUnderCurve:
    """Area under the receiver operating curve: the chance that a right one is ranked above a wrong.

    Ties count one half (scikit-learn's `roc_auc_score`). 0.5 is chance.

    Example:
        >>> logits = torch.tensor([[0.0, 3.0], [0.0, -1.0], [0.0, 2.0], [0.0, 1.0]])
        >>> AreaUnderCurve().of_all(logits, torch.tensor([1, 0, 0, 1]))
        0.75
    """

    higher_is_better = True
    range = (0.0, 1.0)
    whole = True

    def of_all(self, outputs: Tensor, targets: Tensor) -> float:
        """The mean over labels."""
        from sklearn.metrics import roc_auc_score

        return _mean_over(labels_of(outputs, targets), roc_auc_score)


@dataclass(frozen=True)
class AveragePrecision:
    """Mean precision at the places of the right ones (scikit-learn's `average_precision_score`)."""

    higher_is_better = True
    range = (0.0, 1.0)
    whole = True

    def of_all(self, outputs: Tensor, targets: Tensor) -> float:
        """The mean over labels."""
        from sklearn.metrics import average_precision_score

        return _mean_over(labels_of(outputs, targets), average_precision_score)


def labels_of(outputs: Tensor, targets: Tensor) -> list[Label]:
    """Every label of a set, without the examples for which it is missing.

    Raises:
        InvalidInput: Targets are neither classes nor of the shape of the outputs.
    """
    there = present(targets).flatten(1) if targets.ndim > 1 else present(targets)[:, None]
    if outputs.ndim == 2 and targets.ndim == 1 and outputs.shape[1] > 1:
        check_classes(targets)
        odds = _log_odds(outputs.double())
        columns = range(1, 2) if outputs.shape[1] == 2 else range(outputs.shape[1])
        return [_label(targets == column, odds[:, column], there[:, 0]) for column in columns]
    check_labels(targets)
    fractions = targets[present(targets)] % 1
    if bool(fractions.any()):
        one = float(fractions[fractions != 0.0][0])
        requirement = f"one for numbers, such as r2: it takes labels 0 and 1, and one is {one:g}"
        raise InvalidInput("metric", Unshown.ITSELF, requirement)
    scores, right = like_targets(outputs, targets).double(), targets > 0.5
    if targets.ndim == 1:
        return [_label(right, scores, there[:, 0])]
    pairs = zip(right.flatten(1).T, scores.flatten(1).T, there.T, strict=True)
    return [_label(*pair) for pair in pairs]


def _log_odds(logits: Tensor) -> Tensor:
    """Of every class against all others."""
    count = logits.shape[1]
    rest = [
        torch.logsumexp(logits[:, [k for k in range(count) if k != c]], 1) for c in range(count)
    ]
    return logits - torch.stack(rest, dim=1)


def _label(right: Tensor, scores: Tensor, there: Tensor) -> Label:
    """One label on the host, where it is not missing."""
    return right[there].cpu().numpy(), scores[there].cpu().numpy()


def _mean_over(labels: list[Label], figure: Callable[..., Any]) -> float:
    """Mean over labels that some have and some have not; NaN where there is none."""
    found = [
        float(figure(right, scores)) for right, scores in labels if 0 < right.sum() < right.size
    ]
    return sum(found) / len(found) if found else math.nan
