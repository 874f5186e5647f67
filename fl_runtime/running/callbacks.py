"""Watchers of a run: functions of an `Event`, one or several at once.

A watcher sees every row of the history right after it was written. It cannot change a run: it gets
rows, not models.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.extensions import Kind, resolve
from fl_runtime.running.one_run import Event, Watcher

CALLBACK = Kind("callback", "run.callbacks", {}, arguments=("event",))
"""Who can watch a run from within its configuration."""

NOT_A_FIGURE = ("event", "arm", "seed", "server_round", "virtual_time")
"""Entries of a row that are not drawn as curves."""


def together(*watchers: Watcher) -> Watcher:
    """One watcher that calls several, in order.

    Example:
        >>> seen = []
        >>> both = together(lambda event: seen.append(event.kind), lambda event: seen.append(1))
        >>> both(Event("round", "random", 0, {}))
        >>> seen
        ['round', 1]
    """

    def watch(event: Event) -> None:
        for watcher in watchers:
            watcher(event)

    return watch


def configured(config: Config, on_event: Watcher | None) -> Watcher | None:
    """A run's watcher together with those that its configuration names, which come first.

    Raises:
        InvalidInput: One of them cannot be found or made.
    """
    named = [
        resolve(CALLBACK, entry, key=f"{CALLBACK.key}.{number}")
        for number, entry in enumerate(config.run.callbacks)
    ]
    if not named:
        return on_event
    return together(*named, *([on_event] if on_event else []))


@contextmanager
def tensorboard(folder: str | Path) -> Iterator[Watcher]:
    """Write every figure of every round as a curve that TensorBoard shows.

    One log per arm and seed; steps are server rounds, and the time axis is virtual time. A resumed
    run goes on in a new file of the same log.

    Args:
        folder: Where the logs go.

    Yields:
        The watcher.

    Raises:
        InvalidInput: The package `tensorboard` is not installed.
    """
    try:
        writer_of = importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        requirement = "left out, or the package tensorboard installed (extra `tensorboard`)"
        raise InvalidInput("tensorboard", str(folder), requirement) from error
    writers: dict[tuple[str, int], object] = {}

    def watch(event: Event) -> None:
        place = event.arm, event.seed
        if place not in writers:
            writers[place] = writer_of(str(Path(folder, _safe(event.arm), f"seed-{event.seed}")))
        _write(writers[place], event)

    try:
        yield watch
    finally:
        for writer in writers.values():
            writer.close()  # type: ignore[attr-defined]


def _write(writer: object, event: Event) -> None:
    """One event as points of curves, or as a line of text."""
    step = event.row.get("server_round", 0)
    if event.kind != "round":
        text = ", ".join(f"{k} {v}" for k, v in event.row.items() if k not in NOT_A_FIGURE[:3])
        writer.add_text(event.kind, text, step)  # type: ignore[attr-defined]
        return
    for name, value in event.row.items():
        if name not in NOT_A_FIGURE and value is not None:
            writer.add_scalar(name, value, step, walltime=event.row["virtual_time"])  # type: ignore[attr-defined]


def _safe(name: str) -> str:
    """An arm's name as the name of a folder, different for different arms.

    Example:
        >>> _safe("fair, alpha 3/2")
        'fair, alpha 3%2F2'
    """
    return quote(name, safe=" ,()+=") if name.strip(".") else quote(name).replace(".", "%2E")
