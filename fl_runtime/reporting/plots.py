"""Pictures of a run: the score of each task over rounds, and where the clients went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_runtime.history import EVERYONE, History, Series, side_by_side
from fl_runtime.metrics.run_figures import Run, figures, rule
from fl_runtime.reporting.intervals import Interval, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

COLOURS = ("#404040", "#0072B2", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#8c8c8c")
"""Okabe and Ito's palette, which colour-blind readers can tell apart; dark for the first arm."""

WIDTHS = (3.2, 1.5)
"""Of the lines of the first arm and the last: those below show where lines lie on each other."""

TIME_POINTS = 200
"""Points of a line over virtual time."""

UPRIGHT_LABELS = 5
"""Task names that fit side by side under a chart; more are slanted."""

SMALL = 0.75
"""Of these widths, in small panels."""

COLUMNS = {1: 1, 2: 1, 3: 1, 4: 2}
"""Task panels side by side by the number of tasks, so that none of their places stays empty."""

MOST_COLUMNS = 3
"""The same of more tasks."""

ROOM = (6, 4, 4)
"""Widths of the panel of the worst task and of all task panels, by columns: 1, 2, 3."""

WIDEST_BAR = 0.25
"""Of the distance between two tasks."""

OFF_AXIS = 20.0
"""Times the whole gain of a panel that a curve must lie below its start to leave the axis: it has
diverged, and an axis that holds it shows nothing else."""

DASHES = "dashed: without a budget"
"""Said under a picture in which some arms have one."""


