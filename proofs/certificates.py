r"""Rigorous residuals: "OPTIMAL to 1e-10" as a proved statement about the given matrix.

Floats are exact binary numbers. Each function takes weights and a Gram matrix as they are, forms
every sum and product in exact fractions, and encloses square roots, powers and logarithms in
intervals with outward rounding, so the true residual lies in the returned `Enclosure`.

What is proved is about the matrix as given. The gradients behind it are known to it only up to its
own rounding: no Gram matrix proves that they are Pareto stationary (float32 gradients g and -g/3
have a Gram matrix that is exactly singular in float64, and a min-norm point of length 1e-8), nor
that they are not where the length of the min-norm point is below that rounding.

Example:
    >>> from fairopt import fairgrad
    >>> gram = [[1.0, 0.5], [0.5, 4.0]]
    >>> found = fairgrad(gram, alpha=2.0)
    >>> enclose_fairgrad(gram, 2.0, found.weights).at_most(1e-10)
    True
    >>> enclose_fairgrad(gram, 2.0, 1.001 * found.weights).at_most(1e-10)
    False
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from fairopt.errors import InvalidInput
from fairopt.extras import extra
from proofs.exact_algebra import Matrix, Row, dot, times

BITS = 400
"""Of the interval end points: 53 for a float, 106 for a product, the rest for cancellation."""
SMALLEST = Fraction(1, 2**1074)
"""The smallest float64; a weight of zero stands for any number below it."""


@dataclass(frozen=True)
class Enclosure:
    """An interval that contains a residual, by proof.

    Args:
        low: A lower bound; above a tolerance it proves that the weights miss it.
        high: An upper bound; at or below a tolerance it proves that the weights meet it.
    """

    low: float
    high: float

    def at_most(self, tol: float) -> bool:
        """Whether the residual is proved to be at most `tol`."""
        return self.high <= tol

    def contains(self, residual: float, slack: float = 0.0) -> bool:
        """Whether a computed residual is compatible with the proof, up to its own rounding."""
        return self.low - slack <= residual <= self.high + slack


def enclose_fairgrad(gram: Any, alpha: float, weights: Any, priority: Any = None) -> Enclosure:
    r"""Enclose max_k \|s_k (w_k / p_k)^(1/alpha) - 1\|, s = A w, for 0 < alpha < inf.

    Where (p_k / w_k)^(1/alpha) is below half an ulp of \|A\| w, what is above 1 counts in such half
    ulps, as in `fairopt.fairgrad_residual` (those of log w_k matter below alpha = 1e-12 only; there
    the enclosure is of the larger number).

    Args:
        gram: (K, K) floats or fractions; its symmetric part is used.
        alpha: Utility power.
        weights: w, (K,). A zero counts as exact if p s^-alpha is proved to be below the smallest
            float64; otherwise, and for negative weights, the residual is infinite.
        priority: p > 0, default ones.

    Example:
        >>> enclose_fairgrad([[4]], 1.0, [Fraction(1, 2)]) == Enclosure(0.0, 0.0)
        True
    """
    if not 0.0 < alpha < math.inf:
        raise InvalidInput("alpha", alpha, "in (0, inf)")
    A, w = _symmetric(gram), _row("weights", weights)
    p = [Fraction(1)] * len(w) if priority is None else _row("priority", priority)
    sizes = times([[abs(a) for a in row] for row in A], [abs(x) for x in w])
    gaps = [
        _in_half_ulps(_curve_gap(s, Fraction(alpha), *own), s, size, Fraction(alpha), *own)
        for s, size, *own in zip(times(A, w), sizes, w, p, strict=True)
    ]
    return _enclosure(_largest(gaps))


def enclose_min_norm(gram: Any, weights: Any) -> Enclosure:
    """Enclose `max_k (v'Av - (Av)_k)_+ / (S max(|g_k|, S))`, with `S = sum_k |g_k| v_k`.

    The weights are first divided by their sum, exactly; a negative one makes it infinite. Where
    v'Av is below the rounding that a float64 matrix allows, v'Av / S^2 is taken if that is less, as
    `fairopt.min_norm_residual` does.

    Args:
        gram: (K, K) floats or fractions.
        weights: v, (K,), with a positive sum.

    Example:
        >>> enclose_min_norm([[1, 0], [0, 4]], [Fraction(4, 5), Fraction(1, 5)]).high
        0.0
    """
    A, v = _symmetric(gram), _row("weights", weights)
    total = sum(v)
    if min(v) < 0 or total <= 0:
        return Enclosure(math.inf, math.inf)
    v = [each / total for each in v]
    slopes, lengths = times(A, v), [_root(A[k][k]) for k in range(len(v))]
    square = dot(v, slopes)
    size = sum((_interval(x) * d for x, d in zip(v, lengths, strict=True)), _interval(0))
    if size.b == 0:
        return Enclosure(0.0, 0.0)
    gaps = [
        _interval(max(square - s, Fraction(0))) / (size * _larger(d, size))
        for s, d in zip(slopes, lengths, strict=True)
    ]
    gap, relative = _largest(gaps), _interval(max(square, Fraction(0))) / (size * size)
    resolved = relative.a > (len(v) + 2) * 2.0**-52
    return _enclosure(gap if resolved or gap.b <= relative.a else _smaller(gap, relative))


def enclose_dual_cone(gram: Any, reference: Any, weights: Any) -> Enclosure:
    r"""Enclose max_k \|min(\|g_k\| u_k, (A w)_k / \|g_k\|)\| / sum \|g_k\| max(\|w_k\|, \|r_k\|).

    Here u = w - r are the multipliers: zero exactly if G w is the projection of G r on the dual
    cone, the non-conflicting directions.

    Args:
        gram: (K, K) floats or fractions.
        reference: r, (K,).
        weights: w, (K,).

    Example:
        >>> enclose_dual_cone([[1, -1], [-1, 4]], [1, 0], [1, Fraction(1, 4)]).high
        0.0
    """
    A, w, r = _symmetric(gram), _row("weights", weights), _row("reference", reference)
    lengths = [_root(A[k][k]) for k in range(len(w))]
    pairs = zip(lengths, w, r, strict=True)
    size = sum((d * _interval(max(abs(x), abs(y))) for d, x, y in pairs), _interval(0))
    if size.b == 0:
        return Enclosure(0.0, 0.0)
    gaps = []
    for d, s, x, y in zip(lengths, times(A, w), w, r, strict=True):
        extra = d * _interval(x - y)
        gaps.append(abs(_smaller(extra, _interval(s) / d) if d.a > 0 else extra) / size)
    return _enclosure(_largest(gaps))


def enclose_conflict_averse(
    gram: Any,
    c: float,
    weights: Any,
    dual: Any,
    reference: Any = None,
    gram_error: float = 0.0,
) -> Enclosure:
    r"""Enclose the duality gap of a conflict-averse direction plus its violation of the ball.

    (value - min_k (A w)_k)_+ / max(\|value\|, \|\|g0\|\|^2) + (\|\|d - g0\|\| - c \|\|g0\|\|)_+ /
    \|\|g0\|\| with the dual value \|\|g0\|\| c \|\|G v\|\| + <G v, g0>, which no direction in the
    ball exceeds in its worst progress. With a `gram_error` every product and length is charged what
    it can be, as in `fairopt.conflict_averse_residual`: the upper end then holds for every set of
    gradients whose Gram matrix is within it, and not only for the matrix as given.

    Args:
        gram: (K, K) floats or fractions.
        c: Radius of the ball, relative.
        weights: w of the direction, (K,).
        dual: v, (K,); divided by its sum, a negative one makes the gap infinite.
        reference: r, default 1 / K.
        gram_error: E; entries of the matrix may be off by E \|g_i\| \|g_j\|.

    Example:
        >>> enclose_conflict_averse([[1, 0], [0, 1]], 0.0, [0.5, 0.5], [1, 0]).high
        0.0
        >>> r = [0.5, 0.5]
        >>> enclose_conflict_averse([[1, 0], [0, 1]], 0.0, r, [1, 0], r, 1e-6).at_most(1e-5)
        True
    """
    A, w, v = _symmetric(gram), _row("weights", weights), _row("dual", dual)
    r = [Fraction(1, len(w))] * len(w) if reference is None else _row("reference", reference)
    if min(v) < 0 or sum(v) <= 0:
        return Enclosure(math.inf, math.inf)
    v = [each / sum(v) for each in v]
    off = [x - y for x, y in zip(w, r, strict=True)]
    e, lengths = _interval(Fraction(gram_error)), [_root(A[k][k]) for k in range(len(w))]

    def size(x: Row) -> Any:
        return sum((d * _interval(abs(y)) for d, y in zip(lengths, x, strict=True)), _interval(0))

    def longest(x: Row) -> Any:
        square = _interval(max(dot(x, times(A, x)), Fraction(0)))
        return _intervals().sqrt(square + e * size(x) * size(x))

    slack = e * size(r) * size(r)
    square = _positive(_interval(dot(r, times(A, r))) - slack)
    if square.a <= 0:
        proved = w == r and gram_error == 0
        return Enclosure(0.0 if proved or gram_error else math.inf, 0.0 if proved else math.inf)
    norm = _intervals().sqrt(square)
    value = _interval(dot(v, times(A, r))) + e * size(v) * size(r)
    value += _interval(Fraction(c)) * longest(r) * longest(v)
    progress = [_interval(s) - e * d * size(w) for s, d in zip(times(A, w), lengths, strict=True)]
    gap = _positive(value + _largest([-s for s in progress])) / _larger(abs(value), square)
    ball = _positive(longest(off) - _interval(Fraction(c)) * norm) / norm
    return _enclosure(gap + ball)


def _curve_gap(s: Fraction, alpha: Fraction, w: Fraction, p: Fraction) -> Any:
    """Interval of |s (w/p)^(1/alpha) - 1|."""
    iv = _intervals()
    if w < 0 or (w == 0 and s <= 0):
        return _interval(math.inf)
    if w == 0:
        log_exact = iv.log(_interval(p)) - _interval(alpha) * iv.log(_interval(s))
        vanishes = log_exact.b < iv.log(_interval(SMALLEST)).a
        return _interval(0 if vanishes else math.inf)
    if s <= 0:
        return _interval(1) - _interval(s) * iv.exp(iv.log(_interval(w / p)) / _interval(alpha))
    if alpha == 1:
        return abs(_interval(s * w / p - 1))
    log = iv.log(_interval(s)) + iv.log(_interval(w / p)) / _interval(alpha)
    return abs(iv.exp(log) - _interval(1))


def _in_half_ulps(
    gap: Any, s: Fraction, size: Fraction, alpha: Fraction, w: Fraction, p: Fraction
) -> Any:
    """Interval of the gap, in half ulps of `size` where these are more than (p/w)^(1/alpha)."""
    if w <= 0 or size == 0:
        return gap
    iv = _intervals()
    wanted = iv.exp(iv.log(_interval(p / w)) / _interval(alpha))
    resolution = _interval(size / 2**53)
    if wanted.a >= resolution.b:
        return gap
    units = _larger(abs(_interval(s) - wanted) / resolution, _interval(1))
    counted = _smaller(gap, units)
    return counted if wanted.b < resolution.a else iv.mpf([counted.a, gap.b])


@cache
def _intervals() -> Any:
    """A context of its own, so that nobody else's precision is touched."""
    with extra("proofs"):
        from mpmath.ctx_iv import MPIntervalContext

    context = MPIntervalContext()
    context.prec = BITS
    return context


