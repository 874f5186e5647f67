"""Pictures of auctions, drawn without a display."""

from __future__ import annotations

import math
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
NAMED_CLIENTS = 60
"""Clients up to which a picture has room for their names."""


def outcome_figure(named: NamedBids, outcome: Outcome, title: str) -> Figure:
    """One panel per task: bids in rising order, recruits coloured, payments on top."""
    with extra("mechanisms"):
        from matplotlib.figure import Figure

    tasks = len(named.tasks)
    figure = Figure(figsize=(min(3.2 * tasks, 16), 3.2), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, tasks, squeeze=False)[0]
    for task, panel in enumerate(panels):
        _draw_task(panel, named, outcome, task)
    panels[0].set_ylabel("bid, payment")
    return figure


def save_outcome(path: str | Path, named: NamedBids, outcome: Outcome, title: str) -> None:
    """Write the picture; the suffix of the file decides the format.

    Raises:
        InvalidInput: The file cannot be written or has an unknown suffix.
    """
    save(outcome_figure(named, outcome, title), path)


def save(figure: Figure, path: str | Path) -> None:
    """Write a picture; the suffix of the file decides the format.

    Raises:
        InvalidInput: The file cannot be written or has an unknown suffix.
    """
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            "plot", str(path), f"a picture file that can be written ({error})"
        ) from error


def audit_figure(named: NamedBids, report: AuditReport, title: str) -> Figure:
    """What each client's best misreport gains, as a bar; no bar where none was found."""
    with extra("mechanisms"):
        from matplotlib.figure import Figure

    found = [each for each in report.violations if each.law == TRUTHFUL]
    gains = dict.fromkeys(range(len(named.clients)), 0.0)
    for each in found:
        assert each.client is not None
        gains[each.client] = max(gains[each.client], float(each.gain))
    figure = Figure(figsize=(min(3 + 0.25 * len(gains), 16), 3.2), layout="constrained")
    panel = figure.subplots()
    panel.bar(list(gains), list(gains.values()), color=GAINED)
    panel.set_ylabel("gain of the best misreport found")
    if len(gains) <= NAMED_CLIENTS:
        panel.set_xticks(list(gains), named.clients, rotation=90, fontsize="x-small")
    words = f"{len(found)} of {len(gains)} clients have a profitable misreport"
    words = words if found else "no profitable misreport found"
    panel.set_title(f"{title}: {words}\n{report.scope}", fontsize="small")
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
