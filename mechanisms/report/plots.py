"""Pictures of auctions, drawn without a display."""

from __future__ import annotations

import math
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairopt.errors import InvalidInput
from fairopt.extras import extra
from mechanisms.audits.report import AuditReport
from mechanisms.audits.violation import TRUTHFUL
from mechanisms.outcome import Outcome
from mechanisms.reading.headings import NamedBids

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECRUITED, WAITING, PAID, GAINED = "#1b7837", "#bdbdbd", "#762a83", "#b2182b"
"""Green bids win, grey bids do not, purple marks are payments; told apart in greyscale too."""
BARS = 300
"""Bids of one task that are drawn at most; a picture with more takes minutes and shows no more."""
NARROWEST = 5.5
"""Inches that a legend and a title need."""
LETTERS = 11
"""In an inch, at least: where a title is broken."""
NAMED_CLIENTS = 60
"""Clients up to which a picture has room for their names."""


def outcome_figure(named: NamedBids, outcome: Outcome, title: str) -> Figure:
    """One panel per task: bids in rising order, recruits coloured, payments on top."""
    with extra("mechanisms"):
        from matplotlib.figure import Figure

    tasks = len(named.tasks)
    width = min(max(3.2 * tasks, NARROWEST), 16)
    figure = Figure(figsize=(width, 3.6), layout="constrained")
    figure.suptitle(_broken(title, width), fontsize="medium")
    panels = figure.subplots(1, tasks, squeeze=False)[0]
    for task, panel in enumerate(panels):
        _draw_task(panel, named, outcome, task)
    panels[0].set_ylabel("money")
    figure.legend(handles=_meanings(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def _meanings() -> list[Any]:
    """What the colours of an auction mean, for its legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dash = Line2D([], [], color=PAID, marker="_", linestyle="", markersize=14, markeredgewidth=2)
    dash.set_label("payment")
    bars = ((RECRUITED, "bid of a recruit"), (WAITING, "bid that does not win"))
    return [*(Patch(color=colour, label=label) for colour, label in bars), dash]


def _broken(text: str, width: float) -> str:
    """A title in lines that fit a picture of so many inches."""
    return textwrap.fill(text, int(LETTERS * width))


def save_outcome(path: str | Path, named: NamedBids, outcome: Outcome, title: str) -> None:
    """Write the picture; the suffix of the file decides the format.

    Raises:
        InvalidInput: The file cannot be written or has an unknown suffix.
    """
    save(outcome_figure(named, outcome, title), path)


def checked_picture(path: str | Path) -> None:
    """Refuse a picture that cannot be written, before anything is computed for it.

    Raises:
        InvalidInput: The folder does not exist or cannot be written to, or the suffix is none of a
            picture.

    Example:
        >>> checked_picture("nowhere/at/all.png")
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: plot = 'nowhere/at/all.png', but it must be a picture file ...
    """
    with extra("mechanisms"):
        from matplotlib.backend_bases import FigureCanvasBase

    path, known = Path(path), sorted(FigureCanvasBase.get_supported_filetypes())
    reason = ""
    if path.suffix.lower().lstrip(".") not in known:
        reason = f"its suffix is one of .{', .'.join(known)}"
    elif not path.parent.is_dir():
        reason = f"there is no folder {path.parent}"
    elif path.is_dir():
        reason = "this is a folder"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "no permission"
    if reason:
        raise InvalidInput("plot", str(path), f"a picture file that can be written ({reason})")


def save(figure: Figure, path: str | Path) -> None:
    """Write a picture and say so on the error stream; the suffix decides the format.

    Raises:
        InvalidInput: The file cannot be written or has an unknown suffix.
    """
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            "plot", str(path), f"a picture file that can be written ({error})"
        ) from error
    sys.stderr.write(f"written: {path}\n")


def audit_figure(named: NamedBids, report: AuditReport, title: str) -> Figure:
    """What each client's best misreport gains, as a bar; no bar where none was found.

    A client may stand in several violations: of a single bid, and of several at once. It is counted
    once, with the larger gain.
    """
    with extra("mechanisms"):
        from matplotlib.figure import Figure

    gains = dict.fromkeys(range(len(named.clients)), 0.0)
    for each in report.violations:
        if each.law == TRUTHFUL:
            assert each.client is not None
            gains[each.client] = max(gains[each.client], float(each.gain))
    gaining = sum(gain > 0 for gain in gains.values())
    width = min(max(3 + 0.25 * len(gains), NARROWEST), 16)
    figure = Figure(figsize=(width, 3.6), layout="constrained")
    panel = figure.subplots()
    panel.bar(list(gains), list(gains.values()), color=GAINED)
    panel.set_ylabel("gain of the best misreport found")
    if len(gains) <= NAMED_CLIENTS:
        panel.set_xticks(list(gains), named.clients, rotation=90, fontsize="x-small")
    else:
        panel.set_xlabel("client, in the order of the file")
    words = f"{gaining} of {len(gains)} clients have a profitable misreport"
    if not gaining:
        words = "no profitable misreport found"
        panel.text(0.5, 0.5, words, ha="center", va="center", transform=panel.transAxes)
        panel.set_ylim(0, 1)
        panel.set_yticks([])
    heading = f"{_broken(f'{title}: {words}', width)}\n{_broken(report.scope, width)}"
    figure.suptitle(heading, fontsize="small")
    return figure


def save_audit(path: str | Path, named: NamedBids, report: AuditReport, title: str) -> None:
    """Write the picture of an audit. Errors as `save`."""
    save(audit_figure(named, report, title), path)


def _draw_task(panel: Any, named: NamedBids, outcome: Outcome, task: int) -> None:
    """One panel; of a large auction every so manieth bidder, without names."""
    bids, won = named.bids[:, task], outcome.winners[:, task]
    order = np.argsort(bids, kind="stable")
    order = order[np.asarray(bids[order] < math.inf, dtype=bool)]
    step = -(-len(order) // BARS) or 1
    shown = order[::step]
    colours = [RECRUITED if won[i] else WAITING for i in shown]
    places = np.arange(len(shown))
    panel.bar(places, [float(bids[i]) for i in shown], color=colours)
    recruits = [(x, float(outcome.payments[i, task])) for x, i in enumerate(shown) if won[i]]
    if recruits:
        panel.plot(*zip(*recruits, strict=True), "_", color=PAID, markersize=14, markeredgewidth=2)
    panel.set_title(f"{named.tasks[task]}: {won.sum():,} recruits", fontsize="medium")
    if step == 1:
        panel.set_xticks(places, [named.clients[i] for i in shown], rotation=90, fontsize="x-small")
    else:
        panel.set_xticks([])
        panel.set_xlabel(f"{len(shown)} of {len(order):,} bidders", fontsize="small")