def _interval(value: Any) -> Any:
    """Interval around a number."""
    iv = _intervals()
    if isinstance(value, Fraction):
        return iv.mpf(value.numerator) / iv.mpf(value.denominator)
    return iv.mpf(value)


def _root(square: Fraction) -> Any:
    """Interval around a square root; a float64 matrix may be slightly indefinite, then 0."""
    return _intervals().sqrt(_interval(max(square, Fraction(0))))


def _larger(x: Any, y: Any) -> Any:
    """Interval of the maximum."""
    return _intervals().mpf([max(x.a, y.a), max(x.b, y.b)])


def _smaller(x: Any, y: Any) -> Any:
    """Interval of the minimum."""
    return _intervals().mpf([min(x.a, y.a), min(x.b, y.b)])


def _positive(x: Any) -> Any:
    """Interval of the positive part."""
    return _larger(x, _interval(0))


def _largest(intervals: list[Any]) -> Any:
    """Interval of the largest."""
    result = intervals[0]
    for each in intervals[1:]:
        result = _larger(result, each)
    return result


def _enclosure(interval: Any) -> Enclosure:
    """End points as floats, rounded outwards."""
    with extra("proofs"):
        from mpmath import libmp

    low, high = interval._mpi_
    return Enclosure(
        libmp.to_float(low, rnd=libmp.round_floor), libmp.to_float(high, rnd=libmp.round_ceiling)
    )


def _symmetric(gram: Any) -> Matrix:
    """The symmetric part of a square matrix, exactly."""
    rows = [_row("gram", row) for row in gram]
    if any(len(row) != len(rows) for row in rows):
        raise InvalidInput("gram", np.shape(gram), "a (K, K) matrix")
    K = range(len(rows))
    return [[(rows[i][j] + rows[j][i]) / 2 for j in K] for i in K]


def _row(argument: str, values: Any) -> Row:
    """Exact values of finite numbers."""
    try:
        return [Fraction(value) for value in values]
    except (ValueError, OverflowError, TypeError):
        raise InvalidInput(argument, values, "finite numbers") from None
