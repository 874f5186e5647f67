"""Residuals of a point, recomputed from the Gram matrix as it was handed in.

S is that matrix symmetrised and scaled by powers of two (`scaled_gram`), which is exact.
"""

from __future__ import annotations

import math

from fairopt.arrays import Array
from fairopt.kernels.gram.correlation import scaled_weights
from fairopt.kernels.jit import helper
from fairopt.kernels.linear import EPS, dot_abs

HALF_ULP = 2.0**-53
SMALLEST_NORMAL = 2.0**-1022
# Log of the smallest float64. A number rounds to zero below half of it; the factor of two is for
# the rounding of the progress from which the number is computed.
LOG_SMALLEST = -744.4400719213812


@helper
def explained_ulps(w: Array, d: Array) -> float:
    """How many half ulps of the weights rounding may have moved the progress of a task.

    Newton accepts a componentwise backward error of 4 n eps, which is 8 n half ulps, and powers
    computed by logarithms lose half an ulp for each unit of |log w| + |log A_ii|.
    """
    n = w.shape[0]
    largest = 0.0
    for i in range(n):
        log_w = abs(math.log(w[i])) if w[i] > 0.0 else -LOG_SMALLEST
        largest = max(largest, log_w + 2.0 * abs(math.log(d[i])))
    return 8.0 * (n + 4.0 + largest)


@helper
def fairgrad_gap(
    S: Array, alpha: float, p: Array, w: Array, d: Array, r: Array, u: Array
) -> tuple[float, float, int]:
    """Largest |s / (p/w)^(1/alpha) - 1| for s = Aw, its half-ulp floor, and the worst task.

    Where the floor of a task would be beyond 1, it is 1, and its gap in half ulps (`half_ulps`).
    """
    n = w.shape[0]
    worst, floor, at = 0.0, 0.0, 0
    log_unit = math.log(scaled_weights(w, r, u))
    if not math.isfinite(log_unit):
        log_unit = log_of_unit(w, r, u)
    for i in range(n):
        s, size = dot_abs(S[i], u, n)
        log_scale = -math.log(r[i]) - log_unit
        if s > 0.0 and w[i] >= SMALLEST_NORMAL and alpha < math.inf:
            gap, blind = ordinary_gap(s, size, log_scale, alpha, p[i], w[i])
        else:
            gap = relative_gap(s, (n + 4.0) * EPS * size, log_scale, alpha, p[i], w[i])
            blind = half_ulp_floor(size, log_scale, alpha, p[i], w[i])
        if w[i] == 0.0 and gap == math.inf and abs(s) <= explained_ulps(w, d) * HALF_ULP * size:
            blind = math.inf  # s may be anything near zero
        if blind > 1.0 and alpha < math.inf:
            gap, blind = min(gap, half_ulps(s, size, log_scale, alpha, p[i], w[i])), 1.0
        if not gap <= worst:
            worst, at = gap, i
        floor = max(floor, blind)
    return worst, floor, at


@helper
def log_of_unit(w: Array, r: Array, u: Array) -> float:
    """Log of the 2^-m of `scaled_weights` where 2^-m itself is no float."""
    for i in range(w.shape[0]):
        if u[i] != 0.0:
            m = math.frexp(w[i])[1] + 1 - math.frexp(r[i])[1] - math.frexp(u[i])[1]
            return -m * math.log(2.0)
    return 0.0


@helper
def half_ulps(s: float, size: float, log_scale: float, alpha: float, p: float, w: float) -> float:
    """The gap in half ulps of what cannot be known better, at least 1; inf if that is not coarse.

    Either the progress (p/w)^(1/alpha) is below half an ulp of its terms, |A| w, or half an ulp of
    the weight and of the logarithms changes it by more than itself.
    """
    resolution = HALF_ULP * size
    log_w = math.log(w) if w > 0.0 else LOG_SMALLEST
    log_p = math.log(p)
    log_wanted = (log_p - log_w) / alpha - log_scale
    wanted = math.exp(log_wanted)
    units = math.inf
    if wanted < resolution:
        units = abs(s - wanted) if w > 0.0 else max(wanted - s, 0.0)
        units /= resolution
    blind = HALF_ULP * (1.0 + abs(log_w) + abs(log_p)) / alpha
    if 0.0 < w < SMALLEST_NORMAL:
        blind = max(blind, 0.5 * (2.0**-1074 / w) / alpha)
    if w > 0.0 and s > 0.0 and blind > 1.0:
        units = min(units, abs(math.log(s) - log_wanted) / blind)
    return max(units, 1.0)


@helper
def ordinary_gaps(
    S: Array, alpha: float, p: Array, w: Array, r: Array, u: Array
) -> tuple[float, float, int]:
    """`fairgrad_gap` where each s > 0 and each weight has all its digits, else an infinite gap.

    Infinite too where gaps are counted in half ulps, and where the unit of the weights is no float.
    """
    n = w.shape[0]
    worst, floor, at = 0.0, 0.0, 0
    log_unit = math.log(scaled_weights(w, r, u))
    if not math.isfinite(log_unit):
        return math.inf, 0.0, 0
    for i in range(n):
        s, size = dot_abs(S[i], u, n)
        log_scale = -math.log(r[i]) - log_unit
        if not (s > 0.0 and w[i] >= SMALLEST_NORMAL):
            return math.inf, 0.0, i
        gap, blind = ordinary_gap(s, size, log_scale, alpha, p[i], w[i])
        if blind > 1.0:
            return math.inf, 0.0, i
        if not gap <= worst:
            worst, at = gap, i
        floor = max(floor, blind)
    return worst, floor, at


