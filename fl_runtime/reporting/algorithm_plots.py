"""A second picture of a run: the figures that its algorithms add to the history, over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_runtime.history import History, Series
from fl_runtime.metrics.algorithm_metrics import (
    PairTable,
    figure_names,
    figure_series,
    is_of_pair,
    pair_tables,
)
from fl_runtime.reporting.plots import bands, coloured, line_style, line_widths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
"""Panels side by side."""

MOST_PANELS = 24
"""More than that cannot be read; the rest is in the history."""


def plot_figures(history: History, path: Path, *, title: str) -> Path | None:
    """Draw a panel per figure, a line per arm that has it; nothing where there is none to draw.

    A figure with a smallest and a largest value beside it (``min_NAME``, ``max_NAME``) gets a band
    between them; other bands are 95 % intervals over seeds. Figures that are zero throughout are
    left out. Figures of one name with numbers (``client_weight/0``, ...) share a panel, a line per
    number, and every arm in which they move has its own. Figures of pairs of tasks come last, as
    tables in colour, one per figure and arm: means over rounds and seeds, white at 1.

    Args:
        history: What to draw.
        path: PNG file to write; its folder is made.
        title: Line on top.
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib import pyplot as plt

    drawn = _panels(history)
    if not drawn:
        return None
    rows = -(-len(drawn) // COLUMNS)
    with plt.rc_context({"text.parse_math": False, "font.size": 9}):
        figure = plt.figure(figsize=(16, 2.8 * rows + 1.2), layout="constrained")
        panels = [figure.add_subplot(rows, COLUMNS, k + 1) for k in range(len(drawn))]
        for axes, draw in zip(panels, drawn, strict=True):
            draw(axes)
        lines = {
            label: line
            for axes in panels
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=5)
        figure.suptitle(f"{title}: algorithm metrics over server rounds", fontweight="bold")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
        plt.close(figure)
    return path


Panel = Callable[["Axes"], None]
"""Draws one panel."""


def _panels(history: History) -> list[Panel]:
    """Numbered figures by arm, then others but ends of a range and what is always zero, tables."""
    names = figure_names(history)
    families = numbered(names)
    moving: list[Panel] = [
        partial(_family_panel, history=history, arm=arm, family=family, members=members)
        for family, members in families.items()
        for arm in history.arms
        if any(_moves(figure_series(history, arm, name)) for name in members)
    ]
    left_out = {f"{end}_{name}" for name in names for end in ("min", "max")}
    left_out |= {name for members in families.values() for name in members}
    left_out |= {name for name in names if is_of_pair(name, history.tasks)}
    drawn = [name for name in names if name not in left_out and _is_drawn(history, name)]
    plain: list[Panel] = [partial(_panel, history=history, name=name) for name in drawn]
    tables: list[Panel] = [partial(_table, table=table) for table in pair_tables(history)]
    return [*[*moving, *plain][:MOST_PANELS], *tables[:MOST_PANELS]]


def numbered(names: Sequence[str]) -> dict[str, list[str]]:
    """Figures that differ in a number at the end alone, by what they have in common.

    Example:
        >>> numbered(["weight/0", "weight/1", "a/weight", "stage"])
        {'weight': ['weight/0', 'weight/1']}
    """
    found: dict[str, list[str]] = {}
    for name in names:
        family, slash, number = name.rpartition("/")
        if slash and number.isdecimal():
            found.setdefault(family, []).append(name)
    return found


def _moves(series: Series | None) -> bool:
    """Whether a figure changes in some run."""
    return series is not None and bool((np.ptp(np.nan_to_num(series), axis=1) > 0.0).any())


def _family_panel(
    axes: Axes, *, history: History, arm: str, family: str, members: Sequence[str]
) -> None:
    """Numbered figures of one arm, means over seeds; numbers are not told apart."""
    from matplotlib import colormaps

    found = [figure_series(history, arm, name) for name in members]
    there = [series for series in found if series is not None]
    shades = colormaps["viridis"](np.linspace(0.0, 0.9, len(there)))
    for series, shade in zip(there, shades, strict=True):
        mean, _ = bands(series)
        axes.plot(np.arange(1, mean.size + 1), mean, color=shade, linewidth=1.2)
    axes.set_title(f"{family}: {arm}")
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _is_drawn(history: History, name: str) -> bool:
    """Whether some arm has the figure and it is not zero throughout."""
    found = [figure_series(history, arm, name) for arm in history.arms]
    return any(series is not None and np.nan_to_num(series).any() for series in found)


def _panel(axes: Axes, *, history: History, name: str) -> None:
    """One figure, all arms."""
    for (arm, colour), width in zip(
        coloured(history.arms), line_widths(len(history.arms)), strict=True
    ):
        series = figure_series(history, arm, name)
        if series is None:
            continue
        mean, half = bands(series)
        ends = [figure_series(history, arm, f"{end}_{name}") for end in ("min", "max")]
        low, high = (bands(end)[0] if end is not None else None for end in ends)
        if low is None or high is None:
            low, high = mean - half, mean + half
        seen = np.isfinite(mean)  # in between, models were not evaluated
        x, mean, low, high = np.flatnonzero(seen) + 1, mean[seen], low[seen], high[seen]
        axes.plot(x, mean, line_style(history, arm), color=colour, label=arm, linewidth=width)
        if np.isfinite(low).any():
            axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
    axes.set_title(name)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _table(axes: Axes, table: PairTable) -> None:
    """A figure of pairs of tasks: who looks (rows) at whom (columns)."""
    span = max(float(np.nanmax(np.abs(table.values - 1.0))), SMALL_SPAN)
    axes.imshow(table.values, cmap="RdBu_r", vmin=1.0 - span, vmax=1.0 + span)
    for (row, column), value in np.ndenumerate(table.values):
        colour = "white" if abs(value - 1.0) > DARK * span else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    places = range(len(table.tasks))
    axes.set_xticks(places, table.tasks, rotation=30, ha="right")
    axes.set_yticks(places, table.tasks)
    axes.set_title(f"{table.name}: {table.arm}")


DARK = 0.6
"""Share of the full colour from which on letters are white."""

SMALL_SPAN = 0.05
"""Distance from 1 that has the full colour at least, so that noise stays pale."""
