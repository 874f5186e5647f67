"""Is there a convex combination of unit gradients that vanishes? Decide it from C alone."""

from __future__ import annotations

import math
from typing import NamedTuple

from fairopt.arrays import GRAM_ERROR, Array
from fairopt.kernels.faults import INDEFINITE
from fairopt.kernels.gram.correlation import correlation
from fairopt.kernels.gram.nonnegative_qp import (
    NEGATIVE_LIMIT,
    NOT_CONVEX,
    ActiveSet,
    clear,
    nonnegative_minimum,
    step_cap,
)
from fairopt.kernels.jit import helper, inlined
from fairopt.kernels.linear import EPS, dot, fill

UNDERFLOW = 2.0**-1062  # of an inner product whose terms each lose half of the smallest float
LARGEST_ERROR = 1.0 - 2.0**-53
STATIONARY = 0
UNDECIDED = 1
NOT_STATIONARY = 2

MIN_NORM_ROWS = 5


class MinNormPoint(NamedTuple):
    """The min-norm point of the unit gradients, which is found once and only if it is needed.

    Attributes:
        known: (1,) 1 if the others are filled, else 0.
        quad: (1,) v'Cv.
        least: (1,) min_i (Cv)_i.
        v: (n,) the point, a convex combination.
        q: (n,) room for the linear term.
        active: Its support.
    """

    known: Array
    quad: Array
    least: Array
    v: Array
    q: Array
    active: ActiveSet


@inlined
def min_norm_workspace(rows: Array, active: ActiveSet) -> MinNormPoint:
    """The workspace in the memory of the first MIN_NORM_ROWS rows; nothing is known yet."""
    known, quad, least = rows[0, :1], rows[1, :1], rows[2, :1]
    known[0] = 0.0
    return MinNormPoint(known, quad, least, rows[3], rows[4], active)


@helper
def rounding(n: int) -> float:
    """Rounding of v'Cv for convex v: a few units for the entries, one per addition."""
    return (n + 2.0) * EPS


@helper
def default_error(error: float, seen: float, n: int) -> float:
    """The error of C to assume: as given (16 eps if negative), or as seen if that is more."""
    given = GRAM_ERROR if error < 0.0 else error
    return max(given, seen, rounding(n))


@helper
def unit_gradients(A: Array, error: float, C: Array, d: Array) -> tuple[int, float]:
    """Fill the correlation matrix and the lengths; return (fault or 0, error of C to assume)."""
    fault, seen = correlation(A, C, d)
    for i in range(A.shape[0]):
        if d[i] > 0.0:  # digits that entries lose below the range of floats
            seen = max(seen, UNDERFLOW / A[i, i])
    return fault, default_error(error, min(seen, LARGEST_ERROR), A.shape[0])


@helper
def curvature(C: Array, v: Array, z: Array) -> tuple[float, float]:
    """Fill z = Cv; return v'Cv and min z."""
    n = v.shape[0]
    quad = 0.0
    least = math.inf
    for i in range(n):
        z[i] = dot(C[i], v, n)
        quad += v[i] * z[i]
        least = min(least, z[i])
    return quad, least


@helper
def unit_min_norm(C: Array, v: Array, q: Array, active: ActiveSet) -> tuple[int, float, float]:
    """The convex v with the smallest v'Cv; return (code, v'Cv, min Cv)."""
    n = v.shape[0]
    fill(v, 0.0)
    fill(q, -1.0)
    clear(active)
    code, _, _ = nonnegative_minimum(C, q, v, active, 0, step_cap(n), True, 0.0)
    total = 0.0
    for i in range(n):
        total += v[i]
    for i in range(n):
        v[i] /= total
    quad, least = curvature(C, v, active.x)
    return code, quad, least


@helper
def decide(quad: float, least: float, error: float, n: int) -> int:
    """The `fairopt.pareto.Verdict` that v'Cv and min Cv of a convex v prove.

    It holds for every matrix within `error` of C.
    """
    if least > error:
        return NOT_STATIONARY
    return STATIONARY if abs(quad) <= rounding(n) else UNDECIDED


@helper
def to_gradients(v: Array, d: Array, out: Array) -> None:
    """Convex weights of the gradients themselves from those of the unit gradients."""
    n = d.shape[0]
    least = math.inf
    for i in range(n):
        if v[i] > 0.0:
            least = min(least, d[i])
    total = 0.0
    for i in range(n):
        out[i] = v[i] * (least / d[i]) if v[i] > 0.0 else 0.0
        total += out[i]
    for i in range(n):
        out[i] /= total


@helper
def zero_gradient(d: Array, out: Array) -> bool:
    """If a gradient is zero: fill out with the vertex of the first one, and say so."""
    for i in range(d.shape[0]):
        if d[i] == 0.0:
            fill(out, 0.0)
            out[i] = 1.0
            return True
    return False


@helper
def find_min_norm(C: Array, point: MinNormPoint) -> bool:
    """Fill the point unless it is known; False if C is not convex."""
    if point.known[0] == 0.0:
        code, quad, least = unit_min_norm(C, point.v, point.q, point.active)
        point.known[0], point.quad[0], point.least[0] = 1.0, quad, least
        return code != NOT_CONVEX and quad >= -NEGATIVE_LIMIT
    return True


@helper
def least_slope(C: Array, u: Array) -> float:
    """Smallest (Cu)_i over sum u: positive beyond the error of C proves a common descent."""
    n = u.shape[0]
    least = math.inf
    total = 0.0
    for i in range(n):
        least = min(least, dot(C[i], u, n))
        total += abs(u[i])
    return least / total


@helper
def stationarity_of(
    C: Array, d: Array, slope: float, error: float, point: MinNormPoint, certificate: Array
) -> tuple[int, float]:
    """The `Verdict` (or INDEFINITE) and the error of C it assumes; fill the certificate if near."""
    if not slope > error and not find_min_norm(C, point):
        return INDEFINITE, error
    if point.known[0] == 0.0:
        return NOT_STATIONARY, error
    quad = point.quad[0]
    error = max(error, -quad)
    decision = decide(quad, point.least[0], error, d.shape[0])
    if decision != NOT_STATIONARY:
        to_gradients(point.v, d, certificate)
    return decision, error
