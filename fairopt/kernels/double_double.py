"""Sums of products in twice the digits: numbers as unevaluated sums of two floats.

The error-free transformations of Dekker and Knuth. They need the order of operations as written, so
no fast-math flag may touch them. Operations on two such numbers err by at most 2^-102 of the
result, a product and a sum by 2^-103; all need numbers far from over- and underflow.
"""

from __future__ import annotations

import math

from fairopt.arrays import Array
from fairopt.kernels.jit import helper

SPLITTER = 134217729.0  # 2^27 + 1: halves of 26 bits, whose products are exact
TWICE = 2.0**-104  # relative rounding of a sum of two floats, with two bits to spare
LOST = 2.0**-900  # far above what underflow can take from numbers near 1, far below 2^-104


@helper
def two_sum(a: float, b: float) -> tuple[float, float]:
    """The rounded a + b and its exact error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@helper
def two_product(a: float, b: float) -> tuple[float, float]:
    """The rounded a b and its exact error (if neither over- nor underflows)."""
    product = a * b
    c = SPLITTER * a
    a_high = c - (c - a)
    c = SPLITTER * b
    b_high = c - (c - b)
    a_low, b_low = a - a_high, b - b_high
    return product, a_low * b_low - (
        ((product - a_high * b_high) - a_low * b_high) - a_high * b_low
    )


@helper
def two_quotient(high: float, low: float, divisor: float) -> tuple[float, float]:
    """(high + low) / divisor."""
    quotient = high / divisor
    product, error = two_product(quotient, divisor)
    return two_sum(quotient, ((high - product) - error + low) / divisor)


@helper
def dot_double(a: Array, high: Array, low: Array, n: int) -> tuple[float, float, float]:
    """Sum of a[k] (high[k] + low[k]) as two floats, and the sum of the sizes of its terms."""
    total, rest, size = 0.0, 0.0, 0.0
    for k in range(n):
        product, error = two_product(a[k], high[k])
        total, lost = two_sum(total, product)
        rest += (error + lost) + a[k] * low[k]
        size += abs(product)
    total, rest = two_sum(total, rest)
    return total, rest, size


@helper
def add(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    """(a + a_low) + (b + b_low), to 2^-104 of the result even where it cancels."""
    total, lost = two_sum(a, b)
    rest, last = two_sum(a_low, b_low)
    total, lost = two_sum(total, lost + rest)
    return two_sum(total, lost + last)


@helper
def accumulate(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    """(a + a_low) + (b + b_low), to 2^-104 (|a| + |b|): for long sums, half the work of `add`."""
    total, lost = two_sum(a, b)
    return two_sum(total, lost + (a_low + b_low))


@helper
def multiply(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    """(a + a_low) (b + b_low), to 2^-103."""
    product, error = two_product(a, b)
    return two_sum(product, error + (a * b_low + a_low * b))


@helper
def divide(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    """(a + a_low) / (b + b_low), to 2^-102."""
    quotient = a / b
    product, error = multiply(quotient, 0.0, b, b_low)
    rest, last = add(a, a_low, -product, -error)
    return two_sum(quotient, (rest + last) / b)


@helper
def root(a: float, a_low: float) -> tuple[float, float]:
    """Square root of a + a_low > 0, to 2^-103."""
    high = math.sqrt(a)
    square, error = two_product(high, high)
    return two_sum(high, (((a - square) - error) + a_low) / (2.0 * high))
