"""Data sets: bundled with scikit-learn, generated from a seed, or read from the user's own files.

Nothing is downloaded. How a data set is split over clients is decided in `partitions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fairopt.user_objects import load_object, said
from fl_runtime.data.dataset import Data, Dataset, clients_of, from_pair, marks_of
from fl_runtime.data.files import read_arrays, read_idx_folder
from fl_runtime.data.packages import MissingData
from fl_runtime.data.sources import Source, checked_source
from fl_runtime.data.synthetic import GENERATOR_SEED, SOFTMAX_TASKS, SUBSPACE_TASKS
from fl_runtime.extensions import Entry, Kind, taken_apart
from fl_runtime.random_streams import stream

FILE_KINDS = ("idx", "npz")
"""First words of names that stand for files."""

PIXEL_NOISE = 0.5
"""Standard deviation of the noise of `digits-noisy`, in units of the full pixel range."""


def load_dataset(entry: Entry) -> Dataset | Data | Source:
    """A data set by its name in a configuration.

    Args:
        entry: A bundled or generated set (`BUNDLED`), ``"idx:FOLDER"`` (MNIST-style files),
            ``"npz:PATH"`` (arrays `features` and `labels`
            in an archive, or in a folder as ``.npy`` files), or ``"package.module:function"`` (a
            function that returns a pair of arrays, features and labels or float targets, or a
            `Dataset`, `Data`, or a `Source`; a table ``{ name = ... }`` holds its arguments).

    Raises:
        InvalidInput: The name is unknown (the nearest known one is given), or the file or function
            is missing or does not hold what it should.

    Example:
        >>> load_dataset("wine").features.shape
        (178, 13)
    """
    name, fields = taken_apart(entry, "data")
    kind, separator, rest = name.partition(":")
    if fields and (not separator or kind in FILE_KINDS):
        raise InvalidInput("data", entry, "a name alone: only functions take arguments")
    if not separator:
        return choose("data", name, BUNDLED)()
    if kind == "idx":
        return read_idx_folder(Path(rest))
    if kind == "npz":
        return read_arrays(Path(rest))
    return _call_function(name, fields)


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
    **SUBSPACE_TASKS,
    **SOFTMAX_TASKS,
}
"""Sets that need no file: bundled with scikit-learn, derived from those, or generated."""

DATA = Kind(
    "data",
    "task.data",
    BUNDLED,
    words="a function that returns features and labels, or a Dataset, Data or Source",
)
"""What a task can be about; a user's own is a function of no argument but its fields."""


def _digit_images(label_map: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Dataset:
    """Digits in 0..1 as one-channel images, relabelled."""
    counts, digit = _bundled_digits()
    images = (counts / 16.0).astype(np.float32)[:, None]
    labels = label_map(digit.astype(np.int64))
    return Dataset(images, labels, int(labels.max()) + 1)


@cache
def _bundled_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images and digits as bundled, read once: unpacking takes as long as a small round."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target


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


def _call_function(reference: str, fields: Mapping[str, Any]) -> Dataset | Data | Source:
    """What a user's own function returns, checked."""
    function = load_object("data", reference)
    try:
        made = function(**fields)
    except MissingData:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's function does
        how = f"with {', '.join(fields)}" if fields else "without arguments"
        reason = f"a function that can be called {how} ({said(error)})"
        raise InvalidInput("data", reference, reason) from error
    if isinstance(made, Data):
        return made.checked(reference)
    if isinstance(made, Source):
        return checked_source(made, reference)
    if isinstance(made, Dataset):
        checked = Dataset.from_arrays(made.features, made.labels, source=reference)
        return replace(
            checked,
            standardise=made.standardise,
            strata=_strata(made),
            family=made.family,
            client=clients_of(made.client, len(checked.labels), reference),
            split=marks_of(made.split, len(checked.labels), reference),
        )
    if isinstance(made, tuple) and len(made) == 2:
        return from_pair(*made, source=reference)
    requirement = "a function that returns a Dataset, (features, labels), Data, or a Source"
    raise InvalidInput("data", reference, requirement)


def _strata(dataset: Dataset) -> NDArray[np.int64] | None:
    """A user's strata, one class per example."""
    if dataset.strata is None:
        return None
    found = Dataset.from_arrays(dataset.features, dataset.strata, source="strata")
    return found.labels
