"""When a run ends: by rounds, virtual time, its targets, or a figure that stopped improving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairopt.choices import choose
from fairopt.errors import InvalidInput, Unshown
from fl_runtime.configuration.schema import Config, EarlyStopTable
from fl_runtime.metrics.round_metrics import column_among, held_out_names
from fl_runtime.training.task import Task

SPREADS = ("var_task_acc", "var_task_score")
"""Figures across tasks of which less is better."""


@dataclass(frozen=True)
class Patience:
    """What early stopping remembers.

    Attributes:
        best: The best value so far; None before the first.
        waited: Rounds since then.
    """

    best: float | None = None
    waited: int = 0

    def after(self, row: Mapping[str, Any], rule: EarlyStopTable | None) -> Patience:
        """What is remembered after a round; a figure that is not finite is no improvement.

        A round in which the figure was not measured is waited for, too, but does not end a run.

        Example:
            >>> rule = EarlyStopTable(metric="min_task_acc", patience=2)
            >>> Patience(0.5, 1).after({"min_task_acc": 0.5}, rule)
            Patience(best=0.5, waited=2)
        """
        if rule is None:
            return self
        value = row[rule.metric]
        if value is None and not row.get("evaluated", True):
            return Patience(self.best, min(self.waited + 1, max(self.waited, rule.patience - 1)))
        if value is None or not math.isfinite(value):
            return Patience(self.best, self.waited + 1)
        gain = math.inf if self.best is None else value - self.best
        if self.best is not None and rule.mode == "min":
            gain = -gain
        if gain > rule.min_delta:
            return Patience(value, 0)
        return Patience(self.best, self.waited + 1)

    def is_out(self, rule: EarlyStopTable | None) -> bool:
        """Whether the run ends: there was no improvement for `patience` rounds."""
        return rule is not None and self.waited >= rule.patience


def is_over(config: Config, server_round: int, now: float, *, due: bool = False) -> bool:
    """Whether a run ends after that many rounds, at that virtual time, whatever its figures.

    Args:
        config: With the numbers that it ends by.
        server_round: Rounds so far.
        now: Virtual time.
        due: Whether a job in flight ends at this very moment: then time is not up.
    """
    rounds, limit = config.run.num_server_rounds, config.run.time_limit
    time_is_up = now >= (limit or math.inf) and not due
    return server_round >= (rounds or math.inf) or time_is_up


def targets_of(config: Config) -> dict[str, float]:
    """The test score at which each task is finished; empty if the run does not stop there.

    Raises:
        InvalidInput: A task has no target.
    """
    if not config.run.stop_at_targets:
        return {}
    targets = {task.name: task.goal for task in config.task}
    for name, target in targets.items():
        if target is None:
            where = f"task.{name}.target"
            raise InvalidInput(where, Unshown.MISSING, "run.stop-at-targets needs it")
    return {name: target for name, target in targets.items() if target is not None}


def check_early_stop(config: Config) -> None:
    """Refuse a metric that rows do not have.

    Raises:
        InvalidInput: With the nearest metric that they have.
    """
    if config.run.early_stop is not None:
        known = held_out_names({task.name: task.metric_names for task in config.task})
        name = column_among(config.run.early_stop.metric, known)
        choose("run.early-stop.metric", name, dict.fromkeys(known))


def early_stop_of(config: Config, tasks: Sequence[Task]) -> EarlyStopTable | None:
    """The rule with its metric as rows name it, and with the direction that this has."""
    rule = config.run.early_stop
    if rule is None:
        return None
    columns = held_out_names({task.name: tuple(task.metrics) for task in tasks})
    lower = {
        f"{task.name}/{part}_{name}"
        for task in tasks
        for part in ("eval", "val")
        for name, metric in [*task.metrics.items(), ("loss", None)]
        if metric is None or not metric.higher_is_better
    }
    name = column_among(rule.metric, columns)
    mode = rule.mode or ("min" if name in lower or name in SPREADS else "max")
    return rule.model_copy(update={"metric": name, "mode": mode})
