"""Runs of a configuration: every arm with every seed, recruitment, rows, checkpoints, watchers.

Seeds are the outer loop, so after the first seed there is one run of every arm to look at. They are
done one after the other here, or by several processes (`side_by_side`), to the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fl_runtime.configuration.input_hashes import with_inputs
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, digest
from fl_runtime.execution.executor import repeatable
from fl_runtime.execution.pool import WorkerPool
from fl_runtime.history import read_history
from fl_runtime.processes.pools import Chosen, Workers, connected
from fl_runtime.running.build import Assembler, assemble, with_executors
from fl_runtime.running.model_files import SavedModel, is_model_file
from fl_runtime.running.one_run import Recorder, Watcher, one_run, torch_threads
from fl_runtime.running.pieces import left_of, remove_pieces
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.running.references import with_references
from fl_runtime.running.run_folder import RunFolder, runs_of
from fl_runtime.running.side_by_side import run_side_by_side
from fl_runtime.running.trained_models import Models, Result
from fl_runtime.running.writer import HISTORY, Writer, nothing_done


def run(
    config: Config,
    *,
    on_event: Watcher | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    chosen: Chosen | None = None,
    assembled: Assembler = assemble,
) -> Result:
    """Run every arm with every seed.

    Args:
        config: A checked configuration.
        on_event: Called after each row of the history, in order; see `callbacks` for more than one.
        out: Folder for the files of the run, but for its report (`fl_runtime.runs` writes that);
            None keeps everything in memory.
        fresh: Replace an earlier run at `out`.
        chosen: Whose processes do it (`side_by_side.checked_workers`); None for this one.
        assembled: Makes the parts of an arm and seed; a real federation has its own.

    Returns:
        The whole history, with the trained models.

    Raises:
        InvalidInput: Anything about the configuration that does not hold; nothing has been written
            or replaced by then.
    """
    config = resolved(config)
    with torch_threads(config.run.threads):
        check_all_arms(config, assembled)
    with ExitStack() as stack:
        workers = stack.enter_context(connected(chosen)) if chosen else None
        if out is None and workers is None:
            memory = _Memory()
            _execute(config, memory, nothing_done(config), on_event, None, assembled)
            return Result(memory.rows, models=Models.in_memory(config, memory.models))
        folder = Path(out or Path(stack.enter_context(TemporaryDirectory()), "run"))
        with RunFolder.begin(folder, config, fresh=fresh) as writer:
            _execute(config, writer, nothing_done(config), on_event, workers, assembled)
            return _result(writer.folder, in_memory=out is None)


def resume(
    path: str | Path,
    *,
    rounds: int | None = None,
    on_event: Watcher | None = None,
    chosen: Chosen | None = None,
    assembled: Assembler = assemble,
) -> Result:
    """Take up a run where its last checkpoint left it; a finished run is only read.

    Args:
        path: Folder of the run.
        rounds: Extend the run, finished or not, to that many rounds; see `fl_runtime.runs.resume`.
        on_event: Called after each new row of the history, in order.
        chosen: Whose processes go on with it, whoever began it; None for this one.
        assembled: Makes the parts of an arm and seed.

    Raises:
        InvalidInput: The folder is not a run, a file of it is damaged or belongs to another
            configuration, its data have changed, another process is writing it, or it cannot have
            that many rounds.
    """
    with ExitStack() as stack:
        workers = stack.enter_context(connected(chosen)) if chosen else None
        config, progress, writer = stack.enter_context(RunFolder(Path(path)).taken_up(rounds))
        _execute(config, writer, progress, on_event, workers, assembled)
        return _result(writer.folder)


def _result(folder: Path, *, in_memory: bool = False) -> Result:
    """What a run has left in its folder, or a copy of it, if the folder is about to go."""
    rows = read_history(folder / HISTORY).rows
    models = Models.of_folder(folder)
    if in_memory:
        paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        kept = {place: models.read(place) for place in paths if is_model_file(place)}
        models = Models.in_memory(models.config, kept)
    return Result(rows, models=models)


def resolved(config: Config) -> Config:
    """The configuration as a run records it: `auto` replaced, paths absolute, inputs hashed."""
    run = config.run.model_copy(update={"extended_from": ()})
    found = with_references(config.model_copy(update={"run": run}))
    return with_executors(with_inputs(found))


class _Memory:
    """A writer that keeps rows and models, and forgets the rest."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.models: dict[Path, SavedModel] = {}

    def row(self, row: Mapping[str, Any]) -> None:
        """Keep a row."""
        self.rows.append(dict(row))

    def model(self, model: SavedModel) -> None:
        """Keep a model."""
        self.models[model.header.place] = model

    def keep(
        self,
        index: int,
        digest: str,
        state: Mapping[str, Any],
        run: tuple[str, int],
        last: Mapping[str, Any] | None = None,
    ) -> None:
        """Memory ends with the process."""

    def seconds(self, row: Mapping[str, Any]) -> None:
        """Wall-clock figures are for files."""

    def checkpoint(self, record: Mapping[str, Any]) -> None:
        """Memory does not survive a kill."""


def _execute(
    config: Config,
    writer: Writer | _Memory,
    progress: Mapping[str, Any],
    on_event: Watcher | None,
    workers: Workers | None,
    assembled: Assembler,
) -> None:
    """All runs that are not finished, in order."""
    if workers is not None and isinstance(writer, Writer):
        run_side_by_side(config, writer, progress, on_event, workers)
        return
    state, arms = progress["state"], arm_configs(config)
    device = torch.device(config.run.device)
    pool = WorkerPool(config.run.workers, config.run.device)
    with torch_threads(config.run.threads), repeatable(device), pool:
        for index, (arm, seed) in enumerate(runs_of(config)):
            if index < progress["finished"]:
                continue
            left = {"finished": index, "state": state}
            if state is None and isinstance(writer, Writer):
                left = left_of(writer, config, index)
            if left["finished"] == index:
                recorder = Recorder(writer, digest(config), index, arm, seed, on_event)
                one_run(arms[arm], seed, recorder, left["state"], pool, assembled)
            state = None
    if isinstance(writer, Writer):
        remove_pieces(writer.folder)
