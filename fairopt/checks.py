"""The only input validation: words and types here, array facts in the kernels.

A public function calls these helpers once at its boundary and trusts their results from there on.
Nothing is clipped or repaired; what does not fit raises `InvalidInput` with the argument, the
value and the requirement.
"""

from __future__ import annotations

import math
import os
import sys
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.arrays import Array, BoolArray
from fairopt.errors import InvalidInput

_FLOAT64 = np.dtype(np.float64)
_REAL_KINDS = "fiu"  # floats, signed and unsigned integers
_WORDS = {"U": "text", "S": "text", "O": "objects", "b": "truth values", "c": "complex numbers"}
_NUMBERS = frozenset({float, int})
_LISTS = frozenset({list, tuple})
SMALL = 2**24  # entries; 128 MiB in float64, accepted without asking for the memory of the machine
SQUARES = 6  # K x K arrays that a solver keeps beside the matrix; the dual cone has the most
_UNKNOWN_MEMORY = 2**40  # bytes, where the system does not say


def _as_numpy(argument: str, value: object, requirement: str) -> NDArray[Any]:
    """The value as a NumPy array that fits into memory in float64."""
    array = value if type(value) is np.ndarray else _converted(argument, value, requirement)
    if array.size > SMALL:
        fits_memory(argument, array.shape)
    return array


def _converted(argument: str, value: object, requirement: str) -> NDArray[Any]:
    """What is no plain array yet, without copies of other libraries' arrays or masked entries."""
    if type(value) not in _NUMBERS:
        if type(value) not in _LISTS and _foreign(value):
            kind = f"{type(value).__module__.partition('.')[0]} {type(value).__name__}"
            hint = "convert it first, for example numpy.asarray(x.cpu())"
            raise InvalidInput(argument, kind, f"{requirement}; {hint}")
        if "numpy.ma" in sys.modules and _masked(value):  # before its import nobody has a mask
            what = f"a {type(value).__name__} with masked entries"
            raise InvalidInput(argument, what, f"{requirement}, no masked entries")
    try:
        return np.asarray(value)
    except ValueError:
        raise InvalidInput(argument, value, f"{requirement}, not ragged") from None


def _foreign(value: object) -> bool:
    """Whether the value is an array of another library (torch, JAX, CuPy)."""
    return hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray)


def _masked(value: Any) -> bool:
    """Whether a masked array, or lists that hold one, have masked entries; NumPy drops masks."""
    parts = value if type(value) in _LISTS else (value,)
    while not _NUMBERS.issuperset(map(type, parts)):  # nothing is left, or only numbers
        if not _LISTS.issuperset(map(type, parts)):
            arrays = [part for part in parts if isinstance(part, np.ma.MaskedArray)]
            if any(part.dtype.names is None and np.ma.is_masked(part) for part in arrays):
                return True
            parts = [part for part in parts if type(part) in _LISTS]
        parts = list(chain.from_iterable(parts))
    return False


def fits_memory(argument: str, shape: tuple[int, ...], tasks: int = 0) -> None:
    """Refuse what needs more than the memory of this machine, before it is allocated.

    The need is that of the array in float64, which for a broadcast view can be far more than it
    takes, and of `SQUARES` arrays (tasks, tasks).
    """
    need = 8 * (math.prod(shape) + SQUARES * tasks**2)
    if need > memory():
        raise InvalidInput(
            argument,
            f"array of shape {shape}",
            f"small enough for memory: it takes {_size(need)} of the {_size(memory())} here"
            + (f", with {SQUARES} arrays of shape ({tasks}, {tasks}) to work on" if tasks else ""),
        )


@cache
def memory() -> int:
    """Bytes of physical memory of this machine."""
    try:
        size, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN_MEMORY
    return size * pages if min(size, pages) > 0 else _UNKNOWN_MEMORY


def _size(count: int) -> str:
    """Bytes for a person."""
    return f"{count / 2**30:,.0f} GiB"


