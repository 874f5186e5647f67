"""Runs with the files of their reports: what `fl_runtime.run` and the command line do.

The loop knows nothing of reports (`running.experiment` writes what a stopped run needs), so the two
are put together here. A run that was killed and resumed leaves the same files as any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.processes.pools import Chosen
from fl_runtime.reporting.report import write_report
from fl_runtime.running import experiment
from fl_runtime.running.build import Assembler, assemble
from fl_runtime.running.callbacks import configured
from fl_runtime.running.one_run import Watcher
from fl_runtime.running.run_folder import RunFolder
from fl_runtime.running.side_by_side import checked_workers
from fl_runtime.running.trained_models import Result


def run(
    config: Config,
    *,
    on_event: Watcher | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    jobs: int | None = None,
    backend: str | None = None,
    assembled: Assembler = assemble,
    report: bool = True,
) -> Result:
    """Run every arm with every seed.

    Args:
        config: A checked configuration.
        on_event: Called after each row of the history, in order; see `running.callbacks` for more
            than one.
        out: Folder for the files of the run, `summary.json` and pictures among them; None keeps
            everything in memory.
        fresh: Replace an earlier run at `out`.
        jobs: Arms and seeds at a time, each in a process of its own; by default one, or as many as
            a backend that is given has processes. The files, the history and the models are the
            same to the byte, however many; watchers see the rows of one arm and seed in order, and
            those of several as they happen.
        backend: Whose processes: `fork` (the default where that is safe: on a CPU with one
            thread), `loky` (fresh ones, which import everything again), or those of a cluster that
            sees `out` under the same path, `dask://HOST:PORT` or `ray://HOST:PORT`.
        assembled: Makes the parts of an arm and seed; a real federation (`fl_runtime.flower`) has
            its own.
        report: Whether to write `summary.json` and pictures, beside what the run itself leaves.

    Returns:
        The whole history, and the trained models as its `models`: ``run(...).models.load("wine")``
        is a module (`load_model` has the arguments). Without `out` they stay in memory as long as
        the result does; `keep-models = "none"` keeps none.

    Raises:
        InvalidInput: Anything about the configuration that does not hold; nothing has been written
            or replaced by then.
        FairoptError: A process has ended twice at one arm and seed, such as for lack of memory.
    """
    if not isinstance(cast(object, config), Config):
        requirement = "a Config, as load_config and check_config give it"
        raise InvalidInput("config", type(config).__name__, requirement)
    chosen = _chosen(config, jobs, backend, assembled)
    watcher = configured(config, on_event)
    history = experiment.run(
        config, on_event=watcher, out=out, fresh=fresh, chosen=chosen, assembled=assembled
    )
    return _reported(Path(out), history) if out is not None and report else history


def resume(
    path: str | Path,
    *,
    rounds: int | None = None,
    on_event: Watcher | None = None,
    jobs: int | None = None,
    backend: str | None = None,
    assembled: Assembler = assemble,
    report: bool = True,
) -> Result:
    """Take up a run where its last checkpoint left it, to the files that it would have left.

    Args:
        path: Folder of the run.
        rounds: Extend the run, finished or not, to that many rounds. Its history becomes that of a
            run which had them from the start, to the byte: what early stopping or targets have
            ended stays so, and a time limit still holds.
        on_event: Called after each new row of the history, in order.
        jobs: Arms and seeds at a time, as for `run`, whatever it was before.
        backend: Whose processes.
        assembled: Makes the parts of an arm and seed.
        report: As for `run`.

    Raises:
        InvalidInput: The folder is not a run, a file of it is damaged or belongs to another
            configuration, its data have changed, another process is writing it, or it cannot have
            that many rounds.
    """
    config = RunFolder(Path(path)).config()
    chosen = _chosen(config, jobs, backend, assembled)
    watcher = configured(config, on_event)
    history = experiment.resume(
        path, rounds=rounds, on_event=watcher, chosen=chosen, assembled=assembled
    )
    return _reported(Path(path), history) if report else history


def _chosen(
    config: Config, jobs: int | None, backend: str | None, assembled: Assembler
) -> Chosen | None:
    """The processes that work on a run; a federation has its nodes."""
    chosen = checked_workers(config, jobs, backend)
    if chosen is not None and assembled is not assemble:
        raise InvalidInput("jobs", jobs, "left out: the nodes of a federation do the work")
    return chosen


def _reported(folder: Path, history: Result) -> Result:
    """The history of a run whose report has been written."""
    write_report(folder, history, RunFolder(folder).config())
    return history
