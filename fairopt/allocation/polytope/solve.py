"""The method for each alpha, and the status of what it found.

The interior point is tried first: a certificate proves that its answer exists. Only if it proves
nothing do linear programmes look for the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairopt.allocation.polytope.certificate import (
    Certificate,
    certify,
    certify_max_min,
    infeasibility,
)
from fairopt.allocation.polytope.equalities import independent
from fairopt.allocation.polytope.face import (
    Face,
    contradiction,
    face,
    tightness,
    unlimited,
    zero_is_proven,
)
from fairopt.allocation.polytope.interior_point import follow
from fairopt.allocation.polytope.levels import Levels, max_min
from fairopt.allocation.polytope.linear_programme import largest_total
from fairopt.allocation.polytope.problem import Polytope
from fairopt.allocation.polytope.records import (
    FEASIBLE,
    empty,
    no_point,
    nothing,
    on_equations,
    spread,
    with_left,
)
from fairopt.allocation.polytope.result import PolytopeAllocation
from fairopt.allocation.polytope.scaling import Scaled, nearer, scale
from fairopt.allocation.polytope.units import as_stated, in_own_units
from fairopt.allocation.result import listed
from fairopt.arrays import Array, BoolArray
from fairopt.blas_threads import one_thread
from fairopt.solution import Status

TOTAL = 1e-8  # relative gap of an OPTIMAL total at alpha = 0: tolerances of HiGHS are absolute
RAISED = 1.0 + 1e-9  # on prices that just cover what is earned
WITHOUT_GAIN = 4  # steps after which the certificate is not going to be better
SHARP = 1e-6  # certified error from which more steps are not worth their time
APART = " (rounding does not let its constraints be told apart)"
TOO_FAR = " (its numbers are farther apart than float64 holds)"
CLOSE = 1e-6  # mean complementarity relative to prices times utilities, below which it is computed


@dataclass(frozen=True, eq=False)
class Found:
    """A point with prices and its certificate; prices in a unit of exp(log_price)."""

    z: Array
    lam: Array
    nu: Array
    q: Array
    log_price: float
    certificate: Certificate
    steps: int


def solve(problem: Polytope, tol: float) -> PolytopeAllocation:
    """The allocation of a checked problem."""
    with np.errstate(all="ignore"), one_thread(sum(problem.T.shape) + len(problem.h)):
        own, units = in_own_units(problem)
        if not units.exact:
            return no_point(problem, Status.OUT_OF_RANGE, TOO_FAR)
        return as_stated(problem, units, _in_own_units(own, tol))


def _in_own_units(problem: Polytope, tol: float) -> PolytopeAllocation:
    """The allocation, without redundant equalities, which the point has to meet too."""
    needed = independent(problem.A, problem.b)
    if needed.contradiction is not None:
        sizes = np.zeros(len(problem.h)), np.zeros(problem.utilities)
        return empty(problem, np.concatenate([sizes[0], needed.contradiction, sizes[1]]))
    reduced = replace(problem, A=problem.A[needed.kept], b=problem.b[needed.kept])
    found = spread(problem, needed.kept, _solve(reduced, tol))
    if found.ok and not infeasibility(problem, found.point) <= FEASIBLE:
        return replace(found, status=Status.STEP_LIMIT, detail=APART)
    return found


def _solve(problem: Polytope, tol: float) -> PolytopeAllocation:
    """The allocation where equalities are independent."""
    found = None if problem.closed.any() else _try(problem)
    if found is not None and _proven(problem, found, tol):
        return _result(problem, found, Status.OPTIMAL)
    scaled = scale(problem)
    can = face(scaled)
    if can is None:
        proof = contradiction(scaled)
        if proof is not None:
            row, n = scaled.row, problem.utilities
            return empty(problem, proof * np.concatenate([row[n:], row[:n]]))
        return _best(problem, found, "")
    can = replace(can, point=scaled.column * can.point)
    if not can.whole and not zero_is_proven(scaled, can):
        return _best(problem, found, " (nothing proves what can only be zero)")
    free = unlimited(scaled)
    forced = ~can.x
    if free.any() or (forced.any() and 1.0 <= problem.alpha < np.inf):
        return _without_optimum(problem, tol, free, forced & (1.0 <= problem.alpha < np.inf))
    if not can.whole:
        return _on_face(problem, tol, can)
    spare = _disposal(problem)
    if spare.any() and not spare.all():
        return _without_disposal(problem, tol, spare)
    if 0.0 < problem.alpha < np.inf:
        other = _central_path(problem, nearer(scaled))
        if other is not None and _proven(problem, other, tol):
            return _result(problem, other, Status.OPTIMAL)
    return _best(problem, found, "")


def _disposal(problem: Polytope) -> BoolArray:
    """(k,) variables that only help to meet constraints: no entry in T and A, none > 0 in G."""
    used = [matrix.tocsc().count_nonzero(axis=0) > 0 for matrix in (problem.T, problem.A)]
    signs = problem.G.tocsc()
    harms = (signs > 0.0).count_nonzero(axis=0) > 0
    helps = (signs < 0.0).count_nonzero(axis=0) > 0
    return np.asarray(helps & ~harms & ~used[0] & ~used[1])


def _without_disposal(problem: Polytope, tol: float, spare: BoolArray) -> PolytopeAllocation:
    """The answer without such variables and the constraints they meet, which have no price."""
    kept = np.flatnonzero(~spare)
    columns = -problem.G[:, np.flatnonzero(spare)].toarray()
    met = columns.max(axis=1) > 0.0
    rows = np.flatnonzero(~met)
    rest = _solve(replace(problem, G=problem.G[rows], h=problem.h[rows]).on_variables(kept), tol)
    z, lam = np.zeros(problem.variables), np.zeros((*rest.prices.shape[:-1], len(problem.h)))
    z[kept], lam[..., rows] = rest.point, rest.prices
    over = np.maximum(problem.G @ z - problem.h, 0.0)[:, None]
    needed = np.divide(over, columns, out=np.zeros_like(columns), where=columns > 0.0)
    z[spare] = needed.max(axis=0, initial=0.0) * RAISED
    return replace(rest, point=z, prices=lam)


def _proven(problem: Polytope, found: Found, tol: float) -> bool:
    """Whether the certificate makes the point an answer."""
    proof = found.certificate
    if not proof.feasibility <= FEASIBLE:
        return False
    return proof.gap <= TOTAL if problem.alpha == 0.0 else bool(proof.error.max() <= tol)


def _best(problem: Polytope, found: Found | None, detail: str) -> PolytopeAllocation:
    """What is not certified: the best point found, and why it is no answer."""
    if found is None:
        return no_point(problem, Status.STEP_LIMIT, detail)
    proof = found.certificate
    if not detail and proof.feasibility <= FEASIBLE and np.isfinite(proof.gap):
        far = np.flatnonzero(~(proof.error <= np.median(proof.error)))
        far = far if len(far) else np.flatnonzero(proof.error > 0.0)
        detail = f" (nothing sharp enough is proven of utilities {listed(far)})" if len(far) else ""
    return _result(problem, found, Status.STEP_LIMIT, detail)


def _try(problem: Polytope) -> Found | None:
    """The best point of the method for this alpha."""
    scaled = scale(problem)
    if problem.alpha == np.inf:
        return _max_min(problem, scaled, max_min(scaled))
    if problem.alpha == 0.0:
        return _total(problem, scaled)
    return _central_path(problem, scaled)


def _central_path(problem: Polytope, scaled: Scaled) -> Found | None:
    """The point of the path with the smallest certified error."""
    n, m = scaled.n, scaled.m
    best, since, steps = None, 0, 0
    for point, unit in follow(scaled):
        steps += 1
        if best is None and point.mean > CLOSE * float(np.max(point.q * point.x)):
            continue
        z, lam, nu = scaled.column * point.z, scaled.row[n : n + m] * point.lam, point.nu
        nu = scaled.row[n + m :] * nu
        q = scaled.row[:n] * point.q
        proof = certify(problem, z, lam, nu, unit, q)
        if best is None or _better(proof, best.certificate):
            best, since = Found(z, lam, nu, q, unit, proof, steps), 0
        else:
            since += 1
        if since >= WITHOUT_GAIN or best.certificate.error.max() <= SHARP:
            break
    return None if best is None else replace(best, steps=steps)


def _better(new: Certificate, old: Certificate) -> bool:
    """Feasible before sharp."""
    bad = (new.feasibility > FEASIBLE, float(new.error.max()), new.gap)
    return bad < (old.feasibility > FEASIBLE, float(old.error.max()), old.gap)


def _total(problem: Polytope, scaled: Scaled) -> Found | None:
    """The linear programme at alpha = 0."""
    n, m = scaled.n, scaled.m
    found = largest_total(scaled)
    if found is None:
        return None
    z, lam = scaled.column * found.z, scaled.row[n : n + m] * found.lam
    nu, q = scaled.row[n + m :] * found.nu, scaled.row[:n] * found.q
    proof = certify(problem, z, lam, nu, found.log_price, q)
    return Found(z, lam, nu, q, found.log_price, proof, 1)


def _max_min(problem: Polytope, scaled: Scaled, found: Levels) -> Found | None:
    """The levels at alpha = inf."""
    n, m = scaled.n, scaled.m
    if found.z is None:
        return None
    z = scaled.column * found.z
    lam, nu = found.lam * scaled.row[n : n + m], found.nu * scaled.row[n + m :]
    q = found.q * scaled.row[:n] * problem.weights
    proof = certify_max_min(problem, z, lam, nu, q)
    return Found(z, lam, nu, q, 0.0, proof, len(lam))


def _result(
    problem: Polytope, found: Found, status: Status, detail: str = ""
) -> PolytopeAllocation:
    """The record of a point; OUT_OF_RANGE where float64 does not hold the prices."""
    log_price = found.log_price + problem.price_unit
    half = np.exp(0.5 * log_price)
    lam, nu, q = (array * half * half for array in (found.lam, found.nu, found.q))
    finite = np.isfinite(lam).all() and np.isfinite(nu).all() and np.isfinite(q).all()
    if not finite or (found.q.any() and not q.any()):
        status = Status.OUT_OF_RANGE
        detail = (
            f" (prices at alpha = {problem.alpha:g} are near e^{log_price:.0f}"
            " in these units; measure in units near a typical utility; the point given is"
            + ("" if _proven(problem, found, 1e-3) else " not")
            + " certified)"
        )
    x = np.maximum(problem.T @ found.z, 0.0)
    proof = found.certificate
    return PolytopeAllocation(
        x, found.z, lam, nu, q, proof.error, status, proof.residual, found.steps, detail=detail
    )


def _without_optimum(
    problem: Polytope, tol: float, free: BoolArray, forced: BoolArray
) -> PolytopeAllocation:
    """Infeasible or unbounded utilities are named; the others are solved without them."""
    left = free | forced
    who = [
        f"utilities {listed(np.flatnonzero(which))} {why}"
        for which, why in (
            (forced, "can only be zero, of utility -inf"),
            (free, "are limited by nothing"),
        )
        if which.any()
    ]
    status = Status.INFEASIBLE if forced.any() else Status.UNBOUNDED
    reason = (forced if forced.any() else free).astype(float)
    if left.all():
        record = no_point(problem, status, f" ({'; '.join(who)})")
        x = np.where(free, np.inf, 0.0)
        return replace(record, utilities=x, certificate=reason)
    rest = _solve(problem.without(left), tol)
    others = f"the others are {'solved' if rest.ok else 'not solved: ' + rest.sentence}"
    full = with_left(problem, rest, left, np.where(free, np.inf, 0.0), np.inf)
    return replace(
        full,
        status=status,
        residual=np.inf,
        certificate=reason,
        detail=f" ({'; '.join([*who, others])})",
    )


def _on_face(problem: Polytope, tol: float, can: Face) -> PolytopeAllocation:
    """The answer where some of x, z and s = h - G z are zero on the whole polytope.

    Utilities that can only be zero are left out at alpha < 1 and inf, variables that can only be
    zero too, and inequalities that are always tight become equalities.
    """
    from scipy import sparse

    x, z, s = can.x, can.z, can.s
    if not x.any():
        return nothing(problem, on_equations(problem, can))
    whole = problem.without(~x)
    slack = np.concatenate([s, np.ones(len(whole.h) - len(problem.h), dtype=bool)])
    rows, variables = np.flatnonzero(~slack), np.flatnonzero(z)
    inner = replace(
        whole,
        G=whole.G[np.flatnonzero(slack)],
        h=whole.h[slack],
        A=sparse.vstack([whole.A, whole.G[rows]]).tocsr(),
        b=np.concatenate([whole.b, whole.h[rows]]),
    ).on_variables(variables)
    needed = independent(inner.A, inner.b)
    if needed.contradiction is not None:
        return _best(problem, None, APART)
    ready = replace(inner, A=inner.A[needed.kept], b=inner.b[needed.kept])
    found = _try(ready)
    if found is None:
        return _best(problem, None, "")
    status = Status.OPTIMAL if _proven(ready, found, tol) else Status.STEP_LIMIT
    rest = spread(inner, needed.kept, _result(ready, found, status))
    point = np.zeros(problem.variables)
    point[variables] = rest.point
    prices = np.zeros((*rest.prices.shape[:-1], len(slack)))
    prices[..., slack] = rest.prices
    prices[..., ~slack] = rest.equality_prices[..., len(problem.b) :]
    nu = rest.equality_prices[..., : len(problem.b)]
    prices, nu = _covering(whole, z, slack, prices, nu, rest.utility_prices)
    full = replace(rest, point=point, prices=prices, equality_prices=nu)
    return with_left(problem, full, ~x, np.zeros(problem.utilities), 0.0)


def _covering(
    problem: Polytope, z: BoolArray, s: BoolArray, lam: Array, nu: Array, q: Array
) -> tuple[Array, Array]:
    """Prices of a face with what costs nothing there added, until they are prices of the whole."""
    scaled = scale(problem)
    added = tightness(scaled, z, s)
    if added is None:
        return lam, nu
    n, m = scaled.n, scaled.m
    more, other = scaled.row[n : n + m] * added[0], scaled.row[n + m :] * added[1]
    T = problem.levels if problem.alpha == np.inf else problem.T
    lack = q @ T - lam @ problem.G - nu @ problem.A
    gain = problem.G.T @ more + problem.A.T @ other
    needed = [np.zeros(lam.shape[:-1]), *(-lam[..., j] / more[j] for j in np.flatnonzero(~s))]
    needed += [lack[..., j] / gain[j] for j in np.flatnonzero(~z)]
    size = np.max(np.array(needed), axis=0)[..., None] * RAISED
    return lam + size * more, nu + size * other
