"""The certificate of a point and prices of the caller, checked."""

from __future__ import annotations

import numpy as np

from fairopt import checks
from fairopt.allocation.polytope.certificate import Certificate, certify, certify_max_min
from fairopt.allocation.polytope.problem import Polytope
from fairopt.arrays import Array
from fairopt.errors import InvalidInput


def judge(
    problem: Polytope, point: object, prices: object, equality_prices: object, q: object
) -> Certificate:
    """The certificate; every refusal names the argument."""
    n, k = problem.T.shape
    z = _shaped("point", point, (k,))
    m, e = len(problem.h), len(problem.b)
    if problem.alpha < np.inf:
        lam = _shaped("prices", prices, (m,))
        nu = _shaped(
            "equality_prices", np.zeros(0) if equality_prices is None else equality_prices, (e,)
        )
        own = None if q is None else _shaped("utility_prices", q, (n,))
        return certify(problem, z, lam, nu, 0.0, own)
    if q is None:
        raise InvalidInput("utility_prices", q, "given at alpha = inf, one row for each level")
    levels = checks.real_array("utility_prices", q).shape[:1]
    count = levels[0] if levels else 0
    lam = _shaped("prices", prices, (count, m))
    given = np.zeros((count, 0)) if equality_prices is None else equality_prices
    nu = _shaped("equality_prices", given, (count, e))
    return certify_max_min(problem, z, lam, nu, _shaped("utility_prices", q, (count, n)))


def _shaped(argument: str, value: object, shape: tuple[int, ...]) -> Array:
    """Real numbers of this shape."""
    array = checks.real_array(argument, value)
    if array.shape != shape:
        raise InvalidInput(argument, f"array of shape {array.shape}", f"of shape {shape}")
    return array
