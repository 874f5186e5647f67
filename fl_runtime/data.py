"""Data sets: bundled with scikit-learn, generated from a seed, or read from the user's own files.

Nothing is downloaded. A data set is features, integer labels and the number of classes; how it is
split over clients is decided in `partitions`.
"""

from __future__ import annotations

import gzip
import importlib
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.streams import stream

PIXEL_NOISE = 0.5
"""Standard deviation of the noise of `digits-noisy`, in units of the full pixel range."""

GENERATOR_SEED = 20240413
"""Generated sets are the same for everybody: their seed is part of their definition."""


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
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    num_classes: int
    standardise: bool = False
    strata: NDArray[np.int64] | None = None
    family: str = ""

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
        if y.dtype.kind not in "iu" or int(y.min()) < 0:
            raise InvalidInput(f"{source} labels", str(y.dtype), "nonnegative integers")
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


def load_dataset(name: str) -> Dataset:
    """A data set by its name in a configuration.

    Args:
        name: A bundled or generated set (`BUNDLED`), ``"idx:FOLDER"`` (MNIST-style files),
            ``"npz:FILE"`` (arrays `features` and `labels`), or ``"package.module:function"`` (a
            function without arguments that returns a `Dataset` or a pair of arrays).

    Raises:
        InvalidInput: The name is unknown (the nearest known one is given), or the file or function
            is missing or does not hold what it should.

    Example:
        >>> load_dataset("wine").features.shape
        (178, 13)
    """
    kind, separator, rest = name.partition(":")
    if not separator:
        return choose("data", name, BUNDLED)()
    if kind == "idx":
        return _read_idx_folder(Path(rest))
    if kind == "npz":
        return _read_npz(Path(rest))
    return _call_function(name)


def load_object(argument: str, reference: str) -> Callable[..., object]:
    """The function that ``"package.module:function"`` names.

    Raises:
        InvalidInput: The module cannot be imported or has no such callable.

    Example:
        >>> load_object("data", "math:sqrt")(4.0)
        2.0
    """
    module, _, attribute = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever the user's module does while it is imported
        reason = f"package.module:function ({type(error).__name__}: {error})"
        raise InvalidInput(argument, reference, reason) from error
    if not callable(found):
        raise InvalidInput(argument, reference, "the name of a function")
    return found  # type: ignore[no-any-return]


def digits() -> Dataset:
    """Handwritten digits, 1797 images of 8 x 8, ten classes."""
    return _digit_images(lambda digit: digit)


def digits_parity() -> Dataset:
    """The same images, labelled even or odd."""
    return _digit_images(lambda digit: digit % 2)


def digits_noisy() -> Dataset:
    """The same images under heavy pixel noise (`PIXEL_NOISE`), ten classes."""
    clean = digits()
    noise = stream(GENERATOR_SEED, "digits-noisy").normal(0.0, PIXEL_NOISE, clean.features.shape)
    return Dataset(clean.features + noise.astype(np.float32), clean.labels, clean.num_classes)


def digits_joint() -> Dataset:
    """Handwritten digits as one of several tasks on the same images: which digit, ten classes."""
    return _joint_digits(lambda images, digit: digit)


def digits_joint_parity() -> Dataset:
    """The images of digits-joint, split and dealt alike: even or odd."""
    return _joint_digits(lambda images, digit: digit % 2)


def digits_joint_high() -> Dataset:
    """The images of digits-joint, split and dealt alike: below five, or five and above."""
    return _joint_digits(lambda images, digit: (digit >= 5).astype(np.int64))


def digits_joint_side() -> Dataset:
    """The images of digits-joint, split and dealt alike: more ink on the right half, or not."""
    return _joint_digits(
        lambda images, digit: (
            images[..., 4:].sum((1, 2, 3)) > images[..., :4].sum((1, 2, 3))
        ).astype(np.int64)
    )


def breast_cancer() -> Dataset:
    """Tumours described by 30 measurements, benign or malignant, 569 examples."""
    return _measurements("load_breast_cancer")


def wine() -> Dataset:
    """Wines described by 13 measurements, three growers, 178 examples."""
    return _measurements("load_wine")


def iris() -> Dataset:
    """Flowers described by 4 measurements, three species, 150 examples."""
    return _measurements("load_iris")


def blobs() -> Dataset:
    """Generated: 2000 points of five overlapping Gaussian classes in 10 dimensions."""
    rng = stream(GENERATOR_SEED, "blobs")
    centres = rng.normal(0.0, 1.0, (5, 10))
    labels = rng.integers(5, size=2000)
    return Dataset(
        (centres[labels] + rng.normal(0.0, 1.5, (2000, 10))).astype(np.float32),
        labels.astype(np.int64),
        5,
    )


