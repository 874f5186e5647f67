"""One arm with one seed: recruitment, rows, checkpoints, models, and who is told of them.

All state lives in frozen records that are passed along; files are written by a `Notebook` alone.
What happens inside a round is in `loop`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch

from fl_runtime.configuration.schema import Config
from fl_runtime.execution.pool import WorkerPool
from fl_runtime.history import finite_figures
from fl_runtime.running.build import Assembler, Parts, assemble
from fl_runtime.running.evaluation_plan import (
    EVERYTHING,
    EvaluationPlan,
    Measured,
    evaluation_plan,
)
from fl_runtime.running.history_rows import (
    closing_row,
    recruitment_row,
    stop_row,
    targets_row,
)
from fl_runtime.running.kept_models import saved_models, with_better
from fl_runtime.running.loop import Evaluator, measured, one_round
from fl_runtime.running.model_files import SavedModel
from fl_runtime.running.run_state import RunState
from fl_runtime.running.stopping import early_stop_of, is_over
from fl_runtime.running.writer import WORKER_DEATHS
from fl_runtime.training.task import Evaluation

RUIN_SAMPLE = 256
"""Validation examples by which a ruined model is found where nothing reads validation figures: one
that has overflowed gives no finite loss on any."""

Kind = Literal["recruitment", "round", "incident", "stop", "account"]


@dataclass(frozen=True)
class Event:
    """Something a watcher may want to show.

    Attributes:
        kind: `recruitment` before a run's first round and whenever clients are recruited anew,
            `round` after each round, `incident` for a client's job that failed or whose update was
            rejected, `stop` when a run ends early, or had targets (and which it reached), and
            `account` at the end of every run: what became of the jobs it sent.
        arm: Which arm.
        seed: Which seed.
        row: The row that went into the history.
    """

    kind: Kind
    arm: str
    seed: int
    row: Mapping[str, Any]


Watcher = Callable[[Event], None]


class Notebook(Protocol):
    """Where a run leaves what it has done: a `Writer` of a folder, or memory."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Append a row to the history."""
        ...

    def seconds(self, row: Mapping[str, Any]) -> None:
        """Append a row of wall-clock figures."""
        ...

    def model(self, model: SavedModel) -> None:
        """Keep a trained model."""
        ...

    def keep(
        self,
        index: int,
        digest: str,
        state: Mapping[str, Any],
        run: tuple[str, int],
        last: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the last moment of an arm and seed, see `Writer.keep`."""
        ...

    def checkpoint(self, record: Mapping[str, Any]) -> None:
        """Replace the checkpoint by one that counts everything so far."""
        ...


@dataclass(frozen=True)
class Recorder:
    """Writes the rows and checkpoints of one run, and tells the watcher."""

    writer: Notebook
    digest: str
    index: int
    arm: str
    seed: int
    on_event: Watcher | None

    def event(self, kind: Kind, figures: Mapping[str, Any]) -> None:
        """Append a row and announce it."""
        row = self._row(kind, figures)
        self.writer.row(row)
        if self.on_event:
            self.on_event(Event(kind, self.arm, self.seed, row))

    def checkpoint(self, current: RunState | None) -> None:
        """Save where this run stands; None when it is finished."""
        state = None if current is None else current.tree()
        finished = self.index + (current is None)
        self.writer.checkpoint({"digest": self.digest, "finished": finished, "state": state})

    def moment(self, current: RunState, last: Mapping[str, Any] | None) -> None:
        """Keep where this run has come to, with another row of its last round if one is given."""
        row = None if last is None else self._row("round", last)
        self.writer.keep(self.index, self.digest, current.tree(), (self.arm, self.seed), row)

    def _row(self, kind: Kind, figures: Mapping[str, Any]) -> dict[str, Any]:
        """A row of the history."""
        return {"event": kind, "arm": self.arm, "seed": self.seed, **finite_figures(figures)}

    def models(self, parts: Parts, current: RunState, validation: Mapping[str, Evaluation]) -> None:
        """Write the models of a run that has ended."""
        state, best = current.state, current.best
        for model in saved_models(parts, state, best, validation, arm=self.arm, digest=self.digest):
            self.writer.model(model)

    def seconds(self, server_round: int, spent: float, deaths: int) -> None:
        """Note the wall time of a round, and how many workers have died in it."""
        self.writer.seconds(
            {
                "arm": self.arm,
                "seed": self.seed,
                "server_round": server_round,
                "seconds": spent,
                **({WORKER_DEATHS: deaths} if deaths else {}),
            }
        )


def one_run(
    config: Config,
    seed: int,
    recorder: Recorder,
    saved: Mapping[str, Any] | None,
    pool: WorkerPool,
    assembled: Assembler = assemble,
) -> None:
    """One arm with one seed, from its start or from a saved `RunState`."""
    parts, keep = assembled(config, seed, pool), config.run.keep_models
    rule = early_stop_of(config, parts.federation.tasks)
    plan = evaluation_plan(config, parts.algorithm, rule)
    evaluator = Evaluator(
        parts.federation.tasks,
        parts.federation.companions,
        sample=None if plan.validates or plan.every == 1 else RUIN_SAMPLE,
    )
    first = parts.algorithm.init(parts.federation, seed)
    current, as_if = RunState(first), None
    if saved is not None:
        current = RunState.from_tree(saved, type(first), torch.device(config.run.device))
        parts = _recruited_before(parts, current.state.server_round)
    while not _is_last(config, current):
        if current.patience.is_out(rule) or parts.targets.keys() <= set(current.finished) != set():
            break
        began, deaths = time.perf_counter(), pool.deaths
        before, patience = current.state.server_round, current.patience
        parts = _recruited_now(parts, before, recorder)
        wish = _Wish(config, plan, current)
        current, stats, row = one_round(parts, current, evaluator, config.run.time_limit, wish)
        current = replace(current, patience=patience.after(row, rule))
        if current.patience.is_out(rule) and not row.get("evaluated", True):
            current, row = measured(parts, wish.stepped, stats, evaluator, EVERYTHING)
            current = replace(current, patience=patience.after(row, rule))
        if keep == "last+best" and current.best is not None:
            seen = evaluator.validation(current.state, parts.federation.eligible)
            current = replace(current, best=with_better(current.best, parts, current.state, seen))
        for failure in (*stats.failures, *stats.remarks):
            recorder.event("incident", failure.row(before))
        recorder.event("round", row)
        if wish.forced:
            usual = plan.at(current.state.server_round)
            state, other = measured(parts, wish.stepped, stats, evaluator, usual)
            state = replace(state, patience=patience.after(other, rule), best=current.best)
            as_if = state, other
        elif current.state.server_round % config.run.checkpoint_every == 0:
            recorder.checkpoint(current)
        spent = time.perf_counter() - began
        recorder.seconds(current.state.server_round, spent, pool.deaths - deaths)
    if keep != "none":
        seen = evaluator.validation(current.state, parts.federation.eligible)
        recorder.models(parts, current, seen)
        recorder.moment(*(as_if or (current, None)))
    if rule is not None and current.patience.is_out(rule):
        recorder.event("stop", stop_row(current, rule))
    elif parts.targets:
        recorder.event("stop", targets_row(current, parts.targets))
    account = closing_row(current)
    if account is not None:
        recorder.event("account", account)
    recorder.checkpoint(None)


def _is_last(config: Config, current: RunState) -> bool:
    """Whether a run ends here by its rounds or its time."""
    return is_over(config, current.state.server_round, current.now, due=current.is_due)


class _Wish:
    """What is evaluated after a round; everything after the last.

    Attributes:
        stepped: The state that the round led to, before any evaluation.
        forced: Whether that is evaluated only because it is the last, which an extension changes.
    """

    def __init__(self, config: Config, plan: EvaluationPlan, current: RunState) -> None:
        self._config, self._plan = config, plan
        self.stepped, self.forced = current, False

    def __call__(self, current: RunState) -> Measured:
        """By the state that the round leads to."""
        usual = self._plan.at(current.state.server_round)
        self.stepped = current
        self.forced = usual != EVERYTHING and _is_last(self._config, current)
        return EVERYTHING if self.forced else usual


def _recruited_before(parts: Parts, server_round: int) -> Parts:
    """The clients that the latest recruitment before a round's end has left."""
    every = parts.recruit_every
    return parts.recruited((server_round - 1) // every) if every else parts


def _recruited_now(parts: Parts, server_round: int, recorder: Recorder) -> Parts:
    """The same parts, or with new clients where it is time to recruit."""
    every = parts.recruit_every
    if server_round and (every is None or server_round % every):
        return parts
    if server_round and every:
        parts = parts.recruited(server_round // every)
    recorder.event("recruitment", recruitment_row(parts, server_round))
    if not parts.recruitment.eligible.any():
        end = f"in rounds {server_round + 1} to {server_round + every}" if every else "at all"
        warnings.warn(
            f'arm "{recorder.arm}", seed {recorder.seed}: nobody is recruited, '
            f"so nothing is trained {end}",
            stacklevel=2,
        )
    return parts


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch with that many intra-op threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