def real_array(argument: str, value: object, requirement: str = "real numbers") -> Array:
    """Any shape of real numbers as float64; complex, text, bool, objects are refused.

    Example:
        >>> real_array("losses", [1, 2])
        array([1., 2.])
        >>> real_array("losses", ["1"])
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: losses = ['1'], but it must be real numbers (got text)
    """
    array = _as_numpy(argument, value, requirement)
    if array.dtype is _FLOAT64:
        return array
    if array.dtype.kind not in _REAL_KINDS and array.size:
        kind = _WORDS.get(array.dtype.kind, f"dtype {array.dtype}")
        raise InvalidInput(argument, value, f"{requirement} (got {kind})")
    return array.astype(np.float64, copy=False)


def vector(argument: str, value: object, length: int | None = None) -> Array:
    """Real numbers with at least one axis, whose last axis is not empty and has `length`."""
    array = real_array(argument, value)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise InvalidInput(argument, value, "an array with at least one entry on its last axis")
    if length is not None and array.shape[-1] != length:
        raise InvalidInput(argument, f"array of shape {array.shape}", f"of length {length}")
    return array


def all_where(argument: str, array: Array, good: BoolArray, requirement: str) -> None:
    """Raise with the first entry for which `good` does not hold."""
    if not good.all():
        raise InvalidInput(argument, array[~good].flat[0].item(), requirement)


def nonnegative_vector(argument: str, value: object, length: int | None = None) -> Array:
    """A vector of finite numbers >= 0."""
    array = vector(argument, value, length)
    all_where(argument, array, np.isfinite(array) & (array >= 0.0), "finite and >= 0")
    return array


def positive_vector(argument: str, value: object, length: int | None = None) -> Array:
    """A vector of finite numbers > 0."""
    array = vector(argument, value, length)
    all_where(argument, array, np.isfinite(array) & (array > 0.0), "finite and > 0")
    return array


def finite_vector(argument: str, value: object, length: int | None = None) -> Array:
    """A vector of finite numbers."""
    array = vector(argument, value, length)
    all_where(argument, array, np.isfinite(array), "finite")
    return array


def bool_array(argument: str, value: object, length: int) -> BoolArray:
    """An array of booleans whose last axis has `length`."""
    requirement = f"booleans with a last axis of length {length}"
    array = _as_numpy(argument, value, requirement)
    if array.dtype != np.bool_ or array.ndim == 0 or array.shape[-1] != length:
        raise InvalidInput(
            argument, f"array of shape {array.shape}, dtype {array.dtype}", requirement
        )
    return array


def number(argument: str, value: object, low: float, high: float, requirement: str) -> float:
    """One real number in [low, high]; inf is allowed where it is one of the ends."""
    array = real_array(argument, value, requirement)
    if array.ndim != 0 or not low <= array <= high:
        raise InvalidInput(argument, value, requirement)
    return float(array)


def positive_number(argument: str, value: object) -> float:
    """One finite number > 0."""
    array = real_array(argument, value, "a finite number > 0")
    if array.ndim != 0 or not np.isfinite(array) or array <= 0.0:
        raise InvalidInput(argument, value, "a finite number > 0")
    return float(array)


def count(argument: str, value: object, at_least: int) -> int:
    """One whole number >= at_least; floats and booleans are refused."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < at_least:  # type: ignore[operator]
        raise InvalidInput(argument, value, f"a whole number >= {at_least}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def steps(argument: str, value: object) -> int:
    """A number of steps, as large as kernels can count."""
    return min(count(argument, value, 0), MOST_STEPS)


def choice(argument: str, value: object, allowed: tuple[str, ...]) -> str:
    """One of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInput(argument, value, "one of " + ", ".join(map(repr, allowed)))
    return value


