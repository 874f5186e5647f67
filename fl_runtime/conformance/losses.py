"""The laws of a loss, tried on small batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

from fairopt.errors import InvalidInput, Unshown
from fairopt.user_objects import said
from fl_runtime.conformance.broken import Broken, Law, other_dice, tried
from fl_runtime.conformance.layouts import Layout, layouts
from fl_runtime.training.losses import Demanding, Loss, loss_of, loss_parts

CLOSE = 1e-5
"""Share by which the same number, computed in another way in float32, may differ."""

SHAPE = "one number per example, or sums and counts"


def check_loss(
    loss: str | Mapping[str, Any] | Loss,
    outputs: Tensor | None = None,
    targets: Tensor | None = None,
    *,
    missing: bool = True,
) -> list[Broken]:
    """The laws that a loss breaks.

    Laws: one number per example, or sums and counts >= 0, finite; each example by itself, in any
    order and in any batch; a function of outputs and targets, which it leaves alone; a gradient
    that is finite and not zero everywhere; the same through `torch.func.vmap`, its gradient, too;
    examples whose targets are missing have neither sum nor count nor gradient.

    Args:
        loss: An object, a name, ``package.module:object``, or a table of these with fields.
        outputs: (n, ...) of a model. Without a batch, the loss is tried on the usual kinds that it
            takes (`layouts`): all of them if it says what it takes (`misfit`), else the first.
        targets: (n, ...) without any that is missing.
        missing: Whether the data may have missing targets, NaN or -100.

    Raises:
        InvalidInput: There is no such loss, or it takes no usual batch and is given none.

    Example:
        >>> check_loss("huber")
        []
        >>> broken = check_loss(lambda outputs, targets: (outputs - targets).square().mean())
        >>> broken[0].law
        'one number per example, or sums and counts'
    """
    made = loss if callable(loss) else loss_of("loss", loss)
    found = [Layout("given", *_both(outputs, targets))] if outputs is not None else _fitting(made)
    first = tried({SHAPE: lambda: (why for one in found for why in _shape(made, one))})
    return first or tried(_laws(made, found, missing))


def _both(outputs: Tensor | None, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """A batch that was given."""
    if outputs is None or targets is None or len(outputs) != len(targets) or len(targets) < 2:
        raise InvalidInput(
            "targets", Unshown.ITSELF, "given with outputs, of as many examples, >= 2"
        )
    return outputs.detach(), targets


def _fitting(loss: Loss) -> list[Layout]:
    """The usual batches that a loss takes; one that it at least runs on where it takes none."""
    runs, why = [], "nothing was tried"
    for each in layouts():
        if isinstance(loss, Demanding) and loss.misfit(tuple(each.outputs.shape[1:]), each.targets):
            continue
        try:
            loss(each.outputs, each.targets)
        except Exception as error:  # noqa: BLE001 - whatever the loss does with other kinds
            why = said(error)
        else:
            runs.append(each)
    if not runs:
        requirement = f"give some, with targets that this loss takes ({why})"
        raise InvalidInput("outputs", Unshown.MISSING, requirement)
    if isinstance(loss, Demanding):
        return runs
    return [next((each for each in runs if not list(_shape(loss, each))), runs[0])]


def _laws(loss: Loss, cases: list[Layout], missing: bool) -> dict[str, Law]:
    """All laws but the first."""

    def over(law: Any) -> Law:
        return lambda: (f"{one.name}: {why}" for one in cases for why in law(loss, one))

    laws = {
        "finite, and a slope that is finite": over(_slope),
        "each example by itself": over(_alone),
        "a function of outputs and targets": over(_pure),
        "the same as a stack": over(_stacked),
    }
    return {**laws, "missing targets count nothing": over(_missing)} if missing else laws


def _shape(loss: Loss, one: Layout) -> Iterator[str]:
    """What kind of thing it gives."""
    made, count = loss(one.outputs, one.targets), len(one.targets)
    parts = made if isinstance(made, tuple) else (made,)
    kinds = [tuple(part.shape) if isinstance(part, Tensor) else type(part) for part in parts]
    if len(parts) > 2 or any(kind != (count,) for kind in kinds):
        yield f"{one.name}: {kinds} for {count} examples"
    elif not parts[0].is_floating_point():
        yield f"{one.name}: {parts[0].dtype}"
    elif len(parts) == 2 and not bool((parts[1] >= 0).all()):
        yield f"{one.name}: a count of {float(parts[1].min()):g}"


def _slope(loss: Loss, one: Layout) -> Iterator[str]:
    """Values and gradients are numbers, and something depends on the outputs."""
    sums, counts = loss_parts(loss, one.outputs, one.targets)
    if not bool(sums.isfinite().all() and counts.isfinite().all()):
        yield "a value that is not finite"
    slopes = _gradient(loss, one.outputs, one.targets)
    if not bool(slopes.isfinite().all()):
        yield "a gradient that is not finite"
    elif not bool(slopes.any()):
        yield "a gradient of zero everywhere"


def _alone(loss: Loss, one: Layout) -> Iterator[str]:
    """Other examples of a batch, and their order, make no difference."""
    whole = loss_parts(loss, one.outputs, one.targets)
    order = torch.arange(len(one.targets)).flip(0)
    turned = loss_parts(loss, one.outputs[order], one.targets[order])
    if not _equal([part[order] for part in whole], turned):
        yield "others in reverse order"
    for cut in (1, len(one.targets) // 2):
        parts = [
            loss_parts(loss, one.outputs[mine], one.targets[mine])
            for mine in (slice(None, cut), slice(cut, None))
        ]
        if not _equal(whole, [torch.cat(both) for both in zip(*parts, strict=True)]):
            yield f"others where a batch is cut after {cut}"


def _pure(loss: Loss, one: Layout) -> Iterator[str]:
    """Nothing else plays a part, and nothing is changed."""
    outputs, targets = one.outputs.clone(), one.targets.clone()
    found = []
    for dice in (1, 2):
        with other_dice(dice):
            found.append(loss_parts(loss, outputs, targets))
    if not all(torch.equal(a, b) for a, b in zip(*found, strict=True)):
        yield "others at another call"
    same = torch.equal(outputs, one.outputs) and torch.equal(
        targets.nan_to_num(), one.targets.nan_to_num()
    )
    if not same:
        yield "outputs or targets are changed"


def _stacked(loss: Loss, one: Layout) -> Iterator[str]:
    """Several clients at once are each alone, their gradients, too."""
    half = len(one.targets) // 2
    outputs, targets = (
        torch.stack([part[:half], part[half : 2 * half]]) for part in (one.outputs, one.targets)
    )
    each = [loss_parts(loss, *pair) for pair in zip(outputs, targets, strict=True)]
    wanted = [torch.stack(both) for both in zip(*each, strict=True)]
    if not _equal(wanted, vmap(lambda o, t: loss_parts(loss, o, t))(outputs, targets)):
        yield "other values through torch.func.vmap"
    slopes = vmap(grad(lambda o, t: loss_parts(loss, o, t)[0].sum()))(outputs, targets)
    alone = [_gradient(loss, *pair) for pair in zip(outputs, targets, strict=True)]
    if not _equal([torch.stack(alone)], [slopes]):
        yield "other gradients through torch.func.vmap"


def _missing(loss: Loss, one: Layout) -> Iterator[str]:
    """An example without targets is not there; so are single places without one."""
    hint = " (missing=False if the data have none)"
    for example in (0, len(one.targets) - 1):
        targets, rest = one.without(example), one.rest(example)
        sums, counts = loss_parts(loss, one.outputs, targets)
        slopes = _gradient(loss, one.outputs, targets)
        if float(sums[example]) or float(counts[example]):
            yield f"sum {float(sums[example]):g}, count {float(counts[example]):g}{hint}"
        elif bool(slopes[example].any()) or not bool(slopes.isfinite().all()):
            yield f"a gradient{hint}"
        elif not _equal(
            [part[rest] for part in loss_parts(loss, one.outputs, one.targets)],
            [sums[rest], counts[rest]],
        ):
            yield f"other examples change{hint}"
    if one.targets.ndim > 1:
        targets = one.targets.clone()
        targets.view(len(targets), -1)[:, 0] = one.without(0)[0].reshape(-1)[0]
        sums, _ = loss_parts(loss, one.outputs, targets)
        slopes = _gradient(loss, one.outputs, targets)
        if not bool(sums.isfinite().all() and slopes.isfinite().all()):
            yield f"not finite where one place of each example is missing{hint}"


def _gradient(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Of the sum over a batch, in the outputs."""
    leaf = outputs.detach().clone().requires_grad_(True)
    (slopes,) = torch.autograd.grad(loss_parts(loss, leaf, targets)[0].sum(), leaf)
    return slopes


def _equal(some: Any, others: Any) -> bool:
    """Whether tensors are alike up to rounding."""
    return all(
        a.shape == b.shape and torch.allclose(a.detach(), b.detach(), rtol=CLOSE, atol=CLOSE)
        for a, b in zip(some, others, strict=True)
    )
