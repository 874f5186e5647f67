"""Signs that clients are shared out to no purpose, or are not an image of all clients.

Read from the rows of a history, whatever the algorithm; every function gives sentences about one
arm, none where all is well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairopt.learning_progress import fall
from fl_runtime.history import History, Series

FEWEST = 8
"""Measured rounds of a run from which on its quarters say anything."""

CERTAIN = 3.0
"""Standard errors: less often than once in a hundred runs of chance alone, over all tasks."""

GAINED = 2.0
"""Standard errors: what a task must have gained to be silent. A task that learns nothing does so by
chance in one run of forty."""

SKEWED = 2.0
"""Of the squared distance between mixtures: as much again as clients drawn at random have."""


def persistent_gaps(history: History, arm: str) -> list[str]:
    """Tasks that have most of the clients, and have stopped to gain by it.

    A task is named if in the last half of all runs it had more than half-way from an equal share of
    the clients' jobs to all of them, and its test score is no better in the last quarter than in
    the second one by `GAINED` standard errors. Runs of fewer than `FEWEST` measured
    rounds say nothing.
    """
    runs = [history.rounds(arm, seed) for seed in history.seeds(arm)]
    tasks, found = history.tasks, []
    for task in tasks if len(tasks) > 1 else ():
        share = float(np.mean([_share(rows[len(rows) // 2 :], task, tasks) for rows in runs]))
        score = history.scores[task]
        gains = [_gain(rows, score.column(task), score.higher_is_better) for rows in runs]
        if share <= 0.5 * (1.0 + 1.0 / len(tasks)) or None in gains:
            continue
        won = np.array([gain for gain in gains if gain is not None])
        if won[:, 0].mean() <= GAINED * np.sqrt((won[:, 1] ** 2).mean() / len(won)):
            found.append(
                f"task {task} had {share:.0%} of the clients in the last half, and its "
                f"{score.metric} has not improved since the second quarter: the gap persists. "
                'Can it be learnt by this model? signal = "progress" gives its clients to others'
            )
    return found


def _share(rows: Sequence[Mapping[str, Any]], task: str, tasks: Sequence[str]) -> float:
    """Of all clients that trained some task in these rounds, those that trained this one."""
    counts = {name: sum(row[f"{name}/num-clients"] for row in rows) for name in tasks}
    return float(counts[task] / max(sum(counts.values()), 1))


def _gain(
    rows: Sequence[Mapping[str, Any]], column: str, rises: bool
) -> tuple[float, float] | None:
    """From the second to the last quarter of the measured rounds, and its standard error."""
    values = np.array([row[column] for row in rows if row.get(column) is not None], np.float64)
    if values.size < FEWEST or not np.isfinite(values).all():
        return None
    lost, error = fall(values)
    return (-1.0 if rises else 1.0) * lost, error


def biased_selection(history: History, arm: str) -> list[str]:
    """Tasks whose trainers have another mixture of classes than the clients as a whole.

    By the column `TASK/selection_skew` of ``client-metrics``, whose mean is 1 where the clients of
    a round are drawn at random: a task is named if the mean over all rounds and seeds is at least
    `SKEWED`, and above 1 by `CERTAIN` standard errors.
    """
    found = []
    for task in history.tasks:
        seen = _known(history, arm, f"{task}/selection_skew")
        if seen.size < FEWEST:
            continue
        mean, error = float(seen.mean()), float(seen.std(ddof=1) / np.sqrt(seen.size))
        if mean >= SKEWED and mean - CERTAIN * error > 1.0:
            found.append(
                f"clients that trained task {task} had another mixture of classes than all "
                f"clients: its squared distance was {mean:.1f} times that of a random choice. "
                "The model is biased towards them"
            )
    return found


def _known(history: History, arm: str, column: str) -> Series:
    """All values of a column over rounds and seeds."""
    values = [row.get(column) for seed in history.seeds(arm) for row in history.rounds(arm, seed)]
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    return known[np.isfinite(known)]
