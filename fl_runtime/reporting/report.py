"""After a run: the summary file, the picture, and the tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.history import History
from fl_runtime.metrics.algorithm_metrics import signs
from fl_runtime.reporting import tables
from fl_runtime.reporting.accounts import account_table
from fl_runtime.reporting.algorithm_plots import plot_figures
from fl_runtime.reporting.claim_results import check_claims
from fl_runtime.reporting.plots import plot_run
from fl_runtime.reporting.summary import summarise
from fl_runtime.running.run_folder import FIGURES, PICTURE, RunFolder, write_summary


def summary_of(history: History, config: Config) -> dict[str, Any]:
    """Figures per arm, with the targets and the averaging of the configuration."""
    summary = summarise(
        history,
        targets={task.name: task.goal for task in config.task},
        versus={arm.name: arm.versus for arm in config.arm if arm.versus},
        last=config.run.report_rounds,
        references={task.name: task.standard for task in config.task},
    )
    claims = [result.record() for result in check_claims(history, config)]
    return {**summary, "claims": claims, "signs": signs(history)}


def write_report(folder: Path, history: History, config: Config) -> dict[str, Any]:
    """Write `summary.json` and the picture of a run; return the summary."""
    summary = summary_of(history, config)
    summary["signs"] += _signs_of_workers(folder)
    write_summary(folder, summary)
    draw(folder, history, config)
    return summary


def _signs_of_workers(folder: Path) -> list[dict[str, str]]:
    """What the history does not show: workers that have died."""
    return [
        {
            "arm": arm,
            "sign": f"{count} worker{'s' if count > 1 else ''} died and had jobs run again, "
            "which changes no result",
        }
        for arm, count in RunFolder(folder).worker_deaths().items()
    ]


def draw(folder: Path, history: History, config: Config) -> Path:
    """Draw the pictures of a run into its folder; return the first, of scores.

    Raises:
        InvalidInput: No arm has finished a round with any seed.
    """
    begun = history.keep(lambda arm, seed: len(history.rounds(arm, seed)) > 0)
    if not begun.arms:
        raise InvalidInput("DIR", str(folder), "a run with at least one round")
    counts = (
        (len(begun.tasks), "model"),
        (config.clients.num_clients, "client"),
        (len(config.run.seeds), "seed"),
    )
    title = ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts)
    title = f"{config.run.title}\n{title}" if config.run.title else title
    plot_figures(begun, folder / FIGURES, title=title)
    return plot_run(
        begun,
        folder / PICTURE,
        title=title,
        smooth=config.run.report_rounds,
        by_time=config.run.num_server_rounds is None,
    )


def print_tables(summary: Mapping[str, Any], console: Console) -> None:
    """All tables of a summary, after a line for every run that differs from the first."""
    for line in tables.differing_lines(summary):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    shown = (
        tables.fairness_table(summary),
        tables.differences_table(summary),
        tables.tasks_table(summary),
        tables.clients_table(summary),
        tables.targets_table(summary),
        tables.recruitment_table(summary),
        account_table(summary),
        tables.claims_table(summary),
        tables.signs_table(summary),
    )
    for table in shown:
        if table is not None:
            console.print(table)


def read_run(path: Path) -> tuple[Config, History]:
    """Configuration and history of a run folder, finished or not.

    Raises:
        InvalidInput: The folder is not a run, or a file of it is damaged.
    """
    folder = RunFolder(path)
    config = folder.config()
    return config, folder.history(config)
