r"""A primal-dual interior point for finite alpha > 0, with Mehrotra's predictor and corrector.

Maximise sum_i w_i u_alpha(x_i). With q the price of a unit of x, lambda and nu those of the
constraints and r >= 0 what a variable costs more than it earns:

    T' q + r = G' lambda + A' nu,   log q + alpha log x = log w,   x = T z,  G z + s = h,  A z = b,
    z r = lambda s = mu.

Stationarity is in logarithms, so its second derivative is alpha q / x and never x^(-alpha - 1). All
of x, s, z, q, lambda, r are positive from the start, which need not meet any equation; the points
that are returned are strictly inside every inequality, and prices strictly above what is earned.

A large alpha is reached from 2: alpha grows while x stays where it is, by no more than moves a log
price by `STRIDE`, and every step takes one Newton step towards its own central path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fairopt.allocation.polytope.newton_system import System
from fairopt.allocation.polytope.scaling import Scaled
from fairopt.arrays import Array

STEPS = 100  # at one alpha; most problems need 15 to 30
FIRST_ALPHA = 2.0
STRIDE = 1.0  # e-folds that a price may move by when alpha grows
CLIMBING = 1e-2  # mean complementarity on the way up, relative to what a utility spends
CENTRING = 12  # steps at one alpha on the way up; two or three are usual
NEAR = 0.3  # largest equation that is off, at which alpha may grow
BOUNDARY = 0.995  # of the way to it
LONGEST_LOG = 0.9  # relative change of x or q in a step that the logarithm still describes
LARGEST_LOG = 9.0  # the same upwards
SMALLEST_CENTRING = 1e-6
BEND = 0.5  # largest second-order term of a logarithm
CORRECTED = 0.1  # affine step from which its second-order terms are used
LATE = 1e-6  # mean complementarity, relative as `TARGET`, from which certificates are sharp
COVERED = 0.1  # of a reduced cost that its equation may lack
TARGET = 1e-15  # mean complementarity relative to what utilities spend, at which there is no more


@dataclass(frozen=True, eq=False)
class Point:
    """One iterate, in the units of `Scaled`."""

    z: Array
    x: Array
    s: Array
    q: Array
    lam: Array
    nu: Array
    r: Array

    @property
    def mean(self) -> float:
        """Mean complementarity."""
        return float((self.z @ self.r + self.lam @ self.s) / (len(self.z) + len(self.s)))

    def moved(self, step: Point, length: float) -> Point:
        """The point after a step."""
        names = ("z", "x", "s", "q", "lam", "nu", "r")
        return Point(*(getattr(self, n) + length * getattr(step, n) for n in names))


def follow(scaled: Scaled) -> Iterator[tuple[Point, float]]:
    """Points near the central path and the log of their unit of prices, better and better.

    Ends where no step helps.
    """
    point = _start(scaled)
    form = _form(scaled, min(scaled.alpha, FIRST_ALPHA), point.x)
    while form.alpha < scaled.alpha:
        near = _centre(form, point)
        if near is None:
            return
        point, form = near, _raised(form, near)
    centred = False
    for _ in range(STEPS):
        goal = None if centred or _covered(form, point) else point.mean
        after = _step(form, point, goal)
        if after is None:
            return
        point, centred = after, goal is not None
        yield point, form.log_price
        if point.mean <= TARGET * float(np.mean(point.q * point.x)):
            return


def _covered(form: _Form, point: Point) -> bool:
    """Whether reduced costs are larger than what their equation lacks, where that matters.

    Both shrink alike, as steps end before the boundary: then the prices prove nothing, and one full
    step that leaves complementarity where it is solves the equation to rounding.
    """
    if point.mean > LATE * float(np.max(point.q * point.x)):
        return True
    return bool((np.abs(_residuals(form, point).d) <= COVERED * point.r).all())


@dataclass(frozen=True, eq=False)
class _Form:
    """The problem at one alpha, with prices in a unit of exp(log_price)."""

    scaled: Scaled
    alpha: float
    log_weight: Array
    log_price: float


def _form(scaled: Scaled, alpha: float, x: Array) -> _Form:
    """The unit of prices in which the largest q x is 1."""
    ratio = alpha / scaled.alpha  # prices grow to a power: so priorities do
    log_weight = ratio * scaled.log_priority + (alpha - 1.0) * scaled.log_unit
    log_price = float(np.max(log_weight + (1.0 - alpha) * np.log(x)))
    return _Form(scaled, alpha, log_weight - log_price, log_price)


def _raised(form: _Form, point: Point) -> _Form:
    """A larger alpha, at most that of the problem, at which prices are still near."""
    level = np.log(point.x) - form.scaled.log_unit
    spread = float(np.ptp(level))
    more = STRIDE / spread if spread > 0.0 else np.inf
    return _form(form.scaled, min(form.scaled.alpha, form.alpha + more), point.x)


def _centre(form: _Form, point: Point) -> Point | None:
    """Newton steps to the central path at `CLIMBING`, or as far towards it as `CENTRING` lead.

    Where a variable has no limit and no use the path itself does not end.
    """
    current: Point | None = point
    for _ in range(CENTRING):
        goal = CLIMBING * float(np.max(point.q * point.x))
        current = _step(form, point, goal)
        if current is None:
            return None
        point = current
        if _off(form, point, goal) <= NEAR:
            break
    return point


def _off(form: _Form, point: Point, goal: float) -> float:
    """The largest relative error of an equation of the central path."""
    residual = _residuals(form, point)
    parts = (
        np.abs(residual.log),
        np.abs(point.z * point.r / goal - 1.0),
        np.abs(point.lam * point.s / goal - 1.0),
        np.abs(residual.x) / point.x,
        np.abs(residual.s) / point.s,
        np.abs(residual.b),
        np.abs(residual.d) / (point.r + np.abs(form.scaled.B.T @ _multipliers(point))),
    )
    return max(float(part.max(initial=0.0)) for part in parts)


def _start(scaled: Scaled) -> Point:
    """All ones: the units are those of the problem."""
    k, n, m = scaled.B.shape[1], scaled.n, scaled.m
    e = scaled.B.shape[0] - n - m
    one = np.ones
    return Point(one(k), one(n), one(m), one(n), one(m), np.zeros(e), one(k))


@dataclass(frozen=True, eq=False)
class _Residuals:
    """What the linear equations and the logarithms of a point lack."""

    log: Array
    x: Array
    s: Array
    b: Array
    d: Array


def _multipliers(point: Point) -> Array:
    """(q, -lambda, -nu): what B' is multiplied by."""
    return np.concatenate([point.q, -point.lam, -point.nu])


