r"""What a task is judged by: metrics, whose statistics add up over batches, and their scale.

The first metric of a task is its score :math:`a`, in its own unit and direction. Tasks are compared
by their error

.. math:: e = \max(0, (a - best) / (worst - best)),

0 at `best` and 1 at `worst`, in either direction, and above 1 for what is worse than that. For
accuracy, of which 0 is the worst and 1 the best, this is the share of wrong answers.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fairopt.choices import choose
from fairopt.errors import InvalidInput, Unshown
from fl_runtime.extensions import Kind, begins_with, resolve
from fl_runtime.training.losses import (
    check_classes,
    check_labels,
    counted,
    like_targets,
    per_example,
    present,
)
from fl_runtime.training.ranking import AreaUnderCurve, AveragePrecision
from fl_runtime.validation_errors import record_from_table

Range = tuple[float, float]
"""The worst score (error 1) and the best (error 0)."""


class Metric(Protocol):
    """A figure of a model on a set, by statistics that are added up over examples in float64."""

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""
        ...

    @property
    def range(self) -> Range | None:
        """Worst and best value; None where there is no worst one."""
        ...

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n, m) of each example."""
        ...

    def value(self, totals: Tensor) -> float:
        """The figure, from the sums (m,) over all examples; NaN where it is undefined."""
        ...


class WholeMetric(Protocol):
    """A figure of a model on a set that needs all outputs at once."""

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""
        ...

    @property
    def range(self) -> Range | None:
        """Worst and best value; None where there is no worst one."""
        ...

    @property
    def whole(self) -> bool:
        """True."""
        ...

    def of_all(self, outputs: Tensor, targets: Tensor) -> float:
        """The figure of all examples, on the host; NaN where it is undefined."""
        ...


AnyMetric = Metric | WholeMetric


@dataclass(frozen=True)
class Accuracy:
    """Share of right classes, over all places that have one.

    Attributes:
        axis: Of the classes in the outputs: 1 for labels and pixels, -1 for tokens.
    """

    axis: int = 1
    higher_is_better = True
    range = (0.0, 1.0)

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Hits, and places with a class."""
        right = (_guesses(outputs, self.axis, targets) == targets) & present(targets)
        return _columns(right, present(targets))

    def value(self, totals: Tensor) -> float:
        """Hits over places."""
        return _ratio(totals[0], totals[1])


@dataclass(frozen=True)
class TokenAccuracy(Accuracy):
    """Share of right tokens, over all that are there."""

    axis: int = -1


@dataclass(frozen=True)
class ExactMatch:
    """Share of the examples of which every token that is there is right."""

    axis: int = -1
    higher_is_better = True
    range = (0.0, 1.0)

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether all is right, and whether there is anything."""
        wrong = (_guesses(outputs, self.axis, targets) != targets) & present(targets)
        some = counted(targets)
        return _columns(some & ~wrong.reshape(len(targets), -1).any(dim=1), some)

    def value(self, totals: Tensor) -> float:
        """Matches over examples."""
        return _ratio(totals[0], totals[1])


@dataclass(frozen=True)
class LabelAccuracy:
    """Share of right labels where an example has several, each right if its logit has its sign."""

    higher_is_better = True
    range = (0.0, 1.0)

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Hits, and labels that are there."""
        _check_no_classes(outputs, targets)
        check_labels(targets)
        found, there = like_targets(outputs, targets) > 0.0, present(targets)
        return _columns((found == (targets > 0.5)) & there, there)

    def value(self, totals: Tensor) -> float:
        """Hits over labels."""
        return _ratio(totals[0], totals[1])


@dataclass(frozen=True)
class _OverClasses:
    """What metrics share that are means over classes."""

    higher_is_better = True
    range = (0.0, 1.0)

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Per class: hits, guesses, targets."""
        return _by_class(outputs, targets)


@dataclass(frozen=True)
class MacroF1(_OverClasses):
    """Mean of F1 over the classes that occur, in the targets or in the guesses."""

    def value(self, totals: Tensor) -> float:
        """Twice the hits over guesses and targets, class by class."""
        hits, guesses, actual = totals.reshape(3, -1)
        return _mean_over_classes(2.0 * hits, guesses + actual)


