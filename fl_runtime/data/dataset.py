"""A data set: examples and their targets, whatever they come from.

`Dataset` is the classification case, with one integer label per example; `Data` is any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import suggestion
from fairopt.errors import InvalidInput
from fl_runtime.data.inputs import parts_of

PARTS = ("train", "validation", "test")
"""Marks of examples in a data set with an official split."""

SHORT = {"val": "validation"}
"""Other words for them."""


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
        split: (n,) words `train`, `validation` (or `val`) or `test`, for ``split = "official"``.
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

    @property
    def num_strata(self) -> int:
        """How many of them there are."""
        return self.num_classes if self.strata is None else int(self.strata.max()) + 1

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
            requirement = f"one label per example, {x.shape[:1]}{_ELSE}"
            raise InvalidInput(f"{source} labels", y.shape, requirement)
        if y.dtype.kind not in "iu":
            words = "nonnegative integers, as np.unique(labels, return_inverse=True)[1] gives them"
            requirement = words if y.dtype.kind in "USO" else f"nonnegative integers{_ELSE}"
            raise InvalidInput(f"{source} labels", str(y.dtype), requirement)
        if int(y.min()) < 0:
            where = int(y.argmin())
            raise InvalidInput(f"{source} labels[{where}]", int(y[where]), "an integer >= 0")
        with np.errstate(over="ignore"):
            narrow = x.astype(np.float32)
        _check_finite(f"{source} features", x, narrow)
        found = np.unique(y)
        absent = np.flatnonzero(found != np.arange(found.size, dtype=found.dtype))
        if found.size < 2 or absent.size:
            raise InvalidInput(
                f"{source} labels",
                f"no example of class {absent[0]}" if absent.size else "a single class",
                "at least two classes numbered from 0, each with an example",
            )
        return cls(narrow, y.astype(np.int64), int(found.size))


@dataclass(frozen=True)
class Data:
    """Examples with targets of any kind.

    Missing targets are NaN in floats and -100 in integers, at any place.

    Attributes:
        inputs: (n, ...) numbers; floats become float32, integers int64. Or several such by name,
            which the model takes as keywords.
        targets: (n, ...) numbers, likewise.
        outputs: What a model factory is told instead of a number of classes: how many numbers (or
            logits) it gives, or their shape.
        strata: (n,) classes to split and deal by. By default those of the targets, if these are one
            class per example, and otherwise one for all.
        standardise: As in `Dataset`, for inputs that are floats.
        family: As in `Dataset`.
        client: As in `Dataset`.
        split: As in `Dataset`.

    Example:
        >>> Data(np.zeros((4, 3)), np.array([0.5, np.nan, 1.0, 2.0]), 1).num_strata
        1
    """

    inputs: Any
    targets: NDArray[Any]
    outputs: int | tuple[int, ...]
    strata: NDArray[np.int64] | None = None
    standardise: bool = False
    family: str = ""
    client: NDArray[np.int64] | None = None
    split: NDArray[np.str_] | None = None

    @property
    def cut_by(self) -> NDArray[np.int64]:
        """What splits and partitions go by."""
        if self.strata is not None:
            return self.strata
        y = self.targets
        labels = y.ndim == 1 and y.dtype.kind in "iu" and isinstance(self.outputs, int)
        if labels and int(y.min()) >= 0 and int(y.max()) < self.outputs:  # type: ignore[operator]
            return y.astype(np.int64)
        return np.zeros(len(y), dtype=np.int64)

    @property
    def num_strata(self) -> int:
        """How many of them there are."""
        return int(self.cut_by.max()) + 1

    def checked(self, source: str) -> Data:
        """The same with arrays of known types.

        Args:
            source: Where they come from, for the error message.

        Raises:
            InvalidInput: Arrays are not numbers or not of one length, inputs are not finite,
                targets are infinite, or there are no outputs.
        """
        x = self._checked_inputs(source)
        y = _numbers(self.targets, f"{source} targets")
        count = len(next(iter(parts_of(x).values())))
        if len(y) != count:
            raise InvalidInput(f"{source} targets", y.shape, f"one entry per example, {count}")
        if y.dtype.kind == "f":
            given = np.asarray(self.targets)
            _check_finite(f"{source} targets", given, y, missing=np.isnan(given))
        shape = (self.outputs,) if isinstance(self.outputs, int) else self.outputs
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 1 for n in shape)
        if not whole or not shape:
            raise InvalidInput(f"{source} outputs", self.outputs, "a number >= 1, or a shape")
        return replace(
            self,
            inputs=x,
            targets=y,
            strata=strata_of(self.strata, count, source),
            client=clients_of(self.client, count, source),
            split=marks_of(self.split, count, source),
        )

    def _checked_inputs(self, source: str) -> Any:
        """Inputs of known types, in the order of their names."""
        if isinstance(self.inputs, Mapping):
            names = sorted(map(str, self.inputs))
            wrong = [name for name in names if not name.isidentifier()]
            if wrong or not names:
                requirement = "names that a model can take as keywords, at least one"
                value = wrong[0] if wrong else dict(self.inputs)
                raise InvalidInput(f"{source} inputs", value, requirement)
            found = {
                name: _checked_part(self.inputs[name], f"{source} inputs {name}", 1)
                for name in names
            }
            count = len(found[names[0]])
            for name, part in found.items():
                if len(part) != count:
                    requirement = f"one entry per example, {count} as {names[0]} has"
                    raise InvalidInput(f"{source} inputs {name}", part.shape, requirement)
            return found
        return _checked_part(self.inputs, f"{source} inputs", 2)


def from_pair(features: object, targets: object, *, source: str) -> Dataset | Data:
    """Features with labels, or with float targets, which are numbers to predict.

    Raises:
        InvalidInput: See `Dataset.from_arrays` and `Data.checked`.

    Example:
        >>> from_pair([[0.0], [1.0]], [0.5, 2.0], source="by hand").outputs
        1
    """
    y = _array(targets, f"{source} targets")
    if y.dtype.kind != "f" or y.ndim == 0:
        return Dataset.from_arrays(features, y, source=source)
    return Data(features, y, outputs_like(y)).checked(source)


def outputs_like(targets: NDArray[Any]) -> int | tuple[int, ...]:
    """What a model is told of targets: classes of integers; columns, or the shape, of floats.

    Example:
        >>> [outputs_like(np.zeros(shape)) for shape in [4, (4, 3), (4, 5, 5)]]
        [1, 3, (5, 5)]
    """
    if targets.dtype.kind in "iu":
        return int(targets.max()) + 1
    shape = tuple(targets.shape[1:]) or (1,)
    return shape[0] if len(shape) == 1 else shape


_ELSE = "; for other targets return Data(features, targets, outputs) (fl_runtime.Data)"
"""The way out of what is no classification."""


def _checked_part(values: object, name: str, axes: int) -> NDArray[Any]:
    """One part of the inputs, (n, ...) with so many axes at least."""
    x = _numbers(values, name)
    if x.ndim < axes or len(x) == 0:
        raise InvalidInput(name, x.shape, "of shape (n, ...) with an example")
    if x.dtype.kind == "f":
        _check_finite(name, _array(values, name), x)
    return x


def _check_finite(
    name: str, given: NDArray[Any], narrow: NDArray[Any], missing: NDArray[np.bool_] | None = None
) -> None:
    """Refuse numbers that are not finite as float32, with the place of the first and how many.

    Example:
        >>> numbers = np.array([[0.0], [np.nan], [np.inf]])
        >>> _check_finite("features", numbers, numbers)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: features[1, 0] = nan, but it must be finite as float32; 2 of 3
        numbers are not
    """
    bad = ~np.isfinite(narrow) if missing is None else ~(np.isfinite(narrow) | missing)
    if bad.any():
        first = np.unravel_index(int(bad.argmax()), bad.shape)
        place = ", ".join(str(int(index)) for index in first)
        requirement = f"finite as float32; {int(bad.sum())} of {bad.size} numbers are not"
        if missing is not None:
            requirement = f"finite as float32, or NaN where missing; {int(bad.sum())} are not"
        raise InvalidInput(f"{name}[{place}]", given[first], requirement)


def strata_of(found: object, count: int, source: str) -> NDArray[np.int64] | None:
    """Classes to split and deal by, checked.

    Raises:
        InvalidInput: They are not one integer >= 0 per example.
    """
    if found is None:
        return None
    strata = _array(found, f"{source} strata")
    whole = strata.shape == (count,) and strata.dtype.kind in "iu"
    if not whole or int(strata.min()) < 0:
        requirement = f"{count} integers >= 0, one per example"
        raise InvalidInput(f"{source} strata", strata.shape, requirement)
    return strata.astype(np.int64)


def clients_of(found: object, count: int, source: str) -> NDArray[np.int64] | None:
    """Who made each example, checked.

    Raises:
        InvalidInput: They are not one integer per example.
    """
    if found is None:
        return None
    clients = _array(found, f"{source} client")
    if clients.shape != (count,) or clients.dtype.kind not in "iu":
        shown = f"{clients.dtype} {clients.shape}"
        raise InvalidInput(f"{source} client", shown, "an integer for every example")
    return clients.astype(np.int64)


def marks_of(found: object, count: int, source: str) -> NDArray[np.str_] | None:
    """The parts of an official split, checked.

    Raises:
        InvalidInput: They are not one of `PARTS` (or `SHORT`) per example.
    """
    if found is None:
        return None
    marks = _array(found, f"{source} split")
    if marks.shape != (count,):
        requirement = f"one of {', '.join(PARTS)} for every example, {(count,)}"
        raise InvalidInput(f"{source} split", marks.shape, requirement)
    unknown = ~np.isin(marks, [*PARTS, *SHORT])
    if unknown.any():
        first = int(unknown.argmax())
        near = suggestion(str(marks[first]).lower(), PARTS)
        requirement = f"one of {', '.join(PARTS)} for every example{near}"
        raise InvalidInput(f"{source} split[{first}]", marks[first], requirement)
    words = marks.astype(np.str_)
    for word, part in SHORT.items():
        words = np.where(words == word, part, words)
    return words


def as_data(dataset: Dataset | Data) -> Data:
    """The classification case as any other."""
    if isinstance(dataset, Data):
        return dataset
    return Data(
        dataset.features,
        dataset.labels,
        dataset.num_classes,
        strata=dataset.cut_by,
        standardise=dataset.standardise,
        family=dataset.family,
        client=dataset.client,
        split=dataset.split,
    )


def _numbers(values: object, name: str) -> NDArray[Any]:
    """Values of unknown origin as float32 or int64."""
    found = _array(values, name)
    if found.dtype.kind not in "fiub" or found.ndim == 0:
        raise InvalidInput(name, f"{found.dtype} {found.shape}", "numbers (n, ...)")
    with np.errstate(over="ignore"):
        return found.astype(np.float32 if found.dtype.kind == "f" else np.int64)


def _array(values: object, name: str) -> NDArray[Any]:
    """Values of unknown origin as an array."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidInput(name, type(values).__name__, f"an array of numbers ({error})") from error
