r"""Figures about clients for tasks of any kind: every metric on what is like a client's own data.

A client has few examples or none that nobody trained on, so its figure is that of the test set,
weighted as its own examples are (`data.mixtures`): with statistics :math:`s_i` of the test examples
and :math:`\bar s_c` their mean in stratum c, client k has the metric's value at
:math:`\sum_c q_{k,c} \bar s_c`. Where the data know who made each example, it is that of the
client's own test examples instead.

Across tasks it is 1 - error (`training.scores.Scale`), so that units do not mix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fl_runtime.algorithms.reweighting import accuracy_inside_and_outside
from fl_runtime.data.inputs import called
from fl_runtime.metrics.round_metrics import LOCAL_METRICS, Row
from fl_runtime.training.federation import Federation
from fl_runtime.training.measuring import is_whole
from fl_runtime.training.scores import Metric
from fl_runtime.training.task import Params, Task, load_params
from fl_runtime.whole_numbers import whole_up

LOWEST_SHARE = 0.1
"""Of the clients, those with the lowest figure: the bottom decile."""

Vector = NDArray[np.float64]
Models = Mapping[str, Params]
"""By whose they are, see `ServerState.evaluated`."""


def local_figures(federation: Federation, models: Mapping[str, Models]) -> Row:
    """All figures about clients that any kind of task has.

    Args:
        federation: Tasks, and who holds which now.
        models: That each task is judged by.

    Returns:
        `TASK/local_METRIC` and `TASK/bottom_decile_METRIC` of every metric by statistics: mean over
        the clients that hold the task, and over the worst tenth of them;
        `local_score`, `bottom_decile_score`: the same of 1 - error over all tasks that a client
        holds, by its numbers of examples;
        `id_score`, `ood_score`: mean over clients of 1 - error on the test sets of tasks they hold
        and of those they do not, by size. NaN where a task has no scale.
    """
    tasks, held = federation.tasks, federation.eligible
    row: Row = {}
    own, plain = [], []
    for task, holders in zip(tasks, held.T, strict=True):
        seen = {who: statistics_of(task, params) for who, params in models[task.name].items()}
        for name, metric in _by_statistics(task).items():
            values = _of_clients(task, metric, {who: each[name] for who, each in seen.items()})
            mine = values[holders & np.isfinite(values)]
            worst = bottom_mean(mine if metric.higher_is_better else -mine)
            row[f"{task.name}/local_{name}"] = float(mine.mean()) if mine.size else math.nan
            row[f"{task.name}/bottom_decile_{name}"] = worst if metric.higher_is_better else -worst
        own.append(_gains(task, seen, own=True))
        plain.append(_gains(task, seen, own=False))
    return {**row, **_across(federation, np.array(own).T, np.array(plain).T)}


def local_figure_names(tasks: Sequence[Task]) -> list[str]:
    """Names of the columns that `local_figures` gives for those tasks."""
    per_task = [
        f"{task.name}/{kind}_{name}"
        for task in tasks
        for name in _by_statistics(task)
        for kind in ("local", "bottom_decile")
    ]
    return [*per_task, *LOCAL_METRICS]


def statistics_of(task: Task, params: Params) -> dict[str, Vector]:
    """(num_test, m) of every metric by statistics, of a model on the test set."""
    load_params(task.model, task.complete(params))
    task.model.eval()
    found: dict[str, list[Any]] = {name: [] for name in _by_statistics(task)}
    with torch.no_grad():
        for first in range(0, len(task.test), task.evaluation_batch):
            some = task.test.at(slice(first, first + task.evaluation_batch))
            outputs = called(task.model, some.features)
            for name, metric in _by_statistics(task).items():
                found[name].append(metric.statistics(outputs, some.targets).double().cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def bottom_mean(values: Vector) -> float:
    """Mean of the lowest tenth of the values, of one at least; NaN of none.

    Example:
        >>> bottom_mean(np.array([0.5, 0.2, 0.9]))
        0.2
    """
    if values.size == 0:
        return math.nan
    count = whole_up(LOWEST_SHARE * values.size)
    return float(np.sort(values)[:count].mean())


def mean_of_known(values: Vector) -> float:
    """Mean of what is a number; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _by_statistics(task: Task) -> dict[str, Metric]:
    """The metrics that add up."""
    return {name: one for name, one in task.metrics.items() if not is_whole(one)}  # type: ignore[misc]


def _of_clients(task: Task, metric: Metric, seen: Mapping[str, Vector]) -> Vector:
    """(num_clients,) the metric of the model that each client uses, on what is like its data."""
    count = len(task.sizes)
    if task.mixture is None:
        return np.full(count, np.nan)
    rows = {who: task.mixture.of_clients(statistics) for who, statistics in seen.items()}
    blank = np.full(count, np.nan)
    values = {
        who: np.array([_value(metric, row) for row in found]) if who == "" else found
        for who, found in rows.items()
    }
    common = values.pop("", blank)
    for who, found in values.items():
        common[int(who)] = _value(metric, found[int(who)])
    return common


def _value(metric: Metric, row: Vector) -> float:
    """The metric of mean statistics; NaN where there are none."""
    return metric.value(torch.from_numpy(row)) if np.isfinite(row).all() else math.nan


def _gains(task: Task, seen: Mapping[str, Mapping[str, Vector]], *, own: bool) -> Vector:
    """(num_clients,) 1 - error of the score, on a client's own kind of data or on all test data."""
    count, score = len(task.sizes), next(iter(task.metrics))
    metric = _by_statistics(task).get(score)
    if task.scale is None or metric is None:
        return np.full(count, np.nan)
    mine = {who: found[score] for who, found in seen.items()}
    if own:
        scores = _of_clients(task, metric, mine)
    else:
        plain = {who: _value(metric, each.mean(axis=0)) for who, each in mine.items()}
        scores = np.array([plain.get(str(k), plain.get("", math.nan)) for k in range(count)])
    return np.array([1.0 - task.scale.error(s) if math.isfinite(s) else math.nan for s in scores])


def _across(federation: Federation, own: Vector, plain: Vector) -> Row:
    """The figures over tasks."""
    tasks, held = federation.tasks, federation.eligible
    sides = np.array(
        [
            accuracy_inside_and_outside(seen, [len(task.test) for task in tasks], mine)
            for seen, mine in zip(plain, held, strict=True)
        ]
    )
    counted = held & np.isfinite(own)
    examples = np.array([task.sizes for task in tasks]).T * counted
    some = examples.any(axis=1) & ~(held & np.isnan(plain)).any(axis=1)
    parts = np.where(counted, own * examples, 0.0)[some]
    local = parts.sum(axis=1) / examples[some].sum(axis=1)
    figures = (
        mean_of_known(local),
        bottom_mean(local),
        mean_of_known(sides[:, 0]),
        mean_of_known(sides[:, 1]),
    )
    return dict(zip(LOCAL_METRICS, figures, strict=True))
