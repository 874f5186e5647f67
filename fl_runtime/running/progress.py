"""A progress bar that watches a run's events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fl_runtime.running.experiment import Event, Watcher


@contextmanager
def progress_bar(rounds: int | None, done: int = 0) -> Iterator[Watcher]:
    """Show a bar on standard error while a run goes on.

    Args:
        rounds: Rounds over all arms and seeds; None when only virtual time is limited.
        done: Rounds that an earlier part of the run has left.

    Yields:
        The function to call with each event.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task("starting", total=rounds, completed=done)

    def watch(event: Event) -> None:
        bar.start()  # at the first event, so that a refused configuration shows no bar
        worst = event.row.get("min_task_acc", event.row.get("min_task_score"))
        figure = "" if worst is None else f"  worst task {worst:.2f}"
        bar.update(
            task,
            advance=event.kind == "round",
            description=f"seed {event.seed}, {escape(event.arm)}{figure}",
        )

    try:
        yield watch
    finally:
        if bar.live.is_started:
            bar.stop()
