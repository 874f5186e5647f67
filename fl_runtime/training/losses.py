r"""What a task is trained on: a loss per example, by name or the user's own.

A loss takes (outputs, targets) of a batch and gives (n,) losses, one per example; or the sums (n,)
of what it counts in each example (pixels, tokens, labels that are there), and their numbers (n,).
A step descends on :math:`\sum_i w_i s_i / \sum_i c_i` with sums s, counts c and weights w: the mean
over what is counted where all weights are one.

Missing targets are NaN in floats and -100 in integers (`MISSING`), so an array of targets is its
own mask: pixels without a class, padding behind a text, a label that nobody gave. They count
nothing.

Both executors call the same loss, one of them through `torch.func.vmap`: a loss is made of tensor
operations only, and neither looks into a tensor (`if`, `float`) nor picks entries by a mask.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fairopt.errors import InvalidInput, Unshown
from fl_runtime.extensions import Kind, begins_with, resolve
from fl_runtime.validation_errors import check_positive, record_from_table

MISSING = -100
"""An integer target that is not there, as PyTorch marks it."""

Parts = tuple[Tensor, Tensor]
"""Sums (n,) of what is counted, and counts (n,)."""

Misfit = tuple[object, str] | tuple[object, str, str]
"""What does not fit: its value, and what it must be; and whether that is the task's `loss` or
`model` where it is not its targets."""


class Loss(Protocol):
    """What a step descends on."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor | Parts:
        """(n,) losses, or sums (n,) and counts (n,)."""
        ...


@runtime_checkable
class Demanding(Protocol):
    """A loss that can say which targets it takes."""

    def misfit(self, outputs: tuple[int, ...], targets: Tensor) -> Misfit | None:
        """What is wrong with targets, for outputs of that shape per example; None if nothing is."""
        ...


def present(targets: Tensor) -> Tensor:
    """Where there is a target.

    Example:
        >>> present(torch.tensor([1.0, torch.nan])), present(torch.tensor([MISSING, 0]))
        (tensor([ True, False]), tensor([False,  True]))
    """
    return ~targets.isnan() if targets.is_floating_point() else targets != MISSING


def counted(targets: Tensor) -> Tensor:
    """(n,) bool, the examples with at least one target."""
    return present(targets).reshape(len(targets), -1).any(dim=1)


def per_example(values: Tensor) -> Tensor:
    """(n,) sums over everything but the first axis."""
    return values if values.ndim == 1 else values.flatten(1).sum(dim=1)


def like_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs in the shape of the targets; a last axis of one number may be left out of these.

    Raises:
        InvalidInput: The shapes differ otherwise: to spread one over the other would be a mistake.
    """
    if outputs.shape == targets.shape:
        return outputs
    if outputs.shape == (*targets.shape, 1):
        return outputs.squeeze(-1)
    requirement = f"of the shape of the outputs, {tuple(outputs.shape)}"
    raise InvalidInput("targets", tuple(targets.shape), requirement)


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy in nats: logits (n, classes, ...) with integer targets (n, ...).

    Example:
        >>> CrossEntropy()(torch.zeros(2, 4), torch.tensor([1, MISSING]))
        (tensor([1.3863, 0.0000]), tensor([1., 0.]))
    """

    def __call__(self, outputs: Tensor, targets: Tensor) -> Parts:
        """Sums and counts over everything but the first axis."""
        each = nn.functional.cross_entropy(outputs, targets, reduction="none")
        return per_example(each), per_example(present(targets).to(outputs.dtype))

    def misfit(self, outputs: tuple[int, ...], targets: Tensor) -> Misfit | None:
        """Numbers, classes that the outputs do not have, or other shapes than theirs."""
        if targets.is_floating_point():
            return _for_numbers(self)
        if not outputs:
            return Unshown.ITSELF, "one with a logit per class: its outputs have one axis", "model"
        mine = tuple(targets.shape[1:])
        if mine == outputs[:-1] != outputs[1:]:
            requirement = (
                f"for outputs with their classes in axis 1: in {('n', *outputs)} they "
                "are last, as token-cross-entropy takes them"
            )
            return ("n", *mine), requirement
        return _no_classes(outputs[1:], outputs[0], targets)


