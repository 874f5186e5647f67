"""Integers of 120 bits as pairs of machine words, from floats and from integers and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
"""Of shape (..., 2): high and low words."""

LOW_BITS = 60
BITS = 120
"""As in `kernels.wide_integers`, which is loaded by the first auction only."""
MANTISSA_BITS = 53


def words(values: NDArray[Any]) -> Integers:
    """High and low words of integers.

    Example:
        >>> words(np.array([3, 2**60 + 5], dtype=object)).tolist()
        [[0, 3], [1, 5]]
    """
    flat = [(int(x) >> LOW_BITS, int(x) & (2**LOW_BITS - 1)) for x in values.ravel()]
    return np.array(flat, dtype=np.int64).reshape(*values.shape, 2)


def numbers(wide: Integers) -> list[int]:
    """Integers of a list of high and low words.

    Example:
        >>> numbers(np.array([[1, 5]]))
        [1152921504606846981]
    """
    return [(high << LOW_BITS) + low for high, low in wide.tolist()]


def words_of_floats(values: NDArray[np.float64], exponent: int) -> Integers:
    """High and low words of floats >= 0 that are multiples of 2^exponent, in that unit.

    Integers of up to 112 bits, so that no mantissa lies in the high word as a whole.

    Example:
        >>> words_of_floats(np.array([0.75, 3.0]), -2).tolist()
        [[0, 3], [0, 12]]
    """
    fraction, power = np.frexp(values)
    mantissa = np.asarray(fraction * 2.0**MANTISSA_BITS, dtype=np.int64)
    up = np.where(values > 0, power.astype(np.int64) - MANTISSA_BITS - exponent, 0)
    whole = mantissa >> np.clip(-up, 0, MANTISSA_BITS)
    up = np.maximum(up, 0)
    split = LOW_BITS - up  # bits of the mantissa that stay in the low word
    low = (whole & ((np.int64(1) << split) - 1)) << up
    return np.stack([whole >> split, low], axis=-1)


def lowest_exponent(values: NDArray[np.float64]) -> int:
    """Largest e such that all floats are multiples of 2^e; 0 if all are 0.

    Example:
        >>> lowest_exponent(np.array([0.75, 3.0, 0.0]))
        -2
    """
    positive = values[values > 0]
    if positive.size == 0:
        return 0
    fraction, power = np.frexp(positive)
    whole = np.asarray(fraction * 2.0**MANTISSA_BITS, dtype=np.int64)
    lowest = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return int((power - MANTISSA_BITS + lowest).min())