@dataclass(frozen=True)
class MeanIoU(_OverClasses):
    """Mean over the classes that occur of their intersection over union."""

    def value(self, totals: Tensor) -> float:
        """Hits over what is guessed or true, class by class."""
        hits, guesses, actual = totals.reshape(3, -1)
        return _mean_over_classes(hits, guesses + actual - hits)


@dataclass(frozen=True)
class MeanAbsolute:
    """Mean absolute error, in the units of the targets."""

    higher_is_better = False
    range = None

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Absolute errors, and numbers that are there."""
        error, _, there = _errors(outputs, targets)
        return _columns(error.abs(), there)

    def value(self, totals: Tensor) -> float:
        """Their mean."""
        return _ratio(totals[0], totals[1])


@dataclass(frozen=True)
class RootMeanSquare:
    """Root of the mean squared error, in the units of the targets."""

    higher_is_better = False
    range = None

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared errors, and numbers that are there."""
        error, _, there = _errors(outputs, targets)
        return _columns(error.square(), there)

    def value(self, totals: Tensor) -> float:
        """The root of their mean."""
        return math.sqrt(_ratio(totals[0], totals[1]))


@dataclass(frozen=True)
class R2:
    """Explained share of the variance, which is 0 for the best constant and 1 without an error.

    Several numbers per example, (n, k), are k outputs: then it is the mean over these. Targets of
    more axes are pooled.
    """

    higher_is_better = True
    range = (0.0, 1.0)

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Per output: squared errors, targets, their squares, and their numbers."""
        error, wanted, there = _errors(outputs, targets)
        columns = [error.square(), wanted, wanted.square(), there.double()]
        if targets.ndim == 2:
            return torch.cat(columns, dim=1)
        return torch.stack([per_example(column) for column in columns], dim=1)

    def value(self, totals: Tensor) -> float:
        """One minus squared errors over squared deviations from the mean."""
        squares, sums, second, counts = totals.reshape(4, -1)
        spread = second - sums.square() / counts
        return float((1.0 - squares / spread).mean()) if bool((spread > 0.0).all()) else math.nan


@dataclass(frozen=True)
class Perplexity:
    """Exponential of the mean cross-entropy of tokens; 1 is the least there is."""

    axis: int = -1
    higher_is_better = False
    range = None

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropies, and tokens."""
        check_classes(targets)
        logits = outputs.movedim(self.axis, 1)
        each = nn.functional.cross_entropy(logits.double(), targets, reduction="none")
        return _columns(each, present(targets))

    def value(self, totals: Tensor) -> float:
        """The exponential of their mean; infinity beyond the largest float."""
        mean = _ratio(totals[0], totals[1])
        try:
            return math.exp(mean)
        except OverflowError:
            return math.inf


