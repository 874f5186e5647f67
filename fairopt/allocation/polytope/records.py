"""Records of answers without a programme of their own: empty, all zero, or with parts left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairopt.allocation.polytope.certificate import infeasibility
from fairopt.allocation.polytope.face import Face
from fairopt.allocation.polytope.farkas import proves_empty
from fairopt.allocation.polytope.problem import Polytope
from fairopt.allocation.polytope.result import PolytopeAllocation
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.solution import Status

FEASIBLE = 1e-9  # relative violation of an OPTIMAL point


def spread(problem: Polytope, kept: Ints, found: PolytopeAllocation) -> PolytopeAllocation:
    """The answer with prices of zero for redundant equalities."""
    if len(kept) == len(problem.b):
        return found
    nu = np.zeros((*found.equality_prices.shape[:-1], len(problem.b)))
    nu[..., kept] = found.equality_prices
    farkas, m, e = found.farkas, len(problem.h), len(kept)
    if farkas is not None:
        every = np.zeros(len(problem.b))
        every[kept] = farkas[m : m + e]
        farkas = np.concatenate([farkas[:m], every, farkas[m + e :]])
    return replace(found, equality_prices=nu, farkas=farkas)


def no_point(
    problem: Polytope, status: Status, detail: str, farkas: Array | None = None
) -> PolytopeAllocation:
    """The record without a point."""
    n, k = problem.T.shape
    shape = (0,) if problem.alpha == np.inf else ()
    missing = np.full(n, np.nan)
    return PolytopeAllocation(
        missing,
        np.full(k, np.nan),
        np.zeros((*shape, len(problem.h))),
        np.zeros((*shape, len(problem.b))),
        np.zeros((*shape, n)),
        np.full(n, np.inf),
        status,
        np.inf,
        0,
        farkas=farkas,
        detail=detail,
    )


def empty(problem: Polytope, farkas: Array) -> PolytopeAllocation:
    """Infeasible, with the proof, if it is one."""
    system = problem.G, problem.h, problem.A, problem.b, problem.T
    if not proves_empty(system, farkas):
        return no_point(problem, Status.STEP_LIMIT, " (nothing proves that it is empty)")
    detail = " (no z meets them with T z >= 0; `farkas` proves it)"
    return no_point(problem, Status.INFEASIBLE, detail, farkas)


def with_left(
    problem: Polytope, rest: PolytopeAllocation, left: BoolArray, value: Array, error: float
) -> PolytopeAllocation:
    """The answer of the problem without some utilities, as one of the problem with them."""
    n, m = problem.utilities, len(problem.h)
    x, errors = value.copy(), np.full(n, error)
    x[~left], errors[~left] = rest.utilities, rest.error
    q = np.zeros((*rest.utility_prices.shape[:-1], n))
    q[..., ~left] = rest.utility_prices
    return replace(rest, utilities=x, error=errors, utility_prices=q, prices=rest.prices[..., :m])


def on_equations(problem: Polytope, can: Face) -> Array:
    """The point of a face with what linear equations lack but for rounding removed."""
    from scipy import sparse

    z = np.where(can.z, can.point, 0.0)
    tight = np.flatnonzero(~can.s)
    rows = sparse.vstack([problem.A, problem.G[tight]]).toarray()[:, can.z]
    if not rows.size:
        return z
    lack = np.concatenate([problem.b, problem.h[tight]]) - rows @ z[can.z]
    z[can.z] += np.linalg.lstsq(rows, lack)[0]
    return np.maximum(z, 0.0)


def nothing(problem: Polytope, point: Array) -> PolytopeAllocation:
    """The answer where all utilities can only be zero: any point."""
    violation = infeasibility(problem, point)
    met = violation <= FEASIBLE
    return replace(
        no_point(problem, Status.OPTIMAL, " (all utilities can only be zero)"),
        utilities=np.zeros(problem.utilities),
        point=point,
        error=np.zeros(problem.utilities),
        status=Status.OPTIMAL if met else Status.STEP_LIMIT,
        residual=violation,
    )
