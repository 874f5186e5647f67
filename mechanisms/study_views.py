"""A study as tables, a record and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mechanisms.rounds_study import Learning, Rounds
from mechanisms.study import LARGE_MARKET, Cell, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

HONEST, GAMED, FLOOR, LIMIT = "#1b7837", "#bdbdbd", "#762a83", "#b2182b"
"""Green rules are truthful, grey ones are not; purple marks are floors, the red line a limit."""


def study_tables(cells: Sequence[Cell]) -> list[Table]:
    """Take-up by law and budget, then everything by rule."""
    return [_by_law(cells), _by_rule(cells)]


def _by_law(cells: Sequence[Cell]) -> Table:
    """Minimum take-up over k*, a row per law and budget."""
    from rich.table import Table

    names = list(dict.fromkeys(cell.rule for cell in cells))
    title = "minimum take-up / k*, mean and standard deviation (* = not truthful)"
    table = Table("law", "budget", *names, title=title, title_justify="left")
    for law, budget in dict.fromkeys((cell.law, cell.budget) for cell in cells):
        row = {c.rule: c.ratio for c in cells if (c.law, c.budget) == (law, budget)}
        best = max(row[name].mean for name in names if not name.endswith("*"))
        shown = [_text(row[name], bold=row[name].mean == best) for name in names]
        table.add_row(law, f"{budget:g}", *shown)
    return table


def _by_rule(cells: Sequence[Cell]) -> Table:
    """Means over all laws and budgets, a row per rule."""
    from rich.table import Table

    heads = ("min take-up", "gap", "spend/budget", "overpayment")
    title = "over all laws and budgets: mean and standard deviation of the cells' means"
    table = Table("rule", "take-up/k*", "worst", "floor", *heads, title=title, title_justify="left")
    for name in dict.fromkeys(cell.rule for cell in cells):
        own = [cell for cell in cells if cell.rule == name]
        floors = [cell.floor for cell in own if cell.floor is not None]
        fields = ("minimum", "gap", "spent", "overpaid")
        means = [_over([getattr(cell, field).mean for cell in own]) for field in fields]
        table.add_row(
            name,
            _text(_over([cell.ratio.mean for cell in own])),
            f"{np.nanmin([cell.worst for cell in own]):.2f}",
            f"{np.nanmean(floors):.2f}" if floors else "",
            *map(_text, means),
        )
    return table


def _over(values: Sequence[float]) -> Measure:
    """Mean and spread of those that are numbers."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Measure(math.nan, math.nan)
    return Measure(float(np.mean(known)), float(np.std(known)))


def _text(measure: Measure, *, bold: bool = False) -> str:
    """A mean and its spread, or a dash."""
    if math.isnan(measure.mean):
        return "-"
    text = f"{measure.mean:.2f} ±{measure.spread:.2f}"
    return f"[bold]{text}[/]" if bold else text


def plain(value: Any) -> Any:
    """Records as JSON takes them: numbers that are none become null.

    Example:
        >>> plain({"a": [math.nan, 1.0]})
        {'a': [None, 1.0]}
    """
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def study_figure(cells: Sequence[Cell], title: str) -> Figure:
    """A panel per law: take-up over k* of every rule, its floor, and the limit 1 - 1/e.

    Of several budgets the one in the middle is drawn.
    """
    from matplotlib.figure import Figure

    budgets = sorted({cell.budget for cell in cells})
    shown = budgets[len(budgets) // 2]
    laws = list(dict.fromkeys(cell.law for cell in cells))
    rows = -(-len(laws) // 4)
    figure = Figure(figsize=(13, 3.6 * rows), layout="constrained")
    figure.suptitle(f"{title}, budget = {shown:g} of all costs")
    panels = figure.subplots(rows, 4, squeeze=False, sharey=True).ravel()
    for panel, law in zip(panels, laws, strict=False):
        _draw_law(panel, [c for c in cells if (c.law, c.budget) == (law, shown)], law)
    for panel in panels[len(laws) :]:
        panel.axis("off")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower right", fontsize="small")
    return figure


def _draw_law(panel: Any, cells: Sequence[Cell], law: str) -> None:
    """One panel."""
    for place, cell in enumerate(cells):
        colour = GAMED if cell.rule.endswith("*") else HONEST
        panel.errorbar(place, cell.ratio.mean, cell.ratio.spread, fmt="o", color=colour, capsize=3)
    floors = [(x, c.floor) for x, c in enumerate(cells) if c.floor is not None]
    panel.plot(*zip(*floors, strict=True), "_", color=FLOOR, markersize=13, label="proved floor")
    panel.axhline(LARGE_MARKET, color=LIMIT, linewidth=0.8, linestyle="--", label="1 - 1/e")
    panel.set_title(law, fontsize="medium")
    panel.set_ylim(0, 1.05)
    names = [cell.rule for cell in cells]
    panel.set_xticks(range(len(names)), names, rotation=90, fontsize="x-small")


def save_study(path: str | Path, cells: Sequence[Cell], title: str) -> None:
    """Write the picture.

    Raises:
        InvalidInput: The file cannot be written or has an unknown suffix.
    """
    from mechanisms.plots import save

    save(study_figure(cells, title), path)


def rounds_tables(rounds: Sequence[Rounds], learning: Sequence[Learning]) -> list[Table]:
    """What adds up over rounds, and what can be gamed across them."""
    from rich.table import Table

    first = Table(
        "rule", "drift", "min take-up/k*", "fairness, tasks", "fairness, clients",
        "spend/budget", "rounds truthful", title="over all rounds", title_justify="left",
    )  # fmt: skip
    for each in rounds:
        shown = (each.ratio, each.task_fairness, each.client_fairness, each.spent)
        truth = f"{each.truthful_rounds} of {each.audited_rounds}"
        first.add_row(each.rule, each.drift, *map(_text, shown), truth)
    title = "lies in all rounds but the last, the best of a few plans per client: a lower bound"
    second = Table(
        "what the next round learns", "clients that gain", "their mean gain / honest utility",
        "min take-up/k*", title=title, title_justify="left",
    )  # fmt: skip
    for row in learning:
        count = f"{row.gaining} of {row.clients}"
        second.add_row(row.policy, count, _text(row.gain), _text(row.ratio))
    return [first, second]