def plot_run(
    history: History, path: Path, *, title: str, smooth: int = 1, by_time: bool = False
) -> Path:
    """Draw one picture: the worst task large, a small panel per task, and charts of clients.

    A single task has one panel. An arm that has diverged leaves the axis, and the panel says so.

    Args:
        history: What to draw. Lines are means over seeds, solid; where some arms recruit under a
            budget, those that train with everyone are dashed. Each arm's line is thinner than
            that of the arm before, so that none hides another.
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

    count = len(history.tasks)
    columns = COLUMNS.get(count, MOST_COLUMNS)
    rows = max(2, -(-count // columns))
    figure = plt.figure(figsize=(16, 2.9 * (rows + 1)), layout="constrained")
    whole = figure.add_gridspec(rows + 1, 10)
    large = ROOM[columns - 1] if count > 1 else 10
    worst = figure.add_subplot(whole[:rows, :large])
    curves = _over_time if by_time else _over_rounds
    if count > 1:
        _worst_panel(worst, history, smooth, curves)
        grid = whole[:rows, large:].subgridspec(rows, columns)
        for index, task in enumerate(history.tasks):
            axes = figure.add_subplot(grid[divmod(index, columns)])
            _task_panel(axes, history, task, smooth, curves, banded=False)
            lowest = index + columns >= count
            axes.set_xlabel(_abscissa(curves) if lowest else "")
            if history.by_accuracy and index % columns:  # the one on the left says it
                axes.set_ylabel("")
    else:
        _task_panel(worst, history, history.tasks[0], smooth, curves, banded=True)
        worst.set_xlabel(_abscissa(curves))
    _client_bars(figure, whole[rows, :], history)
    handles, labels = worst.get_legend_handles_labels()
    mixed = len({_unpaid(history, arm) for arm in history.arms}) > 1
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), 5),
        title=DASHES if mixed else None,
    )
    averaged = f"; each point averages {smooth} rounds" if smooth > 1 else ""
    over = "virtual time" if by_time else "server rounds"
    what = "test accuracy" if history.by_accuracy else "test scores"
    figure.suptitle(f"{title}: {what} over {over}{averaged}", fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _worst_panel(axes: Axes, history: History, smooth: int, curves: Curves) -> None:
    """The minimum over tasks."""
    least = "min_task_acc" if history.by_accuracy else "min_task_score"
    _score_panel(axes, history, least, smooth, curves, banded=True)
    axes.set_title("worst task (minimum over tasks, with 95 % intervals)", fontweight="bold")
    axes.set_xlabel(_abscissa(curves))
    axes.set_ylabel("test accuracy" if history.by_accuracy else "scaled test score (1 is best)")


def _task_panel(
    axes: Axes, history: History, task: str, smooth: int, curves: Curves, *, banded: bool
) -> None:
    """The score of one task."""
    score = history.scores[task]
    _score_panel(
        axes,
        history,
        score.column(task),
        smooth,
        curves,
        banded=banded,
        rises=score.higher_is_better,
    )
    arrow = "↑" if score.higher_is_better else "↓"
    axes.set_title(f"{task} (with 95 % intervals)" if banded else task)
    axes.set_ylabel("test accuracy" if history.by_accuracy else f"test {score.metric} {arrow}")


def _client_bars(figure: Figure, place: SubplotSpec, history: History) -> None:
    """Who was recruited, where that tells arms or tasks apart, and who trained."""
    counts = _per_task(history, history.arms, "take_up")
    alike = len({value for arm in counts.values() for task in arm for value in task}) == 1
    unpaid = all(_unpaid(history, arm) for arm in history.arms)
    if unpaid and alike:
        _training_bars(figure.add_subplot(place), history)
        return
    halves = place.subgridspec(1, 2)
    _take_up_bars(figure.add_subplot(halves[0]), history)
    _training_bars(figure.add_subplot(halves[1]), history)


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


def _score_panel(
    axes: Axes,
    history: History,
    metric: str,
    smooth: int,
    curves: Curves,
    *,
    banded: bool,
    rises: bool = True,
) -> None:
    """Lines of all arms, with bands where there is room for them."""
    from matplotlib.ticker import MaxNLocator

    drawn = {arm: curves(history, arm, metric, smooth) for arm in history.arms}
    lowest, highest = (0.0, 1.0) if history.by_accuracy else (-np.inf, np.inf)
    gone = _leave_out_diverged(
        axes, {arm: mean for arm, (_, mean, _) in drawn.items()}, 1.0 if rises else -1.0
    )
    for (arm, colour), width in zip(
        coloured(history.arms), line_widths(len(history.arms)), strict=True
    ):
        x, mean, band = drawn[arm]
        axes.plot(
            x,
            mean,
            line_style(history, arm),
            color=colour,
            label=arm,
            linewidth=width if banded else SMALL * width,
            marker="o" if mean.size == 1 else None,
        )
        if banded and arm not in gone and np.isfinite(band).all():
            low, high = (np.clip(mean + s * band, lowest, highest) for s in (-1.0, 1.0))
            axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _leave_out_diverged(axes: Axes, drawn: Mapping[str, Series], sign: float) -> list[str]:
    """Make an axis for what has not diverged; return the arms that have, which the panel names."""
    limit = _floor({arm: sign * curve for arm, curve in drawn.items()})
    gone = [arm for arm, curve in drawn.items() if np.any(sign * curve < limit)]
    if not gone:
        return gone
    best = max(float(np.nanmax(sign * curve)) for curve in drawn.values())
    ends = limit, best + 0.2 * (best - limit)
    axes.set_ylim(*sorted(sign * end for end in ends))
    text = "\n".join(
        f"off the axis: {arm}, to {sign * float(np.nanmin(sign * drawn[arm])):.2g}" for arm in gone
    )
    height, side = (0.04, "bottom") if sign > 0 else (0.96, "top")
    axes.text(0.97, height, text, transform=axes.transAxes, ha="right", va=side)
    return gone


def _floor(curves: Mapping[str, Series]) -> float:
    """The least value that a panel shows, of curves that are to rise; minus infinity for all.

    Example:
        >>> calm, wild = np.array([0.1, 0.5, 0.6]), np.array([-7.0, -90.0, -1e9])
        >>> _floor({"calm": calm}), round(_floor({"calm": calm, "wild": wild}), 9)
        (-inf, -0.4)
    """
    seen = [curve[np.isfinite(curve)] for curve in curves.values()]
    seen = [curve for curve in seen if curve.size]
    if not seen:
        return -np.inf
    start = max(float(curve[0]) for curve in seen)
    gain = max(float(curve.max()) for curve in seen) - start
    least = min(float(curve.min()) for curve in seen)
    return start - gain if 0.0 < gain * OFF_AXIS < start - least else -np.inf


def _abscissa(curves: Curves) -> str:
    """What the curves go over."""
    return "virtual time" if curves is _over_time else "server round"


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
    width = min(0.8 / len(samples), WIDEST_BAR)
    places = np.arange(len(history.tasks))
    for index, (arm, per_task) in enumerate(samples.items()):
        heights = [interval(values) for values in per_task]
        axes.bar(
            places + (index - (len(samples) - 1) / 2) * width,
            [h.mean for h in heights],
            width * 0.92,
            yerr=_whiskers(heights),
            color=colours[arm],
            alpha=0.8,
            error_kw={"elinewidth": 1.0, "ecolor": "#000000"},
        )
    axes.set_xticks(places, history.tasks)
    axes.set_xlim(-0.6, places[-1] + 0.6)
    if len(history.tasks) > UPRIGHT_LABELS:
        axes.tick_params(axis="x", labelrotation=30)
    axes.set_ylabel("clients")
    axes.spines[["top", "right"]].set_visible(False)


def _whiskers(heights: Sequence[Interval]) -> NDArray[np.float64]:
    """Half-widths below and above each bar; counts are not negative."""
    half = np.array([np.nan_to_num(h.half_width) for h in heights])
    return np.stack([np.minimum(half, [h.mean for h in heights]), half])


def line_style(history: History, arm: str) -> str:
    """Dashed without a budget, where others have one; dotted kinds once the colours are used up."""
    again = history.arms.index(arm) >= len(COLOURS)
    dashed = _unpaid(history, arm) and not all(_unpaid(history, each) for each in history.arms)
    return ("-." if again else "--") if dashed else (":" if again else "-")


def line_widths(count: int) -> list[float]:
    """Widths of the lines of so many arms, from the first to the last.

    Example:
        >>> line_widths(1), line_widths(2)
        ([2.0], [3.2, 1.5])
    """
    return [2.0] if count == 1 else np.linspace(*WIDTHS, count).tolist()


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
