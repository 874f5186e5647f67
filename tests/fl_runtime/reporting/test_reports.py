"""Statistics, summaries, tables and pictures, on histories written by hand."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console
from scipy import stats

from fl_runtime.history import History, merge
from fl_runtime.metrics.round_metrics import across_tasks
from fl_runtime.metrics.run_figures import round_of_target
from fl_runtime.reporting.intervals import as_interval, interval, paired_difference
from fl_runtime.reporting.plots import DASHES, _over_time, _rolling, plot_run
from fl_runtime.reporting.report import print_tables
from fl_runtime.reporting.summary import mean_ranks, mean_task_change, rounds_to_target, summarise
from fl_runtime.reporting.tables import recruitment_table


def written(arms: dict[str, list[list[float]]], rule: str = "budget-fair") -> History:
    """A history with one task from its accuracies, arm -> seed -> round."""
    rows = []
    for arm, runs in arms.items():
        for seed, accuracies in enumerate(runs):
            where = {"arm": arm, "seed": seed}
            money = {"rule": rule, "budget": 2.0, "spend": 1.5, "cost": 1.0}
            rows.append(
                {"event": "recruitment", **where, **money, "take_up": {"a": 3}, "min_take_up": 3}
            )
            for number, accuracy in enumerate(accuracies, start=1):
                figures = across_tasks([accuracy]) | {"a/eval_acc": accuracy, "a/num-clients": 2}
                rows.append({"event": "round", **where, "server_round": number, **figures})
    return History(rows)


HISTORY = written({"base": [[0.1, 0.5], [0.2, 0.6], [0.3, 0.4]], "new": [[0.1, 0.7], [0.2, 0.8]]})


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20))
def test_interval_is_the_textbook_one(values: list[float]) -> None:
    mine = interval(values)
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values) or 1e-300
    )
    assert mine.mean - mine.half_width == pytest.approx(low, abs=1e-12)
    assert mine.mean + mine.half_width == pytest.approx(high, abs=1e-12)


def test_one_seed_has_no_spread() -> None:
    assert format(interval([0.25]), ".2f") == "0.25"
    assert not interval([0.25]).excludes_zero


def test_pairing_removes_what_seeds_share() -> None:
    seeds = np.array([0.0, 5.0, 10.0])
    difference = paired_difference(seeds + [1.0, 1.1, 0.9], seeds)
    assert difference.excludes_zero
    assert difference.half_width < interval(seeds).half_width / 10


def test_summary_compares_on_common_seeds() -> None:
    summary = summarise(HISTORY, targets={"a": 0.6})
    (pair,) = summary["differences"]
    assert (pair["arm"], pair["versus"], pair["seeds"]) == ("new", "base", [0, 1])
    assert pair["min_task_acc"]["mean"] == pytest.approx(0.2)
    assert summary["arms"]["base"]["mean_task_acc"]["mean"] == pytest.approx(0.5)
    assert summary["arms"]["base"]["spend"]["mean"] == 1.5


def test_summary_averages_the_last_rounds_and_compares_as_told() -> None:
    summary = summarise(HISTORY, targets={}, last=2, versus={"base": ["new"], "new": ["base"]})
    assert summary["arms"]["new"]["min_task_acc"]["mean"] == pytest.approx(0.45)
    first, second = summary["differences"]
    assert first["min_task_acc"]["mean"] == pytest.approx(-second["min_task_acc"]["mean"])


def test_rounds_to_target_needs_half_of_the_seeds() -> None:
    assert rounds_to_target(HISTORY, "base", "a", 0.5)["median"] == 2
    never = rounds_to_target(HISTORY, "base", "a", 0.6)
    assert (never["median"], never["reached"], never["seeds"]) == (None, 1, 3)
    assert round_of_target([], "a", 0.5) is None


def test_final_figures_are_those_of_each_seeds_own_last_rounds() -> None:
    ragged = written({"a": [[0.1, 0.2, 0.9], [0.1, 0.5]]})
    assert summarise(ragged, targets={})["arms"]["a"]["min_task_acc"]["mean"] == pytest.approx(0.7)
    assert rounds_to_target(ragged, "a", "a", 0.9)["reached"] == 1
    assert ragged.series("a", "min_task_acc").tolist() == [[0.1, 0.2, 0.9], [0.1, 0.5, 0.5]]


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    name = "[/red] $x^{$"
    history = written({name: [[0.5]], "[bold]b": [[0.6]]})
    console = Console(width=150, file=StringIO())
    print_tables(summarise(history, targets={}), console)
    assert name in console.file.getvalue()
    assert "[bold]b" in console.file.getvalue()
    plot_run(history, tmp_path / "p.png", title=name)


def test_summaries_are_strict_json() -> None:
    json.dumps(summarise(written({"a": [[0.5]], "b": [[0.5]]}), targets={}), allow_nan=False)


def test_tables_print_every_arm() -> None:
    console = Console(width=150, file=StringIO())
    print_tables(summarise(HISTORY, targets={"a": 0.6}), console)
    text = console.file.getvalue()
    assert text.count("base") >= 4
    assert "+0.200" in text
    assert "never (1/3)" in text


def test_columns_that_are_empty_in_all_rows_are_left_out() -> None:
    def headers(*rules: str) -> list[str]:
        rows = [
            row for n, rule in enumerate(rules) for row in written({f"{n}": [[0.5]]}, rule).rows
        ]
        table = recruitment_table(summarise(History(rows), targets={}))
        return [str(column.header) for column in table.columns]

    assert headers("everyone") == ["arm", "a"]
    whole = ["arm", "a", "min", "spend", "budget", "true cost"]
    assert headers("budget-fair") == headers("everyone", "budget-fair") == whole


def test_what_has_diverged_is_short_and_sentences_wrap_in_a_pipe() -> None:
    summary = summarise(written({"a": [[-2924695492957589471232.0]]}), targets={})
    sign = {"arm": "a", "sign": "the loss was too large for words " * 9}
    console = Console(width=240, file=StringIO())
    print_tables({**summary, "signs": [sign]}, console)
    text = console.file.getvalue()
    assert "-2.92e+21" in text
    assert "2924695" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100


def test_merge_labels_only_what_clashes() -> None:
    merged = merge([("x", HISTORY), ("y", written({"base": [[0.1]], "third": [[0.1]]}))])
    assert merged.arms == ["x:base", "new", "y:base", "third"]


def test_picture_is_drawn_for_any_number_of_tasks_and_seeds(tmp_path: Path) -> None:
    for name, history in (
        ("many", HISTORY),
        ("single", written({"only": [[0.5]]})),
        ("unpaid", written({"only": [[0.5, 0.6]]}, rule="everyone")),
    ):
        path = plot_run(history, tmp_path / f"{name}.png", title=name, smooth=2)
        assert path.read_bytes().startswith(b"\x89PNG")


def several(tasks: int, arms: dict[str, tuple[str, float]], metric: str = "acc") -> History:
    """Arms by rule and by the score that all tasks end at, from 0.1, in three rounds."""
    names = [f"t{number}" for number in range(tasks)]
    rows: list[dict[str, Any]] = []
    least = "min_task_acc" if metric == "acc" else "min_task_score"
    told = (
        {} if metric == "acc" else {n: {"metric": metric, "higher-is-better": True} for n in names}
    )
    for arm, (rule, end) in arms.items():
        where = {"arm": arm, "seed": 0}
        take_up = dict.fromkeys(names, 3 if rule == "everyone" else 2)
        rows.append(
            {"event": "recruitment", **where, "rule": rule, "take_up": take_up, "scores": told}
        )
        rows += [
            {"event": "round", **where, "server_round": number, least: score}
            | {f"{name}/eval_{metric}": score for name in names}
            | {f"{name}/num-clients": 1 for name in names}
            for number, score in enumerate((0.1, (0.1 + end) / 2, end), start=1)
        ]
    return History(rows)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, which are not rendered."""
    found: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: found.append(self))
    return found