@dataclass(frozen=True)
class TokenCrossEntropy:
    """Cross-entropy in nats with the classes last: logits (n, ..., classes), targets (n, ...).

    Example:
        >>> TokenCrossEntropy()(torch.zeros(1, 2, 4), torch.tensor([[1, MISSING]]))
        (tensor([1.3863]), tensor([1.]))
    """

    def __call__(self, outputs: Tensor, targets: Tensor) -> Parts:
        """Sums and counts over the tokens of each example."""
        return CrossEntropy()(outputs.movedim(-1, 1), targets)

    def misfit(self, outputs: tuple[int, ...], targets: Tensor) -> Misfit | None:
        """Numbers, classes that the outputs do not have, or other shapes than theirs."""
        if targets.is_floating_point():
            return _for_numbers(self)
        if not outputs:
            return Unshown.ITSELF, "one with a logit per class: its outputs have one axis", "model"
        return _no_classes(outputs[:-1], outputs[-1], targets)


@dataclass(frozen=True)
class MeanSquaredError:
    """Squared error, over all numbers that are there.

    Attributes:
        unit: What errors are counted in: the loss is that of targets and outputs over `unit`.

    Example:
        >>> MeanSquaredError()(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, torch.nan]))
        (tensor([1., 0.]), tensor([1., 0.]))
        >>> MeanSquaredError(unit=0.5)(torch.tensor([[1.0]]), torch.tensor([0.0]))
        (tensor([4.]), tensor([1.]))
    """

    unit: float = 1.0

    def __post_init__(self) -> None:
        check_positive("unit", self.unit)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Parts:
        """Sums and counts."""
        sums, counts = _elementwise(nn.functional.mse_loss, outputs, targets)
        return sums / self.unit**2, counts

    def misfit(self, outputs: tuple[int, ...], targets: Tensor) -> Misfit | None:
        """Other shapes, or infinite targets."""
        return _no_numbers(self, outputs, targets)


@dataclass(frozen=True)
class MeanAbsoluteError:
    """Absolute error, over all numbers that are there.

    Attributes:
        unit: What errors are counted in.
    """

    unit: float = 1.0

    def __post_init__(self) -> None:
        check_positive("unit", self.unit)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Parts:
        """Sums and counts."""
        sums, counts = _elementwise(nn.functional.l1_loss, outputs, targets)
        return sums / self.unit, counts

    def misfit(self, outputs: tuple[int, ...], targets: Tensor) -> Misfit | None:
        """Other shapes, or infinite targets."""
        return _no_numbers(self, outputs, targets)


@dataclass(frozen=True)
class Huber:
    """Half the squared error up to `delta`, from there on linear (Huber 1964).

    Attributes:
        delta: Error from which on it is linear, in the units of the targets.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        check_positive("delta", self.delta)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Parts:
        """Sums and counts."""

        def huber(found: Tensor, wanted: Tensor, *, reduction: str) -> Tensor:
            return nn.functional.huber_loss(found, wanted, reduction=reduction, delta=self.delta)

        return _elementwise(huber, outputs, targets)

    def misfit(self, outputs: tuple[int, ...], targets: Tensor) -> Misfit | None:
        """Other shapes, or infinite targets."""
        return _no_numbers(self, outputs, targets)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Binary cross-entropy in nats of logits with targets in 0..1, one per label.

    Example:
        >>> BinaryCrossEntropy()(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, torch.nan]]))
        (tensor([1.3863]), tensor([2.]))
    """

    def __call__(self, outputs: Tensor, targets: Tensor) -> Parts:
        """Sums and counts over the labels of each example."""
        bce = nn.functional.binary_cross_entropy_with_logits
        return _elementwise(bce, outputs, targets)

    def misfit(self, outputs: tuple[int, ...], targets: Tensor) -> Misfit | None:
        """Other shapes, or targets outside 0..1."""
        if misfit := no_label(targets):
            return misfit[0], f"{misfit[1]} for bce"
        return _no_numbers(self, outputs, targets)


def no_label(targets: Tensor) -> Misfit | None:
    """A target outside 0 .. 1, if there is one.

    Example:
        >>> no_label(torch.tensor([0.0, torch.nan, -2.0])), no_label(torch.tensor([1, 0]))
        ((-2.0, 'in 0 .. 1'), None)
    """
    there = targets[present(targets)]
    if there.numel() and (float(there.min()) < 0.0 or float(there.max()) > 1.0):
        return float(there.min() if float(there.min()) < 0.0 else there.max()), "in 0 .. 1"
    return None