def broadcastable(argument: str, shape: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of two batches, or a refusal that names both."""
    try:
        return np.broadcast_shapes(shape, other)
    except ValueError:
        raise InvalidInput(
            argument, f"batch shape {shape}", f"broadcastable with batch shape {other}"
        ) from None


MOST_STEPS = 2**53
FAULT = 100  # kernels return a status below it, or a code of `fairopt.kernels.faults`
DEFAULT_ERROR = -1.0  # a kernel assumes `arrays.GRAM_ERROR` for it
LARGEST_ERROR = 1.0 - 2.0**-53  # below 1: of unit gradients, 1 would not even know a squared norm
_NARROW = {2: 2.0**-10, 4: 2.0**-23}  # eps of float16 and float32 by their bytes
UNDERFLOW = {
    "float16": (2.0**-4, "float32 or float64"),
    "bfloat16": (2.0**-119, "float32 or float64"),
    "float32": (2.0**-103, "float64"),
}
"""Least squared norm with all digits, tiny / eps of the dtype of a matrix, and what holds more."""
_GRAM = "a (..., K, K) array of real numbers"


def gram_matrix(value: object) -> tuple[Array, float]:
    """A (..., K, K) array in float64, and the error of its entries: 4 K eps of a narrower dtype.

    The shape is checked here, the entries by the kernels (`gram_fault`); only the dtype of an
    overflow is not known there any more.
    """
    dtype = _FLOAT64
    if type(value) is np.ndarray and value.dtype == _FLOAT64:
        array: Array = value
    else:
        given = _as_numpy("gram", value, _GRAM)
        dtype = given.dtype
        floats = dtype.kind == "f"
        array = given.astype(_FLOAT64, copy=False) if floats else real_array("gram", given, _GRAM)
    shape = array.shape
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] == 0:
        raise InvalidInput("gram", f"array of shape {shape}", _square(shape))
    if array.size > SMALL:
        fits_memory("gram", shape, shape[-1])
    if dtype is not _FLOAT64 and dtype.kind == "f" and dtype.itemsize in _NARROW:
        return array, _narrow_error(array, dtype)
    return array, DEFAULT_ERROR


def _square(shape: tuple[int, ...]) -> str:
    """The shape of a Gram matrix, and what to do with gradients."""
    needed = "of shape (..., K, K) with K >= 1"
    if len(shape) < 2 or 0 in shape[-2:]:
        return needed
    product = "G @ G.T" if len(shape) == 2 else "G @ G.mT"
    gradients = "(K, D)" if len(shape) == 2 else "(..., K, D)"
    return f"{needed} (for gradients G of shape {gradients} pass {product})"


def _narrow_error(array: Array, dtype: np.dtype[Any]) -> float:
    """The error of entries that were float16 or float32; what overflowed there is refused."""
    if not math.isfinite(np.vdot(array, array)) and np.isinf(array).any():  # a fast look first
        *problem, i, j = (int(k) for k in np.argwhere(np.isinf(array))[0])
        where = f" in problem {problem[0] if len(problem) == 1 else tuple(problem)}"
        wider = "float32 or float64" if dtype.itemsize < 4 else "float64"
        raise InvalidInput(
            f"gram[{i}, {j}]",
            float(array[(*problem, i, j)]),
            f"finite (inf in {dtype}: form the Gram in {wider})" + where * bool(problem),
        )
    refuse_underflow(np.diagonal(array, axis1=-2, axis2=-1), dtype.name)
    K: int = array.shape[-1]
    return min(4.0 * K * _NARROW[dtype.itemsize], LARGEST_ERROR)


def refuse_underflow(squares: Array, name: str) -> None:
    """Refuse squared norms that a dtype below float64 holds with few digits, or sums of such.

    Where products of entries come near the smallest normal number, digits are lost that no relative
    error counts. A norm of exactly zero is that of a zero gradient.

    Args:
        squares: (..., K) the diagonal of a Gram matrix.
        name: Of the dtype in which the matrix was formed.

    Raises:
        InvalidInput: A positive one is below tiny / eps of that dtype.

    Example:
        >>> refuse_underflow(np.array([1.0, 1e-33]), "float32")
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: gram[1, 1] = 1e-33, but it must be at least 1e-31 or 0
        (products underflow in float32: form the Gram in float64)
    """
    least, wider = UNDERFLOW[name]
    small = (squares > 0.0) & (squares < least)
    if small.any():
        *problem, i = (int(k) for k in np.argwhere(small)[0])
        where = f" in problem {problem[0] if len(problem) == 1 else tuple(problem)}"
        raise InvalidInput(
            f"gram[{i}, {i}]",
            float(squares[(*problem, i)]),
            f"at least {least:.0e} or 0 (products underflow in {name}: form the Gram in {wider})"
            + where * bool(problem),
        )


def gram_fault(gram: Array, code: Any) -> None:
    """Raise for the first matrix whose kernel returned a fault code; do nothing if none did."""
    if type(code) is np.int64:  # a single problem: the fast path
        if code < FAULT:
            return
    elif code.max(initial=0) < FAULT:
        return
    from fairopt.kernels import faults

    codes = np.asarray(code)
    index = tuple(int(i) for i in np.argwhere(codes >= FAULT)[0])
    matrix = np.broadcast_to(gram, codes.shape + gram.shape[-2:])[index]
    where = f" in problem {index if len(index) > 1 else index[0]}" if index else ""
    entry, requirement = faults.words(matrix, int(codes[index]))
    raise InvalidInput("gram" + entry, _entry(matrix, entry), requirement + where)


def _entry(matrix: Array, entry: str) -> object:
    """The value at '[i, j]', or the whole matrix for ''."""
    if not entry:
        return matrix
    i, j = (int(k) for k in entry.strip("[]").split(","))
    return float(matrix[i, j])


def tolerance(value: object) -> float:
    """A residual tolerance in (0, 1)."""
    if type(value) is float and 0.0 < value < 1.0:
        return value
    result = real_array("tol", value, "a number in (0, 1)")
    if result.ndim != 0 or not 0.0 < result < 1.0:
        raise InvalidInput("tol", value, "a number in (0, 1)")
    return float(result)


def accuracy(value: object) -> float | Array:
    """A relative accuracy in (0, 1); a number or one per problem."""
    if type(value) is float and 0.0 < value < 1.0:
        return value
    array = real_array("accuracy", value, "a number in (0, 1)")
    all_where("accuracy", array, (array > 0.0) & (array < 1.0), "a number in (0, 1)")
    return array


def gram_precision(value: object, default: float, gram: Array) -> float | Array:
    """The relative error of Gram entries, in [0, 1); scalar or one per problem.

    It broadcasts with the batch of `gram`, but one error for each entry of a matrix is refused.
    """
    if value is None:
        return default
    if type(value) is float and 0.0 <= value < 1.0:
        return value
    array = real_array("gram_error", value, "a number in [0, 1)")
    all_where("gram_error", array, (array >= 0.0) & (array < 1.0), "a number in [0, 1)")
    if array.ndim > gram.ndim - 2 and array.shape[-2:] == gram.shape[-2:]:
        requirement = "a number in [0, 1), or one per matrix of the batch"
        raise InvalidInput("gram_error", f"array of shape {array.shape}", requirement)
    return array


def task_array(argument: str, value: object, tasks: int) -> Array:
    """(..., K) real numbers for K tasks; signs and NaN are checked by the caller or a kernel."""
    array = real_array(argument, value)
    if array.ndim == 0 or array.shape[-1] != tasks:
        raise InvalidInput(
            argument, f"array of shape {array.shape}", f"of shape (..., {tasks}), one per task"
        )
    return array


def scalar_array(argument: str, value: object) -> float | Array:
    """A number, or an array with one number per problem."""
    return value if type(value) is float else real_array(argument, value)


def batch_shape(**shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common batch shape of several arguments, or a refusal that names the one that clashes."""
    common: tuple[int, ...] = ()
    for argument, shape in shapes.items():
        common = broadcastable(argument, shape, common)
    return common


def radius(argument: str, value: object) -> float | Array:
    """A finite number >= 0, or one per problem."""
    if type(value) is float and 0.0 <= value < np.inf:
        return value
    array = real_array(argument, value)
    all_where(argument, array, np.isfinite(array) & (array >= 0.0), "finite and >= 0")
    return array
