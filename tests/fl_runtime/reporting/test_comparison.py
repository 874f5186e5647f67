"""Several runs side by side: every arm against the arms that its own run names."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.history import merged_names
from fl_runtime.reporting.comparison import compare_runs
from fl_runtime.reporting.report import read_run
from fl_runtime.reporting.results_page import Experiment
from fl_runtime.reporting.tables import differing_lines
from fl_runtime.running import experiment
from fl_runtime.running.one_run import Event
from fl_runtime.running.writer import HISTORY
from tests.fl_runtime import small
from tests.fl_runtime.kills import stopped

RANDOM = {"name": "random", "run.algorithm": "random"}
FAIR = {"name": "fair"}
THIRD = {"name": "third", "algorithm.alpha": 1.0}


def settings(*arms: dict[str, Any], rounds: int = 1) -> Config:
    """The small configuration with those arms."""
    tree = small.tree(run={"num_server_rounds": rounds}, recruitment={"rule": "everyone"})
    return check_config({**tree, "arm": list(arms)})


def ran(folder: Path, *arms: dict[str, Any], rounds: int = 1) -> Path:
    """A run of the small configuration with those arms."""
    experiment.run(settings(*arms, rounds=rounds), out=folder)
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
        ("y:random", "x:random"),  # names none: its namesake
        ("y:fair", "y:random"),
        ("y:fair", "x:fair"),
    ]
    assert pairs(y, x)[0] == ("y:fair", "y:random")
    assert ("x:fair", "y:fair") in pairs(y, x)
    assert pairs(y) == [("fair", "random")]
    figures = compare_runs(runs)["arms"]
    own = compare_runs([y])["arms"]
    assert [figures[f"{y}:{arm}"]["rounds"] for arm in ("random", "fair")] == [
        own[arm]["rounds"] for arm in ("random", "fair")
    ]


def test_all_arms_are_compared_with_the_wanted_one(runs: tuple[Path, Path]) -> None:
    for name in ("y:random", f"{runs[1]}:random"):
        found = compare_runs(runs, [name])["differences"]
        assert {each["versus"] for each in found} == {f"{runs[1]}:random"}
        assert len(found) == 4
    assert {each["versus"] for each in compare_runs(runs, ["third"])["differences"]} == {"third"}
    with pytest.raises(InvalidInput, match=r"versus = 'y:third'.*x:third"):
        compare_runs(runs, ["y:third"])


def test_what_runs_differ_in_is_told(runs: tuple[Path, Path]) -> None:
    x, y = runs
    found = compare_runs(runs)
    assert found["differing"] == {
        str(y): {
            "run.num-server-rounds": [1, 2],
            'arm "third"': ["there", None],
            'arm "third", algorithm.alpha': [1.0, None],
        }
    }
    (line,) = differing_lines(found)
    assert line.startswith(f"{y} differs from the first run in ")
    assert "run.num-server-rounds (1, here 2)" in line
    assert "differing" not in compare_runs([x])


def test_an_arm_is_not_compared_with_another_in_place_of_an_unfinished_one(tmp_path: Path) -> None:
    arms = [FAIR, {**THIRD, "versus": ["random", "fair"]}, RANDOM]
    assert stopped(settings(*arms), tmp_path / "x", after=5)
    with pytest.warns(UserWarning, match="4 of 6 runs are left out"):
        assert pairs(tmp_path / "x") == [("third", "fair")]


def compare(folder: Path) -> object:
    """One run by itself."""
    return compare_runs([folder])


def test_a_history_that_is_not_what_its_checkpoint_counted_is_refused(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = (runs[0] / HISTORY).read_bytes()
    lines = whole.splitlines(keepends=True)
    accuracy = re.sub(rb'"min_task_acc":[0-9.]+', b'"min_task_acc":0.99', whole, count=1)
    for number, damaged in enumerate(
        (accuracy, b"".join(lines[:-1]), b"".join(lines[1:]), whole + lines[-1], whole[:-1], b"")
    ):
        assert damaged != whole
        x = shutil.copytree(runs[0], tmp_path / f"{number}")
        (x / HISTORY).write_bytes(damaged)
        readers: list[Callable[[Path], object]] = [compare, read_run, Experiment.of]
        for read in readers:
            with pytest.raises(InvalidInput, match=r"history = ") as caught:
                read(x)
            assert str(caught.value.value).endswith(HISTORY)


@pytest.mark.parametrize("every", [1, 3])
def test_a_run_can_be_read_whenever_it_is_being_written(tmp_path: Path, every: int) -> None:
    """All rows so far, also those that no checkpoint counts, but for half a line at the end."""
    out, seen = tmp_path / "run", 0
    tree = small.tree(run={"num_server_rounds": 4, "seeds": [0], "checkpoint_every": every})

    def read(event: Event) -> None:
        nonlocal seen
        seen += 1
        assert read_run(out)[1].rows[-1] == event.row
        assert len(read_run(out)[1].rows) == seen
        whole = (out / HISTORY).read_bytes()
        with (out / HISTORY).open("ab") as history:
            history.write(b'{"event":"rou')
        assert len(read_run(out)[1].rows) == seen
        os.truncate(out / HISTORY, len(whole))

    experiment.run(check_config(tree), out=out, on_event=read)
    assert len(read_run(out)[1].rows) == seen >= 2 * 5


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