def check_labels(targets: Tensor) -> None:
    """Refuse targets that are no labels.

    Raises:
        InvalidInput: One is outside 0 .. 1.
    """
    if misfit := no_label(targets):
        requirement = (
            "one for other targets, such as acc for classes and r2 for numbers: it takes labels "
            f"in 0 .. 1, and one is {misfit[0]:g}"
        )
        raise InvalidInput("metric", Unshown.ITSELF, requirement)


def check_classes(targets: Tensor) -> None:
    """Refuse numbers where classes are counted.

    Raises:
        InvalidInput: Targets are floats.
    """
    if targets.is_floating_point():
        requirement = (
            "one for float targets, such as r2, rmse or mae: it takes classes, which are integers"
        )
        raise InvalidInput("metric", Unshown.ITSELF, requirement)


CROSS_ENTROPY = CrossEntropy()
"""The loss of tasks that say nothing."""

LOSSES: Mapping[str, Callable[..., Loss]] = {
    "cross-entropy": CrossEntropy,
    "token-cross-entropy": TokenCrossEntropy,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "huber": Huber,
    "bce": BinaryCrossEntropy,
}
"""Names in a configuration."""


def loss_of(key: str, entry: str | Mapping[str, Any]) -> Loss:
    """The loss that a configuration names.

    Args:
        key: Dotted key of the entry, for messages.
        entry: A name of `LOSSES`; ``"package.module:object"``, a function or a class without
            required arguments; or a table of `name` and fields.

    Raises:
        InvalidInput: An unknown name or field, or an object that cannot be imported.

    Example:
        >>> loss_of("task.a.loss", {"name": "huber", "delta": 0.5})
        Huber(delta=0.5)
    """
    found: Loss = resolve(LOSS, dict(entry) if isinstance(entry, Mapping) else entry, key=key)
    return found


def _made_loss(key: str, name: str, found: Any, fields: Mapping[str, Any]) -> Loss:
    """A record or class with its fields, or a function as it is."""
    if isinstance(found, type):
        plain = not fields and not is_dataclass(found)
        made: Loss = found() if plain else record_from_table(key, found, fields)
        return made
    if not callable(found):
        raise InvalidInput(key, name, LOSS.wanted)
    if fields:
        raise InvalidInput(f"{key}.{next(iter(fields))}", next(iter(fields.values())), "absent")
    return found  # type: ignore[no-any-return]


def _looks_like_a_loss(found: Any) -> bool:
    """A function of outputs and targets without a direction, or a record that is called so."""
    if isinstance(found, type):
        call = vars(found).get("__call__")
        return is_dataclass(found) and inspect.isfunction(call) and begins_with(call, _SELF)
    return inspect.isfunction(found) and begins_with(found, _SELF[1:]) and not _is_directed(found)


def _is_directed(found: object) -> bool:
    """Whether it says which direction is better, as metrics do."""
    return hasattr(found, "higher_is_better")


_SELF = ("self", "outputs", "targets")

LOSS = Kind(
    "loss",
    "task.loss",
    LOSSES,
    arguments=_SELF[1:],
    maker=_made_loss,
    looks=_looks_like_a_loss,
    words="a function (outputs, targets) -> (n,), or sums and counts (n,)",
)
"""What a task can be trained on."""


def loss_parts(loss: Loss, outputs: Tensor, targets: Tensor) -> Parts:
    """Sums and counts of a batch; an example of a loss without counts counts one."""
    made = loss(outputs, targets)
    return made if isinstance(made, tuple) else (made, torch.ones_like(made))


def batch_mean(
    loss: Loss,
    outputs: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    complete: bool = False,
) -> Parts:
    """What a step descends on, and how much it counts.

    Args:
        loss: The task's.
        outputs: Of the model.
        targets: Of the batch.
        weights: (n,) of the examples, or None for ones.
        complete: Whether no target is missing: then the cross-entropy of labels is PyTorch's mean.

    Returns:
        The mean over what is counted (zero where nothing is), and its count; both without an axis.
    """
    if weights is None and _plain(loss, targets, complete):
        mean = nn.functional.cross_entropy(outputs, targets)
        return mean, mean.new_full((), float(len(targets)))
    sums, counts = loss_parts(loss, outputs, targets)
    total = counts.sum()
    weighted = sums if weights is None else sums * weights
    return weighted.sum() / total.clamp(min=1.0), total


def batch_sum(loss: Loss, outputs: Tensor, targets: Tensor, *, complete: bool = False) -> Parts:
    """The sum over what is counted, and its count, for sets that are evaluated in batches."""
    if _plain(loss, targets, complete):
        total = nn.functional.cross_entropy(outputs, targets, reduction="sum")
        return total, total.new_full((), float(len(targets)))
    sums, counts = loss_parts(loss, outputs, targets)
    return sums.sum(), counts.sum()


