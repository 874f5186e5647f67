"""The figures of a finished run, per arm, as plain data: what tables show and machines read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from fl_runtime.history import History, Series
from fl_runtime.metrics import multi_task
from fl_runtime.metrics.round_metrics import (
    CLIENT_METRICS,
    COST_METRICS,
    LOCAL_METRICS,
    SCORE_NAMES,
)
from fl_runtime.metrics.run_figures import MONEY, Run, figures, round_of_target, rule, total
from fl_runtime.reporting.accounts import account_of
from fl_runtime.reporting.intervals import as_record, interval, paired_difference

HEADLINE = ("min_task_acc", "mean_task_acc", "var_task_acc", "jain")
"""Figures across tasks that are compared between arms, where all are scored by accuracy."""

UNLIKE = 0.2
"""Share of the larger number by which jobs or times differ that are not those of one comparison."""

References = Mapping[str, float | None]
"""Scores of models that were trained for one task alone, by task."""


def headline(history: History) -> list[str]:
    """Figures across tasks that are compared between arms, as this history names them."""
    return list(HEADLINE) if history.by_accuracy else [SCORE_NAMES.get(n, n) for n in HEADLINE]


def summarise(
    history: History,
    *,
    targets: Mapping[str, float | None],
    versus: Mapping[str, Sequence[str]] | None = None,
    last: int = 1,
    references: References | None = None,
) -> dict[str, Any]:
    """Figures per arm, and paired differences between arms.

    Args:
        history: One or several runs.
        targets: Test score to reach, by task.
        versus: Arms that an arm is compared with, which may be none; the first arm for arms that
            it does not hold.
        last: Rounds that a final figure averages over.
        references: For `delta_m`, where every task has one.

    Returns:
        ``{"last", "tasks", "arms", "differences"}``, and `scores` where a task is scored by
        something else than accuracy. Each arm holds intervals of the headline
        metrics, the mean rank over tasks, accuracy per task, rounds to reach the targets, recruits
        per task (`take_up`), spend, true cost and budget of whole runs, and clients per round and
        task, all by `metrics.run_figures`; what became of its jobs over all seeds (`account`; None
        where a run tells nothing); and with ``client-metrics`` those figures (`clients`)
        and compute and traffic of whole runs with their shares by stage (`work`). Each difference
        holds `arm`, `versus` and the intervals of arm minus versus over the seeds they share, with
        the average per-task change as a share, and `unlike_work` where the arms answered another
        number of jobs in another time.
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
        **_scores(history),
        "arms": {
            arm: {
                **_arm(history, arm, targets, last),
                "mean_rank": ranks[arm],
                **_against(history, arm, references or {}, last),
            }
            for arm in arms
        },
        "differences": [_difference(history, arm, other, last) for arm, other in pairs],
    }


def mean_ranks(history: History, last: int) -> dict[str, dict[str, Any]]:
    """Mean rank of every arm (`ranks`): interval over seeds."""
    found = ranks(history, last)
    if not any(found.values()):
        return {arm: {"mean": None, "half_width": None, "count": 0} for arm in found}
    return {arm: as_record(interval(list(mine.values()))) for arm, mine in found.items()}


def ranks(history: History, last: int) -> dict[str, dict[int, float]]:
    """Rank of every arm by test score, averaged over tasks, by arm and seed.

    Only seeds that all arms have are ranked; see `multi_task.mean_ranks`.
    """
    arms = history.arms
    common = [s for s in history.seeds(arms[0]) if all(s in history.seeds(arm) for arm in arms)]
    if not common:
        return {arm: {} for arm in arms}
    table = np.array([_score_table(history, arm, common, last) for arm in arms])
    found = multi_task.mean_ranks(table, _signs(history))
    return {arm: dict(zip(common, found[k].tolist(), strict=True)) for k, arm in enumerate(arms)}


def percent_worse(history: History, arm: str, alone: str, last: int) -> dict[int, float]:
    """By how much an arm's tasks are worse than those of an arm that trains each alone, by seed.

    See `multi_task.percent_worse`; NaN where a task has a score of zero there.
    """
    return _compared(history, arm, alone, last, multi_task.percent_worse)


def mean_task_change(history: History, arm: str, other: str, last: int) -> dict[int, float]:
    """Average per-task change of the test score against another arm, seed by seed.

    See `multi_task.mean_change`; NaN where the other arm has a score of zero.
    """
    return _compared(history, arm, other, last, multi_task.mean_change)


