"""What algorithms tell about themselves: found in the history, drawn, and read for bad signs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from fl_runtime.history import History
from fl_runtime.metrics.algorithm_metrics import (
    figure_names,
    figure_series,
    pair_tables,
    signs,
)
from fl_runtime.reporting.algorithm_plots import _panels, plot_figures
from fl_runtime.running.experiment import run
from tests.fl_runtime import small

PLAIN = run(small.config(run={"seeds": [0]}))


def told(**figures: list[Any]) -> History:
    """The small run, with figures in the three rounds of its first arm."""
    return History(
        [
            {**row, **{key: values[row["server_round"] - 1] for key, values in figures.items()}}
            if row["event"] == "round" and row["arm"] == PLAIN.arms[0]
            else row
            for row in PLAIN.rows
        ]
    )


def test_figures_are_what_no_common_row_has() -> None:
    assert figure_names(PLAIN) == []
    history = told(cost=[1.0, 2.0, None], min_cost=[0.5, 1.0, 1.5])
    assert figure_names(history) == ["cost", "min_cost"]
    series = figure_series(history, PLAIN.arms[0], "cost")
    assert series is not None
    np.testing.assert_array_equal(series, [[1.0, 2.0, np.nan]])
    assert figure_series(history, PLAIN.arms[1], "cost") is None


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({"attention_entropy": [1.0, 0.9999, 1.0]}, "uniform"),
        ({"attention_own": [0.995, 1.0, 1.0]}, "own update alone"),
        (
            {
                "min_encoder_weight": [0.1, 0.1, 0.09999],
                "max_encoder_weight": [0.1, 0.1001, 0.1002],
            },
            "weights of encoders stayed within",
        ),
        ({"num-dead-weights": [0, 0, 2]}, "2 hyper weights"),
        ({"num-undecided": [0, 1, 0]}, "undecided"),
        ({"num-stationary": [3, 0, 0]}, "3 steps"),
    ],
)
def test_every_sign_is_seen_in_the_arm_that_has_it(figures: dict[str, Any], word: str) -> None:
    (sign,) = signs(told(**figures))
    assert sign["arm"] == PLAIN.arms[0]
    assert word in sign["sign"]


def test_weights_that_moved_with_one_seed_are_learnt() -> None:
    """What hardly moved in a run may move in another: only the most of all is a sign."""

    def over_seeds(*most: float) -> History:
        mine = [row for row in PLAIN.rows if row["arm"] == PLAIN.arms[0]]
        weights = [{"min_encoder_weight": 0.1, "max_encoder_weight": 0.1 + top} for top in most]
        return History(
            [
                {**row, "seed": seed, **(figures if row["event"] == "round" else {})}
                for seed, figures in enumerate(weights)
                for row in mine
            ]
        )

    assert signs(over_seeds(1e-4, 0.5)) == []
    (sign,) = signs(over_seeds(1e-4, 2e-4))
    assert "weights of encoders stayed within 0.0002" in sign["sign"]


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"attention_entropy": [0.9, 1.0, 1.0]},
        {"attention_own": [0.2, 1.0, 0.3]},
        {"min_decoder_weight": [0.1, 0.1, 0.1], "max_decoder_weight": [0.1, 0.1, 0.1]},
        {"min_decoder_weight": [0.1, 0.1, 0.1], "max_decoder_weight": [0.1, 0.2, 0.3]},
        {"num-dead-weights": [4, 1, 0]},
        {"num-undecided": [0, 0, 0]},
    ],
)
def test_a_healthy_run_has_no_sign(figures: dict[str, Any]) -> None:
    assert signs(told(**figures)) == []


def test_signs_and_panels_see_every_seed_to_its_own_end() -> None:
    """One seed ends after its first round; what is off in the other one comes later."""
    arm = PLAIN.arms[0]
    long = told(**{"num-undecided": [0, 0, 4], "num-dead-weights": [0, 0, 6]}).rows
    short = [
        {**row, "seed": 1} for row in long if row["arm"] == arm and row.get("server_round", 0) < 2
    ]
    both = History([row for row in long if row["arm"] == arm] + short)
    series = figure_series(both, arm, "num-undecided")
    assert series is not None
    assert series.tolist() == [[0, 0, 4], [0, 0, 0]]
    assert [sign["sign"].split()[0] for sign in signs(both)] == ["3", "2"]


def test_the_picture_has_a_panel_per_figure_that_tells_something(tmp_path: Path) -> None:
    path = tmp_path / "plots" / "figures.png"
    assert plot_figures(told(nothing=[0, 0, 0]), path, title="t") is None
    assert not path.exists()
    history = told(cost=[1.0, 2.0, 3.0], min_cost=[0.5, 1.0, 1.5], max_cost=[2.0, 3.0, 4.0])
    assert plot_figures(history, path, title="t") == path
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_line_goes_on_over_rounds_that_were_not_evaluated() -> None:
    (panel,) = _panels(told(f1=[0.5, None, 0.7]))
    axes = Figure().add_subplot()
    panel(axes)
    (line,) = axes.lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([1, 3], [0.5, 0.7])


def test_numbered_figures_share_a_panel_where_they_move() -> None:
    still = told(**{"weight/0": [0.5, 0.5, 0.5], "weight/1": [0.5, 0.5, 0.5]})
    assert _panels(still) == []
    moving = told(cost=[1, 2, 3], **{"weight/0": [0.5, 0.4, 0.3], "weight/1": [0.5, 0.6, 0.7]})
    family, _ = _panels(moving)
    axes = Figure().add_subplot()
    family(axes)
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.5, 0.4, 0.3], [0.5, 0.6, 0.7]]


def test_figures_of_pairs_of_tasks_are_drawn_as_tables(tmp_path: Path) -> None:
    one, *others = PLAIN.tasks
    two = others[0]
    history = told(**{f"look/{one}/{one}": [1.0, 2.0, 3.0], f"look/{one}/{two}": [0.0, 0.5, 1.0]})
    (table,) = pair_tables(history)
    assert (table.arm, table.name) == (PLAIN.arms[0], "look")
    assert table.values[0, :2].tolist() == [2.0, 0.5]
    assert np.isnan(table.values[1]).all()
    path = tmp_path / "figures.png"
    assert plot_figures(history, path, title="t") == path
