"""The figures of a finished run, per arm, as plain data: what tables show and machines read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import rankdata

from fl_runtime.history import History
from fl_runtime.metrics.round_metrics import CLIENT_METRICS, COST_METRICS
from fl_runtime.metrics.run_figures import MONEY, Run, figures, round_of_target, rule, total
from fl_runtime.reporting.accounts import account_of
from fl_runtime.reporting.intervals import as_record, interval, paired_difference

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
        versus: Arms that an arm is compared with, which may be none; the first arm for arms that
            it does not hold.
        last: Rounds that a final figure averages over.

    Returns:
        ``{"last", "tasks", "arms", "differences"}``. Each arm holds intervals of the headline
        metrics, the mean rank over tasks, accuracy per task, rounds to reach the targets, recruits
        per task (`take_up`), spend, true cost and budget of whole runs, and clients per round and
        task, all by `metrics.run_figures`; what became of its jobs over all seeds (`account`; None
        where a run tells nothing); and with ``client-metrics`` those figures (`clients`)
        and compute and traffic of whole runs with their shares by stage (`work`). Each difference
        holds `arm`, `versus` and the intervals of arm minus versus over the seeds they share, with
        the average per-task change as a share.
    """
    arms = history.arms
    pairs = [
        (arm, other)
        for arm in arms
        for other in (versus or {}).get(arm, arms[:1])
        if arm != other and set(history.seeds(arm)) & set(history.seeds(other))
    ]
    ranks = mean_ranks(history, last)
    return {
        "last": last,
        "tasks": history.tasks,
        "arms": {
            arm: {**_arm(history, arm, targets, last), "mean_rank": ranks[arm]} for arm in arms
        },
        "differences": [_difference(history, arm, other, last) for arm, other in pairs],
    }


def mean_ranks(history: History, last: int) -> dict[str, dict[str, Any]]:
    """Rank of every arm by test accuracy, 1 for the best, averaged over tasks: interval over seeds.

    Equal arms share the mean of their ranks. Only seeds that all arms have are ranked.
    """
    arms = history.arms
    common = [s for s in history.seeds(arms[0]) if all(s in history.seeds(arm) for arm in arms)]
    if not common:
        return {arm: {"mean": None, "half_width": None, "count": 0} for arm in arms}
    table = np.array(
        [
            [_of_seeds(_accuracy(history, arm, task, last), common) for task in history.tasks]
            for arm in arms
        ]
    )
    ranks = rankdata(-table, axis=0).mean(axis=1)
    return {arm: as_record(interval(ranks[k])) for k, arm in enumerate(arms)}


def mean_task_change(history: History, arm: str, other: str, last: int) -> dict[int, float]:
    r"""Average per-task change of test accuracy against another arm, seed by seed.

    .. math:: \Delta m = \frac{1}{S} \sum_s (a_s - b_s) / b_s

    Symbols: :math:`a_s, b_s` accuracies of task s. NaN where the other arm has accuracy zero.

    Source: the multi-task literature's Delta m (with the sign that makes gains positive).
    """
    common = [seed for seed in history.seeds(arm) if seed in history.seeds(other)]
    changes = []
    for task in history.tasks:
        mine, theirs = (
            np.array(_of_seeds(_accuracy(history, name, task, last), common))
            for name in (arm, other)
        )
        blank = np.full(len(common), np.nan)
        changes.append(np.divide(mine - theirs, theirs, out=blank, where=theirs > 0.0))
    return dict(zip(common, np.mean(changes, axis=0).tolist(), strict=True))


def _accuracy(history: History, arm: str, task: str, last: int) -> dict[int, float]:
    """Final test accuracy of one task, by seed."""
    return figures(history, arm, f"{task}/eval_acc", last=last)


def _arm(
    history: History, arm: str, targets: Mapping[str, float | None], last: int
) -> dict[str, Any]:
    """All figures of one arm: one number per seed, then their intervals."""
    seeds, tasks = history.seeds(arm), history.tasks

    def over_seeds(name: str) -> dict[str, Any]:
        return as_record(interval(list(figures(history, arm, name, last=last).values())))

    return {
        **_on_request(history, arm, last),
        "seeds": seeds,
        "rounds": [int(number) for number in figures(history, arm, "rounds").values()],
        "rule": rule(Run.of(history, arm, seeds[0])),
        **{metric: over_seeds(metric) for metric in HEADLINE},
        "accuracy": {task: over_seeds(f"{task}/eval_acc") for task in tasks},
        "rounds_to_target": {
            task: rounds_to_target(history, arm, task, target)
            for task, target in targets.items()
            if target is not None
        },
        "account": account_of(history, arm),
        "take_up": {task: over_seeds(f"{task}/take_up") for task in tasks},
        "min_take_up": over_seeds("min_take_up"),
        **{name: over_seeds(name) for name in MONEY},
        "clients_per_round": {task: over_seeds(f"{task}/clients_per_round") for task in tasks},
    }


def _on_request(history: History, arm: str, last: int) -> dict[str, Any]:
    """Figures about clients, and the cost of whole runs, where rows hold them."""
    rows = [row for seed in history.seeds(arm) for row in history.rounds(arm, seed)]
    if not all("compute" in row for row in rows):
        return {}

    def over_seeds(name: str) -> dict[str, Any]:
        return as_record(interval(list(figures(history, arm, name, last=last).values())))

    return {
        "clients": {metric: over_seeds(metric) for metric in CLIENT_METRICS},
        "work": {
            metric: {
                "total": over_seeds(metric),
                "shares": _shares_of_stages(history, arm, metric),
            }
            for metric in COST_METRICS
        },
    }


def _shares_of_stages(history: History, arm: str, metric: str) -> dict[str, float]:
    """Shares of the mean total by stage, for algorithms in stages."""
    runs = [Run.of(history, arm, seed) for seed in history.seeds(arm)]
    stages = sorted({row["stage"] for run in runs for row in run.rounds if "stage" in row})
    whole = sum(total(run, metric) for run in runs)
    parts = {stage: sum(total(run, metric, stage=stage) for run in runs) for stage in stages}
    return {str(stage): part / whole for stage, part in parts.items()} if whole else {}


def rounds_to_target(history: History, arm: str, task: str, target: float) -> dict[str, Any]:
    """How soon an arm brings a task to a test accuracy.

    Returns:
        `target`, `median` round over all seeds (None unless more than half of them get there),
        `reached` and `seeds`, the number that did and the number there are.
    """
    runs = [history.rounds(arm, seed) for seed in history.seeds(arm)]
    reached = [round_of_target(run, task, target) for run in runs]
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
    change = mean_task_change(history, arm, other, last)
    mine, theirs = (
        {m: _of_seeds(figures(history, name, m, last=last), common) for m in HEADLINE}
        for name in (arm, other)
    )
    compared = {m: as_record(paired_difference(mine[m], theirs[m])) for m in HEADLINE}
    compared["mean_task_change"] = as_record(interval(list(change.values())))
    return {"arm": arm, "versus": other, "seeds": common, **compared}


def _of_seeds(values: Mapping[int, float], wanted: Sequence[int]) -> list[float]:
    """The values of the wanted seeds, in their order."""
    return [values[seed] for seed in wanted]
