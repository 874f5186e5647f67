"""The history's rows: per recruitment, round, client failure and early stop, and the account.

Columns about a setting that is off are left out: `num-failed` needs failures, `num-discarded` a
server that does not wait for all clients, `num-stale` a bound of staleness, `num-updates` clients
that may bring several updates to one row. Which columns there are follows from the configuration.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fl_runtime.configuration.schema import EarlyStopTable
from fl_runtime.metrics.client_metrics import client_figure_names, client_figures, cost_figures
from fl_runtime.metrics.round_metrics import (
    TIME_TO_TARGETS,
    held_out_metrics,
    held_out_names,
    staleness_metrics,
    training_metrics,
)
from fl_runtime.running.account import Account, account_row
from fl_runtime.running.build import Parts
from fl_runtime.running.run_state import RunState
from fl_runtime.simulation.clock import PendingJob
from fl_runtime.training.job import Update
from fl_runtime.training.scores import ACC
from fl_runtime.training.task import Evaluation

Figures = dict[str, Any]


@dataclass(frozen=True)
class ClientFailure:
    """A job that failed or an update that was rejected; its row is of event `incident`.

    Attributes:
        reason: `failed` (lost before it was answered), `not finite` (an update with NaN or
            infinity), `ruins model` (an update after which a model has no finite loss), or in a
            real federation what was wrong with a node or its answer.
        task: Name of the task.
        client: Index of the client.
        version: Version of the model it started from.
        virtual_time: When the server noticed.
    """

    reason: str
    task: str
    client: int
    version: int
    virtual_time: float

    @classmethod
    def of(cls, reason: str, source: PendingJob | Update, now: float) -> ClientFailure:
        """The failure of that job or update."""
        where = source.job if isinstance(source, PendingJob) else source
        return cls(reason, where.task, where.client, where.version, now)

    def row(self, server_round: int) -> Figures:
        """The row's columns; it happened in the round after `server_round` finished ones."""
        return {
            "server_round": server_round,
            "virtual_time": self.virtual_time,
            "reason": self.reason,
            "task": self.task,
            "client": self.client,
            "version": self.version,
        }


@dataclass(frozen=True)
class RoundStats:
    """What has happened since the last row.

    Attributes:
        updates: Updates that were aggregated, or buffered.
        staleness: How many versions old each was when it arrived.
        dropped: Jobs that were never answered, whenever they were sent.
        discarded: Answers that came too late for their round.
        stale: Answers that the algorithm did not accept.
        failures: Jobs that failed and updates that were rejected.
        remarks: Incidents of jobs that are counted among others: why they dropped out, and what was
            heard of them afterwards.
    """

    updates: tuple[Update, ...] = ()
    staleness: tuple[int, ...] = ()
    dropped: int = 0
    discarded: int = 0
    stale: int = 0
    failures: tuple[ClientFailure, ...] = ()
    remarks: tuple[ClientFailure, ...] = ()

    def __add__(self, other: RoundStats) -> RoundStats:
        return RoundStats(
            self.updates + other.updates,
            self.staleness + other.staleness,
            self.dropped + other.dropped,
            self.discarded + other.discarded,
            self.stale + other.stale,
            self.failures + other.failures,
            self.remarks + other.remarks,
        )

    @property
    def failed(self) -> int:
        """Jobs lost before they were answered."""
        return sum(failure.reason == FAILED for failure in self.failures)

    @property
    def rejected(self) -> int:
        """Updates that would have ruined a model."""
        return len(self.failures) - self.failed

    @property
    def ends(self) -> Account:
        """How many jobs came to which end."""
        return Account(
            answered=len(self.updates),
            stale=self.stale,
            discarded=self.discarded,
            dropped=self.dropped,
            failed=self.failed,
            rejected=self.rejected,
        )

    @property
    def wasted(self) -> int:
        """Jobs that brought no update that counts."""
        return self.dropped + self.discarded + self.stale + len(self.failures)


FAILED = "failed"
NOT_FINITE = "not finite"
RUINS_MODEL = "ruins model"


def round_row(
    parts: Parts,
    current: RunState,
    stats: RoundStats,
    validation: Mapping[str, Evaluation],
    test: Mapping[str, Evaluation],
) -> Figures:
    """The figures of a round; null where a held-out set was not evaluated."""
    return {
        "server_round": current.state.server_round,
        "virtual_time": current.now,
        **_losses(parts, stats),
        **training_metrics(
            [task.name for task in parts.federation.tasks],
            stats.updates,
            answers_once=parts.algorithm.answers_once,
        ),
        **staleness_metrics(stats.staleness),
        **_held_out(parts, validation, test),
        **_wanted_client_figures(parts, current, stats, measured=bool(test)),
        **current.state.figures,
        **({} if parts.wall is None else parts.wall.figures()),
        **({"evaluated": bool(test)} if parts.evaluate_every > 1 else {}),
    }


