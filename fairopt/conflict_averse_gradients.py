"""Conflict-averse directions from the gradients, which know what a Gram matrix cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks, exact_level, exact_projection
from fairopt.arrays import EPS, Array
from fairopt.conflict_averse import MAX_ITERATIONS, conflict_averse
from fairopt.dual_cone_precise import (
    SAFETY,
    TWICE,
    DoubleGram,
    lengths,
    returned,
    scaled_references,
)
from fairopt.errors import InvalidInput
from fairopt.gradient_gram import (
    Gradients,
    combination,
    double_gram,
    float_gram,
    length,
    one_accuracy,
    one_reference,
    reference_lengths,
    scaled_gradients,
)
from fairopt.solution import Solution, Status, single

_SMALLEST = -1075  # half the smallest float is 2^-1075
_WIDEST = 900  # exponents between the lengths of gradients; beyond, products of units overflow
_CAPPED = 2  # code of the kernel


def conflict_averse_from_gradients(
    gradients: ArrayLike,
    c: float,
    *,
    reference: ArrayLike | None = None,
    tol: float = 1e-10,
    accuracy: float = 1e-6,
) -> Solution:
    r"""The direction with the best worst-case progress in a ball around a reference.

    Problem: with g0 = sum_k r_k g_k, maximise min_k <g_k, d> subject to ||d - g0|| <= c ||g0||, as
    `fairopt.conflict_averse`. A Gram matrix cannot tell stationary gradients from others that are
    nearly so, and bounds what can be reached by c ||g0|| times a length that it knows to 1e-8 of
    the gradients; the gradients themselves tell.

    Args:
        gradients: (K, D) array of float64 or float32, one gradient per row, any unit. They are
            taken as exact.
        c: Radius of the ball in units of ||g0||, finite and >= 0.
        reference: r, (K,), default 1 / K (the mean).
        tol: Largest residual called OPTIMAL.
        accuracy: Largest residual of an answer, in (0, 1).

    Returns:
        `Solution` with `direction`, (D,): use it rather than `weights @ gradients`, since weights
        near stationary points are large and cancel. `low` holds the second float of the weights
        where one each costs more than the accuracy. `dual` are the simplex multipliers that bound
        what can be reached. `certificate` is the combination that vanishes, where exact integers
        found one, or else one that vanishes to the digits of the stage that answered (`gram_error`,
        0 for integers).

    Guarantee: the residual bounds what `direction`, rounded once, misses of the best worst progress
    in the ball, relative to max(|best|, ||g0||^2), plus how far it can be outside of the ball,
    relative to ||g0||. It holds for the gradients exactly as given, and also for the combination of
    the weights as returned (with `low` where it is given). OPTIMAL means at most tol,
    ROUNDING_LIMITED at most accuracy. PARETO_STATIONARY means that a convex combination vanishes
    exactly and c >= 1, so that zero is best. OUT_OF_RANGE: floats cannot hold the direction or the
    weights to the accuracy, as where g0 itself is what rounding left of gradients that cancel.
    UNDECIDED remains only for K > 16 or K D > 100,000.

    Method: the Gram matrix in float64; where that proves no residual within the accuracy, or cannot
    exclude stationary gradients at c >= 1, the Gram matrix and the level of worst progress in twice
    the digits. Whether a convex combination vanishes is then decided in exact integers (K <= 32 and
    K D <= 100,000), and so is the level where twice the digits are not enough (K <= 16). With more
    gradients no level above zero is tried that twice the digits cannot tell from zero.

    Raises:
        InvalidInput: for anything but a finite (K, D) array with K, D >= 1, a finite c >= 0 and a
            finite reference; tol or accuracy outside (0, 1).

    Example:
        >>> from fairopt import conflict_averse_from_gradients
        >>> found = conflict_averse_from_gradients([[1.0, 1e-10], [-1.0, 1e-10]], 1.0)
        >>> found.ok, found.direction.round(20) + 0.0
        (True, array([0.e+00, 2.e-10]))
        >>> conflict_averse_from_gradients([[1.0, 0.5], [-2.0, -1.0]], 1.0).status.name
        'PARETO_STATIONARY'
    """
    problem = _problem(gradients, c, reference, (tol, accuracy))
    if problem.c >= 1.0 and problem.zero >= 0:
        return _stationary(problem, np.eye(len(problem.r))[problem.zero], 0)
    gram = problem.gram
    if problem.wide:
        point = _reference_point(problem)
    else:
        rough = _float_point(problem)
        if rough.certificate is None or problem.c < 1.0:  # else it may vanish exactly, or not
            found = _solution(problem, gram, rough)
            if found.ok:
                return found
        gram = double_gram(problem, gram)
        point = _precise_point(problem, gram, rough)
    if point.ceiling == 0.0 and problem.c >= 1.0:
        return _stationary(problem, point.certificate, point.steps)
    found = _solution(problem, gram, point)
    if found.ok or not exact_projection.small_enough(problem.G):
        return found
    ball = exact_level.exact_ball(exact_projection.exact_gram(problem.G), problem.r, problem.c)
    return _exact_solution(problem, point, ball) if exact_level.small_enough(ball) else found


@dataclass(frozen=True)
class _Problem(Gradients):
    """The gradients and what is asked, in units of the scaled vectors h_k = 2^-e_k g_k.

    Attributes:
        gram: Their Gram matrix in float64.
        r: (K,) reference as handed in.
        y: (K,) reference of the h_k, in units of 2^unit.
        unit: The unit of all lengths is 2^unit.
        middle: The unit of progress is 2^(unit + middle).
        b: (K,) 2^(middle - e_k), so that task k has the progress <h_k, d> / b_k.
        wide: Whether the lengths differ by more than units can.
        zero: The first zero gradient, -1 if there is none.
        c, tol, accuracy: As handed in.
    """

    gram: DoubleGram
    r: Array
    y: Array
    unit: int
    middle: int
    b: Array
    wide: bool
    zero: int
    c: float
    tol: float
    accuracy: float


@dataclass(frozen=True)
class _Point:
    """A direction sum_k v_k h_k, and multipliers x >= 0 that bound what can be reached.

    Attributes:
        v: (K,) as two floats.
        x: (m, K) as two floats.
        known: Bounds of |g0|.
        steps: Active-set steps so far.
        capped: Whether they were too few.
        certificate: Convex weights that vanish, or nearly.
        ceiling: A bound of what can be reached: 0 where a combination vanishes exactly, else inf.
    """

    v: tuple[Array, Array]
    x: tuple[Array, Array]
    known: tuple[float, float] = (0.0, math.inf)
    steps: int = 0
    capped: bool = False
    certificate: Array | None = None
    ceiling: float = math.inf


@np.errstate(all="ignore")
def _problem(
    gradients: ArrayLike, c: float, reference: ArrayLike | None, limits: tuple[float, float]
) -> _Problem:
    """The checked arguments."""
    found = scaled_gradients(gradients)
    radius = checks.radius("c", c)
    if np.ndim(radius):
        raise InvalidInput("c", c, "one finite number >= 0")
    r = one_reference(reference, len(found.G))
    tol, accuracy = checks.tolerance(limits[0]), one_accuracy(limits[1])
    gram = float_gram(found)
    present = lengths(gram) > 0.0
    y, unit = scaled_references(r, gram.exponents, present)
    e = gram.exponents[present]
    middle = int(e.min() + e.max()) // 2 if len(e) else 0
    return _Problem(
        found.G,
        found.H,
        found.e,
        gram,
        r,
        y,
        int(unit),
        middle,
        np.where(present, np.ldexp(1.0, middle - gram.exponents), 1.0),
        bool(len(e) and np.ptp(e) > _WIDEST),
        -1 if present.all() else int(np.argmin(present)),
        float(radius),
        tol,
        accuracy,
    )


def _stationary(problem: _Problem, certificate: Array | None, steps: int) -> Solution:
    """Zero, which is best in a ball that holds it where no direction helps all."""
    K, D = problem.G.shape
    return single(
        np.zeros(K),
        Status.PARETO_STATIONARY,
        0.0,
        steps,
        certificate=certificate,
        dual=certificate,
        direction=np.zeros(D),
    )


def _reference_point(problem: _Problem) -> _Point:
    """The reference itself, with what integers know."""
    nothing = np.zeros((1, len(problem.r)))
    point = _Point((problem.y, nothing[0]), (nothing, nothing))
    return _with_certificate(problem, point, nothing[0])


@np.errstate(all="ignore")
def _float_point(problem: _Problem) -> _Point:
    """The weights from the Gram matrix in float64."""
    gram = problem.gram
    f = np.where(gram.high.diagonal() > 0.0, gram.exponents - problem.middle, 0)
    found = conflict_averse(
        np.ldexp(gram.high, f[:, None] + f[None, :]),
        problem.c,
        reference=np.ldexp(problem.y, -f),
        gram_error=gram.error,
    )
    x = np.array([found.dual] if found.certificate is None else [found.dual, found.certificate])
    point = _Point(
        (np.ldexp(found.weights, f), np.zeros(len(f))),
        (np.ldexp(x, f), np.zeros_like(x)),
        steps=int(found.iterations),
        capped=found.status == Status.STEP_LIMIT,
        certificate=found.certificate,
    )
    return point if problem.zero < 0 else _with_certificate(problem, point, point.x[0][0])


@np.errstate(all="ignore")
def _precise_point(problem: _Problem, gram: DoubleGram, rough: _Point) -> _Point:
    """The weights from the Gram matrix in twice the digits, started from those in float64."""
    start = np.maximum(rough.v[0] - problem.y, 0.0)
    known = reference_lengths(problem, gram, problem.y)
    v, low, x, x_low, common, code, steps = _level_kernel()(
        gram.high,
        gram.low,
        gram.error,
        problem.y,
        problem.b,
        problem.c,
        known,
        np.where(np.isfinite(start), start, 0.0),
        MAX_ITERATIONS,
    )
    vertex = np.eye(len(v))[np.argmin(gram.high @ problem.y / problem.b)]
    point = _Point(
        (v, low),
        (np.vstack([x, vertex]), np.vstack([x_low, 0.0 * vertex])),
        known,
        int(steps) + rough.steps,
        bool(code == _CAPPED),
    )
    return point if common else _with_certificate(problem, point, x[1])


def _with_certificate(problem: _Problem, point: _Point, x: Array) -> _Point:
    """With the combination that vanishes, or with x of the h_k where integers cannot decide."""
    if problem.zero >= 0:
        return replace(point, certificate=np.eye(len(x))[problem.zero], ceiling=0.0)
    if not exact_projection.small_enough(problem.G):
        return replace(point, certificate=_convex(problem, x) if x.any() else None)
    exact = exact_projection.exact_gram(problem.G)
    support = np.flatnonzero(x).tolist()
    shares = exact_projection.vanishing_combination(exact, support, MAX_ITERATIONS)
    if shares is None:
        return point
    return replace(point, certificate=_floats(shares), ceiling=0.0)


def _convex(problem: _Problem, x: Array) -> Array:
    """Convex weights of the gradients, in proportion to x of the h_k."""
    shares = x * problem.b
    return np.asarray(shares / shares.sum())


def _floats(numbers: Sequence[Fraction]) -> Array:
    """Fractions as floats."""
    return np.array([float(x) for x in numbers])


@np.errstate(all="ignore")
def _solution(problem: _Problem, gram: DoubleGram, point: _Point) -> Solution:
    """The direction and the weights in floats, with the gap of what is returned."""
    made = returned(point.v, gram, problem.unit, problem.r)
    direction, moved = _rounded(problem, gram, point)
    gap, best = _gap(problem, gram, point, max(moved, made.loss))
    low = None
    if gap > problem.accuracy and made.loss > moved:
        less, again = _gap(problem, gram, point, max(moved, made.loss_of_two))
        if less < gap:
            gap, best, low = less, again, made.low
    held = made.representable and bool(np.isfinite(direction).all())
    if gap > problem.accuracy:
        held = held and _gap(problem, gram, point, 0.0)[0] > problem.accuracy
    return single(
        made.weights,
        _status(problem, gap, point.capped, held),
        gap,
        point.steps,
        certificate=point.certificate,
        dual=point.certificate if best < 0 else _convex(problem, point.x[0][best]),
        gram_error=gram.error,
        low=low,
        direction=direction,
    )


def _rounded(problem: _Problem, gram: DoubleGram, point: _Point) -> tuple[Array, float]:
    """The direction as floats, and how far that can be from sum_k v_k h_k, in units of 2^unit."""
    K, D = problem.G.shape
    high, rest = combination(problem, gram, *point.v)
    moved = length(rest) * (1.0 + D * EPS)
    moved += (K + 4.0) * TWICE * float(np.abs(point.v[0]) @ lengths(gram))
    if high.any():
        moved += math.sqrt(D) * float(np.ldexp(1.0, _SMALLEST - problem.unit))
    return np.ldexp(high, problem.unit), moved * SAFETY


def _gap(problem: _Problem, gram: DoubleGram, point: _Point, moved: float) -> tuple[float, int]:
    """The certified gap of whatever lies within `moved`, and which multipliers prove it."""
    f = np.frexp(np.abs(point.x[0]).max(axis=1))[1][:, None]
    gap, best = _gap_kernel()(
        gram.high,
        gram.low,
        gram.error,
        problem.y,
        problem.b,
        problem.c,
        point.known,
        *point.v,
        moved,
        np.ldexp(point.x[0], -f),
        np.ldexp(point.x[1], -f),
        point.ceiling,
        np.ldexp(1.0, problem.unit - problem.middle),
    )
    return float(gap), int(best)


@np.errstate(all="ignore")
def _exact_solution(problem: _Problem, point: _Point, ball: exact_level.ExactBall) -> Solution:
    """The direction of the best level in exact integers, rounded once."""
    stationary, support = point.ceiling == 0.0, np.flatnonzero(point.x[0][0]).tolist()
    u, steps = exact_level.best_in_ball(ball, support, stationary, MAX_ITERATIONS)
    shares = [x * y for x, y in zip(u, ball.b, strict=True)]
    weights = [Fraction(float(r)) + x for r, x in zip(problem.r, shares, strict=True)]
    dual = shares if any(u) else exact_level.least_task(ball)
    upper = exact_level.reachable(ball, u if any(u) else dual, stationary)
    high, low = exact_projection.two_floats(weights)
    direction = exact_projection.combination(ball.exact, weights)
    gap, second = math.inf, None
    if np.isfinite(high).all() and np.isfinite(direction).all():
        gap = exact_level.gap_of_weights(ball, _fractions(high), upper)
        if gap > problem.accuracy:
            both = [a + b for a, b in zip(_fractions(high), _fractions(low), strict=True)]
            gap, second = exact_level.gap_of_weights(ball, both, upper), low
        gap = max(gap, exact_level.gap_of_direction(ball, direction, upper))
    held = gap <= problem.accuracy
    held = held or exact_level.gap_of_weights(ball, weights, upper) > problem.accuracy
    return single(
        high,
        _status(problem, gap, False, held),
        gap,
        point.steps + steps,
        certificate=point.certificate,
        dual=_floats([x / sum(dual) for x in dual]),
        low=second,
        direction=direction,
    )


def _fractions(numbers: Array) -> list[Fraction]:
    """Floats as fractions."""
    return [Fraction(float(x)) for x in numbers]


def _status(problem: _Problem, gap: float, capped: bool, held: bool) -> Status:
    """The status of a certified gap; `held` says whether rounding to floats is not the cause."""
    if not held:
        return Status.OUT_OF_RANGE
    if gap <= problem.accuracy:
        return Status.OPTIMAL if gap <= problem.tol else Status.ROUNDING_LIMITED
    return Status.STEP_LIMIT if capped else Status.UNDECIDED


@cache
def _level_kernel() -> Any:
    """The compiled level root, loaded by the first call."""
    from fairopt.kernels.gram.double_double_level import double_double_level as kernel

    return kernel


@cache
def _gap_kernel() -> Any:
    """The compiled gap, loaded by the first call."""
    from fairopt.kernels.gram.double_double_progress import double_double_progress_gap as kernel

    return kernel