@dataclass(frozen=True)
class MeanAngle:
    r"""Mean angle in degrees between vectors in axis 1, (n, k, ...): surface normals, say.

    Lengths do not matter; an output without any is at 90 degrees. A place counts if none of its
    target's numbers is missing and they are not all zero.

    Source: the angle of unit vectors u, v as 2 atan2(|u - v|, |u + v|), exact for small ones
    (Kahan, How Futile are Mindless Assessments of Roundoff, section 12).

    Example:
        >>> angle = MeanAngle().statistics(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
        >>> MeanAngle().value(angle.sum(0))
        90.0
    """

    higher_is_better = False
    range = None

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Angles, and places with a vector."""
        if targets.ndim < 2:
            requirement = "one for single targets, such as r2 or acc: it takes vectors in axis 1"
            raise InvalidInput("metric", Unshown.ITSELF, requirement)
        _check_no_classes(outputs, targets)
        like_targets(outputs, targets)
        wanted = targets.nan_to_num(nan=0.0).double()
        there = ~targets.isnan().any(dim=1) & (wanted != 0.0).any(dim=1)
        u, v = (nn.functional.normalize(one.double(), dim=1, eps=TINY) for one in (outputs, wanted))
        apart, sum_ = ((u - v).norm(dim=1), (u + v).norm(dim=1))
        angles = torch.rad2deg(2.0 * torch.atan2(apart, sum_))
        return _columns(torch.where(there, angles, 0.0), there)

    def value(self, totals: Tensor) -> float:
        """Their mean."""
        return _ratio(totals[0], totals[1])


@dataclass(frozen=True)
class WholeOf:
    """A plain function (all outputs, all targets) -> number.

    Attributes:
        function: The figure.
        higher_is_better: Its direction.
        range: Worst and best value, if there are.
    """

    function: Callable[[Tensor, Tensor], float]
    higher_is_better: bool
    range: Range | None = None
    whole = True

    def of_all(self, outputs: Tensor, targets: Tensor) -> float:
        """The figure."""
        return self.function(outputs, targets)


@dataclass(frozen=True)
class MeanOf:
    """The mean over examples of a plain function (outputs, targets) -> (n,).

    Attributes:
        function: Its values.
        higher_is_better: Its direction.
        range: Worst and best value, if there are.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    higher_is_better: bool
    range: Range | None = None

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Values, and ones."""
        values = self.function(outputs, targets).double()
        return torch.stack([values, torch.ones_like(values)], dim=-1)

    def value(self, totals: Tensor) -> float:
        """Their mean."""
        return _ratio(totals[0], totals[1])


TINY = 1e-300
"""Length below which a vector counts as none."""

METRICS: Mapping[str, Callable[[], AnyMetric]] = {
    "acc": Accuracy,
    "macro-f1": MacroF1,
    "miou": MeanIoU,
    "pixel-acc": Accuracy,
    "mae": MeanAbsolute,
    "rmse": RootMeanSquare,
    "r2": R2,
    "token-acc": TokenAccuracy,
    "perplexity": Perplexity,
    "exact-match": ExactMatch,
    "label-acc": LabelAccuracy,
    "mean-angle": MeanAngle,
    "auc": AreaUnderCurve,
    "average-precision": AveragePrecision,
}
"""Names in a configuration."""

DIRECTIONS = {"higher": True, "lower": False}
"""What `better` may say."""

ACC = "acc"
"""The metric of tasks that say nothing."""

METRIC_OF_LOSS: Mapping[str, str] = {
    "token-cross-entropy": "token-acc",
    "mse": "r2",
    "mae": "r2",
    "huber": "r2",
    "bce": "label-acc",
}
"""The metric of tasks that name no metrics but one of these losses; one with a worst value."""

PLAIN: Mapping[str, AnyMetric] = {ACC: Accuracy()}
"""The metrics of tasks that say nothing."""


def metric_of(key: str, entry: str | Mapping[str, Any]) -> AnyMetric:
    """The metric that a configuration names.

    Args:
        key: Dotted key of the entry, for messages.
        entry: A name of `METRICS`; ``"package.module:object"``, a metric, a class without required
            arguments, or a function; or a table of `name`, of `better` ("higher" or "lower") where
            a function does not say so itself, and of a class's fields.

    Raises:
        InvalidInput: An unknown name, or one without a direction.

    Example:
        >>> metric_of("task.a.metrics", "rmse")
        RootMeanSquare()
    """
    found: AnyMetric = resolve(
        METRIC, dict(entry) if isinstance(entry, Mapping) else entry, key=key
    )
    return found


def _made_metric(key: str, name: str, found: Any, fields: Mapping[str, Any]) -> AnyMetric:
    """A metric with its fields, or the mean of a function; with the direction that it has."""
    rest = {field: value for field, value in fields.items() if field != "better"}
    better = fields.get("better")
    if better is not None:
        choose(f"{key}.better", str(better), DIRECTIONS)
    if isinstance(found, type):
        plain = not rest and not is_dataclass(found)
        found = found() if plain else record_from_table(key, found, rest)
    elif rest:
        raise InvalidInput(f"{key}.{next(iter(rest))}", next(iter(rest.values())), "absent")
    elif not (callable(found) or hasattr(found, "higher_is_better")):
        raise InvalidInput(key, name, METRIC.wanted)
    return _directed(key, name, found, better)


def _looks_like_a_metric(found: Any) -> bool:
    """A record with statistics, a value and a direction, or a function that says its direction."""
    if not hasattr(found, "higher_is_better"):
        return False
    if isinstance(found, type):
        whole = bool(getattr(found, "whole", False))
        members = ("of_all",) if whole else ("statistics", "value")
        return is_dataclass(found) and all(callable(getattr(found, m, None)) for m in members)
    return inspect.isfunction(found) and begins_with(found, ("outputs", "targets"))


METRIC = Kind(
    "metric",
    "task.metrics",
    METRICS,
    arguments=("outputs", "targets"),
    maker=_made_metric,
    looks=_looks_like_a_metric,
    words="a function (outputs, targets) -> (n,) with higher_is_better, or a Metric",
)
"""What a task can be judged by."""


def metric_name(entry: str | Mapping[str, Any]) -> str:
    """What a metric is called in the history: its name, or the object's of a dotted path.

    Example:
        >>> metric_name("acc"), metric_name({"name": "nets:delta1", "better": "higher"})
        ('acc', 'delta1')
    """
    name = entry if isinstance(entry, str) else str(entry.get("name", ""))
    return name.rpartition(":")[2]


def default_metric(loss: str | Mapping[str, Any] | None) -> str:
    """The score of a task that names no metrics, by the loss that it names.

    Example:
        >>> default_metric(None), default_metric({"name": "mse", "unit": 2.0})
        ('acc', 'r2')
    """
    name = loss.get("name") if isinstance(loss, Mapping) else loss
    return METRIC_OF_LOSS.get(str(name), ACC)


def metrics_of(key: str, entries: Sequence[str | Mapping[str, Any]]) -> dict[str, AnyMetric]:
    """The metrics of a task by name; the first one is its score.

    Raises:
        InvalidInput: Two have one name, or see `metric_of`.
    """
    found: dict[str, AnyMetric] = {}
    for entry in entries:
        name = metric_name(entry)
        if name in found or name == "loss":
            raise InvalidInput(key, name, "metrics with different names, none of them loss")
        found[name] = metric_of(key, entry)
    return found


def is_reached(score: float, target: float, *, higher: bool) -> bool:
    """Whether a score is as good as a target, by the direction of its metric."""
    return score >= target if higher else score <= target


@dataclass(frozen=True)
class Scale:
    """What a score is worth.

    Attributes:
        worst: The score whose error is 1.
        best: The score whose error is 0.

    Raises:
        InvalidInput: They are equal or not finite, so there is no scale between them.

    Example:
        >>> Scale(0.0, 1.0).error(0.9), Scale(8.0, 0.0).error(2.0), Scale(8.0, 0.0).error(12.0)
        (0.09999999999999998, 0.25, 1.5)
    """

    worst: float
    best: float

    def __post_init__(self) -> None:
        if self.worst == self.best or not math.isfinite(self.worst - self.best):
            raise InvalidInput("range", [self.worst, self.best], "two finite scores that differ")

    def error(self, score: float) -> float:
        """How far a score is from the best, in units of the worst one's distance."""
        gap = (score - self.best) / (self.worst - self.best)
        return 0.0 if gap <= 0.0 else gap