@pytest.mark.parametrize(
    ("tasks", "columns", "rule"),
    [(1, 0, "everyone"), (2, 1, "budget-fair"), (3, 1, "everyone"), (5, 3, "budget-fair")],
)
def test_panels_fill_the_picture_and_have_labels(
    tasks: int, columns: int, rule: str, drawn: list[Figure], tmp_path: Path
) -> None:
    arms = {"plain": ("everyone", 0.8), "other": (rule, 0.7)}
    plot_run(several(tasks, arms), tmp_path / "p.png", title="Mine\n2 models")
    (figure,) = drawn
    bars = 1 if rule == "everyone" else 2
    *lines, last = figure.axes if bars == 1 else figure.axes[:-1]
    assert len(lines) == (1 + tasks if tasks > 1 else 1)
    left = [axes for n, axes in enumerate(lines) if n == 0 or (n - 1) % columns == 0]
    assert {axes.get_ylabel() for axes in left} == {"test accuracy"}
    assert sum(axes.get_xlabel() == "server round" for axes in lines) == 1 + columns
    assert last.get_ylabel() == "clients"
    assert figure.get_suptitle().startswith("Mine\n")
    styles = {line.get_label(): line.get_linestyle() for line in lines[0].lines}
    assert styles == {"plain": "-" if bars == 1 else "--", "other": "-"}
    (legend,) = figure.legends
    assert legend.get_title().get_text() == ("" if bars == 1 else DASHES)
    first, second = lines[0].lines
    assert first.get_linewidth() > second.get_linewidth()


