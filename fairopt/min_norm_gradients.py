"""The min-norm point from the gradients themselves, with twice the digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import EPS, Array
from fairopt.dual_cone_precise import combine, scaled_references
from fairopt.gradient_gram import scaled_gradients
from fairopt.pareto import (
    finite_gradients,
    least_distance,
    unit_gradients,
    vertex,
    zero_gradients,
)
from fairopt.solution import Solution, Status


def min_norm_from_gradients(gradients: ArrayLike, *, tol: float = 1e-12) -> Solution:
    r"""Convex weights v with the smallest :math:`\|\sum_k v_k g_k\|`, near stationary points too.

    A Gram matrix holds squares: combinations shorter than about 1e-8 of the gradients drown in its
    rounding (`fairopt.min_norm_residual` says where). From the gradients, lengths down to about
    1e-15 are resolved.

    Args:
        gradients: (K, D) array of float64 or float32, one gradient per row, any unit.
        tol: Largest residual called OPTIMAL.

    Returns:
        `Solution`; `certificate` is v where the combination vanishes to rounding. `direction` is
        d, (D,), for v as returned, summed in twice the digits and rounded once; `direction_error`
        is NaN, the residual says how much longer than the min-norm point it is. The residual is

        .. math:: \max_k (\|d\| - \langle g_k, e\rangle / \|e\|)_+ / \max(|g_k|, S),
                  \qquad d = \sum_k v_k g_k, \quad S = \sum_k v_k |g_k|,

        where e is d, or d freed from what rounding put into the span of the differences of its
        gradients. No convex combination is shorter than min_k <g_k, e> / ||e||, whatever e, so this
        bounds how much longer d is than the min-norm point. If d vanishes
        to rounding it is ||d|| / S. It compares lengths, `fairopt.min_norm_residual` their squares.

    Method: with R the triangular factor of the unit gradients, nonnegative least squares on R and
    one row of inverse lengths (the least-distance problem of Lawson and Hanson).

    FairGrad has no such function: its weights are one float64 each, and half an ulp of them moves
    the progress s by eps |A| w, which near a stationary point of margin m is eps / m^2 of s,
    whatever the precision of A. Only the direction could gain digits, never the residual.

    Raises:
        InvalidInput: for anything but a finite (K, D) array with K, D >= 1.

    Example:
        >>> from fairopt import min_norm_from_gradients
        >>> found = min_norm_from_gradients([[1.0, 1e-10], [-3.0, 1e-10]])
        >>> found.status.name, found.weights
        ('OPTIMAL', array([0.75, 0.25]))
        >>> found.certificate is None  # 1e-10 is not zero
        True
    """
    G, _ = finite_gradients(gradients)
    limit = checks.tolerance(tol)
    zero = zero_gradients(G)
    if len(zero):
        v = vertex(len(G), int(zero[0]))
        return Solution(v, Status.OPTIMAL, 0.0, 0, certificate=v, direction=_direction(G, v))
    U, log_size = unit_gradients(G)
    inverse = np.exp(log_size.min() - log_size)
    u = least_distance(U, inverse)
    v = u * inverse
    residual, vanishes = _gap(U, u / v.sum(), np.exp(log_size - log_size.min()))
    v = v / v.sum()
    status = Status.OPTIMAL if residual <= limit else Status.UNDECIDED
    certificate = v if vanishes else None
    return Solution(v, status, residual, 0, certificate, direction=_direction(G, v))


@np.errstate(all="ignore")
def _direction(G: Array, v: Array) -> Array:
    """sum_k v_k g_k, rounded once."""
    scaled = scaled_gradients(G)
    y, unit = scaled_references(v, scaled.e, np.asarray(G.any(axis=1)))
    return np.asarray(np.ldexp(combine(scaled.H, y, np.zeros_like(y))[0], unit))


def _gap(U: Array, u: Array, length: Array) -> tuple[float, bool]:
    """The residual of u'U, and whether it vanishes; lengths in units of the shortest gradient."""
    d = u @ U
    norm = float(np.linalg.norm(d))
    total = float(u.sum())
    if norm <= 4.0 * EPS * (len(U) + np.sqrt(U.shape[1])) * total:
        return norm / total, True
    scale = np.maximum(length, total)
    gaps = [
        (np.maximum(norm - length * (U @ (e / np.linalg.norm(e))), 0.0) / scale).max()
        for e in (d, _equalised(U[u > 0.0], length[u > 0.0], d))
        if e.any()
    ]
    return float(min(gaps)), False


def _equalised(U: Array, length: Array, d: Array) -> Array:
    """A direction made orthogonal to the differences of the gradients to full precision."""
    G = U * (length / length.max())[:, None]
    rows = G[1:] - G[0]
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    _, values, basis = np.linalg.svd(rows / np.where(sizes > 0.0, sizes, 1.0), full_matrices=False)
    basis = basis[values > len(G) * EPS]
    for _ in range(2):  # the second pass removes the rounding of the first
        d = d - (basis @ d) @ basis
    return np.asarray(d)
