"""One trunk for several models: it takes the mean over tasks of their steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fl_runtime.algorithms.aggregation import Coefficients, add, combined, weighted_sum
from fl_runtime.algorithms.shared_trunk import trunk_entries
from fl_runtime.training.job import Update
from fl_runtime.training.task import Params, Task


def initial_models(
    tasks: Sequence[Task], *, one_trunk: bool, layers: Sequence[str] = ()
) -> dict[str, Params]:
    """Initial models by name; with `one_trunk` all have that of the first (`trunk_entries`).

    Raises:
        InvalidInput: The models have no layers in common, or of different shapes.
    """
    models = {task.name: task.initial for task in tasks}
    if not one_trunk:
        return models
    trunk = {key: tasks[0].initial[key] for key in trunk_entries(models, layers)}
    return {name: {**params, **trunk} for name, params in models.items()}


def step_with_one_trunk(
    models: Mapping[str, Params],
    updates: Sequence[Update],
    rule: Coefficients,
    layers: Sequence[str] = (),
) -> dict[str, Params]:
    """Every model after its updates; the trunk takes the mean over the tasks that were trained.

    Args:
        models: By name, with one trunk in common.
        updates: Of these models.
        rule: Coefficients of one model's updates.
        layers: That make up the trunk; all but the last if empty.
    """
    mine = {name: [u for u in updates if u.task == name] for name in models}
    steps = {name: combined(some, rule(some)) for name, some in mine.items() if some}
    if not steps:
        return dict(models)
    common = mean_of_trunks(steps.values(), trunk_entries(models, layers))
    return {k: add(params, {**steps.get(k, {}), **common}) for k, params in models.items()}


def mean_of_trunks(steps: Collection[Params], trunk: Collection[str]) -> Params:
    """The step of the trunk, of the steps of several models."""
    parts = [{key: step[key] for key in trunk} for step in steps]
    return weighted_sum(parts, [1.0 / len(parts)] * len(parts))
