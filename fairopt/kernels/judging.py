"""Residuals of a point, recomputed from the Gram matrix as it was handed in."""

from __future__ import annotations

import math

from fairopt.checks import Array
from fairopt.kernels.compiling import helper
from fairopt.kernels.gram import scaled_row, scaled_weights

HALF_ULP = 2.0**-53
SMALLEST_NORMAL = 2.0**-1022
LOG_TINY = -745.1332191019412  # log of half the smallest float64: below it a number rounds to zero


@helper
def fairgrad_gap(
    A: Array, alpha: float, p: Array, w: Array, d: Array, r: Array, u: Array
) -> tuple[float, float, int]:
    """Largest |s / (p/w)^(1/alpha) - 1| for s = Aw, its half-ulp floor, and the worst task."""
    worst, floor, at = 0.0, 0.0, 0
    log_unit = math.log(scaled_weights(w, r, u))
    for i in range(w.shape[0]):
        s, size = scaled_row(A, r, u, i)
        log_scale = -math.log(r[i]) - log_unit
        gap = relative_gap(s, log_scale, alpha, p[i], w[i])
        if not gap <= worst:
            worst, at = gap, i
        if w[i] > 0.0:
            share = 0.0 if alpha == math.inf else (math.log(w[i]) - math.log(p[i])) / alpha
            floor = max(floor, HALF_ULP * (size * math.exp(log_scale + share) + 1.0 / alpha))
        if 0.0 < w[i] < SMALLEST_NORMAL:  # it has fewer digits
            floor = max(floor, 0.5 * (2.0**-1074 / w[i]) / alpha)
    return worst, floor, at


@helper
def relative_gap(s: float, log_scale: float, alpha: float, p: float, w: float) -> float:
    """|s e^log_scale (w/p)^(1/alpha) - 1|, where w = 0 stands for any number that rounds to it."""
    if w <= 0.0:
        if s <= 0.0 or w < 0.0:
            return math.inf
        log_s = math.log(s) + log_scale
        if alpha == math.inf:
            return max(0.0, -math.expm1(log_s))
        return 0.0 if math.log(p) - alpha * log_s < LOG_TINY else math.inf
    share = 0.0 if alpha == math.inf else (math.log(w) - math.log(p)) / alpha
    if s == 0.0:
        return 1.0
    if s < 0.0:
        return 1.0 + math.exp(math.log(-s) + log_scale + share)
    return abs(math.expm1(math.log(s) + log_scale + share))


@helper
def dual_cone_gap(
    A: Array, reference: Array, w: Array, d: Array, r: Array, u: Array
) -> tuple[float, int]:
    """Largest |min(d (w - reference), A w / d)| over sum d |w|, and the worst task."""
    n = w.shape[0]
    worst, at, total = 0.0, 0, 0.0
    unit = scaled_weights(w, r, u)
    for i in range(n):
        total += d[i] * r[i] * abs(u[i])
    if total == 0.0:
        total = 1.0
    for i in range(n):
        s, _ = scaled_row(A, r, u, i)
        extra = (w[i] - reference[i]) * unit / r[i]
        if w[i] != 0.0:
            extra = (w[i] - reference[i]) / w[i] * u[i]
        slope = s / (d[i] * r[i]) if d[i] > 0.0 else math.inf
        gap = abs(min(extra * d[i] * r[i], slope)) / total
        if not gap <= worst:
            worst, at = gap, i
    return worst, at


@helper
def min_norm_gap(A: Array, v: Array, d: Array, r: Array, u: Array, s: Array) -> float:
    """Largest (v'Av - (Av)_i)+ over S max(d_i, S) with S = sum d v, for v on the simplex."""
    n = v.shape[0]
    unit = scaled_weights(v, r, u)
    quad, total = 0.0, 0.0
    for i in range(n):
        s[i], _ = scaled_row(A, r, u, i)
        quad += u[i] * s[i]
        total += u[i] * d[i] * r[i]
    worst = 0.0
    for i in range(n):
        up = min(unit / r[i], 1.0)  # d_i and S in units of the larger of 1 / r_i and 2^m
        down = min(r[i] / unit, 1.0)
        gap = (quad * down - s[i] * up) / (total * max(d[i] * r[i] * up, total * down))
        if gap > worst or math.isnan(gap):
            worst = gap
    return worst
