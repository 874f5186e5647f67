"""Two garments in one image, and five tasks on it whose losses are in unlike units.

Images of two overlaid garments are what the multi-task literature calls Multi-Fashion (Lin et al.,
Pareto multi-task learning, NeurIPS 2019: two classes per image). Here garments of Fashion-MNIST are
halved to 14 x 14, laid over each other by the brighter pixel on 18 x 18, and seen under noise:

* `left`, `right`: the class of either garment (ten each);
* `clean`: the 18 x 18 pixels without noise, in 0..1;
* `offset`: pixels that the right garment is lower than the left one, -4..4;
* `ink`: mean grey level of the left garment, of 0..255, minus its mean over the training images.

So squared errors are about 0.01 to 0.1, 10 and 1,000, beside cross-entropies of about 1: the units
that somebody would have who took each task as it comes. Both garments of a test image are of the
official test part. All tasks are of one `family`, split and dealt by the left garment.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import choose
from fl_runtime.data.dataset import Data
from fl_runtime.data.fashion import FOLDER, SIDE, check_images, pooled, selection
from fl_runtime.data.synthetic import GENERATOR_SEED
from fl_runtime.random_streams import stream
from fl_runtime.validation_errors import check_at_least

POOL = 2
"""Pixels of a garment's side that become one."""

POOL_SIDE = SIDE // POOL
"""Pixels of its side then."""

ROOM = 4
"""Columns between the places of the garments, and rows that either may be lower."""

GREY_LEVELS = 255.0
"""Of white."""

TASKS = ("left", "right", "clean", "offset", "ink")
"""What can be asked about an image."""


def two_garments(
    *,
    task: str = "left",
    train: int = 10_000,
    test: int = 2_000,
    noise: float = 0.2,
    folder: str = FOLDER,
) -> Data:
    """Noisy images of two garments, with the targets of one task and the official split.

    Args:
        task: One of `TASKS`.
        train: Images made of the official training part, the same ones at every call.
        test: Of the official test part.
        noise: Standard deviation of what is added to every pixel (of 0..1).
        folder: Of the IDX files.

    Raises:
        MissingData: The files are not there; it names the command that installs them.
        InvalidInput: An argument is outside its range.
    """
    choose("task", task, dict.fromkeys(TASKS))
    check_images(train, test, POOL)
    check_at_least("noise", noise, 0.0)
    made = _composed(train, test, folder)
    outputs = {"left": 10, "right": 10, "clean": made["clean"].shape[1]}
    return Data(
        _seen(train, test, noise, folder),
        made[task],
        outputs.get(task, 1),
        strata=made["left"],
        family=f"two-garments-{train}-{test}-{noise}",
        split=made["split"],
    )


def overlaid(
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    drop: NDArray[np.int64],
    room: int = ROOM,
) -> NDArray[np.float32]:
    """The brighter of two images at every pixel, the right one moved by `room` columns.

    Args:
        left: (n, side, side) images.
        right: (n, side, side).
        drop: (n, 2) rows in 0 .. room by which either is lower.
        room: What the result is larger by.

    Returns:
        (n, side + room, side + room).

    Example:
        >>> one, two = np.full((1, 1, 1), 0.5), np.ones((1, 1, 1))
        >>> overlaid(one, two, np.array([[1, 0]]), room=1)[0].tolist()
        [[0.0, 1.0], [0.5, 0.0]]
    """
    n, side, _ = left.shape
    layers = np.zeros((2, n, side + room, side + room), dtype=np.float32)
    rows = np.arange(n)
    for layer, images, column, lower in zip(layers, (left, right), (0, room), drop.T, strict=True):
        for i, k in np.ndindex(side, side):
            layer[rows, lower + i, column + k] = images[:, i, k]
    return np.asarray(layers.max(axis=0))


@cache
def _seen(train: int, test: int, noise: float, folder: str) -> NDArray[np.float32]:
    """(n, 1, 18, 18) the images under noise."""
    clean = _composed(train, test, folder)["clean"]
    drawn = stream(GENERATOR_SEED, "two-garments-noise").standard_normal(clean.shape)
    side = POOL_SIDE + ROOM
    return np.asarray(clean + noise * drawn, dtype=np.float32).reshape(-1, 1, side, side)


@cache
def _composed(train: int, test: int, folder: str) -> dict[str, NDArray[Any]]:
    """Targets of all tasks, and the split."""
    chosen = selection(train, test, folder)
    assert chosen.split is not None
    rng = stream(GENERATOR_SEED, "two-garments")
    images, garment, split = pooled(chosen.features, POOL)[:, 0], chosen.labels, chosen.split
    parts = [np.flatnonzero(split == part) for part in ("train", "test")]
    partner = np.arange(len(images))
    for places in parts:
        partner[places] = rng.permutation(places)
    drop = rng.integers(0, ROOM + 1, (len(images), 2))
    ink = GREY_LEVELS * images.mean(axis=(1, 2))
    return {
        "left": garment,
        "right": garment[partner],
        "clean": overlaid(images, images[partner], drop).reshape(len(images), -1),
        "offset": (drop[:, 1] - drop[:, 0]).astype(np.float32),
        "ink": (ink - ink[parts[0]].mean()).astype(np.float32),
        "split": split,
    }
