"""Handwritten digits on a canvas as large as other images, so that tasks can share a trunk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fl_runtime.data.dataset import Dataset
from fl_runtime.data.registry import digits
from fl_runtime.data.synthetic import GENERATOR_SEED
from fl_runtime.random_streams import stream
from fl_runtime.validation_errors import check_whole


def digits_on_canvas(*, side: int = 14, count: int = 1797) -> Dataset:
    """scikit-learn's digits of 8 x 8 in the middle of an empty canvas, ten classes.

    Args:
        side: Pixels of a side of the canvas, 8 or more.
        count: Images to take, the same ones at every call.

    Raises:
        InvalidInput: An argument is outside its range.

    Example:
        >>> found = digits_on_canvas(side=14, count=300)
        >>> found.features.shape, float(found.features[:, :, 11:].sum())
        ((300, 1, 14, 14), 0.0)
    """
    plain = digits()
    n, _, height, _ = plain.features.shape
    check_whole("side", side, height, 1024)
    check_whole("count", count, 1, n)
    chosen = stream(GENERATOR_SEED, "digits-on-canvas").permutation(n)[:count]
    before = (side - height) // 2
    after = side - height - before
    edges = ((0, 0), (0, 0), (before, after), (before, after))
    return replace(
        plain,
        features=np.pad(plain.features[chosen], edges),
        labels=plain.labels[chosen],
    )
