r"""One key of every arm, chosen from one grid by validation data, on seeds of their own.

Arms of different algorithms are not at their best at one step length, so a comparison at a common
one compares step lengths. Here every arm is run at every value of a key, on seeds that the
experiment does not use, and each arm gets the value at which it does best there. An arm at a value
is a run like any other: it can be stopped, resumed and shared by processes, and a grid that grows
costs its new values alone.

What is best: with `val_loss` (the default) the least geometric mean over tasks of their validation
losses, :math:`\exp \frac1S \sum_s \log \ell_s`, which no unit of a task decides; with `val_acc` the
greatest mean validation accuracy; with `val_score` the greatest mean of the tasks' own scores on
validation data, each on the scale of its `range` (1 is best); with `time-to-targets` the least
virtual time until all targets.
Each is averaged over the last `report-rounds` rounds and then over seeds. A run whose loss is no
number, or that never reaches its targets, is worse than any that is and does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import ArmSection, Config, TaskSection
from fl_runtime.configuration.toml_files import ALL_TASKS, arm_configs
from fl_runtime.history import History
from fl_runtime.metrics import run_figures
from fl_runtime.metrics.round_metrics import TIME_TO_TARGETS
from fl_runtime.training.scores import ACC, Scale, metric_of

SEEDS = (100, 101, 102)
"""None of a usual experiment, so that an arm is not chosen by what it is judged by."""

LEAST = 1e-12
"""Losses below it count as this much: a logarithm needs a positive number."""

Value = Any
"""Of the key: a number, a word, a list."""


@dataclass(frozen=True)
class Tuning:
    """What is tried.

    Attributes:
        key: Dotted key that an arm may change, such as ``task.*.learning-rate``.
        values: The grid, in order.
        seeds: Of the trial.
        by: `val_loss`, `val_score`, `val_acc` or `time-to-targets`.
        arms: Patterns of the names of arms that are tuned.
    """

    key: str
    values: tuple[Value, ...]
    seeds: tuple[int, ...] = SEEDS
    by: str = "val_loss"
    arms: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if not self.values or len(set(map(repr, self.values))) < len(self.values):
            raise InvalidInput("values", list(self.values), "different values, at least one")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InvalidInput("seeds", list(self.seeds), "different seeds, at least one")
        choose("by", self.by, JUDGED)


@dataclass(frozen=True)
class Choice:
    """What came of one arm.

    Attributes:
        arm: Its name.
        figures: By value, one number per seed in the order of the trial's seeds; infinite or not a
            number where a run has failed.
        chosen: The best value; None if every value has a run that failed.
        at_the_end: Whether it is the first or last of several values, so that one beyond might be
            better still.
    """

    arm: str
    figures: Mapping[Value, tuple[float, ...]]
    chosen: Value | None
    at_the_end: bool


def trials(config: Config, tuning: Tuning) -> dict[str, dict[Value, Config]]:
    """The runs that decide: every arm at every value, on the seeds of the trial.

    Raises:
        InvalidInput: A seed is one of the experiment, no arm fits, an arm may not change the key,
            or a value is none of it.
    """
    common = sorted(set(config.run.seeds) & set(tuning.seeds))
    if common:
        raise InvalidInput("seeds", common, "none of the experiment's own")
    _check_judged(config, tuning.by)
    given = {arm.name: arm.overrides for arm in config.arm}
    return {
        name: {it: _trial(config, name, given.get(name, {}), tuning, it) for it in tuning.values}
        for name in tuned_arms(config, tuning)
    }


def covered(overrides: Mapping[str, Any], key: str) -> list[str]:
    """Keys of an arm that a tuned key replaces: itself, and for `task.*.` those of single tasks.

    Example:
        >>> covered({"task.iris.momentum": 0.2, "clients.dropout": 0.1}, "task.*.momentum")
        ['task.iris.momentum']
    """
    wanted = key.replace("-", "_")
    of_a_task = "." + wanted.removeprefix(ALL_TASKS) if wanted.startswith(ALL_TASKS) else None
    found = []
    for name in overrides:
        plain = name.replace("-", "_")
        single = of_a_task and plain.startswith("task.") and plain.endswith(of_a_task)
        if plain == wanted or single:
            found.append(name)
    return found


def _check_judged(config: Config, by: str) -> None:
    """Refuse what the tasks have no figure for, before anything runs."""
    others = [task.name for task in config.task if task.metric_names[0] != "acc"]
    if by == "val_acc" and others:
        raise InvalidInput("by", by, f"val_score or val_loss: {others[0]} is not scored by acc")
    unscaled = [task.name for task in config.task if task.range is None and not _has_range(task)]
    if by == "val_score" and unscaled:
        requirement = f"val_loss, or task {unscaled[0]} with a range, the worst and best score"
        raise InvalidInput("by", by, requirement)
    if by == TIME_TO_TARGETS and all(task.goal is None for task in config.task):
        raise InvalidInput("by", by, "val_loss: no task has a target")


def _has_range(task: TaskSection) -> bool:
    """Whether the score of a task has a worst and a best value by itself."""
    score = (task.metrics or (ACC,))[0]
    return metric_of(f"task.{task.name}.metrics", score).range is not None


def _trial(
    config: Config, arm: str, overrides: Mapping[str, Any], tuning: Tuning, value: Value
) -> Config:
    """One arm at one value, alone."""
    run = config.run.model_copy(update={"seeds": tuning.seeds, "keep_models": "none"})
    replaced = covered(overrides, tuning.key)
    others = {key: own for key, own in overrides.items() if key not in replaced}
    tried = ArmSection(name=arm, **others, **{tuning.key: value})
    base = ArmSection(name="base" if arm != "base" else "other")  # else one is made, maybe `arm`
    changed = config.model_copy(update={"run": run, "arm": (base, tried), "claim": ()})
    return arm_configs(changed)[arm].model_copy(update={"arm": (ArmSection(name=arm),)})


def tuned_arms(config: Config, tuning: Tuning) -> list[str]:
    """Names of the arms that are tuned, in order.

    Raises:
        InvalidInput: There is none.
    """
    names = list(arm_configs(config))
    found = [name for name in names if any(fnmatch(name, it) for it in tuning.arms)]
    if not found:
        raise InvalidInput("arms", list(tuning.arms), f"patterns of {', '.join(names)}")
    return found


def choice(arm: str, runs: Mapping[Value, tuple[History, Config]], by: str) -> Choice:
    """The best value of an arm.

    Args:
        arm: Its name.
        runs: History and configuration of its trial at every value, in order.
        by: See `Tuning`.
    """
    judge, sign = JUDGED[by]
    figures = {
        value: tuple(judge(history, config, seed) for seed in config.run.seeds)
        for value, (history, config) in runs.items()
    }
    return _choice(arm, figures, sign)


def _choice(arm: str, figures: Mapping[Value, tuple[float, ...]], sign: float) -> Choice:
    """The value with the best mean; the first of equals."""
    means = {value: sign * float(np.mean(numbers)) for value, numbers in figures.items()}
    alive = {value: mean for value, mean in means.items() if math.isfinite(mean)}
    if not alive:
        return Choice(arm, figures, None, False)
    best = min(alive, key=alive.__getitem__)
    return Choice(arm, figures, best, len(figures) > 1 and best in (*figures,)[:: len(figures) - 1])


def _val_loss(history: History, config: Config, seed: int) -> float:
    """Geometric mean over tasks of the validation losses."""
    losses = [_last(history, config, seed, f"{task.name}/val_loss") for task in config.task]
    return math.exp(float(np.mean(np.log(np.maximum(losses, LEAST)))))


def _val_acc(history: History, config: Config, seed: int) -> float:
    """Mean over tasks of the validation accuracies."""
    scores = [_last(history, config, seed, f"{task.name}/val_acc") for task in config.task]
    return float(np.mean(scores))


def _val_score(history: History, config: Config, seed: int) -> float:
    """Mean over tasks of 1 - error of their scores on validation data."""
    (arm,) = history.arms
    told = history.recruitments(arm, seed)[0].get("scores", {})
    gains = []
    for task in config.task:
        seen = told.get(task.name, {"metric": ACC, "worst": 0.0, "best": 1.0})
        score = _last(history, config, seed, f"{task.name}/val_{seen['metric']}")
        gains.append(1.0 - Scale(seen["worst"], seen["best"]).error(score))
    return float(np.mean(gains))


def _time(history: History, config: Config, seed: int) -> float:
    """Virtual time until all targets."""
    targets = {task.name: task.goal for task in config.task}
    (arm,) = history.arms
    return run_figures.figures(history, arm, TIME_TO_TARGETS, targets=targets)[seed]


def _last(history: History, config: Config, seed: int, column: str) -> float:
    """A column averaged over the last rounds."""
    (arm,) = history.arms
    return run_figures.figures(history, arm, column, last=config.run.report_rounds)[seed]


JUDGED: Mapping[str, tuple[Callable[[History, Config, int], float], float]] = {
    "val_loss": (_val_loss, 1.0),
    "val_score": (_val_score, -1.0),
    "val_acc": (_val_acc, -1.0),
    TIME_TO_TARGETS: (_time, 1.0),
}
"""By what an arm is judged: the figure of a run, and the sign with which less is better."""