BUNDLED: Mapping[str, Callable[[], Dataset]] = {
    "digits": digits,
    "digits-noisy": digits_noisy,
    "digits-parity": digits_parity,
    "digits-joint": digits_joint,
    "digits-joint-parity": digits_joint_parity,
    "digits-joint-high": digits_joint_high,
    "digits-joint-side": digits_joint_side,
    "breast-cancer": breast_cancer,
    "wine": wine,
    "iris": iris,
    "blobs": blobs,
}
"""Sets that need no file: bundled with scikit-learn, derived from those, or generated."""


def _array(values: object, name: str) -> NDArray[Any]:
    """Values of unknown origin as an array."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidInput(name, type(values).__name__, f"an array of numbers ({error})") from error


def _digit_images(label_map: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Dataset:
    """Digits in 0..1 as one-channel images, relabelled."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    labels = label_map(bunch.target.astype(np.int64))
    return Dataset(images, labels, int(labels.max()) + 1)


def _joint_digits(
    label_map: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.int64]],
) -> Dataset:
    """Digits with another label, cut by the digit whatever the label."""
    plain = digits()
    labels = label_map(plain.features, plain.labels)
    return replace(
        plain,
        labels=labels,
        num_classes=int(labels.max()) + 1,
        strata=plain.labels,
        family="digits-joint",
    )


def _measurements(loader: str) -> Dataset:
    """A table of measurements, to be put in units of each column's spread."""
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, loader)()
    labels = bunch.target.astype(np.int64)
    columns = bunch.data.astype(np.float32)
    return Dataset(columns, labels, int(labels.max()) + 1, standardise=True)


def _call_function(reference: str) -> Dataset:
    """What a user's own function returns, checked."""
    function = load_object("data", reference)
    try:
        made = function()
    except (Exception, SystemExit) as error:  # whatever the user's function does
        reason = (
            f"a function that can be called without arguments ({type(error).__name__}: {error})"
        )
        raise InvalidInput("data", reference, reason) from error
    if isinstance(made, Dataset):
        checked = Dataset.from_arrays(made.features, made.labels, source=reference)
        return replace(
            checked, standardise=made.standardise, strata=_strata(made), family=made.family
        )
    if isinstance(made, tuple) and len(made) == 2:
        return Dataset.from_arrays(*made, source=reference)
    raise InvalidInput("data", reference, "a function that returns a Dataset or (features, labels)")


def _strata(dataset: Dataset) -> NDArray[np.int64] | None:
    """A user's strata, one class per example."""
    if dataset.strata is None:
        return None
    found = Dataset.from_arrays(dataset.features, dataset.strata, source="strata")
    return found.labels


def _read_npz(path: Path) -> Dataset:
    """Arrays `features` and `labels` of a NumPy archive."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Dataset.from_arrays(
                archive["features"], archive["labels"], source=f"npz:{path.name}"
            )
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            "data", f"npz:{path}", f"a NumPy archive with arrays features and labels ({error})"
        ) from error


def _read_idx_folder(folder: Path) -> Dataset:
    """MNIST-style files of a folder, all parts together; pixels become 0..1."""
    images = _matching(folder, "*images*idx3*")
    labels = _matching(folder, "*labels*idx1*")
    if len(images) != len(labels):
        raise InvalidInput(
            "data",
            f"idx:{folder}",
            f"as many label files ({len(labels)}) as images ({len(images)})",
        )
    parts = [_read_idx(path) for path in images]
    if len({part.shape[1:] for part in parts}) > 1:
        raise InvalidInput("data", f"idx:{folder}", "a folder with images of one size")
    pixels = np.concatenate(parts)
    return Dataset.from_arrays(
        pixels[:, None].astype(np.float32) / 255.0,
        np.concatenate([_read_idx(path) for path in labels]).astype(np.int64),
        source=f"idx:{folder.name}",
    )


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Files of that pattern in the order of their names, at least one."""
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not found:
        raise InvalidInput("data", f"idx:{folder}", f"a folder with files named like {pattern}")
    names = [path.name.removesuffix(".gz") for path in found]
    if len(set(names)) < len(names):
        raise InvalidInput("data", f"idx:{folder}", "a folder without a file and its .gz together")
    return found


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes, compressed or not.

    The format: two zero bytes, type code 8, number of dimensions, each dimension as a big-endian
    32-bit integer, then the bytes in row order.
    """
    content = path.read_bytes()
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        zero, code, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions)
        if zero != 0 or code != 8 or values.size != int(np.prod(shape)):
            raise ValueError("header and size disagree")
        return values.reshape(shape)
    except (struct.error, ValueError, OSError, EOFError) as error:
        raise InvalidInput("data", str(path), f"an IDX file of bytes ({error})") from error