def _residuals(form: _Form, point: Point) -> _Residuals:
    """Right-hand sides minus left-hand sides."""
    n, m, scaled = form.scaled.n, form.scaled.m, form.scaled
    rows = scaled.B @ point.z
    return _Residuals(
        form.log_weight - form.alpha * np.log(point.x) - np.log(point.q),
        point.x - rows[:n],
        scaled.right[:m] - rows[n : n + m] - point.s,
        scaled.right[m:] - rows[n + m :],
        -(scaled.B.T @ _multipliers(point) + point.r),
    )


def _step(form: _Form, point: Point, goal: float | None = None) -> Point | None:
    """Predictor and corrector, or one Newton step to mean complementarity `goal`."""
    newton = _Newton(form, point)
    try:
        newton.factorise()
    except np.linalg.LinAlgError:
        return None
    if goal is not None:
        step = newton.towards(goal, None)
        return _checked(point, step, min(1.0, BOUNDARY * _longest(point, step)))
    affine = newton.towards(0.0, None)
    length = min(1.0, _longest(point, affine))
    after = point.moved(affine, length).mean if np.isfinite(length) else np.nan
    centring = float(np.clip((after / point.mean) ** 3, SMALLEST_CENTRING, 1.0))
    step = newton.towards(centring * point.mean, affine if length > CORRECTED else None)
    return _checked(point, step, min(1.0, BOUNDARY * _longest(point, step)))


def _checked(point: Point, step: Point, length: float) -> Point | None:
    """The point after the step, if all its numbers are."""
    after = point.moved(step, length)
    parts = (after.z, after.x, after.s, after.q, after.lam, after.r)
    good = all(np.isfinite(part).all() and (part > 0.0).all() for part in parts)
    return after if good and np.isfinite(after.nu).all() else None


def _longest(point: Point, step: Point) -> float:
    """The step to the boundary, and no farther than logarithms of x and q go."""
    changes = [getattr(step, n) / getattr(point, n) for n in ("z", "s", "lam", "r")]
    down = max(float((-change).max(initial=0.0)) for change in changes)
    logs = (step.x / point.x, step.q / point.q)
    down = max(down, *(float((-change).max()) / LONGEST_LOG for change in logs))
    up = max(float(change.max()) for change in logs) / LARGEST_LOG
    return 1.0 / max(down, up, 1e-300)


class _Newton:
    """The Newton equations at a point."""

    def __init__(self, form: _Form, point: Point) -> None:
        self.form, self.point = form, point
        self.residual = _residuals(form, point)
        self.curvature = form.alpha * point.q / point.x

    def factorise(self) -> None:
        """Compute the factor that all steps from this point share."""
        p = self.point
        over = np.concatenate([1.0 / self.curvature, p.s / p.lam])
        self.system = System(self.form.scaled.B, over, p.r / p.z)

    def towards(self, goal: float, affine: Point | None) -> Point:
        """The step to complementarity `goal`, with second-order terms of an affine step."""
        p, lack, n = self.point, self.residual, self.form.scaled.n
        m = self.form.scaled.m
        for_z, for_s, log = goal - p.z * p.r, goal - p.lam * p.s, lack.log
        if affine is not None:
            for_z = for_z - affine.z * affine.r
            for_s = for_s - affine.lam * affine.s
            bend = self.form.alpha * (affine.x / p.x) ** 2 / 2 + (affine.q / p.q) ** 2 / 2
            log = log + np.minimum(bend, BEND)
        pull = p.q * log
        rows = (lack.x + pull / self.curvature, lack.s - for_s / p.lam, lack.b)
        dz, u = self.system.solve(for_z / p.z - lack.d, np.concatenate(rows))
        q, lam = u[:n], -u[n : n + m]
        return Point(
            z=dz,
            x=(pull - q) / self.curvature,
            s=(for_s - p.s * lam) / p.lam,
            q=q,
            lam=lam,
            nu=-u[n + m :],
            r=(for_z - p.r * dz) / p.z,
        )
