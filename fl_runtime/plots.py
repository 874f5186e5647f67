"""Pictures of a run: accuracy per task over rounds, and where the clients went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_runtime.history import History, Series
from fl_runtime.statistics import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#7f7f7f", "#0072B2", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart; grey for the first arm."""

COLUMNS = 3
"""Panels side by side."""


def plot_run(history: History, path: Path, *, title: str) -> Path:
    """Draw one picture: a panel per task, the minimum over tasks, and two bar charts of clients.

    Args:
        history: What to draw; arms are lines, the band around a line is the 95 % interval.
        path: PNG file to write; its folder is made.
        title: Line on top.

    Returns:
        The path.
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib import pyplot as plt

    panels = [*history.tasks, ""]
    rows = -(-len(panels) // COLUMNS)
    figure = plt.figure(figsize=(4.6 * COLUMNS, 3.1 * (rows + 1.1)), layout="constrained")
    grid = figure.add_gridspec(rows + 1, COLUMNS * 2)
    for index, task in enumerate(panels):
        row, column = divmod(index, COLUMNS)
        axes = figure.add_subplot(grid[row, 2 * column : 2 * column + 2])
        _accuracy_panel(axes, history, task)
    _bars(figure.add_subplot(grid[rows, :COLUMNS]), history, recruited=True)
    _bars(figure.add_subplot(grid[rows, COLUMNS:]), history, recruited=False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 5))
    figure.suptitle(title, fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _accuracy_panel(axes: Axes, history: History, task: str) -> None:
    """Lines of all arms for one task, or for the worst task where the name is empty."""
    metric = f"{task}/eval_acc" if task else "min_task_acc"
    for arm, colour in _coloured(history.arms):
        mean, band = _bands(history.series(arm, metric))
        rounds = np.arange(1, mean.size + 1)
        axes.plot(rounds, mean, color=colour, label=arm, linewidth=1.8)
        if np.isfinite(band).all():
            axes.fill_between(rounds, mean - band, mean + band, color=colour, alpha=0.15, lw=0)
    axes.set_title(task or "worst task (minimum)", fontweight="normal" if task else "bold")
    axes.set(xlabel="server round", ylabel="test accuracy")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _bars(axes: Axes, history: History, *, recruited: bool) -> None:
    """Groups of bars per task: recruited clients, or clients that trained it per round."""
    arms = history.arms
    width = 0.8 / len(arms)
    places = np.arange(len(history.tasks))
    for index, (arm, colour) in enumerate(_coloured(arms)):
        samples = _clients(history, arm, recruited=recruited)
        heights = [interval(values) for values in samples]
        axes.bar(
            places + (index - (len(arms) - 1) / 2) * width,
            [h.mean for h in heights],
            width * 0.92,
            yerr=[np.nan_to_num(h.half_width) for h in heights],
            color=colour,
            error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
        )
    axes.set_xticks(places, history.tasks)
    axes.set_title("clients recruited (take-up)" if recruited else "clients training per round")
    axes.set_ylabel("clients")
    axes.spines[["top", "right"]].set_visible(False)


def _clients(history: History, arm: str, *, recruited: bool) -> list[list[float]]:
    """Per task, one figure per seed."""
    seeds = history.seeds(arm)
    if recruited:
        rows = [history.recruitment(arm, seed)["take_up"] for seed in seeds]
        return [[float(row[task]) for row in rows] for task in history.tasks]
    return [
        history.series(arm, f"{task}/num-clients").mean(axis=1).tolist() for task in history.tasks
    ]


def _bands(series: Series) -> tuple[Series, Series]:
    """Mean and half-width over seeds, round by round."""
    columns = [interval(column) for column in series.T]
    return np.array([c.mean for c in columns]), np.array([c.half_width for c in columns])


def _coloured(arms: Sequence[str]) -> list[tuple[str, Any]]:
    """Each arm with its colour; colours repeat when there are very many arms."""
    return [(arm, COLOURS[index % len(COLOURS)]) for index, arm in enumerate(arms)]
