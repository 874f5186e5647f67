"""Images of two garments, and measurements of one, from files that are made here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairopt import InvalidInput
from fl_runtime.data.fashion import pooled, selection
from fl_runtime.data.measurements import (
    MEASUREMENTS,
    breadth,
    centre,
    extent,
    lopsidedness,
    measurements,
)
from fl_runtime.data.two_garments import TASKS, two_garments
from tests.fl_runtime.data.test_fashion import write_idx

COUNTS: dict[str, Any] = {"train": 50, "test": 20}

images = arrays(np.float64, (2, 6, 6), elements=st.floats(0.0, 1.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("garments")
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 30)):
        write_idx(place / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28)))
        write_idx(place / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    return str(place)


def test_all_tasks_are_asked_about_the_same_images_of_the_official_parts(folder: str) -> None:
    asked = {task: two_garments(task=task, folder=folder, **COUNTS) for task in TASKS}
    asked |= {task: measurements(task=task, folder=folder, **COUNTS) for task in MEASUREMENTS}
    for family in {data.family for data in asked.values()}:
        same = [data.checked("here") for data in asked.values() if data.family == family]
        for data in same:
            assert np.array_equal(data.inputs, same[0].inputs)
            assert np.array_equal(data.cut_by, same[0].cut_by)
            assert data.split is not None
            assert (data.split == "train").sum() == COUNTS["train"]


def test_both_garments_are_in_the_clean_image_and_of_the_same_part(folder: str) -> None:
    """Whoever knows garments and rows can lay the right one over the image without a trace."""
    asked = {task: two_garments(task=task, folder=folder, **COUNTS) for task in TASKS}
    clean = asked["clean"].targets.reshape(-1, 18, 18)
    chosen = selection(folder=folder, **COUNTS)
    small = pooled(chosen.features, 2)[:, 0]
    assert chosen.split is not None
    for k in range(0, len(clean), 7):
        drops = [r for r in range(5) if (clean[k, r : r + 14, :4] >= small[k][:, :4]).all()]
        others = [
            (right, r)
            for right in np.flatnonzero(chosen.split == chosen.split[k])
            for r in range(5)
            if np.array_equal(clean[k, r : r + 14, 14:], small[right][:, 10:])
        ]
        assert len(drops) == len(others) == 1
        ((right, lower),) = others
        assert asked["right"].targets[k] == chosen.labels[right]
        assert asked["offset"].targets[k] == lower - drops[0]
    ink = asked["ink"].targets
    train = chosen.split == "train"
    assert abs(ink[train].mean()) < 1e-3
    assert np.ptp(ink - 255.0 * small.mean(axis=(1, 2))) < 1e-3


def test_noise_is_on_the_inputs_alone(folder: str) -> None:
    sharp, noisy = (
        two_garments(task="clean", folder=folder, noise=noise, **COUNTS) for noise in (0.0, 0.5)
    )
    assert np.array_equal(sharp.targets, noisy.targets)
    assert np.array_equal(sharp.inputs.reshape(70, -1), sharp.targets)
    assert np.std(noisy.inputs - sharp.inputs) == pytest.approx(0.5, rel=0.05)


@settings(max_examples=20)
@given(images=images, down=st.integers(0, 3), right=st.integers(0, 3))
def test_a_garment_that_is_moved_measures_the_same(
    images: np.ndarray, down: int, right: int
) -> None:
    """Where it is moves, what it is stays; its mirror image and turned image say the same."""
    images = images.copy()
    images[:, 0, 0] = 1.0
    wide = np.pad(images, ((0, 0), (0, 3), (0, 3)))
    moved = np.roll(wide, (down, right), axis=(1, 2))
    for axis, far in ((0, down), (1, right)):
        np.testing.assert_allclose(centre(moved, axis), centre(wide, axis) + far)
        np.testing.assert_allclose(breadth(moved, axis), breadth(wide, axis), atol=1e-9)
        np.testing.assert_array_equal(extent(moved, axis), extent(wide, axis))
        np.testing.assert_allclose(centre(wide, axis), centre(wide.swapaxes(1, 2), 1 - axis))
    np.testing.assert_allclose(lopsidedness(images), lopsidedness(images[:, :, ::-1]))
    assert (lopsidedness(images) <= 1.0 + 1e-9).all()  # sums of float64


def test_units_and_factors_are_of_the_targets(folder: str) -> None:
    for task in MEASUREMENTS:
        natural, spread, far = (
            measurements(task=task, folder=folder, **COUNTS, **more).targets
            for more in ({}, {"units": "spread"}, {"units": "spread", "factor": 100.0})
        )
        train = selection(folder=folder, **COUNTS).split == "train"
        assert abs(natural[train].mean()) < 1e-3
        unit = natural[train].std()
        np.testing.assert_allclose(spread * (unit or 1.0), natural, atol=1e-4)
        np.testing.assert_allclose(far, 100.0 * spread, rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"train": 61}, "train"),
        ({"test": 0}, "test"),
        ({"task": "lft"}, "task"),
        ({"noise": -1.0}, "noise"),
    ],
)
@pytest.mark.parametrize("function", [two_garments, measurements])
def test_arguments_that_are_refused(
    function: Any, wrong: dict[str, object], argument: str, folder: str
) -> None:
    with pytest.raises(InvalidInput, match=argument):
        function(**{**COUNTS, "folder": folder, **wrong})


@pytest.mark.parametrize("wrong", [{"pool": 3}, {"units": "metres"}, {"factor": 0.0}])
def test_units_that_are_refused(wrong: dict[str, Any], folder: str) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        measurements(**COUNTS, folder=folder, **wrong)
