"""Pictures of auctions, drawn without a display."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairopt.errors import InvalidInput
from mechanisms.outcome import Outcome
from mechanisms.tables import NamedBids

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECRUITED, WAITING, PAID = "#1b7837", "#bdbdbd", "#762a83"
"""Green asks win, grey asks do not, purple marks are payments; told apart in greyscale too."""


def outcome_figure(named: NamedBids, outcome: Outcome, title: str) -> Figure:
    """One panel per task: asks in rising order, recruits coloured, payments on top."""
    from matplotlib.figure import Figure

    tasks = len(named.tasks)
    figure = Figure(figsize=(min(3.2 * tasks, 16), 3.2), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, tasks, squeeze=False)[0]
    for task, panel in enumerate(panels):
        _draw_task(panel, named, outcome, task)
    panels[0].set_ylabel("ask, payment")
    return figure


def save_outcome(path: str | Path, named: NamedBids, outcome: Outcome, title: str) -> None:
    """Write the picture; the suffix of the file decides the format.

    Raises:
        InvalidInput: The file cannot be written or has an unknown suffix.
    """
    try:
        outcome_figure(named, outcome, title).savefig(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            "plot", str(path), f"a picture file that can be written ({error})"
        ) from error


def _draw_task(panel: Any, named: NamedBids, outcome: Outcome, task: int) -> None:
    """One panel."""
    asks = named.bids[:, task]
    order = [i for i in sorted(range(len(asks)), key=lambda i: (asks[i], i)) if asks[i] < math.inf]
    colours = [RECRUITED if outcome.winners[i, task] else WAITING for i in order]
    places = np.arange(len(order))
    panel.bar(places, [float(asks[i]) for i in order], color=colours)
    recruits = [
        (x, float(outcome.payments[i, task]))
        for x, i in enumerate(order)
        if outcome.winners[i, task]
    ]
    if recruits:
        panel.plot(*zip(*recruits, strict=True), "_", color=PAID, markersize=14, markeredgewidth=2)
    panel.set_title(f"{named.tasks[task]}: {len(recruits)} recruits", fontsize="medium")
    panel.set_xticks(places, [named.clients[i] for i in order], rotation=90, fontsize="x-small")
