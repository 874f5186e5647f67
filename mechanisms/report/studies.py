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


FEWEST, SETTLED = 3, 5
"""Draws from which an interval is shown, and from which one that excludes 0 is marked."""
LEGEND = (
    "recruits: of the task with fewest. k*: most recruits that every task can get where true costs "
    "are known. worst: of all auctions. floor: proved minimum / k*. gap: most less fewest recruits "
    "of a task. spent: of the budget. overpaid: payments / costs of the recruits - 1."
)


def study_tables(cells: Sequence[Cell], *, everything: bool = False) -> list[Table]:
    """A row per rule; with everything also recruits by law, a table per budget, and its leads."""
    tables = [_by_rule(cells)]
    for budget in dict.fromkeys(cell.budget for cell in cells) if everything else ():
        some, part = [c for c in cells if c.budget == budget], f"budget {budget:g} of all costs"
        title = f"{part}: min recruits/k*, mean and 95 % interval; bold: best truthful rule"
        lead = (
            f"{part}: the same less that of {cells[0].rule}, paired by auction; ! where the "
            f"interval of at least {SETTLED} draws excludes 0"
        )
        tables += [_by_law(some, "ratio", title), _by_law(some, "lead", lead)]
    return tables


def _is_own(cell: Cell) -> bool:
    """Whether the rule is the user's."""
    return cell.rule.endswith(UNKNOWN)


