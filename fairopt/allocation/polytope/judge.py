"""The certificate of a point and prices of the caller, checked."""

from __future__ import annotations

import numpy as np

from fairopt import checks
from fairopt.allocation.polytope.certificate import Certificate, certify, certify_max_min
from fairopt.allocation.polytope.problem import Polytope
from fairopt.allocation.polytope.units import in_own_units
from fairopt.arrays import Array
from fairopt.errors import InvalidInput


def judge(
    problem: Polytope, point: object, prices: object, equality_prices: object, q: object
) -> Certificate:
    """The certificate; every refusal names the argument."""
    n, k = problem.T.shape
    problem, units = in_own_units(problem)
    z = np.ldexp(_shaped("point", point, (k,)), -units.z)
    m, e = len(problem.h), len(problem.b)
    if not units.exact:
        return Certificate(np.inf, np.inf, np.full(n, np.inf))
    if problem.alpha < np.inf:
        lam = np.ldexp(_shaped("prices", prices, (m,)), units.G)
        nu = _shaped(
            "equality_prices", np.zeros(0) if equality_prices is None else equality_prices, (e,)
        )
        own = None if q is None else np.ldexp(_shaped("utility_prices", q, (n,)), units.T)
        return certify(problem, z, lam, np.ldexp(nu, units.A), -units.price, own)
    if q is None:
        raise InvalidInput("utility_prices", q, "given at alpha = inf, one row for each level")
    levels = checks.real_array("utility_prices", q).shape[:1]
    count = levels[0] if levels else 0
    lam = np.ldexp(_shaped("prices", prices, (count, m)), units.G + units.weight)
    given = np.zeros((count, 0)) if equality_prices is None else equality_prices
    nu = np.ldexp(_shaped("equality_prices", given, (count, e)), units.A + units.weight)
    return certify_max_min(problem, z, lam, nu, _shaped("utility_prices", q, (count, n)))


def _shaped(argument: str, value: object, shape: tuple[int, ...]) -> Array:
    """Real numbers of this shape."""
    array = checks.real_array(argument, value)
    if array.shape != shape:
        raise InvalidInput(argument, f"array of shape {array.shape}", f"of shape {shape}")
    return array
