"""The only loop: recruit, dispatch, wait, absorb, measure, record, checkpoint.

Seeds are the outer loop, so after the first seed there is one run of every arm to look at. All
state lives in frozen records that are passed along; files are written by `run_folder` alone.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch

from fairopt.errors import InvalidInput
from fl_runtime.algorithms import ServerState
from fl_runtime.assembly import Parts, assemble, executor_of
from fl_runtime.checkpoint import to_device
from fl_runtime.config import Config
from fl_runtime.config_files import arm_configs, digest
from fl_runtime.executor import Job, Update
from fl_runtime.history import History, finite_figures, read_history
from fl_runtime.inputs import check_inputs, with_inputs
from fl_runtime.metrics import held_out_metrics, staleness_metrics, training_metrics
from fl_runtime.preflight import check_all_arms
from fl_runtime.run_folder import HISTORY, RunFolder, Writer, nothing_done
from fl_runtime.streams import stream
from fl_runtime.task import Evaluation


@dataclass(frozen=True)
class Event:
    """Something a watcher may want to show.

    Attributes:
        kind: `recruitment` before a run's first round, `round` after each round.
        arm: Which arm.
        seed: Which seed.
        row: The row that went into the history.
    """

    kind: Literal["recruitment", "round"]
    arm: str
    seed: int
    row: Mapping[str, Any]


Watcher = Callable[[Event], None]


@dataclass(frozen=True)
class Moment:
    """Where one run stands: its state, the virtual time, and whether recruitment is recorded."""

    state: ServerState
    now: float = 0.0


def run(
    config: Config,
    *,
    on_event: Watcher | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
) -> History:
    """Run every arm with every seed.

    Args:
        config: A checked configuration.
        on_event: Called after each recruitment and round, in order.
        out: Folder for the files of the run; None keeps everything in memory.
        fresh: Replace an earlier run at `out`.

    Returns:
        The whole history.

    Raises:
        InvalidInput: Anything about the configuration that does not hold; nothing has been written
            or replaced by then.
    """
    config = resolved(config)
    check_all_arms(config)
    if out is None:
        rows: list[dict[str, Any]] = []
        _execute(config, _Memory(rows), nothing_done(config), on_event)
        return History(rows)
    folder = RunFolder.create(Path(out), config, fresh=fresh)
    return _into_folder(folder, config, nothing_done(config), on_event)


def resume(path: str | Path, *, on_event: Watcher | None = None) -> History:
    """Take up a run where its last checkpoint left it; a finished run is only read.

    Raises:
        InvalidInput: The folder is not a run, a file of it is damaged or belongs to another
            configuration, its data have changed, or another process is writing it.
    """
    folder = RunFolder(Path(path))
    config = folder.config()
    progress = folder.progress(config)
    check_inputs(config)
    return _into_folder(folder, config, progress, on_event)


def resolved(config: Config) -> Config:
    """The configuration as a run records it: `auto` replaced, paths absolute, inputs hashed."""
    run = config.run.model_copy(update={"executor": executor_of(config)})
    return with_inputs(config.model_copy(update={"run": run}))


def total_rounds(config: Config) -> int | None:
    """Rounds over all arms and seeds, if the configuration fixes their number."""
    rounds = config.run.num_server_rounds
    return rounds and rounds * len(config.run.seeds) * len(arm_configs(config))


class _Memory:
    """A writer that keeps rows and forgets the rest."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def row(self, row: Mapping[str, Any]) -> None:
        """Keep a row."""
        self._rows.append(dict(row))

    def seconds(self, row: Mapping[str, Any]) -> None:
        """Wall-clock figures are for files."""

    def checkpoint(self, record: Mapping[str, Any]) -> None:
        """Memory does not survive a kill."""


def _into_folder(
    folder: RunFolder, config: Config, progress: Mapping[str, Any], on_event: Watcher | None
) -> History:
    """Run, or go on running, with files."""
    with folder.writer(progress) as writer:
        _execute(config, writer, progress, on_event)
    return read_history(folder.path / HISTORY)


def _execute(
    config: Config, writer: Writer | _Memory, progress: Mapping[str, Any], on_event: Watcher | None
) -> None:
    """All runs that are not finished, in order."""
    runs = [(seed, *arm) for seed in config.run.seeds for arm in arm_configs(config).items()]
    state = progress["state"]
    with torch_threads(config.run.threads):
        for index in range(progress["finished"], len(runs)):
            seed, arm, arm_config = runs[index]
            recorder = _Recorder(writer, digest(config), index, arm, seed, on_event)
            _one_run(arm_config, seed, recorder, state)
            state = None


@dataclass(frozen=True)
class _Recorder:
    """Writes the rows and checkpoints of one run, and tells the watcher."""

    writer: Writer | _Memory
    digest: str
    index: int
    arm: str
    seed: int
    on_event: Watcher | None

    def event(self, kind: Literal["recruitment", "round"], figures: Mapping[str, Any]) -> None:
        """Append a row and announce it."""
        row = {"event": kind, "arm": self.arm, "seed": self.seed, **finite_figures(figures)}
        self.writer.row(row)
        if self.on_event:
            self.on_event(Event(kind, self.arm, self.seed, row))

    def checkpoint(self, moment: Moment | None) -> None:
        """Save where this run stands; None when it is finished."""
        state = None if moment is None else {"now": moment.now, **plain_state(moment.state)}
        finished = self.index + (moment is None)
        self.writer.checkpoint({"digest": self.digest, "finished": finished, "state": state})

    def seconds(self, server_round: int, spent: float) -> None:
        """Note the wall time of a round."""
        self.writer.seconds(
            {"arm": self.arm, "seed": self.seed, "server_round": server_round, "seconds": spent}
        )


