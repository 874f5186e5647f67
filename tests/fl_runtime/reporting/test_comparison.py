"""Several runs side by side: every arm against the arms that its own run names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fairopt import InvalidInput
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.history import merged_names
from fl_runtime.reporting.comparison import compare_runs
from fl_runtime.running import experiment
from fl_runtime.running.run_folder import HISTORY
from tests.fl_runtime import small

RANDOM = {"name": "random", "run.algorithm": "random"}
FAIR = {"name": "fair"}
THIRD = {"name": "third", "algorithm.alpha": 1.0}


def ran(folder: Path, *arms: dict[str, Any], rounds: int = 1) -> Path:
    """A run of the small configuration with those arms."""
    tree = small.tree(run={"num_server_rounds": rounds}, recruitment={"rule": "everyone"})
    experiment.run(check_config({**tree, "arm": list(arms)}), out=folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs, both with arms random and fair that are not the same."""
    folder = tmp_path_factory.mktemp("runs")
    first = ran(
        folder / "x", FAIR, {**RANDOM, "versus": ["fair"]}, {**THIRD, "versus": ["random", "fair"]}
    )
    return first, ran(folder / "y", RANDOM, {**FAIR, "versus": ["random"]}, rounds=2)


def pairs(*folders: Path) -> list[tuple[str, str]]:
    """Who is compared with whom, with folders by their last name."""
    found = compare_runs(folders)["differences"]
    return [tuple(each[key].split("/")[-1] for key in ("arm", "versus")) for each in found]


def test_versus_is_an_arm_of_the_same_run_where_names_clash(runs: tuple[Path, Path]) -> None:
    x, y = runs
    assert pairs(x, y) == [
        ("x:random", "x:fair"),
        ("third", "x:random"),
        ("third", "x:fair"),
        ("y:random", "x:fair"),  # names none: the first arm of all
        ("y:fair", "y:random"),
    ]
    assert pairs(y, x)[0] == ("y:fair", "y:random")
    assert pairs(y) == [("fair", "random")]
    figures = compare_runs(runs)["arms"]
    own = compare_runs([y])["arms"]
    assert [figures[f"{y}:{arm}"]["rounds"] for arm in ("random", "fair")] == [
        own[arm]["rounds"] for arm in ("random", "fair")
    ]


def test_an_arm_is_not_compared_with_another_in_place_of_an_unfinished_one(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    x = shutil.copytree(runs[0], tmp_path / "x")
    lines = (x / HISTORY).read_text().splitlines(keepends=True)
    (x / HISTORY).write_text("".join(line for line in lines if '"arm":"random"' not in line))
    with pytest.warns(UserWarning, match="2 of 6 runs are left out"):
        assert pairs(x) == [("third", "fair")]


def test_a_run_given_twice_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(runs[0])
    for again in (runs[0], runs[0] / ".." / "x", tmp_path / "link"):
        with pytest.raises(InvalidInput, match="not given twice"):
            compare_runs([runs[0], again])


def test_prefixed_names_that_clash_are_refused() -> None:
    with pytest.raises(InvalidInput, match="arm = 'x:a'"):
        merged_names([("x", ["a", "x:a"]), ("y", ["a"])])
    with pytest.raises(InvalidInput, match="DIR = 'x'"):
        merged_names([("x", ["a"]), ("x", ["b"])])
