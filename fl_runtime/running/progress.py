"""Progress bars that watch a run's events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from fl_runtime.running.one_run import Event, Watcher

REDRAWN = 0.1
"""Seconds between two pictures of bars that no thread redraws."""


@contextmanager
def progress_bar(
    rounds: int | None, done: int = 0, *, side_by_side: bool = False, each: int | None = None
) -> Iterator[Watcher]:
    """Show a bar on standard error while a run goes on.

    Args:
        rounds: Rounds over all arms and seeds; None when only virtual time is limited.
        done: Rounds that an earlier part of the run has left.
        side_by_side: Whether several arms and seeds go on at a time: each has its own bar below
            the common one. No thread redraws them, since this process is to be forked.
        each: Rounds of one arm and seed.

    Yields:
        The function to call with each event.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=not side_by_side,
    )
    task = bar.add_task("all" if side_by_side else "starting", total=rounds, completed=done)
    lines = _Lines(bar, each)

    def watch(event: Event) -> None:
        bar.start()  # at the first event, so that a refused configuration shows no bar
        bar.update(task, advance=event.kind == "round")
        if side_by_side:
            lines.show(event)
        else:
            bar.update(task, description=_described(event))

    try:
        yield watch
    finally:
        if bar.live.is_started:
            bar.stop()


class _Lines:
    """A bar for every arm and seed that is going on."""

    def __init__(self, bar: Progress, each: int | None) -> None:
        self._bar, self._each = bar, each
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._drawn = 0.0

    def show(self, event: Event) -> None:
        """Move the bar that an event is about; the last event of a run takes it away."""
        place = event.arm, event.seed
        if event.kind == "account":
            if place in self._tasks:
                self._bar.remove_task(self._tasks.pop(place))
        elif place not in self._tasks:
            self._tasks[place] = self._bar.add_task(_described(event), total=self._each)
        if event.kind == "round":
            rounds = event.row["server_round"]
            text = _described(event)
            self._bar.update(self._tasks[place], completed=rounds, description=text)
        if time.monotonic() - self._drawn > REDRAWN:
            self._bar.refresh()
            self._drawn = time.monotonic()


def _described(event: Event) -> str:
    """Where a run is, and its worst task."""
    worst = event.row.get("min_task_acc", event.row.get("min_task_score"))
    figure = "" if worst is None else f"  worst task {worst:.2f}"
    return f"seed {event.seed}, {escape(event.arm)}{figure}"
