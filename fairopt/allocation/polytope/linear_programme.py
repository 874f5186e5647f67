"""alpha = 0: the largest weighted total, a linear programme by HiGHS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairopt.allocation.polytope.face import programme
from fairopt.allocation.polytope.scaling import Scaled
from fairopt.arrays import Array


@dataclass(frozen=True, eq=False)
class Optimum:
    """A vertex and its prices in scaled units, prices in a unit of exp(log_price).

    Those of utilities are p, and more where x >= 0 binds.
    """

    z: Array
    lam: Array
    nu: Array
    q: Array
    log_price: float


def largest_total(scaled: Scaled) -> Optimum | None:
    """The vertex at which HiGHS ends; None where it finds none."""
    from scipy import sparse

    n, m = scaled.n, scaled.m
    log_weight = scaled.log_priority - scaled.log_unit
    unit = float(log_weight.max())
    gain = np.exp(log_weight - unit)
    B = sparse.csr_array(scaled.B)
    e = B.shape[0] - n - m
    found = programme(
        -(B[:n].T @ gain),
        A_ub=sparse.vstack([-B[:n], B[n : n + m]]).tocsr(),
        b_ub=np.concatenate([np.zeros(n), scaled.right[:m]]),
        A_eq=B[n + m :] if e else None,
        b_eq=scaled.right[m:] if e else None,
        bounds=(0, None),
    )
    if found.x is None:
        return None
    inner = np.maximum(-found.ineqlin.marginals, 0.0)
    nu = -found.eqlin.marginals if e else np.zeros(0)
    return Optimum(np.maximum(found.x, 0.0), inner[n:], nu, gain + inner[:n], unit)
