"""Polytopes whose alpha-fair point is known exactly, built from the point and its prices.

All numbers but priorities are small whole numbers, so every product and sum is exact in float64.
With z, q, lambda, nu and reduced costs r given, one more constraint g z <= h of price 1 makes
T' q + r = G' lambda + A' nu hold, a last one that is not tight makes the polytope bounded, and
priorities p = q x^alpha make q the price of x: then the conditions of optimality hold, and x is
the only optimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt.arrays import Array


@dataclass(frozen=True, eq=False)
class Planted:
    """A problem and its answer; `problem` holds the keyword arguments of the solver."""

    problem: dict[str, Any]
    z: Array
    x: Array
    prices: Array
    equality_prices: Array


def planted(rng: np.random.Generator, alpha: float, *, signs: bool = False) -> Planted:
    """A random one; with `signs` T has negative entries too."""
    k, n, m, e = (int(rng.integers(low, high)) for low, high in ((3, 12), (1, 7), (1, 6), (0, 3)))
    z = rng.integers(1, 5, size=k) * (rng.random(k) < 0.7)
    z[0] = max(int(z[0]), 1)
    T = rng.integers(-1 if signs else 0, 4, size=(n, k)) * (rng.random((n, k)) < 0.6)
    T[:, 0] = np.maximum(T[:, 0], 0)
    short = np.maximum(1 - T @ z, 0)
    T[:, 0] += -(-short // z[0])
    q, x = rng.integers(1, 9, size=n), T @ z
    G, A = rng.integers(-1, 4, size=(m, k)), rng.integers(-2, 4, size=(e, k))
    lam = rng.integers(1, 5, size=m) * (rng.random(m) < 0.6)
    nu, r = rng.integers(-3, 4, size=e), rng.integers(1, 5, size=k) * (z == 0)
    last = T.T @ q + r - G.T @ lam - A.T @ nu
    h = G @ z + rng.integers(1, 4, size=m) * (lam == 0)
    problem = {
        "T": T.astype(float),
        "G": np.vstack([G, last, np.ones(k)]).astype(float),
        "h": np.append(h, [last @ z, z.sum() + 5]).astype(float),
        "A": A.astype(float),
        "b": (A @ z).astype(float),
        "alpha": alpha,
        "priority": q * x.astype(float) ** alpha,
    }
    prices = np.append(lam, [1, 0]).astype(float)
    return Planted(problem, z.astype(float), x.astype(float), prices, nu.astype(float))