def _rules(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells of each rule."""
    return {name: [c for c in cells if c.rule == name] for name in {c.rule: 0 for c in cells}}


def _narrow(*heads: str, title: str) -> Table:
    """A table without frames, so that many columns fit a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.title_justify = table.caption_justify = "left"
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _by_law(cells: Sequence[Cell], field: str, title: str) -> Table:
    """One figure of every rule at one budget, a column per law."""
    laws = list(dict.fromkeys(cell.law for cell in cells))
    table = _narrow("rule", *laws, title=title)
    fair = [cell for cell in cells if not cell.rule.endswith(("*", UNKNOWN))]
    best = {law: max(getattr(c, field).mean for c in fair if c.law == law) for law in laws}
    show = _share if field == "ratio" else _difference
    for name, own in _rules(cells).items():
        row = [show(m := getattr(c, field), bold=m.mean == best[c.law]) for c in own]
        table.add_row(name, *row)
    return table


def _by_rule(cells: Sequence[Cell]) -> Table:
    """Means over all laws and budgets, a row per rule."""
    places = len({(cell.law, cell.budget) for cell in cells})
    title = f"over {places} pairs of law and budget: mean ± standard deviation of their means"
    first = cells[0].rule
    heads = ("recruits", "gap", "spent", "overpaid", "ahead, behind")
    table = _narrow("rule", "recruits/k*", "worst", "floor", *heads, title=title)
    for name, own in _rules(cells).items():
        floors = [cell.floor for cell in own if cell.floor is not None]
        fields = ("minimum", "gap", "spent", "overpaid")
        means = [over([getattr(cell, field).mean for cell in own]) for field in fields]
        sides = [sum(_settled(c.lead) and c.lead.mean * sign > 0 for c in own) for sign in (1, -1)]
        table.add_row(
            name,
            _text(over([cell.ratio.mean for cell in own])),
            _lowest([cell.worst for cell in own]),
            _plain_mean(floors) if floors else "",
            *map(_text, means),
            "" if name == first else f"{sides[0]}, {sides[1]}",
        )
    own_mark = " ?: yours, an audit tells." if any(map(_is_own, cells)) else ""
    against = (
        f"ahead, behind: pairs in which it recruits more or less than {first} beyond the 95 % "
        f"interval ({SETTLED} draws or more). *: not truthful.{own_mark}"
    )
    table.caption = "\n".join([f"{LEGEND} {against}", *_overspending(cells)])
    return table


def _overspending(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each rule that spends more than its budget."""
    sentences = []
    for name, own in _rules(cells).items():
        over_budget, total = sum(c.overspent for c in own), sum(c.draws for c in own)
        if over_budget:
            sentences.append(
                f"{name} spends more than its budget in {over_budget:,} of {total:,} auctions: its "
                "figures are not comparable"
            )
    return sentences


def _lowest(values: Sequence[float]) -> str:
    """The smallest of those that are numbers, or a dash."""
    known = [value for value in values if not math.isnan(value)]
    return f"{min(known):.2f}" if known else "-"


def _plain_mean(values: Sequence[float]) -> str:
    """The mean of those that are numbers, or a dash."""
    mean = over(values).mean
    return "-" if math.isnan(mean) else f"{mean:.2f}"


def _half_width(measure: Measure, limit: float = math.inf) -> float:
    """Of an interval that says something; not a number where draws are few or it covers all."""
    shown = measure.count >= FEWEST and measure.half_width <= limit
    return measure.half_width if shown else math.nan


def _settled(measure: Measure) -> bool:
    """Whether the interval of enough draws excludes 0."""
    return measure.count >= SETTLED and abs(measure.mean) > measure.half_width


def _text(measure: Measure, limit: float = math.inf) -> str:
    """A mean and its interval, or the spread of what has none; dashes for what is not known."""
    if math.isnan(measure.mean):
        return "-"
    width = _half_width(measure, limit)
    if math.isnan(measure.half_width):
        width = measure.spread
    return f"{measure.mean:.2f} ±" + (" -" if math.isnan(width) else f"{width:.2f}")


def _share(measure: Measure, *, bold: bool = False) -> str:
    """A mean of shares, in 0..1, with an interval that is narrower than that."""
    text = _text(measure, limit=0.5)
    return f"[bold]{text}[/]" if bold else text


def _difference(measure: Measure, *, bold: bool = False) -> str:
    """A signed mean and its interval, marked where the sign is established."""
    if math.isnan(measure.mean):
        return "-"
    width = _half_width(measure, limit=1.0)
    shown = " -" if math.isnan(width) else f"{width:.2f}{'!' * _settled(measure)}"
    text = f"{measure.mean:+.2f} ±{shown}"
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
    figure.suptitle(f"{title}, budget = {shown:g} of all costs: mean and 95 % interval")
    panels = figure.subplots(rows, 4, squeeze=False, sharey=True).ravel()
    for panel, law in zip(panels, laws, strict=False):
        _draw_law(panel, [c for c in cells if (c.law, c.budget) == (law, shown)], law)
    for first in panels[::4]:
        first.set_ylabel("minimum recruits per task / k*")
    for panel in panels[len(laws) :]:
        panel.axis("off")
    handles = [*_colours(cells), *panels[0].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="lower right", fontsize="small")
    return figure


def _colours(cells: Sequence[Cell]) -> list[Any]:
    """What the colours of points mean, for the legend."""
    from matplotlib.lines import Line2D

    kinds = {TRUTHFUL: "truthful rule", OTHER: "rule that is not truthful"}
    if any(map(_is_own, cells)):
        kinds[OWN] = "your rule: an audit tells"
    return [
        Line2D([], [], color=colour, marker="o", linestyle="", label=label)
        for colour, label in kinds.items()
    ]


def _draw_law(panel: Any, cells: Sequence[Cell], law: str) -> None:
    """One panel."""
    for place, cell in enumerate(cells):
        colour = OWN if _is_own(cell) else OTHER if cell.rule.endswith("*") else TRUTHFUL
        width = _half_width(cell.ratio)
        panel.errorbar(place, cell.ratio.mean, width, fmt="o", color=colour, capsize=3)
        if cell.overspent:
            panel.text(place, 0.5, "spends more than its budget", rotation=90, va="center",
                       ha="center", fontsize="xx-small", color=colour)  # fmt: skip
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
        texts = list(map(_share, shown))
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
        middle = (_share(row.share), _text(row.gain), _share(row.ratio))
        second.add_row(row.policy, count, *middle, _difference(row.lead))
    return [first, second]
