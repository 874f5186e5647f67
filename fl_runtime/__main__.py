"""Command line: ``python -m fl_runtime run|resume|compare|plot|results|probe|list|init``.

It is also called ``fairopt-run``.

Bad input ends with one line on standard error and exit status 2; nothing is written by then. What
stops a run later, such as a full disk or a signal, ends with the command that goes on with it.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fairopt.errors import FairoptError, InvalidInput
from fairopt.extras import exit_without

with exit_without("runtime", "torch", "pydantic", "safetensors", "sklearn", "tomli_w"):
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from fl_runtime.one_line_errors import one_line_errors

if TYPE_CHECKING:
    from fl_runtime.configuration.schema import Config

RESULTS = Path("runs/results")
"""Where experiments are run for their page of results."""

app = typer.Typer(
    help="Train several models at once, with clients recruited and shared fairly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Configuration = Annotated[
    Path, typer.Argument(help="Configuration (TOML), or the name of a shipped experiment.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")]
Override = Annotated[
    list[str], typer.Option("--set", help="key=value, a dotted path or a leaf name that is unique.")
]

Jobs = Annotated[
    int | None, typer.Option(help="Arms and seeds at a time, each in a process of its own.")
]
Backend = Annotated[
    str | None,
    typer.Option(help="Whose processes: fork, loky, dask://HOST:PORT or ray://HOST:PORT."),
]

Curves = Annotated[
    Path | None, typer.Option(help="Also write curves for TensorBoard into this folder.")
]


@app.command()
def run(
    config: Configuration,
    set_: Override = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    fresh: Annotated[bool, typer.Option(help="Replace an earlier run at that place.")] = False,
    jobs: Jobs = None,
    backend: Backend = None,
    tensorboard: Curves = None,
    as_json: Json = False,
) -> None:
    """Run a configuration: every arm with every seed, then tables and a picture."""
    with one_line_errors():
        from fl_runtime.configuration.toml_files import read_config

        checked = read_config(config, set_)
        folder = out or free_folder(Path("runs"), config.stem)
        _run(checked, folder, _Workers(jobs, backend), fresh, tensorboard, as_json)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("experiment.toml"),
    from_: Annotated[
        str | None, typer.Option("--from", help="A shipped experiment to copy: see list.")
    ] = None,
) -> None:
    """Write a small configuration to start from, or a copy of a shipped one."""
    with one_line_errors():
        from fl_runtime.shipped_experiments import begin

        begin(file, from_)
        typer.echo(f"{file} is written; run it with: fairopt-run run {shlex.quote(str(file))}")


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a stopped run.")],
    rounds: Annotated[
        int | None, typer.Option(help="Extend the run, finished or not, to that many rounds.")
    ] = None,
    jobs: Jobs = None,
    backend: Backend = None,
    tensorboard: Curves = None,
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped, to the same history it would have had."""
    with one_line_errors():
        _resume(folder, _Workers(jobs, backend), rounds, tensorboard, as_json)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of runs.")],
    as_json: Json = False,
) -> None:
    """Tables over the arms of several runs, paired by seed with their versus or the first arm."""
    with one_line_errors():
        from fl_runtime.reporting.comparison import compare_runs

        _show(compare_runs(folders), as_json)


@app.command()
def plot(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
) -> None:
    """Draw the picture of a run again."""
    with one_line_errors():
        from fl_runtime.reporting.report import draw, read_run

        config, history = read_run(folder)
        typer.echo(draw(folder, history, config))


@app.command()
def results(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|CONFIG...",
            help="Folders of runs; configurations (TOML) are run first, or gone on with.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Markdown page to write.")] = Path("results.md"),
    update: Annotated[
        bool, typer.Option("--update", help="Keep what the page says of other experiments.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Where configurations are run.")] = RESULTS,
    jobs: Jobs = None,
    backend: Backend = None,
) -> None:
    """Write a page with the result of every claim: held, not held, or inconclusive."""
    with one_line_errors():
        workers = _Workers(jobs, backend)
        folders = [
            _done(each, runs, workers) if each.suffix == ".toml" else each for each in sources
        ]
        from fl_runtime.reporting.claim_results import counts
        from fl_runtime.reporting.results_page import write_results

        found = write_results(folders, out, update=update)
        totals = counts([result for experiment in found for result in experiment.results])
        typer.echo(f"{out}: " + ", ".join(f"{n} {name}" for name, n in totals.items()))