def test_an_arm_that_has_diverged_leaves_the_axis_by_name(
    drawn: list[Figure], tmp_path: Path
) -> None:
    for wild in (-0.5, -2.924695493e21):
        arms = {"calm": ("everyone", 0.6), "wild": ("everyone", wild)}
        plot_run(several(2, arms, metric="r2"), tmp_path / "p.png", title="t")
    calm, diverged = drawn
    for axes in calm.axes[:-1]:
        assert axes.get_ylim()[0] < -0.5
        assert not axes.texts
    for axes in diverged.axes[:-1]:
        assert -1.0 < axes.get_ylim()[0] < 0.1 < 0.6 < axes.get_ylim()[1]
        assert [text.get_text() for text in axes.texts] == ["off the axis: wild, to -2.9e+21"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(1, 5))
def test_rolling_mean(values: list[float], window: int) -> None:
    expected = [np.mean(values[max(0, n - window + 1) : n + 1]) for n in range(len(values))]
    np.testing.assert_allclose(_rolling(np.array([values]), window)[0], expected, atol=1e-12)


def test_as_interval_reads_what_summaries_hold() -> None:
    record = summarise(HISTORY, targets={})["arms"]["base"]["min_task_acc"]
    assert as_interval(record) == interval([0.5, 0.6, 0.4])


def accuracies(arm: str, seed: int, **tasks: float) -> list[dict[str, Any]]:
    """One run of one round in which the tasks reach these accuracies."""
    common = {"arm": arm, "seed": seed}
    recruitment = {"event": "recruitment", "take_up": dict.fromkeys(tasks, 1)}
    found = {f"{task}/eval_acc": value for task, value in tasks.items()}
    return [{**common, **recruitment}, {**common, "event": "round", **found}]


def test_ranks_and_changes_are_per_task() -> None:
    rows = [
        *accuracies("one", 0, a=0.5, b=0.8),
        *accuracies("two", 0, a=0.6, b=0.4),
        *accuracies("three", 0, a=0.6, b=0.2),
    ]
    history = History(rows)
    ranks = {arm: record["mean"] for arm, record in mean_ranks(history, 1).items()}
    assert ranks == {"one": 2.0, "two": 1.75, "three": 2.25}
    assert sum(ranks.values()) == len(ranks) * (len(ranks) + 1) / 2
    change = mean_task_change(history, "two", "one", 1)
    assert change[0] == pytest.approx((0.2 - 0.5) / 2)


def test_a_change_from_nothing_is_undefined() -> None:
    history = History([*accuracies("one", 0, a=0.0), *accuracies("two", 0, a=0.5)])
    assert np.isnan(mean_task_change(history, "two", "one", 1)[0])


def test_over_time_every_seed_counts_by_its_latest_round() -> None:
    rounds = {0: [(1.0, 0.1), (2.0, 0.3), (4.0, 0.5)], 1: [(1.5, 0.2), (3.0, 0.6)]}
    rows = [
        {"event": "round", "arm": "a", "seed": seed, "virtual_time": t, "min_task_acc": x}
        for seed, series in rounds.items()
        for t, x in series
    ]
    moments, mean, band = _over_time(History(rows), "a", "min_task_acc", 1)
    assert moments[0] == 1.5
    assert moments[-1] == 4.0
    assert mean[0] == pytest.approx((0.1 + 0.2) / 2)
    assert mean[np.searchsorted(moments, 3.0)] == pytest.approx((0.3 + 0.6) / 2)
    assert mean[-1] == pytest.approx((0.5 + 0.6) / 2)
    assert np.isfinite(band).all()


def test_over_time_of_seeds_that_hardly_meet() -> None:
    rows = [
        {"event": "round", "arm": "a", "seed": seed, "virtual_time": t, "min_task_acc": x}
        for seed, t, x in [(0, 1.0, 0.1), (1, 5.0, 0.2)]
    ]
    moments, mean, _ = _over_time(History(rows), "a", "min_task_acc", 1)
    assert set(moments) == {5.0}
    assert mean == pytest.approx(0.15)
