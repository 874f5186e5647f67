"""What commands do with a run: begin it, go on with it, stop it well, and show its report."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from fairopt.errors import FairoptError, InvalidInput

if TYPE_CHECKING:
    from fl_runtime.configuration.schema import Config
    from fl_runtime.running.progress import Extent


NONE_KEPT = "No trained models are kept (keep-models)"


@dataclass(frozen=True)
class AtWork:
    """Who works on a run, as the command line has it."""

    jobs: Any
    backend: str | None

    @classmethod
    def told(cls, jobs: str | None, backend: str | None) -> AtWork:
        """What no number is stays as it is, to be refused like any other."""
        number = jobs is not None and jobs.lstrip("-").isdecimal()
        return cls(int(jobs or 0) if number else jobs, backend)

    def bars(
        self, extent: Extent, done: Mapping[tuple[str, int], float], label: str
    ) -> Callable[[], AbstractContextManager[Any]]:
        """Progress bars: of a run of that extent, of which some is done."""
        from fl_runtime.running.progress import progress_bar

        several = self.jobs not in (None, 1) or self.backend is not None
        return partial(progress_bar, extent, done, side_by_side=several, label=label)


def begin_run(
    config: Config,
    folder: Path,
    workers: AtWork,
    fresh: bool = False,
    curves: Path | None = None,
    as_json: bool = False,
    quiet: bool = False,
    label: str = "",
) -> None:
    """A new run, and its report; a label stands in its bars."""
    from fl_runtime import runs
    from fl_runtime.running.progress import Extent

    bars = workers.bars(Extent.of(config), {}, label)
    go = partial(runs.run, config, out=folder, fresh=fresh, report=not quiet, **asdict(workers))
    _finish(folder, go, bars, curves, as_json, quiet, _of_base(config))


def resume_run(
    folder: Path,
    workers: AtWork,
    rounds: int | None = None,
    curves: Path | None = None,
    as_json: bool = False,
    quiet: bool = False,
    label: str = "",
) -> None:
    """The rest of a run, and its report."""
    from fl_runtime import runs
    from fl_runtime.running.progress import Extent
    from fl_runtime.running.run_folder import RunFolder

    config = RunFolder(folder).config()
    extent = Extent.of(config, rounds)
    lines = RunFolder(folder).lines_done(config, RunFolder(folder).progress(config))
    bars = workers.bars(extent, _places(lines, extent), label)
    go = partial(runs.resume, folder, rounds=rounds, report=not quiet, **asdict(workers))
    _finish(folder, go, bars, curves, as_json, quiet)


def _places(lines: Sequence[bytes], extent: Extent) -> dict[tuple[str, int], float]:
    """How far every arm and seed has come by its rows; what is damaged is refused elsewhere."""
    found = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            found[row["arm"], row["seed"]] = extent.place(row)
    return found


def finished_run(config: Path, runs: Path, workers: AtWork) -> Path:
    """The folder of a configuration that has been run to its end, with its title and claims of now.

    Raises:
        InvalidInput: There is a run of something else at its place.
    """
    from fl_runtime.configuration.toml_files import read_config

    typer.echo(f"== {config}")
    folder = runs / config.stem
    begin_or_resume(read_config(config, []), folder, workers)
    return folder


def begin_or_resume(
    config: Config,
    folder: Path,
    workers: AtWork,
    quiet: bool = False,
    remedy: str = "remove the folder",
    label: str = "",
) -> None:
    """A run to its end, whether it is new, stopped or finished.

    Raises:
        InvalidInput: There is a run of another configuration at its place.
    """
    from fl_runtime.running.experiment import resolved
    from fl_runtime.running.run_folder import RunFolder

    if not folder.exists():
        begin_run(config, folder, workers, quiet=quiet, label=label)
        return
    if not RunFolder(folder).reword(resolved(config)):
        requirement = f"a run of this configuration as it is now; it has changed: {remedy}"
        raise InvalidInput("DIR", str(folder), requirement)
    resume_run(folder, workers, quiet=quiet, label=label)


def _of_base(config: Config) -> str:
    """A line about the arm that nobody has written: the file as it stands; none without it."""
    from fl_runtime.configuration.toml_files import base_arm

    if not config.arm or not all(arm.overrides for arm in config.arm):
        return ""
    return (
        f'note: the first arm, "{base_arm(config)}", is the file as it stands, since every [[arm]] '
        "changes something; to have none besides, write what one of them changes into the tables "
        "of the file, and leave that [[arm]] its name alone"
    )


def _finish(
    folder: Path,
    go: Callable[..., Any],
    bars: Callable[[], AbstractContextManager[Any]],
    curves: Path | None,
    as_json: bool,
    quiet: bool,
    note: str = "",
) -> None:
    """Run with a progress bar and curves if wanted; show the report, which quiet runs have none of.

    A note is told at the first event.

    What the user's own functions print goes to standard error, so that `--json` stays JSON.
    """
    from fl_runtime.running.callbacks import tensorboard, together
    from fl_runtime.running.run_folder import PICTURE, RunFolder

    begun: list[Any] = []

    def tell(_: object) -> None:
        if note and len(begun) == 1:
            typer.echo(note, err=True)

    with _stoppable(folder, begun), ExitStack() as stack:
        watchers = [stack.enter_context(bars())]
        if curves is not None:
            watchers.append(stack.enter_context(tensorboard(curves)))
        stack.enter_context(redirect_stdout(sys.stderr))
        go(on_event=together(begun.append, tell, *watchers))
    if quiet:
        return
    show(RunFolder(folder).summary(), as_json)
    if not as_json:
        from fl_runtime.running.trained_models import loading_call

        console().print(f"Files in {folder}, picture in {folder / PICTURE}", markup=False)
        call = loading_call(folder)
        typer.echo(f"Trained models in Python, such as the first: {call}" if call else NONE_KEPT)


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


def show(summary: dict[str, Any], as_json: bool) -> None:
    """The summary for a machine or for a person."""
    if as_json:
        typer.echo(json.dumps(summary, indent=2, allow_nan=False))
        return
    from fl_runtime.reporting.report import print_tables

    print_tables(summary, console(summary["tasks"]))


def console(tasks: Sequence[str] = ()) -> Console:
    """Standard output; wide enough for the tables when it is a file or a pipe."""
    width = max(240, 80 + sum(max(16, len(task) + 10) for task in tasks))
    return Console(width=None if sys.stdout.isatty() else width)