@app.command()
def probe(
    config: Configuration,
    set_: Override = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Time a round's local training by every executor, task by task; nothing is written."""
    with one_line_errors():
        from fl_runtime.configuration.toml_files import read_config
        from fl_runtime.running.one_run import torch_threads
        from fl_runtime.running.probe import probe as timed

        checked = read_config(config, set_)
        with torch_threads(checked.run.threads), redirect_stdout(sys.stderr):
            found = timed(checked)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    names = list(next(iter(found["tasks"].values()))["ms"])
    table = Table("task", "clients", *(f"{name} ms" for name in names), "auto takes")
    for task, seen in found["tasks"].items():
        times = ("-" if ms is None else f"{ms:.1f}" for ms in seen["ms"].values())
        table.add_row(escape(task), str(seen["clients"]), *times, seen["auto"])
    _console(list(found["tasks"])).print(table)


@app.command("list")
def list_names(
    from_: Annotated[
        str | None, typer.Option("--from", help="A module: what it offers to a configuration.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Names a configuration can use: algorithms, data, models, rules; and shipped experiments."""
    with one_line_errors():
        from fl_runtime.catalogue import catalogue, offers

        known = catalogue() if from_ is None else offers(from_)
    if as_json:
        typer.echo(json.dumps(known, indent=2))
        return
    console = _console()
    for kind, entries in known.items():
        table = Table(title=kind, show_header=False, title_justify="left")
        for name, note in entries.items():
            table.add_row(escape(name), escape(note))
        console.print(table)


def free_folder(parent: Path, name: str) -> Path:
    """``parent/name``, or the first of ``parent/name-2``, ``-3``, ... that does not exist."""
    folder, number = parent / name, 1
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


@dataclass(frozen=True)
class _Workers:
    """Who works on a run, as the command line has it."""

    jobs: int | None
    backend: str | None

    def bars(
        self, rounds: int | None, done: int, each: int | None
    ) -> Callable[[], AbstractContextManager[Any]]:
        """Progress bars: of so many rounds, of which some are done, and of each arm and seed."""
        from fl_runtime.running.progress import progress_bar

        several = self.jobs not in (None, 1) or self.backend is not None
        return partial(progress_bar, rounds, done, side_by_side=several, each=each)


def _run(
    config: Config,
    folder: Path,
    workers: _Workers,
    fresh: bool = False,
    curves: Path | None = None,
    as_json: bool = False,
) -> None:
    """A new run, and its report."""
    from fl_runtime import runs
    from fl_runtime.running.experiment import total_rounds

    bars = workers.bars(total_rounds(config), 0, config.run.num_server_rounds)
    go = partial(runs.run, config, out=folder, fresh=fresh, **asdict(workers))
    _finish(folder, go, bars, curves, as_json)


def _resume(
    folder: Path,
    workers: _Workers,
    rounds: int | None = None,
    curves: Path | None = None,
    as_json: bool = False,
) -> None:
    """The rest of a run, and its report."""
    from fl_runtime import runs
    from fl_runtime.running.experiment import total_rounds
    from fl_runtime.running.run_folder import RunFolder

    config = RunFolder(folder).config()
    done = RunFolder(folder).rounds_done(config, RunFolder(folder).progress(config))
    each = rounds or config.run.num_server_rounds
    bars = workers.bars(total_rounds(config, rounds), done, each)
    go = partial(runs.resume, folder, rounds=rounds, **asdict(workers))
    _finish(folder, go, bars, curves, as_json)


def _done(config: Path, runs: Path, workers: _Workers) -> Path:
    """The folder of a configuration that has been run to its end."""
    from fl_runtime.configuration.toml_files import read_config

    checked, folder = read_config(config, []), runs / config.stem
    typer.echo(f"== {config}")
    if folder.exists():
        _resume(folder, workers)
    else:
        _run(checked, folder, workers)
    return folder


def _finish(
    folder: Path,
    go: Callable[..., Any],
    bars: Callable[[], AbstractContextManager[Any]],
    curves: Path | None,
    as_json: bool,
) -> None:
    """Run with a progress bar and curves if wanted, show the report.

    What the user's own functions print goes to standard error, so that `--json` stays JSON.
    """
    from fl_runtime.running.callbacks import tensorboard, together
    from fl_runtime.running.run_folder import PICTURE, RunFolder

    begun: list[Any] = []
    with _stoppable(folder, begun), ExitStack() as stack:
        watchers = [stack.enter_context(bars())]
        if curves is not None:
            watchers.append(stack.enter_context(tensorboard(curves)))
        stack.enter_context(redirect_stdout(sys.stderr))
        go(on_event=together(begun.append, *watchers))
    _show(RunFolder(folder).summary(), as_json)
    if not as_json:
        _console().print(f"Files in {folder}, picture in {folder / PICTURE}", markup=False)


class _Terminated(KeyboardInterrupt):
    """The process was asked to end."""


@contextmanager
def _stoppable(folder: Path, begun: Sequence[object]) -> Iterator[None]:
    """Say how to go on with a run that something stops after its first event.

    A run that is interrupted (SIGINT, SIGTERM) ends with the exit status that shells expect.
    """
    hint = f"resume with: python -m fl_runtime resume {shlex.quote(str(folder))}"
    try:
        with _terminable():
            yield
    except KeyboardInterrupt as stop:
        number = signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT
        typer.echo(f"stopped; {hint}" if begun else "stopped", err=True)
        raise typer.Exit(128 + number) from None
    except (FairoptError, OSError) as error:
        if not begun:
            raise
        wrong = isinstance(error, InvalidInput)  # a setting, which resuming would meet again
        rest = "" if wrong else f"; {hint}"
        typer.echo(f"error: {' '.join(str(error).split())}{rest}", err=True)
        raise typer.Exit(2) from None
    except Exception:  # not the user's fault, so the traceback stays
        if begun:
            typer.echo(hint, err=True)
        raise


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM as an exception, where this thread may say so."""

    def terminate(*_: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(summary: dict[str, Any], as_json: bool) -> None:
    """The summary for a machine or for a person."""
    if as_json:
        typer.echo(json.dumps(summary, indent=2, allow_nan=False))
        return
    from fl_runtime.reporting.report import print_tables

    print_tables(summary, _console(summary["tasks"]))


def _console(tasks: Sequence[str] = ()) -> Console:
    """Standard output; wide enough for the tables when it is a file or a pipe."""
    width = max(240, 80 + sum(max(16, len(task) + 10) for task in tasks))
    return Console(width=None if sys.stdout.isatty() else width)


if __name__ == "__main__":
    app()
