"""Generated tasks: Gaussian classes, whose best classifier is a softmax regression.

Those named subspace-* are unequal in size, difficulty and balance. Their class centres lie in one
common subspace of the pixels of an 8 x 8 image, so that tasks can be trained on one trunk together,
and beside the digits. Those named softmax-* have one size, and differ in the number of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fl_runtime.data.dataset import Dataset
from fl_runtime.random_streams import stream

GENERATOR_SEED = 20240413
"""Generated sets are the same for everybody: their seed is part of their definition."""

SIDE = 8
"""Pixels of a side, as the bundled digits have."""

RANK = 10
"""Dimensions of the common subspace: more than the classes of a task, fewer than the pixels."""


def subspace_task(name: str, size: int, shares: Sequence[float], noise: float) -> Dataset:
    """Points around class centres in the common subspace, under noise in all pixels.

    Args:
        name: Of the set; it addresses the random numbers.
        size: Examples.
        shares: Of the classes; they add up to one.
        noise: Standard deviation per pixel, where centres have a spread of one per pixel.

    Example:
        >>> subspace_task("some", 50, (0.9, 0.1), 1.0).features.shape
        (50, 1, 8, 8)
    """
    basis = stream(GENERATOR_SEED, "subspace").normal(0.0, 1.0, (RANK, SIDE * SIDE)) / np.sqrt(RANK)
    rng = stream(GENERATOR_SEED, "subspace", name)
    counts = np.round(np.array(shares) * size).astype(np.int64)
    labels = rng.permutation(np.repeat(np.arange(counts.size), counts))
    points = rng.normal(0.0, 1.0, (counts.size, RANK))[labels] @ basis
    points += rng.normal(0.0, noise, points.shape)
    images = points.astype(np.float32).reshape(-1, 1, SIDE, SIDE)
    return Dataset(images, labels, counts.size)


def subspace_large() -> Dataset:
    """Generated: 1500 images of six Gaussian classes in a subspace that all subspace-* share."""
    return subspace_task("subspace-large", 1500, (1 / 6,) * 6, 2.0)


def subspace_medium() -> Dataset:
    """The same with 600 images of four classes."""
    return subspace_task("subspace-medium", 600, (1 / 4,) * 4, 2.0)


def subspace_small() -> Dataset:
    """The same with 200 images of three classes (198, to be exact)."""
    return subspace_task("subspace-small", 200, (1 / 3,) * 3, 2.0)


def subspace_hard() -> Dataset:
    """The same with 600 images of five classes under heavy noise."""
    return subspace_task("subspace-hard", 600, (1 / 5,) * 5, 5.0)


def subspace_rare() -> Dataset:
    """The same with 500 images of two classes, one of which has 8 %."""
    return subspace_task("subspace-rare", 500, (0.92, 0.08), 4.0)


SUBSPACE_TASKS: Mapping[str, Callable[[], Dataset]] = {
    "subspace-large": subspace_large,
    "subspace-medium": subspace_medium,
    "subspace-small": subspace_small,
    "subspace-hard": subspace_hard,
    "subspace-rare": subspace_rare,
}
"""Sets by name."""

FEATURES = 16
"""Of a softmax-* set."""

POINTS = 1600
"""Of a softmax-* set: enough for a hundred clients."""

OVERLAP = 1.5
"""Standard deviation of a softmax-* class per feature, where centres have a spread of one."""


def softmax_task(classes: int) -> Callable[[], Dataset]:
    """The set of points of so many equally frequent Gaussian classes, by its maker.

    Example:
        >>> softmax_task(3)().features.shape
        (1600, 16)
    """

    def made() -> Dataset:
        rng = stream(GENERATOR_SEED, "softmax", classes)
        centres = rng.normal(0.0, 1.0, (classes, FEATURES))
        labels = rng.permutation(np.arange(POINTS) % classes)
        points = centres[labels] + rng.normal(0.0, OVERLAP, (POINTS, FEATURES))
        return Dataset(points.astype(np.float32), labels.astype(np.int64), classes)

    made.__doc__ = (
        f"Generated: {POINTS} points of {classes} Gaussian classes in {FEATURES} dimensions."
    )
    return made


SOFTMAX_TASKS: Mapping[str, Callable[[], Dataset]] = {
    f"softmax-{classes}": softmax_task(classes) for classes in range(3, 11)
}
"""Eight sets by name, for many simultaneous tasks."""