def _held_out(
    parts: Parts, validation: Mapping[str, Evaluation], test: Mapping[str, Evaluation]
) -> Figures:
    """The figures of the held-out sets that were evaluated, in the places of all."""
    if validation and test:
        return dict(held_out_metrics(validation, test))
    tasks = parts.federation.tasks
    whole: Figures = dict.fromkeys(
        held_out_names({task.name: tuple(task.metrics) for task in tasks})
    )
    for task, seen in validation.items():
        whole |= {f"{task}/val_{name}": value for name, value in seen.figures.items()}
        whole[f"{task}/val_loss"] = seen.loss
    return whole


def round_columns(parts: Parts) -> list[str]:
    """Names of the figures that rows of rounds may hold; an algorithm's own may be absent."""
    tasks = [task.name for task in parts.federation.tasks]
    clients = client_figure_names(parts.federation.tasks) if parts.client_metrics else []
    return [
        "server_round",
        "virtual_time",
        *_losses(parts, RoundStats()),
        *training_metrics(tasks, [], answers_once=parts.algorithm.answers_once),
        *staleness_metrics([]),
        *held_out_names({task.name: tuple(task.metrics) for task in parts.federation.tasks}),
        *clients,
        *parts.algorithm.own_figures(tasks),
    ]


def _losses(parts: Parts, stats: RoundStats) -> Figures:
    """Jobs that brought nothing, by what became of them, where that can happen."""
    discards = parts.algorithm.sync_policy(parts.federation).may_discard
    optional = {
        "num-failed": (stats.failed, parts.timing.failures > 0.0),
        "num-discarded": (stats.discarded, discards),
        "num-stale": (stats.stale, parts.algorithm.may_refuse),
    }
    return {
        "num-dropped": stats.dropped,
        "num-rejected": stats.rejected,
        **{name: count for name, (count, wanted) in optional.items() if wanted},
    }


def _wanted_client_figures(
    parts: Parts, current: RunState, stats: RoundStats, *, measured: bool
) -> Figures:
    """The figures about clients, where they are wanted; those that cost nothing in every round."""
    if not parts.client_metrics:
        return {}
    if not measured:
        names = client_figure_names(parts.federation.tasks)
        known = cost_figures(parts.algorithm, parts.federation, current.state, stats.updates)
        return {**dict.fromkeys(names), **known}
    return client_figures(parts.algorithm, parts.federation, current.state, stats.updates)


def recruitment_row(parts: Parts, server_round: int) -> Figures:
    """What a recruitment cost and brought; with its round where recruitment is repeated."""
    result, tasks = parts.recruitment, [task.name for task in parts.federation.tasks]
    when = {"server_round": server_round} if parts.recruit_every else {}
    return {
        **when,
        "rule": result.rule,
        "budget": result.budget,
        "spend": result.spend,
        "cost": result.cost,
        "take_up": {name: int(n) for name, n in zip(tasks, result.take_up, strict=True)},
        "min_take_up": int(result.take_up.min()),
        "num-recruited": int(result.eligible.any(axis=1).sum()),
        **_scores(parts),
    }


def _scores(parts: Parts) -> Figures:
    """How tasks are scored, and on which scale, where one is not scored by accuracy."""
    tasks = parts.federation.tasks
    if all(next(iter(task.metrics)) == ACC for task in tasks):
        return {}
    told = {}
    for task in tasks:
        name, metric = next(iter(task.metrics.items()))
        scale = {} if task.scale is None else {"worst": task.scale.worst, "best": task.scale.best}
        told[task.name] = {"metric": name, "higher-is-better": metric.higher_is_better, **scale}
    return {"scores": told}


def stop_row(current: RunState, rule: EarlyStopTable) -> Figures:
    """Why a run ended before its last round."""
    return {
        "server_round": current.state.server_round,
        "virtual_time": current.now,
        "metric": rule.metric,
        "best": current.patience.best,
        "patience": rule.patience,
    }


def closing_row(current: RunState) -> Figures | None:
    """The account of a run at its end; None where an earlier version began it."""
    if current.account is None:
        return None
    return {
        "server_round": current.state.server_round,
        "virtual_time": current.now,
        **account_row(current.account, current.sent, current.pending),
    }


def targets_row(current: RunState, targets: Collection[str]) -> Figures:
    """How a run towards targets ended: the tasks that reached theirs, and those that did not."""
    return {
        "server_round": current.state.server_round,
        "virtual_time": current.now,
        "metric": TIME_TO_TARGETS,
        "reached": list(current.finished),
        "unreached": [task for task in targets if task not in current.finished],
    }
