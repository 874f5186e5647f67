"""Progress bars that watch a run's events."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs
from fl_runtime.running.one_run import Event, Watcher

REDRAWN = 0.1
"""Seconds between two pictures of bars that no thread redraws."""


@dataclass(frozen=True)
class Extent:
    """How far a run goes: by rounds if they are limited, else by virtual time.

    Attributes:
        runs: Arms times seeds.
        rounds: Of each, at most.
        limit: Virtual time of each, where rounds are not limited.
    """

    runs: int
    rounds: int | None
    limit: float = 0.0

    @classmethod
    def of(cls, config: Config, rounds: int | None = None) -> Extent:
        """That of a configuration, or of its extension to so many rounds."""
        runs = len(config.run.seeds) * len(arm_configs(config))
        return cls(runs, rounds or config.run.num_server_rounds, config.run.time_limit or 0.0)

    @property
    def each(self) -> float:
        """Of one arm and seed."""
        return self.limit if self.rounds is None else float(self.rounds)

    def place(self, row: Mapping[str, Any]) -> float:
        """How far a run has come with a row of a round.

        Example:
            >>> row = {"server_round": 7, "virtual_time": 2.5}
            >>> Extent(1, 10).place(row), Extent(1, None, 2.0).place(row)
            (7.0, 2.0)
        """
        if self.rounds is None:
            return min(float(row["virtual_time"]), self.limit)
        return float(row["server_round"])


class _Count(ProgressColumn):
    """How much is done of how much."""

    def __init__(self, extent: Extent) -> None:
        super().__init__()
        self._word = " virtual time" if extent.rounds is None else ""

    def render(self, task: Any) -> Text:
        """Rounds, or times with their word."""
        return Text(f"{task.completed:.6g}/{task.total:.6g}{self._word}")


@contextmanager
def progress_bar(
    extent: Extent,
    done: Mapping[tuple[str, int], float] | None = None,
    *,
    side_by_side: bool = False,
    label: str = "",
) -> Iterator[Watcher]:
    """Show a bar on standard error while a run goes on.

    Args:
        extent: Of the run.
        done: How far an earlier part of the run has come, by arm and seed.
        side_by_side: Whether several arms and seeds go on at a time: each has its own bar below
            the common one. No thread redraws them, since this process is to be forked.
        label: What stands before every arm and seed, such as a value that is tried.

    Yields:
        The function to call with each event.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _Count(extent),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=not side_by_side,
    )
    places = dict(done or {})
    title = f"{escape(label)} all".strip() if side_by_side else "starting"
    task = bar.add_task(title, total=extent.runs * extent.each)
    bar.update(task, completed=sum(places.values()))
    lines = _Lines(bar, extent, label)

    def watch(event: Event) -> None:
        bar.start()  # at the first event, so that a refused configuration shows no bar
        if event.kind == "round":
            places[event.arm, event.seed] = extent.place(event.row)
        elif event.kind == "account":  # a run may end before its last round
            places[event.arm, event.seed] = extent.each
        bar.update(task, completed=sum(places.values()))
        if side_by_side:
            lines.show(event)
        else:
            bar.update(task, description=_described(event, label))

    try:
        yield watch
    finally:
        if bar.live.is_started:
            bar.stop()


class _Lines:
    """A bar for every arm and seed that is going on."""

    def __init__(self, bar: Progress, extent: Extent, label: str) -> None:
        self._bar, self._extent, self._label = bar, extent, label
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._drawn = 0.0

    def show(self, event: Event) -> None:
        """Move the bar that an event is about; the last event of a run takes it away."""
        place = event.arm, event.seed
        if event.kind == "account":
            if place in self._tasks:
                self._bar.remove_task(self._tasks.pop(place))
        elif place not in self._tasks:
            self._tasks[place] = self._bar.add_task(
                _described(event, self._label), total=self._extent.each
            )
        if event.kind == "round":
            reached, text = self._extent.place(event.row), _described(event, self._label)
            self._bar.update(self._tasks[place], completed=reached, description=text)
        if time.monotonic() - self._drawn > REDRAWN:
            self._bar.refresh()
            self._drawn = time.monotonic()


def _described(event: Event, label: str) -> str:
    """Where a run is, and its worst task."""
    worst = event.row.get("min_task_acc", event.row.get("min_task_score"))
    figure = "" if worst is None else f"  worst task {worst:.2f}"
    where = f"{label}, " if label else ""
    return f"{escape(where)}seed {event.seed}, {escape(event.arm)}{figure}"
