"""A study as tables, a record and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairopt.extras import extra
from mechanisms.studies.comparison import LARGE_MARKET, Cell
from mechanisms.studies.contest import UNKNOWN
from mechanisms.studies.rounds import Learning, Rounds
from mechanisms.studies.statistics import Measure, over

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

TRUTHFUL, OTHER, OWN = "#1b7837", "#bdbdbd", "#2166ac"
FLOOR, LIMIT, WORST = "#762a83", "#b2182b", "#252525"
"""Green rules are truthful, grey ones are not, blue ones are the user's; purple marks are floors,
black crosses the worst auction of each rule, the red line a limit."""


def study_tables(cells: Sequence[Cell]) -> list[Table]:
    """Recruits by law and budget, how far they are from the first rule, then everything by rule."""
    own = ", ? = yours, an audit tells" if any(map(_is_own, cells)) else ""
    title = f"minimum recruits per task / k*, mean and 95 % interval (* = not truthful{own})"
    lead = f"the same less that of {cells[0].rule} on the same auctions; ! where it is off 0"
    return [_by_law(cells, "ratio", title), _by_law(cells, "lead", lead), _by_rule(cells)]


def _is_own(cell: Cell) -> bool:
    """Whether the rule is the user's."""
    return cell.rule.endswith(UNKNOWN)


def _by_law(cells: Sequence[Cell], field: str, title: str) -> Table:
    """One figure of every rule, a row per law and budget."""
    from rich.table import Table

    names = list(dict.fromkeys(cell.rule for cell in cells))
    table = Table("law", "budget", *names, title=title, title_justify="left")
    for law, budget in dict.fromkeys((cell.law, cell.budget) for cell in cells):
        row = {c.rule: getattr(c, field) for c in cells if (c.law, c.budget) == (law, budget)}
        show = _text if field == "ratio" else _difference
        best = max(row[name].mean for name in names if not name.endswith(("*", UNKNOWN)))
        shown = [show(row[name], bold=row[name].mean == best) for name in names]
        table.add_row(law, f"{budget:g}", *shown)
    return table


def _by_rule(cells: Sequence[Cell]) -> Table:
    """Means over all laws and budgets, a row per rule."""
    from rich.table import Table

    heads = ("min recruits", "gap", "spend/budget", "overpayment")
    title = "over all laws and budgets: mean and standard deviation of the cells' means"
    table = Table(
        "rule", "min recruits/k*", "worst", "floor", *heads, title=title, title_justify="left"
    )
    for name in dict.fromkeys(cell.rule for cell in cells):
        own = [cell for cell in cells if cell.rule == name]
        floors = [cell.floor for cell in own if cell.floor is not None]
        fields = ("minimum", "gap", "spent", "overpaid")
        means = [over([getattr(cell, field).mean for cell in own]) for field in fields]
        table.add_row(
            name,
            _text(over([cell.ratio.mean for cell in own])),
            _lowest([cell.worst for cell in own]),
            _plain_mean(floors) if floors else "",
            *map(_text, means),
        )
    return table


def _lowest(values: Sequence[float]) -> str:
    """The smallest of those that are numbers, or a dash."""
    known = [value for value in values if not math.isnan(value)]
    return f"{min(known):.2f}" if known else "-"


def _plain_mean(values: Sequence[float]) -> str:
    """The mean of those that are numbers, or a dash."""
    mean = over(values).mean
    return "-" if math.isnan(mean) else f"{mean:.2f}"


def _text(measure: Measure, *, bold: bool = False) -> str:
    """A mean and its interval, or its spread, or neither for a single value; or a dash."""
    if math.isnan(measure.mean):
        return "-"
    width = measure.spread if math.isnan(measure.half_width) else measure.half_width
    text = f"{measure.mean:.2f}" + ("" if math.isnan(width) else f" ±{width:.2f}")
    return f"[bold]{text}[/]" if bold else text


def _difference(measure: Measure, *, bold: bool = False) -> str:
    """A signed mean and its interval, marked where the sign is established."""
    if math.isnan(measure.mean):
        return "-"
    known = "!" * (abs(measure.mean) > measure.half_width)
    width = "" if math.isnan(measure.half_width) else f" ±{measure.half_width:.2f}{known}"
    text = f"{measure.mean:+.2f}{width}"
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
    """A panel per law: min recruits / k* of all rules, worst auction, floor, and the limit 1 - 1/e.

    Of several budgets the one in the middle is drawn.
    """
    with extra("mechanisms"):
        from matplotlib.figure import Figure

    budgets = sorted({cell.budget for cell in cells})
    shown = budgets[len(budgets) // 2]
    laws = list(dict.fromkeys(cell.law for cell in cells))
    rows = -(-len(laws) // 4)
    figure = Figure(figsize=(13, 3.6 * rows), layout="constrained")
    figure.suptitle(f"{title}, budget = {shown:g} of all costs: mean and standard deviation")
    panels = figure.subplots(rows, 4, squeeze=False, sharey=True).ravel()
    for panel, law in zip(panels, laws, strict=False):
        _draw_law(panel, [c for c in cells if (c.law, c.budget) == (law, shown)], law)
    for first in panels[::4]:
        first.set_ylabel("minimum recruits per task / k*")
    for panel in panels[len(laws) :]:
        panel.axis("off")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower right", fontsize="small")
    return figure


def _draw_law(panel: Any, cells: Sequence[Cell], law: str) -> None:
    """One panel."""
    for place, cell in enumerate(cells):
        colour = OWN if _is_own(cell) else OTHER if cell.rule.endswith("*") else TRUTHFUL
        panel.errorbar(place, cell.ratio.mean, cell.ratio.spread, fmt="o", color=colour, capsize=3)
    floors = [(x, c.floor) for x, c in enumerate(cells) if c.floor is not None]
    panel.plot(*zip(*floors, strict=True), "_", color=FLOOR, markersize=13, label="proved floor")
    worst = [cell.worst for cell in cells]
    panel.plot(range(len(cells)), worst, "x", color=WORST, markersize=5, label="worst auction")
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
    from mechanisms.report.plots import save

    save(study_figure(cells, title), path)


def rounds_tables(rounds: Sequence[Rounds], learning: Sequence[Learning]) -> list[Table]:
    """What adds up over rounds, and where misreports pay across them."""
    from rich.table import Table

    first = Table(
        "rule", "drift", "min recruits/k*", "less max-min-fair", "Jain, tasks", "Jain, clients",
        "spend/budget", "rounds truthful", title="over all rounds, means and 95 % intervals",
        title_justify="left",
    )  # fmt: skip
    for each in rounds:
        shown = (each.ratio, each.task_fairness, each.client_fairness, each.spent)
        sampled = f", {each.sampled_rounds} by samples" if each.sampled_rounds else ""
        truth = f"{each.truthful_rounds} of {each.audited_rounds}{sampled}"
        texts = list(map(_text, shown))
        first.add_row(each.rule, each.drift, texts[0], _difference(each.lead), *texts[1:], truth)
    title = (
        "misreports in all rounds but the last, the best of a few plans per client: a lower bound"
    )
    second = Table(
        "what the next round learns", "clients that gain", "share of a path's clients",
        "their mean gain / truthful utility", "min recruits/k*", "less learning nothing",
        title=title, title_justify="left",
    )  # fmt: skip
    for row in learning:
        count = f"{row.gaining} of {row.clients}"
        middle = map(_text, (row.share, row.gain, row.ratio))
        second.add_row(row.policy, count, *middle, _difference(row.lead))
    return [first, second]
