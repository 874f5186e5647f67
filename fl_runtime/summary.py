"""The figures of a finished run, per arm, as plain data: what tables show and machines read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from fl_runtime.history import History
from fl_runtime.statistics import as_record, first_reach, interval, paired_difference

HEADLINE = ("min_task_acc", "mean_task_acc", "var_task_acc", "jain")
"""Figures across tasks that are compared between arms."""


def summarise(
    history: History,
    *,
    targets: Mapping[str, float | None],
    versus: Mapping[str, Sequence[str]] | None = None,
    last: int = 1,
) -> dict[str, Any]:
    """Figures per arm, and paired differences between arms.

    Args:
        history: One or several runs.
        targets: Test accuracy to reach, by task.
        versus: Arms that an arm is compared with; the first arm where none is named.
        last: Rounds that a final figure averages over.

    Returns:
        ``{"last", "tasks", "arms", "differences"}``. Each arm holds intervals of the headline
        metrics, accuracy per task, rounds to reach the targets, take-up, spend, and clients per
        round; each difference holds `arm`, `versus` and the intervals of arm minus versus over the
        seeds they share.
    """
    arms = history.arms
    pairs = [
        (arm, other)
        for arm in arms
        for other in (versus or {}).get(arm) or arms[:1]
        if arm != other and set(history.seeds(arm)) & set(history.seeds(other))
    ]
    return {
        "last": last,
        "tasks": history.tasks,
        "arms": {arm: _arm(history, arm, targets, last) for arm in arms},
        "differences": [_difference(history, arm, other, last) for arm, other in pairs],
    }


def _arm(
    history: History, arm: str, targets: Mapping[str, float | None], last: int
) -> dict[str, Any]:
    """All figures of one arm."""
    seeds = history.seeds(arm)
    recruited = [_over_a_run(history.recruitments(arm, seed)) for seed in seeds]
    return {
        "seeds": seeds,
        "rounds": [len(history.rounds(arm, seed)) for seed in seeds],
        "rule": recruited[0]["rule"],
        **{m: as_record(interval(history.final(arm, m, last))) for m in HEADLINE},
        "accuracy": {
            task: as_record(interval(history.final(arm, f"{task}/eval_acc", last)))
            for task in history.tasks
        },
        "rounds_to_target": {
            task: rounds_to_target(history, arm, task, target)
            for task, target in targets.items()
            if target is not None
        },
        "take_up": {
            task: float(np.mean([row["take_up"][task] for row in recruited]))
            for task in history.tasks
        },
        "min_take_up": as_record(interval([row["min_take_up"] for row in recruited])),
        "spend": as_record(interval([row["spend"] for row in recruited])),
        "cost": as_record(interval([row["cost"] for row in recruited])),
        "budget": recruited[0]["budget"],
        "clients_per_round": {
            task: float(history.series(arm, f"{task}/num-clients").mean()) for task in history.tasks
        },
    }


def _over_a_run(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One recruitment row for a run: means of what was recruited, sums of money."""
    first = rows[0]
    return {
        "rule": first["rule"],
        "budget": None if first["budget"] is None else sum(row["budget"] for row in rows),
        "spend": sum(row["spend"] for row in rows),
        "cost": sum(row["cost"] for row in rows),
        "take_up": {
            task: float(np.mean([row["take_up"][task] for row in rows]))
            for task in first["take_up"]
        },
        "min_take_up": float(np.mean([row["min_take_up"] for row in rows])),
    }


def rounds_to_target(history: History, arm: str, task: str, target: float) -> dict[str, Any]:
    """How soon an arm brings a task to a test accuracy.

    Returns:
        `target`, `median` round over all seeds (None unless more than half of them get there),
        `reached` and `seeds`, the number that did and the number there are.
    """
    runs = history.figures(arm, f"{task}/eval_acc")
    reached = [first_reach(accuracies.tolist(), target) for accuracies in runs]
    never = float("inf")
    middle = median([never if n is None else n for n in reached])
    return {
        "target": target,
        "median": None if middle == never else middle,
        "reached": sum(n is not None for n in reached),
        "seeds": len(reached),
    }


def _difference(history: History, arm: str, other: str, last: int) -> dict[str, Any]:
    """Paired differences of the headline figures on common seeds."""
    common = [seed for seed in history.seeds(arm) if seed in history.seeds(other)]
    mine, theirs = (
        {m: _of_seeds(history.final(name, m, last), history.seeds(name), common) for m in HEADLINE}
        for name in (arm, other)
    )
    figures = {m: as_record(paired_difference(mine[m], theirs[m])) for m in HEADLINE}
    return {"arm": arm, "versus": other, "seeds": common, **figures}


def _of_seeds(values: Any, seeds: Sequence[int], wanted: Sequence[int]) -> list[float]:
    """The values of the wanted seeds, in their order."""
    return [float(values[seeds.index(seed)]) for seed in wanted]