def _compared(
    history: History, arm: str, other: str, last: int, figure: Callable[..., Series]
) -> dict[int, float]:
    """A figure of the score tables of two arms, by the seeds that both have."""
    common = [seed for seed in history.seeds(arm) if seed in history.seeds(other)]
    mine, theirs = (_score_table(history, name, common, last) for name in (arm, other))
    found = figure(mine, theirs, _signs(history))
    return dict(zip(common, found.tolist(), strict=True))


def delta_m(history: History, arm: str, references: References, last: int) -> dict[int, float]:
    """The same against a reference for each task; NaN where a task has none."""
    seeds = history.seeds(arm)
    wanted = [references.get(task) for task in history.tasks]
    theirs = np.array([np.nan if score is None else score for score in wanted])[:, None]
    mine = _score_table(history, arm, seeds, last)
    found = multi_task.mean_change(mine, np.broadcast_to(theirs, mine.shape), _signs(history))
    return dict(zip(seeds, found.tolist(), strict=True))


def _signs(history: History) -> Series:
    """(num_tasks,) 1 where higher scores are better, -1 where lower ones are."""
    scores = [history.scores[task] for task in history.tasks]
    return np.array([1.0 if score.higher_is_better else -1.0 for score in scores])


def _score_table(history: History, arm: str, seeds: Sequence[int], last: int) -> Series:
    """(num_tasks, num_seeds) final test scores."""
    return np.array([_of_seeds(_score(history, arm, t, last), seeds) for t in history.tasks])


def _score(history: History, arm: str, task: str, last: int) -> dict[int, float]:
    """Final test score of one task, by seed."""
    return figures(history, arm, history.scores[task].column(task), last=last)


def _scores(history: History) -> dict[str, Any]:
    """What tasks are scored by, where that is not accuracy."""
    if history.by_accuracy:
        return {}
    return {
        "scores": {
            task: {"metric": score.metric, "higher_is_better": score.higher_is_better}
            for task, score in history.scores.items()
        }
    }


def _against(history: History, arm: str, references: References, last: int) -> dict[str, Any]:
    """The change against references, where every task has one."""
    if any(references.get(task) is None for task in history.tasks):
        return {}
    found = delta_m(history, arm, references, last)
    return {"delta_m": as_record(interval(list(found.values())))}


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
        **{metric: over_seeds(metric) for metric in headline(history)},
        "accuracy" if history.by_accuracy else "score": {
            task: over_seeds(history.scores[task].column(task)) for task in tasks
        },
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

    plain = all(CLIENT_METRICS[0] in row for row in rows)
    return {
        "clients": {m: over_seeds(m) for m in (CLIENT_METRICS if plain else LOCAL_METRICS)},
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
    """How soon an arm brings a task to a test score.

    Returns:
        `target`, `median` round over all seeds (None unless more than half of them get there),
        `reached` and `seeds`, the number that did and the number there are.
    """
    runs = [history.rounds(arm, seed) for seed in history.seeds(arm)]
    reached = [round_of_target(run, task, target, history.scores[task]) for run in runs]
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
        {m: _of_seeds(figures(history, name, m, last=last), common) for m in headline(history)}
        for name in (arm, other)
    )
    compared = {m: as_record(paired_difference(mine[m], theirs[m])) for m in headline(history)}
    compared["mean_task_change"] = as_record(interval(list(change.values())))
    work = _unlike_work(history, (arm, other), common)
    return {"arm": arm, "versus": other, "seeds": common, **compared, **work}


def _unlike_work(history: History, arms: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Answered jobs and virtual time of two arms, mean over seeds, where both differ by much.

    Arms that end at the same time have done what they can in it, so they are comparable. Nothing is
    said of runs that tell no jobs or time.
    """
    jobs, times = [], []
    for arm in arms:
        accounts = [history.account(arm, seed) for seed in seeds]
        ends = [history.rounds(arm, seed)[-1:] for seed in seeds]
        if not all(accounts) or not all(end and "virtual_time" in end[0] for end in ends):
            return {}
        jobs.append(float(np.mean([account["answered"] for account in accounts if account])))
        times.append(float(np.mean([end[0]["virtual_time"] for end in ends])))
    if all(min(pair) < (1.0 - UNLIKE) * max(pair) for pair in (jobs, times)):
        return {"unlike_work": {"jobs": jobs, "virtual_time": times}}
    return {}


def _of_seeds(values: Mapping[int, float], wanted: Sequence[int]) -> list[float]:
    """The values of the wanted seeds, in their order."""
    return [values[seed] for seed in wanted]
