"""Claims of a configuration against the figures of its run: held, not held, or inconclusive."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import ClaimSection, Config
from fl_runtime.history import History
from fl_runtime.metrics import run_figures
from fl_runtime.metrics.round_metrics import DELTA_M, MEAN_RANK, MEAN_TASK_CHANGE, PERCENT_WORSE
from fl_runtime.reporting.intervals import CONFIDENCE, Interval, as_record, interval
from fl_runtime.reporting.summary import delta_m, mean_task_change, percent_worse, ranks

HELD, NOT_HELD, INCONCLUSIVE = "held", "not held", "inconclusive"

TIED = "the two arms tie with every seed"
"""Why nothing is decided although an interval of no width excludes what is claimed: a metric of few
values, an easy task, or arms that do the same."""


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
        wanted |= {"alone"} if self.claim.alone else set()
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
    if len(values) > 1 and _is_tied(values, claim):
        return ClaimResult(claim, found, INCONCLUSIVE, TIED)
    reason = "" if len(values) > 1 else "one seed has no interval"
    return ClaimResult(claim, found, decide(found, claim.expect, claim.margin), reason)


def _is_tied(values: Sequence[float], claim: ClaimSection) -> bool:
    """Whether both arms have the same figure with every seed, in a claim that one has more."""
    return (
        claim.versus is not None
        and claim.expect != "within"
        and claim.margin == 0.0
        and not any(values)
    )


def _values(history: History, config: Config, claim: ClaimSection) -> list[float]:
    """The figure of a claim, one number per seed."""
    if claim.versus is None:
        return list(_figures(history, config, claim.arm, claim).values())
    if claim.metric == MEAN_TASK_CHANGE:
        last = config.run.report_rounds
        return list(mean_task_change(history, claim.arm, claim.versus, last).values())
    mine, other = (_figures(history, config, arm, claim) for arm in (claim.arm, claim.versus))
    return [_change(mine[s], other[s], claim.relative) for s in mine if s in other]


def _figures(history: History, config: Config, arm: str, claim: ClaimSection) -> dict[int, float]:
    """The figure of one of a claim's arms by seed; of `percent-worse` against its third one."""
    if claim.metric == PERCENT_WORSE and claim.alone is not None:
        return percent_worse(history, arm, claim.alone, config.run.report_rounds)
    return figures(history, config, arm, claim.metric)


def figures(history: History, config: Config, arm: str, metric: str) -> dict[int, float]:
    """A figure of every run of an arm by seed, with the averaging and targets of a configuration.

    Args:
        history: The run.
        config: Its configuration.
        arm: An arm of it.
        metric: See `ClaimSection.metric`.

    Raises:
        InvalidInput: The arm has no such figure; the nearest one is named.
    """
    targets = {task.name: task.goal for task in config.task}
    last = config.run.report_rounds
    if metric == MEAN_RANK:
        return ranks(history, last).get(arm, {})
    if metric == DELTA_M:
        return delta_m(history, arm, {task.name: task.standard for task in config.task}, last)
    return run_figures.figures(history, arm, metric, last=last, targets=targets)


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
