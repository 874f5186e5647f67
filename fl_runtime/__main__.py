"""Command line: ``python -m fl_runtime run|resume|compare|plot|results|tune|probe|list|init``.

It is also called ``fairopt-run``.

Bad input ends with one line on standard error and exit status 2; nothing is written by then. What
stops a run later, such as a full disk or a signal, ends with the command that goes on with it.
"""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

from fairopt.extras import exit_without

with exit_without("runtime", "torch", "pydantic", "safetensors", "sklearn", "tomli_w"):
    import typer
    from rich.markup import escape
    from rich.table import Table

    from fl_runtime.one_line_errors import one_line_errors
    from fl_runtime.run_commands import AtWork, begin_run, console, finished_run, resume_run, show

RESULTS = Path("runs/results")
"""Where experiments are run for their page of results."""

TRIALS = Path("runs/tune")
"""Where arms are tried at different values of a key."""

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
    str | None,
    typer.Option(metavar="N", help="Arms and seeds at a time, each in a process of its own."),
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
        begin_run(checked, folder, AtWork.told(jobs, backend), fresh, tensorboard, as_json)


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
        command = f"python -m fl_runtime run {shlex.quote(str(file))}"
        typer.echo(f"{file} is written; run it with: {command}")


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
        resume_run(folder, AtWork.told(jobs, backend), rounds, tensorboard, as_json)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of runs.")],
    versus: Annotated[
        list[str], typer.Option(help="Compare every arm with this one, ARM or DIR:ARM.")
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Tables over the arms of several runs, paired by seed, and what the runs differ in.

    An arm is compared with its versus and with the arm of its name in the first run that has one,
    without either with the first arm of all.
    """
    with one_line_errors():
        from fl_runtime.reporting.comparison import compare_runs

        show(compare_runs(folders, versus), as_json)


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
        from fl_runtime.data.packages import MissingData
        from fl_runtime.reporting.claim_results import counts
        from fl_runtime.reporting.results_page import write_results

        workers, folders, left_out = AtWork.told(jobs, backend), [], {}
        for it in sources:
            try:
                folders.append(finished_run(it, runs, workers) if it.suffix == ".toml" else it)
            except MissingData as missing:
                left_out[it.stem] = f"it needs {missing.name}, which comes by `{missing.install}`"
                typer.echo(f"left out: {left_out[it.stem]}", err=True)
        found = write_results(folders, out, update=update, left_out=left_out)
        totals = counts([result for experiment in found for result in experiment.results])
        typer.echo(f"{out}: " + ", ".join(f"{n} {name}" for name, n in totals.items()))


@app.command()
def tune(
    config: Configuration,
    key: Annotated[
        str, typer.Option(help="What to choose, a dotted key that an arm may change.")
    ] = "task.*.learning-rate",
    values: Annotated[
        str, typer.Option(help="The grid: values with commas between.")
    ] = "0.01, 0.03, 0.1, 0.3",
    seeds: Annotated[
        str, typer.Option(help="Seeds that the experiment does not use.")
    ] = "100,101,102",
    by: Annotated[
        str, typer.Option(help="val_loss, val_score, val_acc or time-to-targets.")
    ] = "val_loss",
    arms: Annotated[list[str], typer.Option(help="Arms to tune: patterns of their names.")] = ["*"],  # noqa: B006
    set_: Override = [],  # noqa: B006
    runs: Annotated[Path, typer.Option(help="Where the trials are run.")] = TRIALS,
    fresh: Annotated[bool, typer.Option(help="Replace earlier trials there.")] = False,
    jobs: Jobs = None,
    backend: Backend = None,
    as_json: Json = False,
) -> None:
    """Choose a step length (or another key) for every arm, on validation data of other seeds."""
    with one_line_errors():
        from fl_runtime.configuration.toml_files import read_config
        from fl_runtime.tune_command import (
            choices_table,
            chosen_lines,
            record,
            tune_arms,
            tuning_of,
        )

        experiment = read_config(config, set_)
        tuning = tuning_of(key, values, seeds, by, arms)
        workers = AtWork.told(jobs, backend)
        found = tune_arms(experiment, tuning, runs / config.stem, workers, fresh=fresh)
    if as_json:
        typer.echo(json.dumps([record(one) for one in found], indent=2, allow_nan=False))
        return
    console().print(choices_table(found, tuning))
    for line in chosen_lines(found, experiment, tuning):
        typer.echo(line)


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
    console(list(found["tasks"])).print(table)


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
    wide = console()
    for kind, entries in known.items():
        table = Table(title=kind, show_header=False, title_justify="left")
        for name, note in entries.items():
            table.add_row(escape(name), escape(note))
        wide.print(table)


def free_folder(parent: Path, name: str) -> Path:
    """``parent/name``, or the first of ``parent/name-2``, ``-3``, ... that does not exist."""
    folder, number = parent / name, 1
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


if __name__ == "__main__":
    app()
