"""Whether every client's data are data of its task."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fairopt.errors import InvalidInput
from fl_runtime.task import Examples, Task, load_params


def check_shards(tasks: Sequence[Task]) -> None:
    """Compare each shard with the task's validation data and with the classes of its model.

    Raises:
        InvalidInput: With task and client: features of another shape or type, a number of labels
            other than that of features, labels that are no integers or that the model does not
            know, or an entry that is not finite.
    """
    for task in tasks:
        classes = _num_classes(task)
        for client, shard in enumerate(task.shards):
            found = _disagreement(shard, task.validation, classes)
            if found is not None:
                value, requirement = found
                raise InvalidInput(f"task {task.name}, client {client}", value, requirement)


def _disagreement(
    shard: Examples, example: Examples, classes: int | None
) -> tuple[str, str] | None:
    """What is wrong with a shard, as value and requirement."""
    x, y = shard.features, shard.labels
    shape = tuple(example.features.shape[1:])
    if tuple(x.shape[1:]) != shape:
        return f"features of shape {tuple(x.shape[1:])}", f"of shape {shape} like the others"
    if x.dtype != example.features.dtype:
        return f"features of type {x.dtype}", f"of type {example.features.dtype} like the others"
    if y.shape != x.shape[:1]:
        return f"labels of shape {tuple(y.shape)}", f"one label for each of {x.shape[0]} examples"
    if y.dtype != torch.int64:
        return f"labels of type {y.dtype}", "of type torch.int64"
    if not bool(torch.isfinite(x).all()):
        return "features with NaN or infinity", "finite features"
    low, high = int(y.min()), int(y.max())
    if low < 0 or (classes is not None and high >= classes):
        known = "nonnegative" if classes is None else f"in 0 .. {classes - 1}"
        return f"labels in {low} .. {high}", f"labels {known}, as the model has them"
    return None


def _num_classes(task: Task) -> int | None:
    """How many classes the model tells apart; None if it cannot be asked about one example."""
    try:
        load_params(task.model, task.complete(task.initial))
        task.model.eval()
        with torch.no_grad():
            return int(task.model(task.validation.features[:1]).shape[-1])
    except Exception:  # noqa: BLE001  # the check of training reports what is wrong
        return None
