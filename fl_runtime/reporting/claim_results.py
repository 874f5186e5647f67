"""Claims of a configuration against the figures of its run: held, not held, or inconclusive."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import ClaimSection, Config
from fl_runtime.history import History
from fl_runtime.metrics.round_metrics import NO_FIGURES, TIME_TO_TARGETS
from fl_runtime.reporting.intervals import CONFIDENCE, Interval, as_record, first_reach, interval
from fl_runtime.reporting.summary import mean_task_change

HELD, NOT_HELD, INCONCLUSIVE = "held", "not held", "inconclusive"

MEAN_TASK_CHANGE = "mean-task-change"
"""The metric of multi-task learning: mean over tasks of the relative change of test accuracy."""

NEVER = math.inf
"""The time of a target that a run does not reach."""


@dataclass(frozen=True)
class ClaimResult:
    """A claim and what the run shows about it.

    Attributes:
        claim: The claim.
        found: The figure over seeds: of the arm, or of the arm minus the other one.
        status: `HELD`, `NOT_HELD` or `INCONCLUSIVE`.
        reason: Why it is inconclusive where the interval alone does not say so, else empty.
    """

    claim: ClaimSection
    found: Interval
    status: str
    reason: str = ""

    def record(self) -> dict[str, Any]:
        """Plain data for the summary."""
        wanted = {"statement", "source", "published", "metric", "arm", "versus", "relative"}
        return {
            **self.claim.model_dump(include=wanted),
            "expected": expectation(self.claim),
            "found": as_record(self.found),
            "verdict": self.status,
            "reason": self.reason,
        }


def check_claims(history: History, config: Config) -> list[ClaimResult]:
    """The result of every claim of the configuration, in order.

    A claim about what is no figure of the history, or an arm that has not run, is inconclusive and
    says so: a typing error must not cost the figures of a long run.
    """
    return [_checked_or_explained(history, config, claim) for claim in config.claim]


def expectation(claim: ClaimSection) -> str:
    """What a claim expects of its figure, in symbols.

    Example:
        >>> expectation(ClaimSection(statement="s", source="o", arm="a", expect="less"))
        '< 0'
    """
    margin = f"{claim.margin:.4g}{' of it' if claim.relative and claim.margin else ''}"
    return {"greater": f"> {margin}", "less": f"< {margin}", "within": f"within ± {margin}"}[
        claim.expect
    ]


def decide(found: Interval, expect: str, margin: float) -> str:
    """The status that an interval allows.

    Args:
        found: The figure.
        expect: `greater`, `less` or `within`.
        margin: What the figure is compared with.

    Returns:
        `HELD` when the whole interval is where it should be, `NOT_HELD` when all of it is outside,
        else `INCONCLUSIVE`; one seed has no interval and decides nothing.

    Example:
        >>> decide(Interval(0.3, 0.1, 5), "greater", 0.0)
        'held'
        >>> decide(Interval(0.3, 0.4, 5), "less", 0.0)
        'inconclusive'
        >>> decide(Interval(0.01, 0.005, 5), "within", 0.02)
        'held'
    """
    low, high = found.mean - found.half_width, found.mean + found.half_width
    if not (math.isfinite(low) and math.isfinite(high)):
        return INCONCLUSIVE
    inside, outside = {
        "greater": (low > margin, high <= margin),
        "less": (high < margin, low >= margin),
        "within": (-margin <= low and high <= margin, low > margin or high < -margin),
    }[expect]
    return HELD if inside else NOT_HELD if outside else INCONCLUSIVE


def _checked_or_explained(history: History, config: Config, claim: ClaimSection) -> ClaimResult:
    """The result of one claim, or why it cannot be checked."""
    try:
        return _checked(history, config, claim)
    except InvalidInput as error:
        return ClaimResult(claim, Interval(math.nan, math.nan, 0), INCONCLUSIVE, str(error))


def _checked(history: History, config: Config, claim: ClaimSection) -> ClaimResult:
    """The result of one claim."""
    values = _values(history, config, claim)
    lost = sum(not math.isfinite(value) for value in values)
    if lost or not values:
        reason = f"no figure for {lost} of {len(values)} seeds" if values else "no common seed"
        return ClaimResult(claim, Interval(math.nan, math.nan, len(values)), INCONCLUSIVE, reason)
    found = interval(values)
    reason = "" if len(values) > 1 else "one seed has no interval"
    return ClaimResult(claim, found, decide(found, claim.expect, claim.margin), reason)


def _values(history: History, config: Config, claim: ClaimSection) -> list[float]:
    """The figure of a claim, one number per seed."""
    if claim.versus is None:
        return list(figures(history, config, claim.arm, claim.metric).values())
    if claim.metric == MEAN_TASK_CHANGE:
        last = config.run.report_rounds
        return list(mean_task_change(history, claim.arm, claim.versus, last).values())
    mine, other = (figures(history, config, arm, claim.metric) for arm in (claim.arm, claim.versus))
    return [_change(mine[s], other[s], claim.relative) for s in mine if s in other]


def figures(history: History, config: Config, arm: str, metric: str) -> dict[int, float]:
    """One number per seed of an arm.

    Args:
        history: The run.
        config: Its configuration.
        arm: An arm of it.
        metric: See `ClaimSection.metric`.

    Raises:
        InvalidInput: No such metric (the nearest one is named), or one that is no number.
    """
    seeds = history.seeds(arm)
    if metric == TIME_TO_TARGETS:
        targets = {t.name: t.target_accuracy for t in config.task if t.target_accuracy is not None}
        return {seed: time_to_targets(history.rounds(arm, seed), targets) for seed in seeds}
    if metric in NO_FIGURES:
        raise InvalidInput("claim.metric", metric, "a figure of the history: a number")
    known = {key: key for seed in seeds for row in history.rounds(arm, seed) for key in row}
    recruited = all(metric in history.recruitment(arm, seed) for seed in seeds)
    if recruited and metric not in known:
        return {seed: _mean([history.recruitment(arm, seed)], metric) for seed in seeds}
    choose("claim.metric", metric, known)
    last = config.run.report_rounds
    return {seed: _mean(history.rounds(arm, seed)[-last:], metric) for seed in seeds}


def _mean(rows: Sequence[Mapping[str, Any]], metric: str) -> float:
    """Mean of an entry of rows; NaN if a row lacks it, or there is none.

    Example:
        >>> _mean([{"jain": 0.5}, {"jain": 1}], "jain")
        0.75
    """
    values = [row.get(metric) for row in rows]
    if not all(value is None or isinstance(value, int | float) for value in values):
        raise InvalidInput("claim.metric", metric, "a figure of the history: a number")
    return float(np.mean(np.array(values, dtype=np.float64))) if values else math.nan


def time_to_targets(rounds: Sequence[Mapping[str, Any]], targets: Mapping[str, float]) -> float:
    """Virtual time at which the last task first reaches its target; `NEVER` if one does not.

    Example:
        >>> early = {"virtual_time": 1.0, "a/eval_acc": 0.4}
        >>> later = {"virtual_time": 2.5, "a/eval_acc": 0.6}
        >>> time_to_targets([early, later], {"a": 0.5})
        2.5
    """
    ends = [0.0]
    for task, target in targets.items():
        reached = first_reach([row[f"{task}/eval_acc"] for row in rounds], target)
        ends.append(NEVER if reached is None else float(rounds[reached - 1]["virtual_time"]))
    return max(ends)


def _change(mine: float, other: float, relative: bool) -> float:
    """The difference, or the difference as a share of the other."""
    if not relative:
        return mine - other
    return (mine - other) / other if other != 0.0 else math.nan


def confidence_text() -> str:
    """How the intervals are made, for captions."""
    return f"{CONFIDENCE:.0%} Student-t intervals over seeds, differences paired by seed"


def counts(results: Sequence[ClaimResult]) -> dict[str, int]:
    """Number of claims by status."""
    found = Counter(result.status for result in results)
    return {name: found[name] for name in (HELD, NOT_HELD, INCONCLUSIVE)}