def _one_run(
    config: Config, seed: int, recorder: _Recorder, saved: Mapping[str, Any] | None
) -> None:
    """One arm with one seed, from its start or from a saved state."""
    parts = assemble(config, seed)
    if saved is None:
        moment = Moment(parts.algorithm.init(parts.federation, seed))
        recorder.event("recruitment", _recruitment_row(parts, config))
        if not parts.recruitment.eligible.any():
            warnings.warn(
                f'arm "{recorder.arm}", seed {seed}: nobody is recruited, so nothing is trained',
                stacklevel=2,
            )
    else:
        moment = _restored(saved, torch.device(config.run.device))
    while not is_over(config, moment.state.server_round, moment.now):
        began = time.perf_counter()
        moment, row = one_round(parts, moment)
        recorder.event("round", row)
        recorder.checkpoint(moment)
        recorder.seconds(moment.state.server_round, time.perf_counter() - began)
    recorder.checkpoint(None)


def one_round(parts: Parts, moment: Moment) -> tuple[Moment, dict[str, Any]]:
    """Dispatch, wait for the slowest, absorb, measure.

    Returns:
        The moment after the round and the figures of the round.
    """
    state, jobs = parts.algorithm.dispatch(moment.state, parts.federation, moment.now)
    answered, duration = _barrier(parts, state, jobs)
    if duration > 0.0 and moment.now + duration == moment.now:
        raise InvalidInput("clients.delay", duration, f"long enough to move time {moment.now:g}")
    parts.executor.submit(answered)
    arrived = parts.executor.poll()
    before = state.server_round
    tasks = parts.federation.tasks
    state, updates, validation = _absorb(parts, state, arrived)
    test = {t.name: t.evaluate(state.models[t.name], t.test) for t in tasks}
    after = Moment(state.observe(validation), moment.now + duration)
    counts = {
        "server_round": after.state.server_round,
        "virtual_time": after.now,
        "num-dropped": len(jobs) - len(answered),
        "num-rejected": len(arrived) - len(updates),
    }
    return after, {
        **counts,
        **training_metrics([task.name for task in tasks], updates),
        **staleness_metrics(before, updates),
        **held_out_metrics(validation, test),
        **after.state.figures,
    }


def _absorb(
    parts: Parts, state: ServerState, arrived: Sequence[Update]
) -> tuple[ServerState, list[Update], dict[str, Evaluation]]:
    """Aggregate what is sound, so that no model is ever poisoned.

    Left out are updates that are not finite, and all updates of a task whose model would have no
    finite validation loss afterwards (a step that overflows).

    Returns:
        The new state, the updates that went into it, and the validation of its models.
    """
    updates = [update for update in arrived if update.is_finite]
    while True:
        after = parts.algorithm.absorb(state, updates)
        validation = {
            task.name: task.evaluate(after.models[task.name], task.validation)
            for task in parts.federation.tasks
        }
        broken = {name for name, seen in validation.items() if not math.isfinite(seen.loss)}
        kept = [update for update in updates if update.task not in broken]
        if len(kept) == len(updates):
            return after, updates, validation
        updates = kept


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch with that many intra-op threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def plain_state(state: ServerState) -> dict[str, Any]:
    """A state as a tree that a checkpoint can hold."""
    return {field.name: getattr(state, field.name) for field in fields(state)}


def _restored(saved: Mapping[str, Any], device: torch.device) -> Moment:
    """The moment a checkpoint holds."""
    tree = {key: value for key, value in saved.items() if key != "now"}
    return Moment(ServerState(**to_device(tree, device)), saved["now"])


def _barrier(parts: Parts, state: ServerState, jobs: list[Job]) -> tuple[list[Job], float]:
    """Jobs that are answered, and how long the server waits for the slowest of all of them.

    A client that drops out is noticed when its answer is due. A round without jobs takes as long as
    one job would, so that time goes on.
    """
    rng = stream(state.seed, "delays", state.server_round)
    clients = parts.federation.num_clients
    delays = [parts.delay.draw(rng) for _ in range(clients)]
    dropped = rng.random(clients) < parts.dropout
    answered = [job for job in jobs if not dropped[job.client]]
    return answered, max((delays[job.client] for job in jobs), default=max(delays))


def is_over(config: Config, server_round: int, now: float) -> bool:
    """Whether a run ends after that many rounds, at that virtual time."""
    rounds, limit = config.run.num_server_rounds, config.run.time_limit
    return server_round >= (rounds or math.inf) or now >= (limit or math.inf)


def _recruitment_row(parts: Parts, config: Config) -> dict[str, Any]:
    """What recruitment cost and brought."""
    names = [task.name for task in parts.federation.tasks]
    result = parts.recruitment
    return {
        "rule": result.rule,
        "budget": config.recruitment.budget,
        "spend": result.spend,
        "cost": result.cost,
        "take_up": {name: int(n) for name, n in zip(names, result.take_up, strict=True)},
        "min_take_up": int(result.take_up.min()),
        "num-recruited": int(result.eligible.any(axis=1).sum()),
    }
