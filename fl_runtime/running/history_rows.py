"""What goes into the history: one row per recruitment, round, incident and early stop.

Columns about a setting that is off are left out: `num-failed` needs failures, `num-discarded` a
server that does not wait for everybody, `num-stale` a bound of staleness.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fl_runtime.configuration.schema import EarlyStopTable
from fl_runtime.metrics.client_metrics import client_figures
from fl_runtime.metrics.round_metrics import (
    TIME_TO_TARGETS,
    held_out_metrics,
    staleness_metrics,
    training_metrics,
)
from fl_runtime.running.build import Parts
from fl_runtime.running.run_state import Moment
from fl_runtime.running.stopping import Patience
from fl_runtime.simulation.clock import Flight
from fl_runtime.training.job import Update
from fl_runtime.training.task import Evaluation

Figures = dict[str, Any]


@dataclass(frozen=True)
class Incident:
    """Something that went wrong with one client's work.

    Attributes:
        reason: `failed` (lost at a moment of the work), `not finite` (an update with NaN or
            infinity), or `ruins model` (an update after which a model has no finite loss).
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
    def of(cls, reason: str, work: Flight | Update, now: float) -> Incident:
        """An incident with that job or update."""
        where = work.job if isinstance(work, Flight) else work
        return cls(reason, where.task, where.client, where.version, now)

    def row(self, server_round: int) -> Figures:
        """The incident as a row, during the round after `server_round` finished ones."""
        return {
            "server_round": server_round,
            "virtual_time": self.virtual_time,
            "reason": self.reason,
            "task": self.task,
            "client": self.client,
            "version": self.version,
        }


@dataclass(frozen=True)
class Tally:
    """What has happened since the last row.

    Attributes:
        updates: Updates that were taken in.
        ages: How many versions old each was when it arrived.
        dropped: Jobs that were never answered.
        discarded: Answers that came too late for their round.
        stale: Answers that the algorithm did not accept.
        incidents: Jobs that failed and updates that were rejected.
    """

    updates: tuple[Update, ...] = ()
    ages: tuple[int, ...] = ()
    dropped: int = 0
    discarded: int = 0
    stale: int = 0
    incidents: tuple[Incident, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.updates + other.updates,
            self.ages + other.ages,
            self.dropped + other.dropped,
            self.discarded + other.discarded,
            self.stale + other.stale,
            self.incidents + other.incidents,
        )

    @property
    def failed(self) -> int:
        """Jobs lost at a moment of the work."""
        return sum(incident.reason == FAILED for incident in self.incidents)

    @property
    def rejected(self) -> int:
        """Updates that would have ruined a model."""
        return len(self.incidents) - self.failed

    @property
    def wasted(self) -> int:
        """Jobs that brought nothing."""
        return self.dropped + self.discarded + self.stale + len(self.incidents)


FAILED = "failed"
NOT_FINITE = "not finite"
RUINS_MODEL = "ruins model"


def round_row(
    parts: Parts,
    moment: Moment,
    tally: Tally,
    validation: Mapping[str, Evaluation],
    test: Mapping[str, Evaluation],
) -> Figures:
    """The figures of a round."""
    optional = {
        "num-failed": (tally.failed, parts.timing.failures > 0.0),
        "num-discarded": (tally.discarded, parts.algorithm.wait(parts.federation).may_discard),
        "num-stale": (tally.stale, parts.algorithm.may_refuse),
    }
    return {
        "server_round": moment.state.server_round,
        "virtual_time": moment.now,
        "num-dropped": tally.dropped,
        "num-rejected": tally.rejected,
        **{name: count for name, (count, wanted) in optional.items() if wanted},
        **training_metrics([task.name for task in parts.federation.tasks], tally.updates),
        **staleness_metrics(tally.ages),
        **held_out_metrics(validation, test),
        **_wanted_client_figures(parts, moment, tally),
        **moment.state.figures,
    }


def _wanted_client_figures(parts: Parts, moment: Moment, tally: Tally) -> Figures:
    """The figures about clients, where they are asked for."""
    if not parts.client_metrics:
        return {}
    return client_figures(parts.federation, moment.state, tally.updates)


def recruitment_row(parts: Parts, server_round: int, tasks: Sequence[str]) -> Figures:
    """What a recruitment cost and brought; with its round where recruitment is repeated."""
    result = parts.recruitment
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
    }


def stop_row(moment: Moment, rule: EarlyStopTable, patience: Patience) -> Figures:
    """Why a run ended before its last round."""
    return {
        "server_round": moment.state.server_round,
        "virtual_time": moment.now,
        "metric": rule.metric,
        "best": patience.best,
        "patience": rule.patience,
    }


def targets_row(moment: Moment, targets: Collection[str]) -> Figures:
    """How a run towards targets ended: the tasks that reached theirs, and those that did not."""
    return {
        "server_round": moment.state.server_round,
        "virtual_time": moment.now,
        "metric": TIME_TO_TARGETS,
        "reached": list(moment.finished),
        "unreached": [task for task in targets if task not in moment.finished],
    }
