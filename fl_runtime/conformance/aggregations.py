"""The laws of a robust aggregation, tried on small updates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from fl_runtime.algorithms.robust_aggregation import ROBUST_RULE, RobustRule
from fl_runtime.conformance.broken import Broken, other_dice, tried
from fl_runtime.conformance.given import made_of
from fl_runtime.conformance.trees import differences, plain, tensors
from fl_runtime.training.task import Params

ROUNDING = 1e-9
"""Of numbers in float64, on which the laws are tried."""

MORE = 4
"""Updates beyond those that a rule needs."""


def check_aggregation(rule: str | Mapping[str, Any] | RobustRule) -> list[Broken]:
    """The laws that a robust aggregation breaks.

    Laws: one finite difference with the entries of the updates, in their shapes; a function of the
    updates, which it leaves alone; the same in any order; a factor or a shift of all updates is one
    of the result; equal updates give that update.

    Example:
        >>> check_aggregation({"name": "krum", "num_byzantine": 2})
        []
    """
    made: RobustRule = made_of(ROBUST_RULE, rule)

    def cases() -> Iterator[list[Params]]:
        rng = torch.Generator().manual_seed(3)
        for count in (made.fewest, made.fewest + 1, made.fewest + MORE):
            table = torch.randn(count, 5, generator=rng, dtype=torch.float64)
            yield [{"a": row[:2].reshape(2, 1), "b": row[2:]} for row in table]

    def shape() -> Iterator[str]:
        for deltas in cases():
            found = made.combine(deltas)
            shapes = [{k: tuple(v.shape) for k, v in one.items()} for one in (found, deltas[0])]
            if shapes[0] != shapes[1]:
                yield f"{shapes[0]} of {len(deltas)} updates with {shapes[1]}"
            elif not all(bool(value.isfinite().all()) for value in tensors(plain(found))):
                yield f"a number that is not finite, of {len(deltas)} updates"

    def pure() -> Iterator[str]:
        for deltas in cases():
            before, found = plain(deltas), []
            for dice in (1, 2):
                with other_dice(dice):
                    found.append(plain(made.combine(deltas)))
            yield from (f"others at another call: {k}" for k in differences(found[0], found[1]))
            yield from (f"updates are changed: {k}" for k in differences(before, plain(deltas)))

    def order() -> Iterator[str]:
        for deltas in cases():
            one, other = (plain(made.combine(some)) for some in (deltas, deltas[::-1]))
            for key in differences(one, other, ROUNDING):
                yield f"{key} of {len(deltas)} updates in reverse order"

    def moved() -> Iterator[str]:
        for deltas in cases():
            plainly = made.combine(deltas)
            for factor, shift in ((4.0, 0.0), (1.0, 3.0)):
                some = [{k: factor * v + shift for k, v in one.items()} for one in deltas]
                wanted = plain({k: factor * v + shift for k, v in plainly.items()})
                for key in differences(wanted, plain(made.combine(some)), ROUNDING):
                    what = f"times {factor:g}" if factor != 1.0 else f"plus {shift:g}"
                    yield f"{key} of {len(deltas)} updates {what}"

    def equal() -> Iterator[str]:
        for deltas in cases():
            found = made.combine([deltas[0]] * len(deltas))
            for key in differences(plain(deltas[0]), plain(found), ROUNDING):
                yield f"{key} of {len(deltas)} equal updates"

    return tried(
        {
            "a difference like the updates": shape,
            "a function of the updates": pure,
            "in any order": order,
            "factors and shifts are those of the result": moved,
            "equal updates give that update": equal,
        }
    )
