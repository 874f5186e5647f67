"""Pictures of a run: accuracy per task over rounds, and where the clients went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_runtime.history import EVERYONE, History, Series, side_by_side
from fl_runtime.metrics.run_figures import Run, figures, rule
from fl_runtime.reporting.intervals import Interval, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#6e6e6e", "#0072B2", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart; grey for the first arm."""

TIME_POINTS = 200
"""Points of a line over virtual time."""

UPRIGHT_LABELS = 5
"""Task names that fit side by side under a chart; more are slanted."""

COLUMNS = 3
"""Task panels side by side, beside the panel of the worst task, which is twice as wide."""


def plot_run(
    history: History, path: Path, *, title: str, smooth: int = 1, by_time: bool = False
) -> Path:
    """Draw one picture: the worst task large, a small panel per task, and two charts of clients.

    Args:
        history: What to draw. Lines are means over seeds, solid for arms that recruit under a
            budget and dashed for arms that train with everyone.
        path: PNG file to write; its folder is made.
        title: Line on top.
        smooth: Rounds that each point averages over (it and those before it).
        by_time: Over virtual time instead of rounds, which mean different things in arms with and
            without a barrier.

    Returns:
        The path.
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib import pyplot as plt

    with plt.rc_context({"text.parse_math": False, "font.size": 10}):
        _draw(history, path, title, smooth, by_time)
    return path


def _draw(history: History, path: Path, title: str, smooth: int, by_time: bool) -> None:
    """All panels of one picture."""
    from matplotlib import pyplot as plt

    rows = max(2, -(-len(history.tasks) // COLUMNS))
    figure = plt.figure(figsize=(16, 2.9 * (rows + 1)), layout="constrained")
    grid = figure.add_gridspec(rows + 1, 2 * COLUMNS + 4)
    worst = figure.add_subplot(grid[:rows, :4])
    curves = _over_time if by_time else _over_rounds
    _accuracy_panel(worst, history, "min_task_acc", smooth, curves, banded=True)
    worst.set_title("worst task (minimum over tasks, with 95 % intervals)", fontweight="bold")
    for index, task in enumerate(history.tasks):
        row, column = divmod(index, COLUMNS)
        axes = figure.add_subplot(grid[row, 4 + 2 * column : 6 + 2 * column])
        _accuracy_panel(axes, history, f"{task}/eval_acc", smooth, curves, banded=False)
        axes.set_title(task)
    _take_up_bars(figure.add_subplot(grid[rows, : COLUMNS + 2]), history)
    _training_bars(figure.add_subplot(grid[rows, COLUMNS + 2 :]), history)
    handles, labels = worst.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    averaged = f"; each point averages {smooth} rounds" if smooth > 1 else ""
    over = "virtual time" if by_time else "server rounds"
    figure.suptitle(f"{title}: test accuracy over {over}{averaged}", fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


Curves = Callable[[History, str, str, int], tuple[Series, ...]]
"""From history, arm, metric and window to abscissae, means over seeds and half-widths."""


def _over_rounds(history: History, arm: str, metric: str, smooth: int) -> tuple[Series, ...]:
    """Server round by server round; a seed that ended earlier keeps its last point."""
    rolled = [_rolling(run[np.newaxis], smooth)[0] for run in history.figures(arm, metric)]
    mean, band = bands(side_by_side(rolled))
    return np.arange(1, mean.size + 1, dtype=np.float64), mean, band


def _over_time(history: History, arm: str, metric: str, smooth: int) -> tuple[Series, ...]:
    """At common points of virtual time, each seed by its latest round; from the first of all."""
    times = history.figures(arm, "virtual_time")
    values = [_rolling(run[np.newaxis], smooth)[0] for run in history.figures(arm, metric)]
    begin = max(float(run[0]) for run in times)
    end = max(float(run[-1]) for run in times)
    points = np.linspace(begin, end, TIME_POINTS)
    latest = [np.searchsorted(run, points, side="right") - 1 for run in times]
    mean, band = bands(np.array([v[i] for v, i in zip(values, latest, strict=True)]))
    return points, mean, band


def _accuracy_panel(
    axes: Axes, history: History, metric: str, smooth: int, curves: Curves, *, banded: bool
) -> None:
    """Lines of all arms, with bands where there is room for them."""
    from matplotlib.ticker import MaxNLocator

    for arm, colour in coloured(history.arms):
        x, mean, band = curves(history, arm, metric, smooth)
        axes.plot(
            x,
            mean,
            line_style(history, arm),
            color=colour,
            label=arm,
            linewidth=2 if banded else 1.6,
            marker="o" if mean.size == 1 else None,
        )
        if banded and np.isfinite(band).all():
            low, high = np.clip(mean - band, 0.0, 1.0), np.clip(mean + band, 0.0, 1.0)
            axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    over = "virtual time" if curves is _over_time else "server round"
    axes.set_xlabel(over if banded else "")
    axes.set_ylabel("test accuracy" if banded else "")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _take_up_bars(axes: Axes, history: History) -> None:
    """Recruited clients per task, for arms that recruit; for all arms if none does."""
    paid = [arm for arm in history.arms if not _unpaid(history, arm)]
    arms = paid or history.arms
    samples = _per_task(history, arms, "take_up")
    _bars(axes, history, samples)
    axes.set_title("clients recruited under the budget" if paid else "clients recruited")


def _training_bars(axes: Axes, history: History) -> None:
    """Clients that trained each task, per round."""
    samples = _per_task(history, history.arms, "clients_per_round")
    _bars(axes, history, samples)
    axes.set_title("clients training per round")


def _per_task(history: History, arms: Sequence[str], name: str) -> dict[str, list[list[float]]]:
    """A figure of every task, one number per seed."""
    return {
        arm: [list(figures(history, arm, f"{task}/{name}").values()) for task in history.tasks]
        for arm in arms
    }


def _bars(axes: Axes, history: History, samples: dict[str, list[list[float]]]) -> None:
    """Groups of bars per task with 95 % intervals, in the colours of the arms."""
    colours = dict(coloured(history.arms))
    width = 0.8 / len(samples)
    places = np.arange(len(history.tasks))
    for index, (arm, per_task) in enumerate(samples.items()):
        heights = [interval(values) for values in per_task]
        axes.bar(
            places + (index - (len(samples) - 1) / 2) * width,
            [h.mean for h in heights],
            width * 0.92,
            yerr=_whiskers(heights),
            color=colours[arm],
            error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
        )
    axes.set_xticks(places, history.tasks)
    if len(history.tasks) > UPRIGHT_LABELS:
        axes.tick_params(axis="x", labelrotation=30)
    axes.set_ylabel("clients")
    axes.spines[["top", "right"]].set_visible(False)


def _whiskers(heights: Sequence[Interval]) -> NDArray[np.float64]:
    """Half-widths below and above each bar; counts are not negative."""
    half = np.array([np.nan_to_num(h.half_width) for h in heights])
    return np.stack([np.minimum(half, [h.mean for h in heights]), half])


def line_style(history: History, arm: str) -> str:
    """Dashed without a budget; dotted kinds once the colours are used up."""
    again = history.arms.index(arm) >= len(COLOURS)
    return ("-." if again else "--") if _unpaid(history, arm) else (":" if again else "-")


def _unpaid(history: History, arm: str) -> bool:
    """Whether an arm trains with everyone."""
    return rule(Run.of(history, arm, history.seeds(arm)[0])) == EVERYONE


def _rolling(series: Series, window: int) -> Series:
    """Mean of each value and the ones before it, as many as there are up to the window."""
    total = np.cumsum(series, axis=1)
    total[:, window:] = total[:, window:] - total[:, :-window]
    return np.asarray(total / np.minimum(np.arange(1, series.shape[1] + 1), window))


def bands(series: Series) -> tuple[Series, Series]:
    """Mean and half-width over seeds, round by round."""
    columns = [interval(column) for column in series.T]
    return np.array([c.mean for c in columns]), np.array([c.half_width for c in columns])


def coloured(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Each arm with its colour; colours repeat when there are very many arms."""
    return [(arm, COLOURS[index % len(COLOURS)]) for index, arm in enumerate(arms)]
