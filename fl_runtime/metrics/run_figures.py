"""The figures of one run (an arm with a seed): one function each, for whoever shows or claims them.

Summaries, tables, pictures, pages and claims get a number per seed from here and average over seeds
afterwards. A figure is

* of the whole run: money is added up over recruitments, recruits are averaged over them; compute
  and traffic are added up over rounds, `TASK/clients_per_round` is a mean over all of them, and
  `rounds` their number;
* or a column of rows, averaged over the run's last rounds (`report-rounds`). A column that is
  itself a mean (`train_loss`, `staleness_mean`) is averaged over what it is a mean of.

No name is both: a column that recruitments have as well (`server_round`) is that of rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fairopt.choices import choose
from fl_runtime.history import ACCURACY, EVERYONE, History, Score, Series
from fl_runtime.metrics.round_metrics import (
    COST_METRICS,
    COST_TO_TARGETS,
    NO_FIGURES,
    TIME_TO_TARGETS,
    column_among,
)

NEVER = math.inf
"""The time of a target that a run does not reach."""

MONEY = ("spend", "cost", "budget")
"""Entries of recruitments that are added up."""

Targets = Mapping[str, float | None]
"""Test score to reach by task; None for no target."""


@dataclass(frozen=True)
class Run:
    """What a history holds of one arm with one seed.

    Attributes:
        recruitments: Its rows of recruitment, in order.
        rounds: Its rows of rounds.
    """

    recruitments: Sequence[Mapping[str, Any]]
    rounds: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, history: History, arm: str, seed: int) -> Run:
        """The rows of that arm and seed."""
        return cls(history.recruitments(arm, seed), history.rounds(arm, seed))


def figures(
    history: History, arm: str, name: str, *, last: int = 1, targets: Targets | None = None
) -> dict[int, float]:
    """A figure of every run of an arm, by seed.

    Args:
        history: All rows.
        arm: An arm of it.
        name: Of `run_figure_names`, or a column of rows of rounds; figures across tasks by either
            of their names (`min_task_acc`, `min_task_score`).
        last: Rounds that a column is averaged over.
        targets: For `time-to-targets`, and for `compute-to-targets` and `traffic-to-targets`.

    Raises:
        InvalidInput: No run of the arm has such a figure; the nearest name is given.
    """
    runs = {seed: Run.of(history, arm, seed) for seed in history.seeds(arm)}
    if name == TIME_TO_TARGETS:
        return {
            seed: time_to_targets(run.rounds, targets or {}, history.scores)
            for seed, run in runs.items()
        }
    if name in COST_TO_TARGETS:
        return {
            seed: cost_to_targets(run.rounds, COST_TO_TARGETS[name], targets or {}, history.scores)
            for seed, run in runs.items()
        }
    whole = _of_a_whole_run(history.tasks)
    columns = {key: key for run in runs.values() for row in run.rounds for key in row}
    known = {key: key for key in (*columns, *whole) if key not in NO_FIGURES}
    known = {key: key for key in known if key not in COST_METRICS or key in columns}
    name = column_among(name, known)
    choose("claim.metric", name, known)
    if name in whole:
        return {seed: whole[name](run) for seed, run in runs.items()}
    return {seed: final(run.rounds, name, last) for seed, run in runs.items()}


def run_figure_names(tasks: Sequence[str]) -> list[str]:
    """Names of the figures that every run has, whatever the columns of its rows."""
    return [name for name in _of_a_whole_run(tasks) if name not in COST_METRICS]


def final(rows: Sequence[Mapping[str, Any]], name: str, last: int = 1) -> float:
    """A column averaged over the last rounds; NaN where one of them lacks it, or there is none.

    Rounds whose models were not evaluated count for the columns that they have.

    Example:
        >>> final([{"jain": 0.1}, {"jain": 0.5}, {"jain": 1}], "jain", last=2)
        0.75
        >>> quiet, busy = ({"staleness_mean": x, "num-clients": n} for x, n in ((0.0, 0), (3.0, 4)))
        >>> final([quiet, busy], "staleness_mean", last=2)
        3.0
    """
    seen = [row for row in rows[-last:] if row.get("evaluated", True) or row.get(name) is not None]
    values, weights = _column(seen, name), _weights(seen, name)
    if weights.any():
        values, weights = values[weights > 0.0], weights[weights > 0.0]
        return float(np.average(values, weights=weights))
    return float(values.mean()) if len(seen) else math.nan


def clients_per_round(run: Run, task: str) -> float:
    """Clients that trained a task, averaged over all rounds of a run."""
    return final(run.rounds, f"{task}/num-clients", max(1, len(run.rounds)))


def total(run: Run, column: str, *, stage: float | None = None) -> float:
    """A column added up over the rounds of a run, or over those of one stage."""
    rows = [row for row in run.rounds if stage is None or row.get("stage") == stage]
    return float(_column(rows, column).sum())


def money(run: Run, column: str) -> float:
    """Spend, true cost or budget added up over the recruitments of a run; NaN without a budget."""
    if column == "budget" and rule(run) == EVERYONE:
        return math.nan
    return float(_column(run.recruitments, column).sum())


def recruits(run: Run, column: str) -> float:
    """Recruits averaged over the recruitments of a run."""
    return float(_column(run.recruitments, column).mean())


def take_up(run: Run, task: str) -> float:
    """Clients recruited for a task, averaged over the recruitments of a run."""
    return recruits(Run([row["take_up"] for row in run.recruitments], ()), task)


def rule(run: Run) -> str:
    """How its clients are recruited, which an arm does not change."""
    return str(run.recruitments[0]["rule"])


def round_of_target(
    rows: Sequence[Mapping[str, Any]], task: str, target: float, score: Score = ACCURACY
) -> int | None:
    """The first round (counted from 1) whose test score is as good as the target.

    Example:
        >>> rows = [{"a/eval_acc": x} for x in (0.2, 0.6, 0.5)]
        >>> round_of_target(rows, "a", 0.6), round_of_target(rows, "a", 0.7)
        (2, None)
    """
    column = score.column(task)
    seen = ((n, row[column]) for n, row in enumerate(rows, start=1) if row[column] is not None)
    return next((n for n, value in seen if score.reached(value, target=target)), None)


def time_to_targets(
    rows: Sequence[Mapping[str, Any]], targets: Targets, scores: Mapping[str, Score] | None = None
) -> float:
    """Virtual time at which the last task first reaches its target; `NEVER` if one does not.

    Example:
        >>> early = {"virtual_time": 1.0, "a/eval_acc": 0.4}
        >>> later = {"virtual_time": 2.5, "a/eval_acc": 0.6}
        >>> time_to_targets([early, later], {"a": 0.5, "b": None})
        2.5
    """
    last = _round_of_targets(rows, targets, scores)
    if last is None:
        return NEVER
    return float(rows[last - 1]["virtual_time"]) if last else 0.0


def cost_to_targets(
    rows: Sequence[Mapping[str, Any]],
    column: str,
    targets: Targets,
    scores: Mapping[str, Score] | None = None,
) -> float:
    """A column added up over the rounds until the last task first reaches its target.

    `NEVER` if one does not; NaN where a row lacks the column.

    Example:
        >>> rows = [{"a/eval_acc": x, "compute": 10} for x in (0.2, 0.6, 0.5)]
        >>> cost_to_targets(rows, "compute", {"a": 0.6})
        20.0
    """
    last = _round_of_targets(rows, targets, scores)
    return NEVER if last is None else float(_column(rows[:last], column).sum())


def _round_of_targets(
    rows: Sequence[Mapping[str, Any]], targets: Targets, scores: Mapping[str, Score] | None
) -> int | None:
    """The round after which every task has reached its target once; 0 without a target."""
    found = [
        round_of_target(rows, task, target, (scores or {}).get(task, ACCURACY))
        for task, target in targets.items()
        if target is not None
    ]
    rounds = [number for number in found if number is not None]
    return max(rounds, default=0) if len(rounds) == len(found) else None


def _of_a_whole_run(tasks: Sequence[str]) -> dict[str, Callable[[Run], float]]:
    """Figures that are no average over the last rounds, by name."""
    return {
        "rounds": lambda run: float(len(run.rounds)),
        **{name: partial(money, column=name) for name in MONEY},
        **{name: partial(recruits, column=name) for name in ("min_take_up", "num-recruited")},
        **{f"{task}/take_up": partial(take_up, task=task) for task in tasks},
        **{f"{task}/clients_per_round": partial(clients_per_round, task=task) for task in tasks},
        **{name: partial(total, column=name) for name in COST_METRICS},
    }


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> Series:
    """Entries of rows; NaN for what is null or lacking."""
    return np.array([row.get(name) for row in rows], dtype=np.float64)


def _weights(rows: Sequence[Mapping[str, Any]], name: str) -> Series:
    """What a column is a mean of, row by row; all alike for a column that is no mean."""
    if name == "staleness_mean":
        counts = [row.get("num-updates", row.get("num-clients", 1.0)) for row in rows]
        return np.array(counts, dtype=np.float64)
    if name.rpartition("/")[2] == "train_loss":
        behind = name.removesuffix("train_loss") + "num-examples"
        return np.array([row.get(behind, 1.0) for row in rows], dtype=np.float64)
    return np.ones(len(rows))