def _plain(loss: Loss, targets: Tensor, complete: bool) -> bool:
    """Whether it is the cross-entropy of labels that are all there."""
    return complete and targets.ndim == 1 and isinstance(loss, CrossEntropy)


def check_parts(key: str, loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Refuse a loss that gives something else than it should for a batch.

    Raises:
        InvalidInput: It fails, is not of shape (n,), does not depend on the outputs, or has
            negative counts.
    """
    try:
        made = loss(outputs, targets)
    except Exception as error:  # whatever the user's loss does
        shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
        reason = str(error).partition("\n")[0]
        raise InvalidInput(key, Unshown.ITSELF, f"a loss for {shapes} ({reason})") from error
    several = made if isinstance(made, tuple) else (made,)
    found = [tuple(one.shape) if isinstance(one, Tensor) else type(one) for one in several]
    if len(several) > 2 or any(shape != (len(targets),) for shape in found):
        requirement = f"of shape ({len(targets)},), one per example, or sums and counts like that"
        raise InvalidInput(key, found[0] if len(found) == 1 else found, requirement)
    if not several[0].is_floating_point() or (
        outputs.requires_grad and not several[0].requires_grad
    ):
        raise InvalidInput(key, Unshown.ITSELF, "a loss that can be differentiated in the outputs")


def _elementwise(function: Callable[..., Tensor], outputs: Tensor, targets: Tensor) -> Parts:
    """Sums and counts of a loss of pairs of numbers; zero where there is no target."""
    found, there = like_targets(outputs, targets), present(targets)
    wanted = torch.where(there, targets, torch.zeros_like(targets)).to(found.dtype)
    each = torch.where(there, function(found, wanted, reduction="none"), 0.0)
    return per_example(each), per_example(there.to(found.dtype))


def _for_numbers(loss: Loss) -> Misfit:
    """What float targets want instead of a loss of classes."""
    name = _name_of(loss)
    requirement = (
        "mse, mae or huber for float targets (bce for labels 0.0 and 1.0): "
        f"{name} takes classes, which are integers"
    )
    return name, requirement, "loss"


def _name_of(loss: Loss) -> str:
    """The name of a loss in configurations."""
    names = (name for name, kind in LOSSES.items() if type(loss) is kind)
    return next(names, type(loss).__name__)


def _shape(one: tuple[int, ...]) -> str:
    """A shape of each of n examples, as Python writes it.

    Example:
        >>> _shape(()), _shape((2,))
        ('(n,)', '(n, 2)')
    """
    return f"(n, {', '.join(map(str, one))})" if one else "(n,)"


def _no_classes(places: tuple[int, ...], classes: int, targets: Tensor) -> Misfit | None:
    """What keeps targets from being classes at those places of each example."""
    if tuple(targets.shape[1:]) != places:
        if not places:
            return tuple(targets.shape), "one label per example"
        return tuple(targets.shape), f"of shape (n, {', '.join(map(str, places))})"
    if targets.dtype != torch.int64:
        return targets.dtype, "torch.int64"
    there = targets[present(targets)]
    low, high = (int(there.min()), int(there.max())) if there.numel() else (0, 0)
    if low < 0 or high >= classes:
        return low if low < 0 else high, f"in 0 .. {classes - 1}"
    return None


def _no_numbers(loss: Loss, outputs: tuple[int, ...], targets: Tensor) -> Misfit | None:
    """What keeps targets from being numbers like the outputs of each example."""
    mine, name = tuple(targets.shape[1:]), _name_of(loss)
    if outputs not in (mine, (*mine, 1)) and not targets.is_floating_point():
        kind = "token-cross-entropy" if mine and outputs[:-1] == mine else "cross-entropy"
        requirement = (
            f"{kind} for integer targets {_shape(mine)} with outputs {_shape(outputs)}: {name} "
            "takes a target for every output"
        )
        return name, requirement, "loss"
    if outputs not in (mine, (*mine, 1)):
        ways = _shape(mine) if mine else f"{_shape(mine)} or {_shape((1,))}"
        requirement = f"one with outputs {ways}, as its targets are; it gives {_shape(outputs)}"
        return Unshown.ITSELF, requirement, "model"
    if bool(targets.isinf().any()):
        return "infinity", "finite, or NaN where there is none"
    return None
