"""The laws of a metric, tried on small batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fairopt.errors import InvalidInput, Unshown
from fairopt.user_objects import said
from fl_runtime.conformance.broken import Broken, Law, other_dice, tried
from fl_runtime.conformance.layouts import Layout, layouts
from fl_runtime.training.scores import METRIC, AnyMetric, metric_of

CLOSE = 1e-6
"""Share by which a figure may differ from itself in another order: statistics are in float64."""

SHAPE = "statistics of each example"


def check_metric(
    metric: str | Mapping[str, Any] | AnyMetric | Any,
    outputs: Tensor | None = None,
    targets: Tensor | None = None,
    *,
    right: Tensor | None = None,
    missing: bool = True,
) -> list[Broken]:
    """The laws that a metric breaks.

    Laws: (n, m) finite statistics; the figure is the same in any order and however a set is cut
    into batches; a function of outputs and targets, which it leaves alone; a model without an error
    is at least as good as one that knows nothing, by its direction, and has the best value of its
    range, which nobody exceeds; who is always wrong is at the worst value or beyond (but for those
    of all outputs at once); examples whose targets are missing change nothing.

    Args:
        metric: An object, a function with a direction, a name, ``package.module:object``, or a
            table of these (`scores.metric_of`).
        outputs: (n, ...) of a model. Without a batch, the first usual kind that the metric takes.
        targets: (n, ...) without any that is missing.
        right: Outputs of a model without an error, for a batch that is given.
        missing: Whether the data may have missing targets, NaN or -100.

    Raises:
        InvalidInput: There is no such metric, it has no direction, or it takes no usual batch and
            is given none.

    Example:
        >>> check_metric("rmse")
        []
        >>> def accuracy(outputs, targets):
        ...     return (outputs.argmax(dim=1) == targets).float()
        >>> accuracy.higher_is_better = False
        >>> [each.law for each in check_metric(accuracy, missing=False)]
        ['a model without an error is better']
    """
    made = _made(metric)
    if outputs is None:
        one = _fitting(made)
    else:
        if targets is None or len(outputs) != len(targets) or len(targets) < 2:
            raise InvalidInput(
                "targets", Unshown.ITSELF, "given with outputs, of as many examples, >= 2"
            )
        one = Layout("given", outputs.detach(), targets, right)
    first = tried({SHAPE: lambda: _shape(made, one)})
    return first or tried(_laws(made, one, missing))


def _made(metric: Any) -> AnyMetric:
    """The metric behind what was given."""
    if isinstance(metric, str | Mapping):
        return metric_of("metric", metric)
    assert METRIC.maker is not None
    made: AnyMetric = METRIC.maker("metric", getattr(metric, "__name__", "this one"), metric, {})
    return made


def _whole(metric: Any) -> bool:
    """Whether it takes all examples at once."""
    return bool(getattr(metric, "whole", False))


def _figure(metric: Any, outputs: Tensor, targets: Tensor) -> float:
    """The figure of a set."""
    if _whole(metric):
        return float(metric.of_all(outputs, targets))
    return float(metric.value(metric.statistics(outputs, targets).double().sum(dim=0)))


def _fitting(metric: Any) -> Layout:
    """The first usual batch that a metric takes, and whose right outputs are the best there are.

    A metric of several labels, say, runs on numbers as well, and means something else there.
    """
    found, why = [], "nothing was tried"
    for each in layouts():
        try:
            figure = _figure(metric, each.outputs, each.targets)
            bad = list(_shape(metric, each))
        except Exception as error:  # noqa: BLE001 - whatever the metric does with other kinds
            why = said(error)
        else:
            if math.isfinite(figure) and not bad:
                found.append(each)
            why = bad[0] if bad else f"it is {figure} of {each.name}"
    if not found:
        requirement = f"give some, with targets that this metric takes ({why})"
        raise InvalidInput("outputs", Unshown.MISSING, requirement)
    return next((each for each in found if _is_meant(metric, each)), found[0])


def _is_meant(metric: Any, one: Layout) -> bool:
    """Whether a batch is of the kind that a metric is about, as far as its range can tell."""
    return not tried({"reached": lambda: _reached(metric, one)})


def _laws(metric: Any, one: Layout, missing: bool) -> dict[str, Law]:
    """All laws but the first."""
    laws: dict[str, Law] = {
        "in any order": lambda: _order(metric, one),
        "a function of outputs and targets": lambda: _pure(metric, one),
    }
    if not _whole(metric):
        laws["adds up over batches"] = lambda: _adds(metric, one)
    if one.right is not None:
        laws["a model without an error is better"] = lambda: _better(metric, one)
        laws["its range is reached, and not exceeded"] = lambda: _reached(metric, one)
    if missing:
        laws["missing targets count nothing"] = lambda: _missing(metric, one)
    return laws


def _shape(metric: Any, one: Layout) -> Iterator[str]:
    """What kind of thing it gives."""
    if _whole(metric):
        return
    seen = metric.statistics(one.outputs, one.targets)
    if not isinstance(seen, Tensor) or seen.ndim != 2 or len(seen) != len(one.targets):
        shape = tuple(seen.shape) if isinstance(seen, Tensor) else type(seen).__name__
        yield f"{one.name}: {shape} for {len(one.targets)} examples"
    elif not bool(seen.isfinite().all()):
        yield f"{one.name}: statistics that are not finite"


def _order(metric: Any, one: Layout) -> Iterator[str]:
    """Nobody is first."""
    order = torch.arange(len(one.targets)).flip(0)
    straight = _figure(metric, one.outputs, one.targets)
    turned = _figure(metric, one.outputs[order], one.targets[order])
    if not _close(straight, turned):
        yield f"{straight:g}, and {turned:g} in reverse order"


def _adds(metric: Any, one: Layout) -> Iterator[str]:
    """However a set is cut, its statistics have one sum."""
    whole = metric.statistics(one.outputs, one.targets).double().sum(dim=0)
    for cut in (1, len(one.targets) // 2):
        parts = [
            metric.statistics(one.outputs[mine], one.targets[mine]).double().sum(dim=0)
            for mine in (slice(None, cut), slice(cut, None))
        ]
        if parts[0].shape != whole.shape or not torch.allclose(
            parts[0] + parts[1], whole, rtol=CLOSE, atol=CLOSE
        ):
            yield f"other sums where a batch is cut after {cut}"


def _pure(metric: Any, one: Layout) -> Iterator[str]:
    """Nothing else plays a part, and nothing is changed."""
    outputs, targets = one.outputs.clone(), one.targets.clone()
    found = []
    for dice in (1, 2):
        with other_dice(dice):
            found.append(_figure(metric, outputs, targets))
    if found[0] != found[1]:
        yield f"{found[0]:g}, and {found[1]:g} at another call"
    if not (torch.equal(outputs, one.outputs) and torch.equal(targets, one.targets)):
        yield "outputs or targets are changed"


def _better(metric: Any, one: Layout) -> Iterator[str]:
    """The direction is that of the errors."""
    assert one.right is not None
    sign = 1.0 if metric.higher_is_better else -1.0
    plain, right = (_figure(metric, found, one.targets) for found in (one.outputs, one.right))
    if not sign * right > sign * plain:
        yield f"{right:g} without an error, {plain:g} of a model that knows nothing"


def _reached(metric: Any, one: Layout) -> Iterator[str]:
    """Best and worst are what they are called."""
    assert one.right is not None
    if metric.range is None:
        return
    worst, best = metric.range
    sign = 1.0 if metric.higher_is_better else -1.0
    if not sign * best > sign * worst:
        yield f"worst {worst:g}, best {best:g}, with higher_is_better = {metric.higher_is_better}"
        return
    slack = CLOSE * abs(best - worst)
    right = _figure(metric, one.right, one.targets)
    if abs(right - best) > slack:
        yield f"{right:g} without an error, and the best is {best:g}"
    plain = _figure(metric, one.outputs, one.targets)
    if sign * plain > sign * best + slack:
        yield f"{plain:g}, and the best is {best:g}"
    if one.wrong is not None and not _whole(metric):  # the worst ranking depends on the shares
        wrong = _figure(metric, one.wrong, one.targets)
        if sign * wrong > sign * worst + slack:
            yield f"{wrong:g} where all is wrong, and the worst is {worst:g}"


def _missing(metric: Any, one: Layout) -> Iterator[str]:
    """An example without targets is not there."""
    for example in (0, len(one.targets) - 1):
        rest = one.rest(example)
        there = _figure(metric, one.outputs[rest], one.targets[rest])
        found = _figure(metric, one.outputs, replace(one, right=None).without(example))
        if not _close(there, found):
            hint = "(missing=False if the data have none)"
            yield f"{found:g} with an example without targets, {there:g} without it {hint}"


def _close(one: float, other: float) -> bool:
    """Whether two figures are one, up to rounding."""
    return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
