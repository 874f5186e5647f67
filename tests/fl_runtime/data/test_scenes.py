"""Scenes of garments and a table of diamonds, from files and tables that are made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairopt import InvalidInput
from fl_runtime.data import tables
from fl_runtime.data.packages import MissingData
from fl_runtime.data.scenes import HAZE, TASKS, composed, scenes
from fl_runtime.data.tables import GRADES, diamonds
from tests.fl_runtime.data.test_fashion import write_idx


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Twice ten photographs of each part, with bright squares on black."""
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        photographs = np.zeros((20, 28, 28))
        photographs[:, 4:24, 8:20] = rng.integers(60, 256, (20, 20, 12))
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", photographs)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(20) % 10)
    return str(tmp_path)


def test_all_tasks_are_of_the_same_scenes_and_fit_their_outputs(folder: str) -> None:
    found = {
        task: scenes(train=10, test=6, garments=2, task=task, folder=folder).checked(task)
        for task in TASKS
    }
    first = found["parts"]
    assert first.inputs.shape == (16, 1, 16, 16)
    for data in found.values():
        assert data.family == first.family
        assert np.array_equal(data.inputs, first.inputs)
        assert np.array_equal(data.cut_by, first.cut_by)
        assert data.split is not None
        assert (data.split == "train").sum() == 10
    for task in ("parts", "edges"):
        classes, *places = found[task].outputs  # type: ignore[misc]
        assert found[task].targets.shape[1:] == tuple(places)
        assert found[task].targets.max() < classes
    for task in ("depth", "normals"):
        assert found[task].targets.shape[1:] == found[task].outputs


def test_what_is_asked_is_what_is_seen(folder: str) -> None:
    made = composed(10, 6, 16, 2, 4, folder)
    shown = {
        task: scenes(train=10, test=6, garments=2, task=task, folder=folder).targets
        for task in TASKS
    }
    bare = made.layer == 0
    assert bare.any()
    assert (shown["parts"] == 0).astype(bool).tolist() == bare.tolist()
    assert (shown["depth"][bare] == 1.0).all()
    assert (made.image[bare] == 0.0).all()
    np.testing.assert_allclose(
        made.image, (1.0 - HAZE * shown["depth"]) * made.photograph, rtol=1e-6
    )
    lengths = np.linalg.norm(shown["normals"], axis=1)
    assert np.isnan(lengths).tolist() == bare.tolist()
    np.testing.assert_allclose(lengths[~bare], 1.0, rtol=1e-6)
    up, left = shown["normals"][:, 1], shown["normals"][:, 0]
    inside = made.layer == 2
    rises = np.zeros_like(inside)
    rises[:, :, 1:-1] = made.photograph[:, :, 2:] > made.photograph[:, :, :-2]
    assert (left[inside & rises] < 0.0).all()
    assert (up[inside] != 0.0).any()
    for scene in range(16):
        near = made.distance[scene][made.layer[scene] == 2]
        far = made.distance[scene][made.layer[scene] == 1]
        assert far.size == 0 or near.max() <= far.min()
        nearest = made.garment[scene][made.layer[scene] == 2]
        assert set(nearest) == {shown["garment"][scene]}
    right, below = (np.diff(made.layer, axis=axis) != 0 for axis in (2, 1))
    borders = np.zeros_like(bare)
    borders[:, :, :-1] |= right
    borders[:, :-1] |= below
    assert np.array_equal(shown["edges"] == 1, borders)


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"task": "part"}, "task"),
        ({"side": 6}, "side"),
        ({"garments": 0}, "garments"),
        ({"pool": 3}, "pool"),
        ({"train": 0}, "train"),
        ({"test": 100}, "test"),
    ],
)
def test_scenes_that_are_refused(wrong: dict[str, Any], argument: str, folder: str) -> None:
    with pytest.raises(InvalidInput, match=argument):
        scenes(**{"train": 4, "test": 4, "folder": folder, **wrong})


def test_scenes_without_photographs_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="apt install"):
        scenes(folder=str(tmp_path / "absent"))


class Column(list[Any]):
    """A column of a table that is made here."""

    def to_numpy(self, kind: Any) -> np.ndarray:
        return np.array(self, dtype=kind)


def table(package: str, item: str) -> dict[str, Column]:
    """Eighty diamonds of every grade."""
    assert (package, item) == ("ggplot2", "diamonds")
    numbers = {name: Column(np.arange(80.0) + k) for k, name in enumerate(tables.MEASURES)}
    grades = {name: Column(list(names) * 16)[:80] for name, names in GRADES.items()}
    return {
        **numbers,
        "price": Column(np.exp(np.arange(80) / 10.0)),
        **{name: Column(some) for name, some in grades.items()},
    }


def test_every_question_is_about_the_same_diamonds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "read_table", table)
    tables._table.cache_clear()
    try:
        found = {task: diamonds(rows=40, task=task).checked(task) for task in tables.TASKS}
    finally:
        tables._table.cache_clear()
    price = found["price"]
    np.testing.assert_allclose(price.targets, price.inputs[:, 0] / 10.0, rtol=1e-6)
    row = price.inputs[:, 0].astype(int)
    for task, names in GRADES.items():
        assert np.array_equal(found[task].targets, row % len(names))
        assert found[task].outputs == len(names)
        assert np.array_equal(found[task].cut_by, price.cut_by)
        assert found[task].family == price.family


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"rows": 81}, {"task": "colour"}])
def test_diamonds_that_are_refused(wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "read_table", table)
    tables._table.cache_clear()
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        diamonds(**wrong)
    tables._table.cache_clear()
