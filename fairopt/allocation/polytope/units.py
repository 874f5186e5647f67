"""The problem in units of its own right-hand sides and rows, and the answer in the caller's.

Utilities are homogeneous in (h, b): with z = 2^k z', h = 2^k h' and b = 2^k b' they grow by 2^k.
Rows of G, A and T are divided by powers of two near their largest entries, weights with those of T,
so that thresholds are relative to the problem. All factors are powers of two: nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairopt.allocation.polytope.problem import Polytope
from fairopt.allocation.polytope.result import PolytopeAllocation
from fairopt.arrays import Array, Ints
from fairopt.solution import Status

LOG_2 = float(np.log(2.0))
LARGEST_EXPONENT = 900  # of a weight in own units; beyond it rows of T keep theirs


@dataclass(frozen=True, eq=False)
class Units:
    """Exponents of two by which the stated numbers are larger.

    Attributes:
        z: Of z and, beyond those of the rows, of h and b.
        T: (n,) of the rows of T.
        G: (m,) of the rows of G.
        A: (e,) of the rows of A.
        weight: Of all weights, beyond those of the rows of T.
        price: Log of the unit of all prices at finite alpha.
        exact: Whether float64 holds all numbers in these units.
    """

    z: int
    T: Ints
    G: Ints
    A: Ints
    weight: int
    price: float
    exact: bool = True


def in_own_units(problem: Polytope) -> tuple[Polytope, Units]:
    """The problem with right-hand sides, rows and weights near one, and what that takes.

    Example:
        >>> from fairopt.allocation.polytope.problem import read
        >>> own, units = in_own_units(read([[4.0]], [[1.0]], [6.0], None, None, 2.0, None, None))
        >>> own.h, own.weights, units.z
        (array([0.75]), array([1.]), 3)
    """
    T, G, A = (_exponents(matrix) for matrix in (problem.T, problem.G, problem.A))
    power, G, A = _right_hand_side(problem, G, A)
    T, weight = _of_weights(problem.weights, T)
    shift = 0.0 if problem.alpha == np.inf else problem.alpha * (power - weight) + weight
    units = Units(power, T, G, A, weight, -shift * LOG_2)
    own = replace(
        problem,
        T=_divided(problem.T, T),
        G=_divided(problem.G, G),
        h=np.ldexp(problem.h, -G - power),
        A=_divided(problem.A, A),
        b=np.ldexp(problem.b, -A - power),
        weights=np.ldexp(problem.weights, -T - weight),
        price_unit=units.price,
    )
    names = ("h", "b", "weights")
    pairs = [(getattr(own, name), getattr(problem, name)) for name in names]
    pairs += [(getattr(own, name).data, getattr(problem, name).data) for name in ("T", "G", "A")]
    return own, replace(units, exact=all(_held(*pair) for pair in pairs))


def _right_hand_side(problem: Polytope, G: Ints, A: Ints) -> tuple[int, Ints, Ints]:
    """The exponent of the largest, and those of rows, where of rows of zeros only signs count."""
    right = np.concatenate([problem.h, problem.b])
    rows = np.concatenate([G, A])
    filled = np.concatenate([np.diff(problem.G.indptr), np.diff(problem.A.indptr)]) > 0
    exponent = np.frexp(right)[1]
    counted = filled & (right != 0.0)
    power = int((exponent - rows)[counted].max()) if counted.any() else 0
    rows = np.where(filled, rows, exponent - power)
    return power, rows[: len(G)], rows[len(G) :]


def _of_weights(weights: Array, T: Ints) -> tuple[Ints, int]:
    """Exponents of the rows of T and one of what is left of the weights."""
    left = np.frexp(weights)[1] - T
    middle = int(np.round(np.median(left)))
    if np.abs(left - middle).max() > LARGEST_EXPONENT:
        return np.zeros_like(T), 0
    return T, middle - 1


def _exponents(matrix: Any) -> Ints:
    """Of the largest entry of every row, 0 where it has none."""
    most = np.zeros(matrix.shape[0])
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    np.maximum.at(most, rows, np.abs(matrix.data))
    return np.asarray(np.where(most > 0.0, np.frexp(most)[1] - 1, 0))


def _divided(matrix: Any, exponents: Ints) -> Any:
    """The rows divided by powers of two."""
    result = matrix.copy()
    result.data = np.ldexp(result.data, -np.repeat(exponents, np.diff(result.indptr)))
    return result


def as_stated(problem: Polytope, units: Units, found: PolytopeAllocation) -> PolytopeAllocation:
    """The answer in the units of the caller; OUT_OF_RANGE where float64 does not hold it."""
    levels = problem.alpha == np.inf
    more = units.weight if levels else 0
    x = np.ldexp(found.utilities, units.T + units.z)
    z = np.ldexp(found.point, units.z)
    lam, nu = (
        np.ldexp(found.prices, -units.G - more),
        np.ldexp(found.equality_prices, -units.A - more),
    )
    q = found.utility_prices if levels else np.ldexp(found.utility_prices, -units.T)
    stated = replace(
        found, utilities=x, point=z, prices=lam, equality_prices=nu, utility_prices=q,
        farkas=None if found.farkas is None else _multipliers(units, found.farkas),
    )  # fmt: skip
    told: tuple[Array, ...] = (x, z, lam, nu, q)
    own = (found.utilities, found.point, found.prices, found.equality_prices, found.utility_prices)
    held = all(_held(*pair) for pair in zip(told, own, strict=True))
    if found.status is Status.OPTIMAL and not held:
        detail = " (its utilities or prices leave float64; measure in units near a typical one)"
        return replace(stated, status=Status.OUT_OF_RANGE, detail=detail)
    return stated


def _multipliers(units: Units, farkas: Array) -> Array:
    """Those of a contradiction, as large as float64 allows; only their ratios matter."""
    exponents = -np.concatenate([units.G, units.A, units.T])
    used = farkas != 0.0
    middle = int(np.max(exponents[used], initial=-(2**30)))
    return np.asarray(np.ldexp(farkas, np.where(used, exponents - middle, 0)))


def _held(stated: Array, own: Array) -> bool:
    """Whether no number became inf or zero."""
    return bool(
        (np.isfinite(stated) == np.isfinite(own)).all() and ((stated == 0.0) == (own == 0.0)).all()
    )
