"""What a linear programme says of a polytope: empty, forced to zero, or without limits.

One programme finds a point at which as many as possible of z, s = h - G z and x = T z are positive:
in units of a common factor kappa >= 1 each can be 1, so the largest sum of min(1, .) shows all that
can ever be positive. What cannot is zero on the whole polytope, its face is described without it,
and an interior point exists there. The same with h = b = 0 finds directions without an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fairopt.allocation.polytope.farkas import proves_empty, proves_zero, without_rounding
from fairopt.allocation.polytope.scaling import Scaled
from fairopt.arrays import Array, BoolArray

POSITIVE = 1e-6  # of 1, to which all can be raised that can be positive
EMPTY = 1e-8  # least total violation in scaled units
TIGHTEST = 1e-10  # the smallest tolerance HiGHS accepts


@dataclass(frozen=True, eq=False)
class Face:
    """What can be positive somewhere on the polytope with T z >= 0, and a point of it."""

    z: BoolArray
    s: BoolArray
    x: BoolArray
    point: Array

    @property
    def whole(self) -> bool:
        """Whether the polytope has an interior point."""
        return bool(self.x.all() and self.z.all() and self.s.all())


def programme(cost: Array, **constraints: Any) -> Any:
    """A linear programme by HiGHS, as tight as it can."""
    from scipy.optimize import linprog

    options = {"primal_feasibility_tolerance": TIGHTEST, "dual_feasibility_tolerance": TIGHTEST}
    call: Any = linprog
    return call(cost, method="highs", options=options, **constraints)


def _blocks(scaled: Scaled) -> tuple[Any, Any, Any]:
    """The rows of T, G and A as sparse matrices."""
    from scipy import sparse

    B = sparse.csr_array(scaled.B)
    n, m = scaled.n, scaled.m
    return B[:n], B[n : n + m], B[n + m :]


def face(scaled: Scaled) -> Face | None:
    """What can be positive; None if the polytope is empty or HiGHS gives up."""
    from scipy import sparse

    T, G, A = _blocks(scaled)
    n, m, k = scaled.n, scaled.m, scaled.B.shape[1]
    h, b = scaled.right[:m, None], scaled.right[m:, None]
    whole = sparse.vstack([G, sparse.csr_array((k + n, k))])
    signs = sparse.vstack([sparse.csr_array((m, k)), -sparse.eye_array(k), -T])
    shift = sparse.csr_array(np.concatenate([-h, np.zeros((k + n, 1))]))
    rows = sparse.hstack([whole + signs, shift, sparse.eye_array(m + k + n)])
    equal = sparse.hstack([A, sparse.csr_array(-b), sparse.csr_array((len(b), m + k + n))])
    found = programme(
        np.concatenate([np.zeros(k + 1), -np.ones(m + k + n)]),
        A_ub=rows.tocsr(),
        b_ub=np.zeros(m + k + n),
        A_eq=equal.tocsr() if len(b) else None,
        b_eq=np.zeros(len(b)) if len(b) else None,
        bounds=[(0, None)] * k + [(1, None)] + [(0, 1)] * (m + k + n),
    )
    if found.x is None:
        return None
    can = found.x[k + 1 :] > POSITIVE
    point = np.maximum(found.x[:k] / found.x[k], 0.0)
    return Face(can[m : m + k], can[:m], can[m + k :], point)


def tightness(scaled: Scaled, z: BoolArray, s: BoolArray) -> tuple[Array, Array] | None:
    """Prices (lambda, nu) in scaled units that prove a face, or None if HiGHS finds none.

    G' lambda + A' nu >= 0 and h' lambda + b' nu <= 0, lambda >= 1 where s can only be zero and
    G' lambda + A' nu >= 1 where z can only be: added to any prices they cost nothing.
    """
    from scipy import sparse

    _, G, A = _blocks(scaled)
    m, e = scaled.m, A.shape[0]
    rows = sparse.vstack([sparse.hstack([-G.T, -A.T]), sparse.csr_array(scaled.right[None, :])])
    found = programme(
        np.concatenate([np.ones(m), np.zeros(e)]),
        A_ub=rows.tocsr(),
        b_ub=np.append(np.where(z, 0.0, -1.0), 0.0),
        bounds=[(0.0 if free else 1.0, None) for free in s] + [(None, None)] * e,
    )
    return None if found.x is None else (found.x[:m], found.x[m:])


def unlimited(scaled: Scaled) -> BoolArray:
    """(n,) utilities that grow along some z >= 0 with G z <= 0, A z = 0, T z >= 0."""
    from scipy import sparse

    T, G, A = _blocks(scaled)
    n, m, k = scaled.n, scaled.m, scaled.B.shape[1]
    rows = sparse.vstack(
        [sparse.hstack([G, sparse.csr_array((m, n))]), sparse.hstack([-T, sparse.eye_array(n)])]
    )
    e = A.shape[0]
    found = programme(
        np.concatenate([np.zeros(k), -np.ones(n)]),
        A_ub=rows.tocsr(),
        b_ub=np.zeros(m + n),
        A_eq=sparse.hstack([A, sparse.csr_array((e, n))]).tocsr() if e else None,
        b_eq=np.zeros(e) if e else None,
        bounds=[(0, None)] * k + [(0, 1)] * n,
    )
    if found.x is None:
        return np.zeros(n, dtype=bool)
    return np.asarray(found.x[k:] > POSITIVE)


def contradiction(scaled: Scaled) -> Array | None:
    """Multipliers (m + e + n,) in scaled units that prove the polytope with T z >= 0 empty.

    The prices of the programme of least total violation; None if that is zero, or if the proof
    does not hold to rounding.
    """
    from scipy import sparse

    T, G, A = _blocks(scaled)
    n, m, k = scaled.n, scaled.m, scaled.B.shape[1]
    e = A.shape[0]
    h, b = scaled.right[:m], scaled.right[m:]
    over = sparse.hstack([sparse.eye_array(m + n), sparse.csr_array((m + n, 2 * e))])
    rows = sparse.hstack([sparse.vstack([G, -T]), -over])
    equal = sparse.hstack(
        [A, sparse.csr_array((e, m + n)), sparse.eye_array(e), -sparse.eye_array(e)]
    )
    found = programme(
        np.concatenate([np.zeros(k), np.ones(m + n + 2 * e)]),
        A_ub=rows.tocsr(),
        b_ub=np.concatenate([h, np.zeros(n)]),
        A_eq=equal.tocsr() if e else None,
        b_eq=b if e else None,
        bounds=(0, None),
    )
    if found.x is None or found.fun <= EMPTY:
        return None
    inner = np.maximum(-found.ineqlin.marginals, 0.0)
    outer = -found.eqlin.marginals if e else np.zeros(0)
    y = np.concatenate([inner[:m], outer, inner[m:]])
    system = G, h, A, b, T
    y = without_rounding(system, y)
    return y if proves_empty(system, y) else None


def zero_is_proven(scaled: Scaled, can: Face) -> bool:
    """Whether multipliers prove that all that cannot be positive is zero on the polytope.

    G' lambda + A' nu - T' pi is at least the sum of the z and rows of T that can only be zero,
    lambda >= 1 where s can only be, and h' lambda + b' nu <= 0.
    """
    from scipy import sparse

    T, G, A = _blocks(scaled)
    m, e, n = scaled.m, A.shape[0], scaled.n
    earned = (~can.z).astype(float) + T.T @ (~can.x).astype(float)
    columns = sparse.hstack([-G.T, -A.T, T.T])
    total = sparse.csr_array(np.concatenate([scaled.right, np.zeros(n)])[None, :])
    found = programme(
        np.concatenate([np.ones(m), np.zeros(e), np.ones(n)]),
        A_ub=sparse.vstack([columns, total]).tocsr(),
        b_ub=np.append(-earned, 0.0),
        bounds=[(0.0 if free else 1.0, None) for free in can.s]
        + [(None, None)] * e
        + [(0.0, None)] * n,
    )
    if found.x is None:
        return False
    y = np.concatenate([np.maximum(found.x[:m], 0.0), found.x[m : m + e]])
    y = np.concatenate([y, np.maximum(found.x[m + e :], 0.0)])
    return proves_zero((G, scaled.right[:m], A, scaled.right[m:], T), y, earned)
