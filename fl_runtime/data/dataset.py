"""A data set: features, integer labels and the number of classes, whatever it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput


@dataclass(frozen=True)
class Dataset:
    """Examples with class labels.

    Attributes:
        features: (n, ...) float32; images as (n, channels, height, width).
        labels: (n,) int64 in 0 .. num_classes - 1.
        num_classes: Number of classes.
        standardise: Whether each feature is to be put in units of its own spread. The mean and
            spread are those of the training examples, hence it is done after the split.
        strata: (n,) int64 classes to split and deal by, where those are not the labels.
        family: Name that tasks with other labels of the same examples have in common. They are
            split and dealt alike (with the same strata), so that no task's test example is another
            one's training example. A family of its own if empty.
        client: (n,) int64 of who made each example, for the partition `natural`.
        split: (n,) words `train`, `validation` or `test`, for ``split = "official"``.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    num_classes: int
    standardise: bool = False
    strata: NDArray[np.int64] | None = None
    family: str = ""
    client: NDArray[np.int64] | None = None
    split: NDArray[np.str_] | None = None

    @property
    def cut_by(self) -> NDArray[np.int64]:
        """What splits and partitions go by."""
        return self.labels if self.strata is None else self.strata

    @classmethod
    def from_arrays(cls, features: object, labels: object, *, source: str) -> Dataset:
        """Check arrays of unknown origin and wrap them.

        Args:
            features: (n, ...) numbers, finite.
            labels: (n,) nonnegative integers; every class up to the largest must occur.
            source: Where they come from, for the error message.

        Raises:
            InvalidInput: Shapes disagree, values are not finite, or a class has no example.

        Example:
            >>> Dataset.from_arrays([[0.0], [1.0]], [0, 1], source="by hand").num_classes
            2
        """
        x, y = _array(features, f"{source} features"), _array(labels, f"{source} labels")
        if x.dtype.kind not in "fiub" or x.ndim < 2 or x.shape[0] == 0:
            raise InvalidInput(f"{source} features", f"{x.dtype} {x.shape}", "numbers (n, ...)")
        if y.shape != x.shape[:1]:
            raise InvalidInput(f"{source} labels", y.shape, f"one label per example, {x.shape[:1]}")
        if y.dtype.kind not in "iu":
            raise InvalidInput(f"{source} labels", str(y.dtype), "nonnegative integers")
        if int(y.min()) < 0:
            where = int(y.argmin())
            raise InvalidInput(f"{source} labels[{where}]", int(y[where]), "an integer >= 0")
        with np.errstate(over="ignore"):
            narrow = x.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise InvalidInput(f"{source} features", "NaN, infinity or overflow", "finite float32")
        found = np.unique(y)
        absent = np.flatnonzero(found != np.arange(found.size, dtype=found.dtype))
        if found.size < 2 or absent.size:
            raise InvalidInput(
                f"{source} labels",
                f"no example of class {absent[0]}" if absent.size else "a single class",
                "at least two classes numbered from 0, each with an example",
            )
        return cls(narrow, y.astype(np.int64), int(found.size))


def _array(values: object, name: str) -> NDArray[Any]:
    """Values of unknown origin as an array."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidInput(name, type(values).__name__, f"an array of numbers ({error})") from error
