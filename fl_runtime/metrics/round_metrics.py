"""Figures of one round, and of several tasks at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from fairopt.utility import jain_index
from fl_runtime.training.job import Update
from fl_runtime.training.scores import ACC
from fl_runtime.training.task import Evaluation

TIME_TO_TARGETS = "time-to-targets"
"""The metric of simultaneous training: virtual time until every task has reached its target."""

COST_TO_TARGETS = {"compute-to-targets": "compute", "traffic-to-targets": "traffic"}
"""What training costs until every task has reached its target, by the column that is added up."""

MEAN_TASK_CHANGE = "mean-task-change"
"""The metric of multi-task learning: mean over tasks of the relative change of test scores."""

DELTA_M = "delta-m"
"""The same against every task's reference instead of another arm."""

PERCENT_WORSE = "percent-worse"
"""The literature's Delta m: mean over tasks of per cent worse than an arm with tasks alone."""

MEAN_RANK = "mean-rank"
"""Rank among all arms by test score, 1 for the best, averaged over tasks."""

NO_FIGURES = ("event", "arm", "seed", "rule", "take_up", "evaluated")
"""Entries of rows that are names or several numbers, so no claim can be about them."""

CLIENT_METRICS = (
    "local_acc",
    "bottom_decile_acc",
    "id_acc",
    "ood_acc",
    "macro_f1",
    "weighted_f1",
)
"""Figures about clients and classes that rows hold on request, see `client_metrics`."""

LOCAL_METRICS = ("local_score", "bottom_decile_score", "id_score", "ood_score")
"""The first four of tasks that are no plain classifications, of 1 - error, see `local_metrics`."""

COST_METRICS = ("compute", "traffic")
"""Figures about the cost of training, likewise; a summary adds them up over a run."""

SCORE_NAMES = {
    "min_task_acc": "min_task_score",
    "mean_task_acc": "mean_task_score",
    "var_task_acc": "var_task_score",
}
"""Figures across tasks, by what they are called where all tasks are scored by accuracy."""

Row = dict[str, float | int | str | None]
"""One line of a history: metric names and values."""


def across_tasks(accuracy: Sequence[float]) -> Row:
    r"""How a vector of task accuracies looks to somebody who cares about fairness.

    Returns:
        `min_task_acc`, `mean_task_acc`, `var_task_acc` (population variance), and `jain`, Jain's
        index :math:`(\sum a)^2 / (S \sum a^2)`, 1 when all are equal and 1/S when one has it all.

    Example:
        >>> across_tasks([0.5, 1.0])
        {'min_task_acc': 0.5, 'mean_task_acc': 0.75, 'var_task_acc': 0.0625, 'jain': 0.9}
    """
    a = np.asarray(accuracy, dtype=np.float64)
    return {
        "min_task_acc": float(a.min()),
        "mean_task_acc": float(a.mean()),
        "var_task_acc": float(a.var()),
        "jain": jain_index(a),
    }


def held_out_metrics(validation: Mapping[str, Evaluation], test: Mapping[str, Evaluation]) -> Row:
    """Loss and metrics of every task on both held-out sets, then the figures across tasks.

    Across tasks that are all scored by accuracy these are `across_tasks`. Otherwise they are those
    of 1 - error (`scores.Scale`), named `min_task_score` and so on; None where a task has no scale.
    """
    row: Row = {}
    for task, seen in test.items():
        row |= {f"{task}/eval_{name}": value for name, value in seen.figures.items()}
        row[f"{task}/eval_loss"] = seen.loss
        row |= {f"{task}/val_{name}": value for name, value in validation[task].figures.items()}
        row[f"{task}/val_loss"] = validation[task].loss
    if all(seen.metric == ACC for seen in test.values()):
        return row | across_tasks([seen.accuracy for seen in test.values()])
    return row | across_scores([seen.error for seen in test.values()])


def across_scores(errors: Sequence[float | None]) -> Row:
    """The figures of `across_tasks` for 1 - error; None where one has none.

    Jain's index is that of what is positive: beyond an error of 1 a task has nothing.

    Example:
        >>> across_scores([0.0, 1.5])
        {'min_task_score': -0.5, 'mean_task_score': 0.25, 'var_task_score': 0.5625, 'jain': 0.5}
    """
    gains = [math.nan if error is None else 1.0 - error for error in errors]
    if not all(map(math.isfinite, gains)):
        return dict.fromkeys((*SCORE_NAMES.values(), "jain"))
    plain, jain = across_tasks(gains), across_tasks([max(gain, 0.0) for gain in gains])["jain"]
    return {SCORE_NAMES.get(name, name): value for name, value in plain.items()} | {"jain": jain}


def column_among(name: str, columns: Collection[str]) -> str:
    """A figure across tasks by the name it has there: both are accepted where one is meant.

    Example:
        >>> column_among("min_task_acc", ["min_task_score"]), column_among("jain", ["jain"])
        ('min_task_score', 'jain')
    """
    other = SCORE_NAMES | {new: old for old, new in SCORE_NAMES.items()}
    same = other.get(name, name)
    return same if name not in columns and same in columns else name


def training_metrics(tasks: Sequence[str], updates: Sequence[Update], *, answers_once: bool) -> Row:
    """What stands behind the updates of one round, for each task and for all of them.

    Args:
        tasks: Their names.
        updates: That count.
        answers_once: Whether no client can bring several, so that counting one is counting the
            other.

    Returns:
        `num-clients`, different clients; `num-updates`, unless there is one per client by
        construction; `num-examples`; and `train_loss`, weighted by them, None where nobody trained.
    """
    row: Row = {}
    for prefix in (*(f"{task}/" for task in tasks), ""):
        mine = [update for update in updates if prefix in ("", f"{update.task}/")]
        row[f"{prefix}num-clients"] = len({update.client for update in mine})
        if not answers_once:
            row[f"{prefix}num-updates"] = len(mine)
        row[f"{prefix}num-examples"] = sum(update.num_examples for update in mine)
        row[f"{prefix}train_loss"] = _weighted_loss(mine)
    return row


def staleness_metrics(ages: Sequence[int]) -> Row:
    """How many versions old the updates were when they arrived; zero where nothing did."""
    seen = list(ages) or [0]
    return {"staleness_mean": float(np.mean(seen)), "staleness_max": max(seen)}


def held_out_names(metrics: Mapping[str, Sequence[str]]) -> list[str]:
    """Names of the figures that `held_out_metrics` gives for tasks with those metrics."""
    nothing = {
        task: Evaluation(0.0, dict.fromkeys(names, 0.0), 0.0) for task, names in metrics.items()
    }
    return list(held_out_metrics(nothing, nothing))


def _weighted_loss(updates: Sequence[Update]) -> float | None:
    """Mean training loss, weighted by examples."""
    total = sum(update.num_examples for update in updates)
    if total == 0:
        return None
    return sum(u.metrics["train_loss"] * u.num_examples for u in updates) / total