@helper
def ordinary_gap(
    s: float, size: float, log_scale: float, alpha: float, p: float, w: float
) -> tuple[float, float]:
    """`relative_gap` and `half_ulp_floor` with their logarithms shared, for s, w > 0."""
    log_w = math.log(w)
    log_p = 0.0 if p == 1.0 else math.log(p)
    factor = log_scale + (log_w - log_p) / alpha
    logs = (1.0 + abs(log_w) + abs(log_p)) / alpha
    gap = abs(math.expm1(math.log(s) + factor))
    return gap, HALF_ULP * (size * math.exp(factor) + logs)


@helper
def half_ulp_floor(size: float, log_scale: float, alpha: float, p: float, w: float) -> float:
    """What half an ulp of the weights, and of the logarithms in the gap, does to the gap.

    `size` is (|A| w)_i. A subnormal weight has fewer digits.
    """
    if w <= 0.0:
        return HALF_ULP * size * math.exp(log_scale) if alpha == math.inf else 0.0
    if alpha == math.inf:
        return HALF_ULP * size * math.exp(log_scale)
    log_w, log_p = math.log(w), math.log(p)
    logs = (1.0 + abs(log_w) + abs(log_p)) / alpha
    floor = HALF_ULP * (size * math.exp(log_scale + (log_w - log_p) / alpha) + logs)
    return max(floor, 0.5 * (2.0**-1074 / w) / alpha) if w < SMALLEST_NORMAL else floor


@helper
def relative_gap(
    s: float, noise: float, log_scale: float, alpha: float, p: float, w: float
) -> float:
    """|s e^log_scale (w/p)^(1/alpha) - 1|, where w = 0 stands for any number that rounds to it.

    For that w = 0 must be right for every s within its rounding `noise`.
    """
    if w == 0.0 and alpha == math.inf:
        return max(0.0, 1.0 - s * math.exp(log_scale))
    if w <= 0.0:
        if s <= noise or w < 0.0:
            return math.inf
        log_s = math.log(s - noise) + log_scale
        return 0.0 if math.log(p) - alpha * log_s < LOG_SMALLEST else math.inf
    share = 0.0 if alpha == math.inf else (math.log(w) - math.log(p)) / alpha
    if s == 0.0:
        return 1.0
    if s < 0.0:
        return 1.0 + math.exp(math.log(-s) + log_scale + share)
    return abs(math.expm1(math.log(s) + log_scale + share))


@helper
def dual_cone_gap(
    S: Array, reference: Array, w: Array, d: Array, r: Array, u: Array
) -> tuple[float, int]:
    """Largest |min(d (w - reference), A w / d)| over sum d max(|w|, |reference|), and its task."""
    n = w.shape[0]
    worst, at, total = 0.0, 0, 0.0
    scale = 0.0
    for i in range(n):
        size = d[i] * max(abs(w[i]), abs(reference[i]))
        scale = max(scale, size)
        total += size
    scale = scale if scale > 0.0 else 1.0
    total = total / scale if total > 0.0 else 1.0
    unit = scaled_weights(w, r, u)
    for i in range(n):
        s, _ = dot_abs(S[i], u, n)
        extra = d[i] * ((w[i] - reference[i]) / scale)
        slope = s / (d[i] * r[i]) / unit / scale if d[i] > 0.0 else math.inf
        gap = abs(min(extra, slope)) / total
        if not gap <= worst:
            worst, at = gap, i
    return worst, at


@helper
def min_norm_gap(S: Array, v: Array, d: Array, r: Array, u: Array, s: Array) -> float:
    """Largest (v'Av - (Av)_i)+ over S max(d_i, S) with S = sum d v, for v on the simplex.

    If v'Av is below its own rounding, (n + 2) eps S^2, v'Av / S^2 at most: v vanishes to rounding.
    """
    n = v.shape[0]
    unit = scaled_weights(v, r, u)
    quad, total = 0.0, 0.0
    for i in range(n):
        s[i], _ = dot_abs(S[i], u, n)
        quad += u[i] * s[i]
        total += u[i] * d[i] * r[i]
    worst = 0.0
    for i in range(n):
        up = min(unit / r[i], 1.0)  # d_i and S in units of the larger of 1 / r_i and 2^m
        down = min(r[i] / unit, 1.0)
        gap = (quad * down - s[i] * up) / (total * max(d[i] * r[i] * up, total * down))
        if gap > worst or math.isnan(gap):
            worst = gap
    square = max(quad, 0.0) / (total * total)
    return min(worst, square) if square <= (n + 2.0) * EPS else worst
