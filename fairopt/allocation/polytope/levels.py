"""alpha = inf: max-min by levels, one linear programme each, by HiGHS.

The least open level t is made as large as it can be, while settled ones keep theirs. Utilities with
a price are at t in every best point, so they settle; each programme settles at least one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt.allocation.polytope.face import programme
from fairopt.allocation.polytope.scaling import Scaled
from fairopt.arrays import Array, BoolArray

PRICED = 1e-7  # of the mean price of an open utility; below it is rounding
ROOM = (1e-11, 1e-9, 1e-7)  # below settled levels, for rounding; more where a programme has none
UNBOUNDED = 3  # the status of `scipy.optimize.linprog`
NOTHING = 1e-9  # in scaled units: a level of zero


@dataclass(frozen=True, eq=False)
class Levels:
    """The last point and the prices of all levels, in scaled units (q: of x / unit).

    Attributes:
        z: (k,) the last point; None where the first programme failed or had no end.
        lam: (levels, m).
        nu: (levels, e).
        q: (levels, n), of settled utilities too.
    """

    z: Array | None
    lam: Array
    nu: Array
    q: Array


def max_min(scaled: Scaled) -> Levels:
    """Utilities level by level, as far as programmes have answers and a level is not zero."""
    n = scaled.n
    unit = np.exp(scaled.log_unit - scaled.log_unit.mean())
    level, settled = np.zeros(n), np.zeros(n, dtype=bool)
    z, size = None, 1.0
    prices: list[tuple[Array, Array, Array]] = []
    while not settled.all():
        for room in ROOM:
            kept = level * unit * (1.0 - room)
            found = _programme(scaled, unit * size, kept, settled)
            if found.x is not None or found.status == UNBOUNDED:
                break
        if found.x is None:
            return _levels(scaled, z, prices)
        z, t = np.maximum(found.x[:-1], 0.0), float(found.x[-1])
        if not prices and t <= NOTHING:
            return _levels(scaled, z, prices)
        q, lam, nu = _prices(scaled, found)
        prices.append((lam, nu, q))
        open_ = ~settled
        priced = open_ & (q * unit > PRICED * (q * unit)[open_].mean())
        level[priced] = t * size
        settled |= priced
        size = t * size
    return _levels(scaled, z, prices)


def _programme(scaled: Scaled, unit: Array, kept: Array, settled: BoolArray) -> Any:
    """Largest t with x >= unit t for open utilities and x >= kept for the others."""
    from scipy import sparse

    n, m, k = scaled.n, scaled.m, scaled.B.shape[1]
    B = sparse.csr_array(scaled.B)
    last = np.concatenate([np.where(settled, 0.0, unit), np.zeros(m)])[:, None]
    rows = sparse.hstack([sparse.vstack([-B[:n], B[n : n + m]]), sparse.csr_array(last)])
    e = B.shape[0] - n - m
    equal = sparse.hstack([B[n + m :], sparse.csr_array((e, 1))])
    return programme(
        -np.eye(1, k + 1, k)[0],
        A_ub=rows.tocsr(),
        b_ub=np.concatenate([np.where(settled, -kept, 0.0), scaled.right[:m]]),
        A_eq=equal.tocsr() if e else None,
        b_eq=scaled.right[m:] if e else None,
        bounds=(0, None),
    )


def _prices(scaled: Scaled, found: Any) -> tuple[Array, Array, Array]:
    """(q, lambda, nu) of a programme."""
    n, m = scaled.n, scaled.m
    inner = np.maximum(-found.ineqlin.marginals, 0.0)
    nu = -found.eqlin.marginals if scaled.B.shape[0] > n + m else np.zeros(0)
    return inner[:n], inner[n:], nu


def _levels(scaled: Scaled, z: Array | None, prices: list[Any]) -> Levels:
    """The record."""
    n, m = scaled.n, scaled.m
    sizes = (m, scaled.B.shape[0] - n - m, n)
    lam, nu, q = (
        np.array([each[j] for each in prices]).reshape(len(prices), size)
        for j, size in enumerate(sizes)
    )
    return Levels(z, lam, nu, q)