def check_statistics(key: str, metric: Metric, outputs: Tensor, targets: Tensor) -> None:
    """Refuse a metric that gives something else than it should for a batch.

    Raises:
        InvalidInput: It fails, or is not of shape (n, m).
    """
    try:
        seen = metric.statistics(outputs, targets)
    except Exception as error:  # whatever the user's metric does
        raise refused(key, error, outputs, targets) from error
    if not isinstance(seen, Tensor) or seen.ndim != 2 or len(seen) != len(targets):
        got = tuple(seen.shape) if isinstance(seen, Tensor) else type(seen).__name__
        raise InvalidInput(key, got, f"statistics of shape ({len(targets)}, m)")


def refused(key: str, error: Exception, outputs: Tensor, targets: Tensor) -> InvalidInput:
    """The error of a metric that fails on a batch; one of this package says what it takes."""
    if isinstance(error, InvalidInput) and error.argument == "metric":
        return InvalidInput(key, error.value, error.requirement)
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
    reason = str(error).partition("\n")[0]
    return InvalidInput(key, Unshown.ITSELF, f"a metric for {shapes} ({reason})")


PLAIN_SCALE = Scale(0.0, 1.0)
"""Of accuracies."""


def _directed(key: str, name: str, found: Any, better: str | None) -> AnyMetric:
    """A metric as it is, or the mean of a function; its direction must be known."""
    higher = getattr(found, "higher_is_better", None) if better is None else DIRECTIONS[better]
    if not isinstance(higher, bool):
        requirement = 'a metric with a direction: an attribute higher_is_better, or better = "..."'
        raise InvalidInput(key, name, requirement)
    whole = bool(getattr(found, "whole", False))
    members = ("of_all",) if whole else ("statistics", "value")
    if all(callable(getattr(found, member, None)) for member in members):
        if higher != found.higher_is_better:
            requirement = "absent for a metric that has a direction of its own"
            raise InvalidInput(f"{key}.better", better, requirement)
        return found  # type: ignore[no-any-return]
    kind = WholeOf if whole else MeanOf
    return kind(found, higher, getattr(found, "range", None))


