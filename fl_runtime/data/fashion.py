"""Photographs of garments (Fashion-MNIST), where the machine has them, and tasks on them.

60,000 and 10,000 grey images of 28 x 28 in ten classes. Debian and its relatives ship the files;
nothing is downloaded here. All tasks of one selection of images are of one `family`: they are split
and dealt alike, by garment.

Source: Xiao, Rasul, Vollgraf, Fashion-MNIST (arXiv 1708.07747).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.files import read_idx_folder
from fl_runtime.data.packages import MissingData
from fl_runtime.data.synthetic import GENERATOR_SEED
from fl_runtime.random_streams import stream
from fl_runtime.validation_errors import check_whole

FOLDER = "/usr/share/datasets/fashion-mnist"
"""Where Debian's package puts the files."""

INSTALL = "apt install dataset-fashion-mnist"
"""What brings them there."""

SIDE = 28
"""Pixels of a side."""

LABELS: Mapping[str, tuple[int, ...]] = {
    "garment": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    "kind": (0, 1, 0, 2, 0, 3, 0, 3, 4, 3),
    "footwear": (0, 0, 0, 0, 0, 1, 0, 1, 0, 1),
    "upper-body": (1, 0, 1, 0, 1, 0, 1, 0, 0, 0),
    "warm": (0, 0, 1, 0, 1, 0, 0, 0, 0, 1),
}
"""Class of every garment in the label sets: T-shirt, trouser, pullover, dress, coat, sandal, shirt,
sneaker, bag, ankle boot."""


def garments(
    *,
    train: int = 60_000,
    test: int = 10_000,
    pool: int = 1,
    labels: str = "garment",
    label_noise: float = 0.0,
    folder: str = FOLDER,
) -> Dataset:
    """Images of garments with one of several label sets, and the official split.

    Args:
        train: Images of the official training part to take, the same ones at every call.
        test: Of the official test part.
        pool: Squares of so many pixels are averaged to one: 1, 2 or 4, for sides of 28, 14 and 7.
        labels: Which label set (`LABELS`).
        label_noise: Share of labels, of all parts, that are drawn from all classes instead.
        folder: Of the IDX files.

    Raises:
        MissingData: The files are not there; it names the command that installs them.
        InvalidInput: An argument is outside its range.
    """
    check_images(train, test, pool)
    if not 0.0 <= label_noise <= 1.0:
        raise InvalidInput("label_noise", label_noise, "a share from 0 to 1")
    classes = np.array(choose("labels", labels, LABELS))
    chosen = selection(train, test, folder)
    garment = chosen.labels
    found = classes[garment]
    if label_noise > 0.0:
        rng = stream(GENERATOR_SEED, "label-noise", labels)
        wrong = rng.random(found.size) < label_noise
        found = np.where(wrong, rng.integers(0, classes.max() + 1, found.size), found)
    return replace(
        chosen,
        features=_pixels(train, test, pool, folder),
        labels=found.astype(np.int64),
        num_classes=int(classes.max()) + 1,
        strata=garment,
        family=f"fashion-{train}-{test}-{pool}",
    )


@cache
def selection(train: int, test: int, folder: str = FOLDER) -> Dataset:
    """So many images of both official parts, drawn once and for all, labelled by garment.

    Raises:
        MissingData: The files are not there.
        InvalidInput: The files are not what they should be, or hold fewer images.
    """
    if not Path(folder).is_dir():
        raise MissingData("Fashion-MNIST", folder, INSTALL)
    whole = read_idx_folder(Path(folder))
    if whole.split is None:
        raise InvalidInput("folder", folder, "a folder whose files are named train-* and t10k-*")
    rng = stream(GENERATOR_SEED, "garments")
    places = [
        _drawn(np.flatnonzero(whole.split == part), count, part, rng)
        for part, count in (("train", train), ("test", test))
    ]
    rows = np.concatenate(places)
    return replace(
        whole, features=whole.features[rows], labels=whole.labels[rows], split=whole.split[rows]
    )


@cache
def _pixels(train: int, test: int, pool: int, folder: str) -> NDArray[np.float32]:
    """The pooled images of a selection: tasks, arms and seeds share them."""
    return pooled(selection(train, test, folder).features, pool)


def pooled(images: NDArray[np.float32], pool: int) -> NDArray[np.float32]:
    """Means over squares of pixels.

    Args:
        images: (n, channels, height, width), both sides divisible by `pool`.
        pool: Side of a square.

    Example:
        >>> pooled(np.arange(16.0, dtype=np.float32).reshape(1, 1, 4, 4), 2)[0, 0].tolist()
        [[2.5, 4.5], [10.5, 12.5]]
    """
    n, channels, height, width = images.shape
    squares = images.reshape(n, channels, height // pool, pool, width // pool, pool)
    return np.asarray(squares.mean(axis=(3, 5)), dtype=np.float32)


def _drawn(
    places: NDArray[np.int64], count: int, part: str, rng: np.random.Generator
) -> NDArray[np.int64]:
    """So many of the places, in an order that is drawn; fewer are the beginning of more."""
    if count > places.size:
        raise InvalidInput(part, count, f"at most {places.size}, the images of that part")
    return rng.permutation(places)[:count]


def check_images(train: int, test: int, pool: int) -> None:
    """Refuse empty parts and squares that do not fill an image."""
    for name, count in (("train", train), ("test", test)):
        check_whole(name, count, 1)
    check_pool(pool)


def check_pool(pool: int) -> None:
    """Refuse squares of pixels that do not fill an image."""
    if pool not in (1, 2, 4):
        raise InvalidInput("pool", pool, "1, 2 or 4")
