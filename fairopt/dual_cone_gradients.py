"""Projections on the dual cone and UPGrad from the gradients, which know what a Gram cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks, exact_projection
from fairopt.arrays import EPS, Array, Ints
from fairopt.dual_cone import dual_cone_projection, natural_residual
from fairopt.dual_cone_double_gram import costly, step_cap
from fairopt.dual_cone_precise import (
    SAFETY,
    TWICE,
    Combination,
    DoubleGram,
    fractions,
    lengths,
    precise_projections,
    ratio,
    returned,
    scaled_references,
    status_of,
    sum_of_projections,
)
from fairopt.gradient_gram import (
    Gradients,
    combination,
    double_gram,
    float_gram,
    one_accuracy,
    one_reference,
    reference_lengths,
    scaled_gradients,
)
from fairopt.solution import Solution, Status, single

_SMALLEST = -1075  # half the smallest float is 2^-1075
_PLACES = 200  # binary places kept of projections that are added; as fractions they would explode


def dual_cone_from_gradients(
    gradients: ArrayLike,
    reference: ArrayLike | None = None,
    *,
    accuracy: float = 1e-6,
    max_iterations: int | None = None,
) -> Solution:
    r"""The direction nearest to sum_k r_k g_k that is non-conflicting, from the gradients.

    Problem: minimise ||d - g0||, g0 = sum_k r_k g_k, over d with <g_k, d> >= 0 for every k, as
    `fairopt.dual_cone_projection`. A Gram matrix does not determine the answer where gradients are
    nearly dependent; the gradients do.

    Args:
        gradients: (K, D) array of float64 or float32, one gradient per row, any unit. They are
            taken as exact.
        reference: r, (K,), default 1 / K.
        accuracy: Largest `direction_error` of an answer, in (0, 1).
        max_iterations: Active-set steps allowed in each stage, default 40 K + 50.

    Returns:
        `Solution` with `direction`, (D,): use it rather than `weights @ gradients`, since weights
        of nearly dependent gradients are large and cancel. `low` holds the second float of the
        weights where one each costs more than the accuracy. `direction_error` bounds
        |direction - P| / |g0|, P the exact projection.

    Guarantee: ok means direction_error <= accuracy. UNDECIDED remains only for K > 32 or
    K D > 100,000, where some margin of the gradients is below about 1e-12. OUT_OF_RANGE: floats
    cannot hold the direction to the accuracy, or not the weights.

    Method: the Gram matrix in float64; where its bound exceeds the accuracy, the Gram matrix and
    the active set in twice the digits; where that does, exact integers.

    Raises:
        InvalidInput: for anything but a finite (K, D) array with K, D >= 1 and a finite reference;
            accuracy outside (0, 1).

    Example:
        >>> from fairopt import dual_cone_from_gradients
        >>> G = [[1.0, 0.0, 0.0], [-1.0, 1e-7, 0.0], [0.3, -1.0, 0.2]]
        >>> found = dual_cone_from_gradients(G, [0.0, 0.0, 1.0])
        >>> found.status.name, found.direction.round(9) + 0.0
        ('OPTIMAL', array([0. , 0. , 0.2]))
    """
    problem = _problem(gradients, accuracy, max_iterations)
    r = one_reference(reference, len(problem.G))
    gram = float_gram(problem)
    y, c = scaled_references(r[None], gram.exponents, lengths(gram) > 0.0)
    return _first_proof(problem, gram, _Sought(r, int(c[0]), y, None, np.arange(1)))


def upgrad_from_gradients(
    gradients: ArrayLike,
    reference: ArrayLike | None = None,
    *,
    accuracy: float = 1e-6,
) -> Solution:
    r"""The combination of all gradients after each was projected on the dual cone.

    Problem: sum_k r_k P(g_k), where P(g_k) is the non-conflicting direction nearest to g_k, as
    `fairopt.upgrad`, from the gradients.

    Args:
        gradients: (K, D) array of float64 or float32, taken as exact.
        reference: r, (K,), default 1 / K.
        accuracy: Largest `direction_error` of an answer, in (0, 1).

    Returns:
        `Solution` as of `dual_cone_from_gradients`; `direction_error` is in units of
        sum_k |r_k| |g_k|, the residual that of the worst projection.

    Guarantee, method, errors: as `dual_cone_from_gradients`.

    Example:
        >>> from fairopt import upgrad_from_gradients
        >>> upgrad_from_gradients([[1.0, 0.0], [-1.0, 3.0]]).direction.round(12)
        array([0.45, 1.65])
    """
    problem = _problem(gradients, accuracy, None)
    r = one_reference(reference, len(problem.G))
    gram = float_gram(problem)
    shares, c = scaled_references(r, gram.exponents, lengths(gram) > 0.0)
    counts = np.flatnonzero(shares)
    units = np.eye(len(r))[counts]
    return _first_proof(problem, gram, _Sought(r, int(c), units, shares[counts], counts))


@dataclass(frozen=True)
class _Problem(Gradients):
    """The gradients, and what is asked."""

    accuracy: float
    cap: int


def _problem(gradients: ArrayLike, accuracy: float, max_iterations: int | None) -> _Problem:
    """The checked arguments."""
    found = scaled_gradients(gradients)
    goal = one_accuracy(accuracy)
    if max_iterations is not None:
        max_iterations = checks.steps("max_iterations", max_iterations)
    cap = step_cap(len(found.G), max_iterations)
    return _Problem(found.G, found.H, found.e, goal, cap)


@dataclass(frozen=True)
class _Sought:
    """One projection, or a sum of them.

    Attributes:
        r: (K,) as handed in.
        c: The unit of all lengths is 2^c.
        y: (m, K) references of the projections in scaled units.
        shares: (m,) factors of the projections in their sum; None for one projection alone.
        tasks: (m,) what they belong to.
    """

    r: Array
    c: int
    y: Array
    shares: Array | None
    tasks: Ints

    def total(self, each: Sequence[Combination], gram: DoubleGram) -> Combination:
        """What is sought, from its projections."""
        if self.shares is None:
            return each[0]
        return sum_of_projections(self.shares, each, lengths(gram)[self.tasks], len(self.r))


@np.errstate(all="ignore")
def _first_proof(problem: _Problem, gram: DoubleGram, sought: _Sought) -> Solution:
    """The answer of the first stage that proves the accuracy, else that of the last."""
    rough = _float_projections(problem, gram, sought.y)
    found = _solution(problem, gram, sought, rough)
    if found.ok:
        return found
    gram = double_gram(problem, gram)
    fine = _precise_projections(problem, gram, sought, rough)
    found = _solution(problem, gram, sought, fine)
    if found.ok or not exact_projection.small_enough(problem.G):
        return found
    return _exact_solution(problem, gram, sought, fine)


def _float_projections(problem: _Problem, gram: DoubleGram, y: Array) -> list[Combination]:
    """The projections in float64."""
    if not len(y):
        return []
    found = dual_cone_projection(
        gram.high,
        y,
        accuracy=problem.accuracy,
        max_iterations=problem.cap,
        gram_error=gram.error,
    )
    error = np.asarray(found.direction_error)
    return [
        Combination(
            found.weights[k],
            np.zeros_like(y[k]),
            error[k] * upper if error[k] > 0.0 else 0.0,
            lower,
            found.weights[k] > y[k],
            int(np.asarray(found.iterations)[k]),
            bool(np.asarray(found.status)[k] == Status.STEP_LIMIT),
            gram.error,
            float(np.asarray(found.residual)[k]),
        )
        for k, (lower, upper) in enumerate(_reference_lengths(gram, r) for r in y)
    ]


def _reference_lengths(gram: DoubleGram, y: Array) -> tuple[float, float]:
    """Bounds of |sum_k y_k h_k| from a Gram matrix in float64."""
    size = float(np.abs(y).sum())
    square = float(y @ gram.high @ y)
    slack = (gram.error + (len(y) + 2.0) * EPS) * size * size * SAFETY
    return math.sqrt(max(square - slack, 0.0)) / SAFETY, math.sqrt(square + slack) * SAFETY


def _precise_projections(
    problem: _Problem, gram: DoubleGram, sought: _Sought, rough: Sequence[Combination]
) -> list[Combination]:
    """The projections in twice the digits, started from those in float64."""
    if not rough:
        return []
    y = sought.y
    start = np.maximum(np.array([p.high for p in rough]) - y, 0.0)
    known = np.zeros(len(y))
    if sought.shares is None:
        known[0] = reference_lengths(problem, gram, y[0])[0]
    fine = precise_projections(gram, y, start, known, problem.accuracy, problem.cap)
    return [
        replace(
            p,
            residual=float(natural_residual(gram.high, r, p.high)),
            steps=p.steps + before.steps,
        )
        for r, p, before in zip(y, fine, rough, strict=True)
    ]


def _solution(
    problem: _Problem, gram: DoubleGram, sought: _Sought, each: Sequence[Combination]
) -> Solution:
    """The direction and the weights of projections in floats."""
    found, c = sought.total(each, gram), sought.c
    K, D = problem.H.shape
    made = returned((found.high, found.low), gram, sought.c, sought.r)
    high, _ = combination(problem, gram, found.high, found.low)
    direction = np.ldexp(high, c)
    rounding = 0.5 * EPS * float(np.linalg.norm(high)) * (1.0 + D * EPS)
    rounding += (K + 4.0) * TWICE * float(np.abs(found.high) @ lengths(gram))
    rounding += math.sqrt(D) * float(np.ldexp(1.0, _SMALLEST - c)) if high.any() else 0.0
    error = found.relative(rounding)
    lost = found.relative() <= problem.accuracy < error  # a direction below the range of floats
    representable = made.representable and not lost and bool(np.isfinite(direction).all())
    return single(
        made.weights,
        status_of(error, problem.accuracy, found.capped, representable),
        found.residual,
        found.steps,
        gram_error=found.error,
        direction_error=error,
        low=made.low if costly(found, made.loss, problem.accuracy) else None,
        direction=direction,
    )


def _exact_solution(
    problem: _Problem, gram: DoubleGram, sought: _Sought, fine: Sequence[Combination]
) -> Solution:
    """The direction in exact integers, rounded once."""
    exact = exact_projection.exact_gram(problem.G)
    try:
        weights, steps = _exact_weights(problem, exact, gram.exponents, sought, fine)
    except exact_projection.OutOfSteps:
        found = _solution(problem, gram, sought, fine)
        return replace(found, status=Status.STEP_LIMIT)
    given = fractions(sought.r)
    if sought.shares is None:
        below = exact_projection.length(exact, given)
    else:
        unit = sought.total(fine, gram).length
        below = (Fraction(unit) * exact_projection.power(sought.c)) ** 2
    weights = [
        w if size > 0.0 else r for w, size, r in zip(weights, lengths(gram), given, strict=True)
    ]
    high, low = exact_projection.two_floats(weights)
    direction = exact_projection.combination(exact, weights)
    finite = bool(np.isfinite(high).all() and np.isfinite(direction).all())
    off = [w - Fraction(float(x)) for w, x in zip(weights, high, strict=True)] if finite else given
    loss = ratio(exact_projection.length(exact, off), below)
    error = 0.0
    if exact_projection.length(exact, weights) > 0:
        D = problem.G.shape[1]
        error = 0.5 * EPS * SAFETY + ratio(D * exact_projection.power(2 * _SMALLEST), below)
    v = np.ldexp(high, gram.exponents - sought.c)
    y = np.ldexp(sought.r, gram.exponents - sought.c)
    return single(
        high,
        status_of(error, problem.accuracy, False, finite and error <= problem.accuracy),
        natural_residual(gram.high, y, v) if sought.shares is None else 0.0,
        sum(p.steps for p in fine) + steps,
        gram_error=0.0,
        direction_error=error,
        low=low if loss > problem.accuracy else None,
        direction=direction,
    )


def _exact_weights(
    problem: _Problem,
    exact: exact_projection.ExactGram,
    exponents: Ints,
    sought: _Sought,
    fine: Sequence[Combination],
) -> tuple[list[Fraction], int]:
    """Weights as fractions, those of a sum to 2^-200 of its size, and the steps."""
    supports = [np.flatnonzero(p.support).tolist() for p in fine]
    if sought.shares is None:
        return exact_projection.project(exact, sought.r, supports[0], problem.cap)
    total, steps = [Fraction(0)] * len(sought.r), 0
    for k, support in zip(sought.tasks, supports, strict=True):
        unit = np.eye(len(sought.r))[k]
        weights, more = exact_projection.project(exact, unit, support, problem.cap)
        share = Fraction(float(sought.r[k]))
        total = [
            a + exact_projection.truncated(share * w, sought.c - int(e) - _PLACES)
            for a, w, e in zip(total, weights, exponents, strict=True)
        ]
        steps += more
    return total, steps
