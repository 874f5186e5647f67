r"""Scenes of several garments at different distances: five tasks of unlike kinds on one image.

Photographs of garments (Fashion-MNIST) stand at random places of a small canvas, at distances
:math:`z \in [0, 1]`; nearer ones hide those behind. Haze makes a pixel of brightness b as bright as
:math:`(1 - 0.7 z) b`, so distance can be seen. What a model is to say of a scene (`TASKS`):

=========  ==============================================================  ===================
parts      kind of garment in every pixel, or background: 6 classes        (6, side, side)
depth      distance of every pixel, 1 for the background                   (side, side)
edges      whether a pixel is at the border of two garments, or of one     (2, side, side)
normals    unit vectors upright on the surface whose height is the         (3, side, side)
           brightness of the photograph; missing in the background
garment    which of ten garments is nearest                                10
=========  ==============================================================  ===================

They stand for semantic segmentation, depth, edges and surface normals of indoor photographs, which
papers on many tasks use. All tasks of the same numbers of scenes are of one `family`, with the
official split of the photographs: no test scene has a garment of a training scene.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import choose
from fl_runtime.data.dataset import Data
from fl_runtime.data.fashion import FOLDER, LABELS, SIDE, check_pool, pooled, selection
from fl_runtime.data.synthetic import GENERATOR_SEED
from fl_runtime.random_streams import stream
from fl_runtime.validation_errors import check_whole

HAZE = 0.7
"""Share of the brightness that is lost at distance 1."""

VISIBLE = 0.1
"""Brightness of a photograph (0 to 1) from which on a pixel belongs to the garment."""

RELIEF = 2.0
"""Pixels that white stands above black, in the surface whose normals are asked for."""


def scenes(
    *,
    train: int = 1200,
    test: int = 400,
    task: str = "parts",
    side: int = 16,
    garments: int = 3,
    pool: int = 4,
    folder: str = FOLDER,
) -> Data:
    """Scenes with the targets of one task, and the official split.

    Args:
        train: Scenes of photographs of the official training part, the same at every call.
        test: Of the official test part.
        task: What is asked (`TASKS`).
        side: Pixels of a side of the canvas; photographs have 28 / `pool`.
        garments: In every scene.
        pool: Squares of so many pixels of a photograph are averaged to one: 1, 2 or 4.
        folder: Of the files of photographs.

    Raises:
        MissingData: The files are not there; it names the command that installs them.
        InvalidInput: An argument is outside its range, or there are too few photographs.
    """
    targets = choose("task", task, TASKS)
    check_pool(pool)
    least = {"train": 1, "test": 1, "side": SIDE // pool, "garments": 1}
    for name, value in zip(least, (train, test, side, garments), strict=True):
        check_whole(name, value, least[name])
    made = composed(train, test, side, garments, pool, folder)
    values, outputs = targets(made)
    return Data(
        made.image[:, None],
        values,
        outputs,
        strata=made.nearest,
        family=f"scenes-{train}-{test}-{side}-{garments}-{pool}",
        split=made.split,
    )


@dataclass(frozen=True)
class Scenes:
    """What scenes are made of; n scenes on canvases of side x side pixels.

    Attributes:
        image: (n, side, side) what is seen, in 0 .. 1.
        layer: (n, side, side) which garment is seen: 0 none, 1 the farthest, ... , the nearest.
        photograph: (n, side, side) its brightness without haze.
        distance: (n, side, side) its distance; 1 where there is none.
        garment: (n, side, side) its class, -1 where there is none.
        nearest: (n,) class of the nearest garment.
        split: (n,) words `train` or `test`.
    """

    image: NDArray[np.float32]
    layer: NDArray[np.int64]
    photograph: NDArray[np.float32]
    distance: NDArray[np.float32]
    garment: NDArray[np.int64]
    nearest: NDArray[np.int64]
    split: NDArray[np.str_]


@cache
def composed(train: int, test: int, side: int, garments: int, pool: int, folder: str) -> Scenes:
    """The scenes, drawn once and for all.

    Raises:
        MissingData: There are no photographs.
        InvalidInput: There are too few.
    """
    chosen = selection(train * garments, test * garments, folder)
    n, split = train + test, np.repeat(["train", "test"], [train, test])
    size = SIDE // pool
    photos = pooled(chosen.features, pool)[:, 0].reshape(n, garments, size, size)
    kinds = chosen.labels.reshape(n, garments)
    rng = stream(GENERATOR_SEED, "scenes", side, garments)
    corners = rng.integers(0, side - size + 1, (n, garments, 2))
    far_first = -np.sort(-rng.random((n, garments)), axis=1)
    shape = (n, side, side)
    layer, garment = np.zeros(shape, np.int64), np.full(shape, -1)
    photograph, distance = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    rows = np.arange(n)[:, None, None]
    for k in range(garments):
        y = corners[:, k, 0, None, None] + np.arange(size)[:, None]
        x = corners[:, k, 1, None, None] + np.arange(size)
        seen = photos[:, k] > VISIBLE
        at = tuple(np.broadcast_to(one, seen.shape)[seen] for one in (rows, y, x))
        layer[at], photograph[at] = k + 1, photos[:, k][seen]
        garment[at], distance[at] = kinds[at[0], k], far_first[at[0], k]
    return Scenes(
        image=((1.0 - HAZE * distance) * photograph).astype(np.float32),
        layer=layer,
        photograph=photograph,
        distance=distance,
        garment=garment,
        nearest=kinds[:, -1],
        split=split,
    )


Asked = tuple[NDArray[Any], int | tuple[int, ...]]
"""Targets, and the outputs of a model for them."""


def _parts(made: Scenes) -> Asked:
    """Kind of garment, by pixel."""
    kinds = np.array([*LABELS["kind"], -1])  # the last is that of no garment
    found = kinds[made.garment] + 1
    return found, (int(kinds.max()) + 2, *found.shape[1:])


def _depth(made: Scenes) -> Asked:
    """Distance, by pixel."""
    return made.distance, made.distance.shape[1:]


def _edges(made: Scenes) -> Asked:
    """Whether the pixel to the right or the one below is of another layer."""
    found = np.zeros_like(made.layer)
    found[:, :, :-1] |= made.layer[:, :, :-1] != made.layer[:, :, 1:]
    found[:, :-1, :] |= made.layer[:, :-1, :] != made.layer[:, 1:, :]
    return found, (2, *found.shape[1:])


def _normals(made: Scenes) -> Asked:
    """Unit vectors upright on the surface, by pixel; NaN in the background."""
    down, right = np.gradient(RELIEF * made.photograph, axis=(1, 2))
    found = np.stack([-right, -down, np.ones_like(down)], axis=1)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    found = np.where((made.layer > 0)[:, None], found, np.nan).astype(np.float32)
    return found, found.shape[1:]


def _garment(made: Scenes) -> Asked:
    """Class of the nearest garment."""
    return made.nearest, 10


TASKS: Mapping[str, Any] = {
    "parts": _parts,
    "depth": _depth,
    "edges": _edges,
    "normals": _normals,
    "garment": _garment,
}
"""What can be asked of a scene."""
