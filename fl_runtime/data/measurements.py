"""Ten measurements of one garment, in ten units: a regression of the shape of QM9's.

QM9 has eleven properties of a molecule in unlike units, predicted by one model from one input. Here
the input is a small noisy photograph, and the properties are measured on the sharp one (28 x 28):

| measurement | unit |
|---|---|
| `grey` | mean grey level of all pixels, 0..255 |
| `contrast` | standard deviation of the grey levels, 0..255 |
| `area` | pixels brighter than a fifth of white |
| `row`, `column` | centre of brightness, pixels |
| `tall`, `wide` | mean squared distance of the brightness from it, by axis, pixels squared |
| `height`, `width` | side of the box around the area, pixels |
| `lopsided` | brightness that the mirror image does not share, as a share, 0..1 |

Targets are deviations from the mean over the training images, so a model need not learn the mean.
Their spread is from about 0.1 (`lopsided`) to about 150 (`area`). With `units = "spread"` each is
divided by its spread over the training images, as the QM9 protocol of FairGrad's experiments does;
`factor` then gives them a unit of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import choose
from fl_runtime.data.dataset import Data
from fl_runtime.data.fashion import FOLDER, check_images, pooled, selection
from fl_runtime.data.synthetic import GENERATOR_SEED
from fl_runtime.random_streams import stream
from fl_runtime.validation_errors import check_at_least, check_positive

GREY_LEVELS = 255.0
"""Of white."""

BRIGHT = 0.2
"""Share of white from which on a pixel belongs to the garment."""

Images = NDArray[np.float32]
Numbers = NDArray[np.float64]


def measurements(
    *,
    task: str = "grey",
    train: int = 10_000,
    test: int = 2_000,
    pool: int = 2,
    noise: float = 0.2,
    units: str = "natural",
    factor: float = 1.0,
    folder: str = FOLDER,
) -> Data:
    """Noisy images of a garment with one measurement each, and the official split.

    Args:
        task: One of `MEASUREMENTS`.
        train: Images of the official training part, the same ones at every call.
        test: Of the official test part.
        pool: Squares of so many pixels are averaged to one: 1, 2 or 4.
        noise: Standard deviation of what is added to every pixel (of 0..1).
        units: `natural`, or `spread`: in units of the standard deviation of the training images.
        factor: Of the targets.
        folder: Of the IDX files.

    Raises:
        MissingData: The files are not there; it names the command that installs them.
        InvalidInput: An argument is outside its range.
    """
    choose("task", task, MEASUREMENTS)
    choose("units", units, dict.fromkeys(("natural", "spread")))
    check_images(train, test, pool)
    check_at_least("noise", noise, 0.0)
    check_positive("factor", factor)
    chosen = selection(train, test, folder)
    centred = _deviations(task, train, test, folder)
    unit = 1.0 if units == "natural" else float(centred[chosen.split == "train"].std()) or 1.0
    return Data(
        _seen(train, test, pool, noise, folder),
        (centred * (factor / unit)).astype(np.float32),
        1,
        strata=chosen.labels,
        family=f"measurements-{train}-{test}-{pool}-{noise}",
        split=chosen.split,
    )


@cache
def _seen(train: int, test: int, pool: int, noise: float, folder: str) -> Images:
    """(n, 1, side, side) the small images under noise."""
    small = pooled(selection(train, test, folder).features, pool)
    drawn = stream(GENERATOR_SEED, "measurements-noise").standard_normal(small.shape)
    return np.asarray(small + noise * drawn, dtype=np.float32)


@cache
def _deviations(task: str, train: int, test: int, folder: str) -> Numbers:
    """A measurement minus its mean over the training images."""
    chosen = selection(train, test, folder)
    found = MEASUREMENTS[task](chosen.features[:, 0])
    return np.asarray(found - found[chosen.split == "train"].mean(), dtype=np.float64)


def centre(images: Images, axis: int) -> Numbers:
    """Centre of brightness along an axis of an image (0 rows, 1 columns), in pixels.

    The middle of the image where all is black, which then weighs alike.

    Example:
        >>> centre(np.array([[[0.0, 1.0], [0.0, 1.0]]]), 1).tolist()
        [1.0]
    """
    profile, places = _profile(images, axis)
    return np.asarray(profile @ places)


def breadth(images: Images, axis: int) -> Numbers:
    """Mean squared distance of the brightness from its centre along an axis, in pixels squared.

    Example:
        >>> breadth(np.array([[[1.0, 0.0, 1.0]]]), 1).tolist()
        [1.0]
    """
    profile, places = _profile(images, axis)
    away = places[None, :] - (profile @ places)[:, None]
    return np.asarray((profile * away**2).sum(axis=1))


def extent(images: Images, axis: int) -> Numbers:
    """Side along an axis of the box around the bright pixels, in pixels; 0 if there is none.

    Example:
        >>> extent(np.array([[[0.0, 1.0, 0.0, 1.0]]]), 1).tolist()
        [3.0]
    """
    touched: NDArray[np.bool_] = np.any(images > BRIGHT, axis=2 - axis)
    first, last = touched.argmax(axis=1), touched.shape[1] - touched[:, ::-1].argmax(axis=1)
    return np.where(touched.any(axis=1), last - first, 0).astype(np.float64)


def lopsidedness(images: Images) -> Numbers:
    """Share of the brightness that an image and its mirror image do not have in common.

    Example:
        >>> lopsidedness(np.array([[[1.0, 0.0]], [[0.5, 0.5]]])).tolist()
        [1.0, 0.0]
    """
    unlike = np.abs(images - images[:, :, ::-1]).sum(axis=(1, 2), dtype=np.float64)
    whole = images.sum(axis=(1, 2), dtype=np.float64)
    shares = np.zeros(len(images))
    return np.asarray(np.divide(unlike, 2.0 * whole, out=shares, where=whole > 0.0))


def _profile(images: Images, axis: int) -> tuple[Numbers, Numbers]:
    """(n, side) shares of the brightness along an axis, and the places (side,)."""
    profile = images.sum(axis=2 - axis, dtype=np.float64)
    whole = profile.sum(axis=1, keepdims=True)
    level = np.full_like(profile, 1.0 / profile.shape[1])
    shares = np.divide(profile, whole, out=level, where=whole > 0.0)
    return np.asarray(shares), np.arange(profile.shape[1], dtype=np.float64)


MEASUREMENTS: Mapping[str, Callable[[Images], Numbers]] = {
    "grey": lambda images: GREY_LEVELS * images.mean(axis=(1, 2), dtype=np.float64),
    "contrast": lambda images: GREY_LEVELS * images.std(axis=(1, 2), dtype=np.float64),
    "area": lambda images: (images > BRIGHT).sum(axis=(1, 2)).astype(np.float64),
    "row": lambda images: centre(images, 0),
    "column": lambda images: centre(images, 1),
    "tall": lambda images: breadth(images, 0),
    "wide": lambda images: breadth(images, 1),
    "height": lambda images: extent(images, 0),
    "width": lambda images: extent(images, 1),
    "lopsided": lopsidedness,
}
"""What is measured, from images (n, side, side) in 0..1."""