def _guesses(outputs: Tensor, axis: int, targets: Tensor) -> Tensor:
    """The likeliest classes, which must be as many as there are targets.

    Raises:
        InvalidInput: They are not, so that one would be spread over several; or targets are no
            classes, or there is one class only.
    """
    check_classes(targets)
    if outputs.ndim > 1 and outputs.shape[axis] == 1:
        requirement = (
            "one for outputs of a single number, such as label-acc or auc for labels 0 and 1, or "
            "r2 for numbers: it compares the outputs of several classes"
        )
        raise InvalidInput("metric", Unshown.ITSELF, requirement)
    found = outputs.argmax(dim=axis)
    if found.shape != targets.shape:
        requirement = f"of the shape of the guesses, {tuple(found.shape)}"
        raise InvalidInput("targets", tuple(targets.shape), requirement)
    return found


def _columns(*values: Tensor) -> Tensor:
    """(n, m) sums per example in float64."""
    return torch.stack([per_example(value.double()) for value in values], dim=1)


def _check_no_classes(outputs: Tensor, targets: Tensor) -> None:
    """Refuse classes where every output has a target.

    Raises:
        InvalidInput: Targets are integers, of another shape than the outputs.
    """
    alike = outputs.shape in (targets.shape, (*targets.shape, 1))
    if not alike and not targets.is_floating_point():
        requirement = "one for classes, such as acc or macro-f1: it takes a target for every output"
        raise InvalidInput("metric", Unshown.ITSELF, requirement)


def _errors(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Differences and targets in float64, zero where there is no target; and where there is one."""
    _check_no_classes(outputs, targets)
    there = present(targets)
    wanted = torch.where(there, targets, torch.zeros_like(targets)).double()
    found = like_targets(outputs, targets).double()
    return torch.where(there, found - wanted, 0.0), wanted, there


def _by_class(outputs: Tensor, targets: Tensor) -> Tensor:
    """(n, 3 classes) hits, guesses and targets of each class, where there is a target."""
    count, there = outputs.shape[1], present(targets).reshape(len(targets), -1)
    guesses = _guesses(outputs, 1, targets).reshape(len(targets), -1)
    actual = torch.where(there, targets.reshape(len(targets), -1), 0)
    hits = (guesses == actual) & there
    kinds = ((guesses, hits), (guesses, there), (actual, there))
    return torch.cat(
        [
            torch.zeros(
                len(targets), count, dtype=torch.float64, device=outputs.device
            ).scatter_add(1, classes, mask.double())
            for classes, mask in kinds
        ],
        dim=1,
    )


def _mean_over_classes(part: Tensor, whole: Tensor) -> float:
    """Mean of part over whole where there is a whole; NaN where there is none."""
    some = whole > 0.0
    return float((part[some] / whole[some]).mean()) if bool(some.any()) else math.nan


def _ratio(part: Tensor, whole: Tensor) -> float:
    """A quotient; NaN without anything to divide by."""
    return float(part) / float(whole) if float(whole) else math.nan
