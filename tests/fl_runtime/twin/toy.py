"""Generated tasks of a few dozen points in four dimensions, so that iris fits beside them."""

from __future__ import annotations

import numpy as np

from fl_runtime.data.dataset import Dataset


def _points(seed: int, size: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping Gaussian classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0.0, 1.0, (classes, 4))
    labels = rng.permutation(np.arange(size) % classes)
    return (centres[labels] + rng.normal(0.0, 1.0, (size, 4))).astype(np.float32), labels


def three() -> tuple[np.ndarray, np.ndarray]:
    """72 points of three classes."""
    return _points(1, 72, 3)


def two() -> tuple[np.ndarray, np.ndarray]:
    """50 points of two classes."""
    return _points(2, 50, 2)


def four() -> tuple[np.ndarray, np.ndarray]:
    """99 points of four classes."""
    return _points(3, 99, 4)


def side() -> Dataset:
    """The points of `three`, labelled by a half-space: of one family with `kind`."""
    points, kind_ = three()
    labels = (points[:, 0] > 0.0).astype(np.int64)
    return Dataset(points, labels, 2, strata=kind_.astype(np.int64), family="toy")


def kind() -> Dataset:
    """The points of `three` with their classes, cut and dealt as those of `side`."""
    points, labels = three()
    return Dataset(points, labels.astype(np.int64), 3, strata=labels.astype(np.int64), family="toy")
