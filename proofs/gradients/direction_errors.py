"""`direction_error` is a bound, for the gradients as given and for all with nearly their matrix.

Every comparison is between squares of fractions; weights, bounds and gradients count as the binary
numbers that they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from fairopt import (
    Solution,
    Status,
    dual_cone_from_gradients,
    dual_cone_projection,
    fairgrad,
    upgrad,
    upgrad_from_gradients,
)
from fairopt.arrays import EPS, GRAM_ERROR, Array
from proofs.claim import BOUND, OWN, Check, Claim, Evidence
from proofs.exact_algebra import Matrix, Row, dot
from proofs.gradients import exact, turning_tasks
from proofs.gradients.degenerate import (
    COARSE,
    DEEP_SCOPE,
    NEIGHBOURS,
    SCOPE,
    exact_row,
    neighbours,
    problems,
)
from proofs.gradients.problems import Solver, exact_gram, samples
from proofs.gradients.wrong_solvers import claimed

Goal = Callable[[Matrix, Row], Row]
"""From an exact Gram matrix and a reference to the weights of the exact direction."""
Problems = Callable[[bool], Iterator[tuple[str, Array, Array]]]
"""(name, gradients, reference), more of them for the thorough check."""
Unit = Callable[[Matrix, Row], Fraction]
"""The square of what `direction_error` is relative to."""

SOLVED = 1e-12
"""The residual of an OPTIMAL projection."""
SHARP = 0.8
"""Share of the bound that the farthest neighbour of a family uses; 0.96 to 1 are seen."""
UNATTAINED = 1e-9
"""An accuracy that no bound of a matrix known to `COARSE` attains: so each of them is tried."""
SHOWING = (
    "more than dimensions",
    "stationary face",
    "nearly opposite",
    "opposite",
    "touching",
    "copies",
    "nearly copies",
)
"""Families whose projections move with the Gram matrix as far as they can."""
ROUNDINGS = 8.0
"""Times eps, of products in addition to one for each task."""
SMALL = 3
"""Tasks of UPGrad, whose exact reference has as many projections."""


def projected(A: Matrix, r: Row) -> Row:
    """The projection of the reference."""
    return exact.projection(A, r)


def projected_apart(A: Matrix, r: Row) -> Row:
    """The combination of the projections of every single gradient."""
    K = range(len(r))
    rows = [exact.projection(A, [Fraction(int(i == k)) for i in K]) for k in K]
    return [dot(r, [row[i] for row in rows]) for i in K]


def of_reference(A: Matrix, r: Row) -> Fraction:
    """|g0|^2."""
    return exact.square(A, r)


def of_all_terms(A: Matrix, r: Row) -> Fraction:
    """(sum |r_k| |g_k|)^2, rounded down."""
    return sum((abs(x) * exact.root_below(A[k][k]) for k, x in enumerate(r)), Fraction(0)) ** 2


def bounded(goal: Goal, unit: Unit, largest: int = 5, *, positive: bool = False) -> Check:
    """Check the bound of every answer for the gradients as given, and that ok means accurate."""

    def check(solver: Solver, deep: bool) -> str | None:
        for name, G, r in problems(deep, largest, positive):
            found = solver(G @ G.T, r)
            objection = _unfounded(found) or _beyond(exact_gram(G), r, found, (goal, unit))
            if objection is not None:
                return f"{name}: {objection}"
        return None

    return check


def bounded_nearby(goal: Goal, unit: Unit, error: float, largest: int = 5) -> Check:
    """Check the bound of every answer for other gradients whose Gram matrix is within the error."""

    def check(solver: Solver, deep: bool) -> str | None:
        for name, G, r in problems(deep, largest):
            found = solver(G @ G.T, r, gram_error=error)
            for place, B in enumerate(neighbours(G, error, found.weights, r, name)):
                objection = _unfounded(found) or _beyond(B, r, found, (goal, unit))
                if objection is not None:
                    return f"{name}, neighbour {place}: {objection}"
        return None

    return check


def bounded_when_tasks_turn(cases: Problems) -> Check:
    """Check the bound for gradients within the error of which the tasks that touch turned."""

    def check(solver: Solver, deep: bool) -> str | None:
        for name, G, r in cases(deep):
            found = solver(G @ G.T, r, gram_error=COARSE, accuracy=UNATTAINED)
            for place, B in enumerate(turning_tasks.turned(G, found.weights, r)):
                objection = _beyond(B, r, found, (projected, of_reference))
                if objection is not None:
                    return f"{name}, turned {place}: {objection}"
        return None

    return check


def sharp_enough(solver: Solver, deep: bool) -> str | None:
    """In every family that has neighbours to show it, one of them nearly uses the bound up."""
    worst = dict.fromkeys(SHOWING, 0.0)
    for name, G, r in problems(deep):
        family = name.partition(" K=")[0]
        found = solver(G @ G.T, r, gram_error=COARSE)
        if family in worst and np.isfinite(found.direction_error):
            for B in neighbours(G, COARSE, found.weights, r, name):
                off = _distance(B, exact_row(r), found, (projected, of_reference))
                worst[family] = max(worst[family], off / max(float(found.direction_error), SOLVED))
    loose = [f"{family}: {share:.2f}" for family, share in worst.items() if share < SHARP]
    return f"the farthest neighbours use of the bound: {'; '.join(loose)}" if loose else None


def linear(solver: Solver, deep: bool) -> str | None:
    """Where gradients are independent the bound is what their condition explains.

    At an error of one rounding that leaves no room for what the shift of the programme does.
    """
    for name, G in samples(deep, "plain", "conflicting", "mixed"):
        A, K = G @ G.T, len(G)
        d = np.sqrt(np.diagonal(A))
        trace = float(np.trace(np.linalg.inv(A / d / d[:, None])))
        for r in (np.full(K, 1.0 / K), -np.ones(K), np.eye(K)[0]):
            for error in (EPS, GRAM_ERROR, COARSE):
                found = solver(A, r, gram_error=error)
                size = float(d @ (np.abs(found.weights) + np.abs(r)) / np.sqrt(r @ A @ r))
                explained = np.sqrt(K * trace) * (error + (K + ROUNDINGS) * EPS) * size
                if K * error * trace <= 0.5 and not found.direction_error <= 2.0 * explained:
                    return f"{name}: {found.direction_error:.1e}, explained {explained:.1e}"
    return None


def decides(goal: Goal, unit: Unit, largest: int = 5) -> Check:
    """Check that the gradients always give an answer, within its bound."""

    def check(solver: Callable[[Array, Array], Solution], deep: bool) -> str | None:
        for name, G, r in problems(deep, largest):
            found = solver(G, r)
            if not found.ok or found.direction is None:
                return f"{name}: {found.sentence}"
            A, rows, reference = exact_gram(G), [exact_row(row) for row in G], exact_row(r)
            w = goal(A, reference)
            off = [
                Fraction(float(seen)) - dot(w, list(column))
                for seen, column in zip(found.direction, zip(*rows, strict=True), strict=True)
            ]
            if dot(off, off) > _square(found.direction_error) * unit(A, reference):
                return f"{name}: the direction is beyond its bound {found.direction_error:.1e}"
        return None

    return check


def _beyond(A: Matrix, r: Array, found: Solution, what: tuple[Goal, Unit]) -> str | None:
    """How far the weights are from the exact direction, if farther than their bound."""
    if not np.isfinite(found.direction_error):
        return None
    goal, unit = what
    reference = exact_row(r)
    distance, size = _off(A, reference, found, goal), unit(A, reference)
    if distance <= _square(found.direction_error) * size:
        return None
    far = _distance(A, reference, found, what)
    return f"{far:.2e} from the exact direction, bound {found.direction_error:.2e}"


def _off(A: Matrix, reference: Row, found: Solution, goal: Goal) -> Fraction:
    """The squared distance of the direction from the exact one."""
    pairs = zip(exact_row(found.weights), goal(A, reference), strict=True)
    return exact.square(A, [a - b for a, b in pairs])


def _distance(A: Matrix, reference: Row, found: Solution, what: tuple[Goal, Unit]) -> float:
    """The distance in the unit of the bound, in floats."""
    size = what[1](A, reference)
    return math.sqrt(float(_off(A, reference, found, what[0]) / size)) if size > 0 else math.inf


def _unfounded(found: Solution) -> str | None:
    """An answer whose bound exceeds the accuracy that is asked of it."""
    asked = max(1e-5, 8.0 * math.sqrt(float(found.gram_error)))
    if not found.ok or found.direction_error <= asked:
        return None
    return f"ok with a bound of {found.direction_error:.1e}, {asked:.1e} is asked"


def _square(bound: Any) -> Fraction:
    """Of a float, exactly."""
    return Fraction(float(bound)) ** 2


def fairgrad_at_zero(gram: Array, reference: Array, **options: Any) -> Solution:
    """FairGrad at alpha = 0: the same projection."""
    return fairgrad(gram, 0.0, priority=reference, **options)


def trusting_the_residual(solver: Solver) -> Solver:
    """The same weights, whose optimality conditions hold to 1e-12: taken as their accuracy."""

    def solve(gram: Array, reference: Array, **options: Any) -> Solution:
        found = solver(gram, reference, **options)
        if found.status == Status.PARETO_STATIONARY:
            return found
        bound = max(float(found.residual), SOLVED)
        return replace(found, status=Status.OPTIMAL, direction_error=bound)

    return solve


def trusting_lengths(gram: Array, reference: Array, **options: Any) -> Solution:
    """The bound by d itself, |d| / |g0|, from float products taken as exact."""
    found = dual_cone_projection(gram, reference, **options)
    size = math.sqrt(max(float(found.weights @ gram @ found.weights), 0.0))
    unit = math.sqrt(max(float(reference @ gram @ reference), 0.0))
    bound = min(float(found.direction_error), size / unit if unit > 0.0 else math.inf)
    return replace(found, direction_error=bound)


def trusting_the_matrix(solver: Solver) -> Solver:
    """The bound for the matrix as given, whatever its error."""

    def solve(gram: Array, reference: Array, **_: Any) -> Solution:
        return solver(gram, reference, gram_error=0.0)

    return solve


def four_fifths(gram: Array, reference: Array, **options: Any) -> Solution:
    """A bound that most gradients would keep."""
    found = dual_cone_projection(gram, reference, **options)
    return replace(found, direction_error=SHARP * found.direction_error)


def half_as_much_again(gram: Array, reference: Array, **options: Any) -> Solution:
    """A bound that is true and says little."""
    found = dual_cone_projection(gram, reference, **options)
    return replace(found, direction_error=1.5 * found.direction_error)


def root_of_the_error(gram: Array, reference: Array, **options: Any) -> Solution:
    """The bound that holds for dependent gradients too, for all."""
    found = dual_cone_projection(gram, reference, **options)
    size = float(np.sqrt(np.diagonal(gram)) @ np.abs(found.weights))
    bound = np.sqrt(found.gram_error) * size / np.sqrt(reference @ gram @ reference)
    return replace(found, direction_error=float(bound))


def from_matrix(solver: Solver) -> Callable[[Array, Array], Solution]:
    """A direction from the float64 Gram matrix, with room for its own rounding."""

    def solve(G: Array, reference: Array) -> Solution:
        found = solver(G @ G.T, reference)
        bound = found.direction_error + SOLVED
        return replace(found, direction=found.weights @ G, direction_error=bound)

    return solve


def from_long_weights(G: Array, reference: Array) -> Solution:
    """Pairs of exact weights rounded to one float each, which calls itself right to 1e-12."""
    w = np.array([float(x) for x in projected(exact_gram(G), exact_row(reference))])
    return replace(claimed(w), direction=w @ G, direction_error=1e-12)


def several(check: Check, subject: Any, controls: tuple[Any, ...], how: str) -> Iterator[Evidence]:
    """The same check with one control after the other."""
    return (Evidence(how, check, subject, control) for control in controls)


ERRORS = f"gram_error 16 eps and {COARSE:g}"
ALL_ERRORS = f"gram_error eps, 16 eps and {COARSE:g}"
TURNING = "the touching ones and {} more, touching tasks turned"
TURNED = "exact projections of two neighbours whose tasks that touch the projection turned"
EXACT = "exact projections, squares compared in fractions"
NEARBY = f"exact projections of up to {NEIGHBOURS} neighbours each, in fractions"
GIVEN = bounded(projected, of_reference)
GRAM = "proofs/gradients/repairs.py and fairopt.kernels.gram.direction_bound"
CLAIMS = (
    Claim(
        name="dual-cone-direction-error-is-a-bound",
        statement="no direction of dual_cone_projection, or of fairgrad at alpha = 0, is farther "
        "from the exact projection than direction_error, and ok means that this is at most the "
        "accuracy",
        formula=r"\lVert G w - \Pi(G r)\rVert \le \mathrm{error} \cdot \lVert G r\rVert",
        source=f"{OWN}; {GRAM}",
        kind=BOUND,
        how=EXACT,
        scope=SCOPE,
        deep_scope=DEEP_SCOPE,
        check=GIVEN,
        subject=dual_cone_projection,
        control=trusting_the_residual(dual_cone_projection),
        more=(
            *several(
                GIVEN,
                dual_cone_projection,
                (trusting_lengths, trusting_the_matrix(dual_cone_projection)),
                EXACT,
            ),
            *several(
                bounded(projected, of_reference, positive=True),
                fairgrad_at_zero,
                (trusting_the_residual(fairgrad_at_zero),),
                EXACT,
            ),
        ),
    ),
    Claim(
        name="dual-cone-direction-error-covers-gram-error",
        statement="the same weights are within direction_error of the projection for every set of "
        "gradients whose Gram matrix is within gram_error, each with its own directions",
        formula=r"\lVert G' w - \Pi'(G' r)\rVert \le \mathrm{error} \cdot \lVert G' r\rVert\quad "
        r"\forall G': \lvert\langle g'_i, g'_j\rangle - A_{ij}\rvert \le "
        r"\mathrm{gram\_error} \sqrt{A_{ii} A_{jj}}",
        source=f"{OWN}; {GRAM}",
        kind=BOUND,
        how=NEARBY,
        scope=f"{SCOPE}; {ERRORS}; {TURNING.format(turning_tasks.DRAWS)}",
        deep_scope=f"{DEEP_SCOPE}; {ERRORS}; {TURNING.format(turning_tasks.DEEP_DRAWS)}",
        check=bounded_nearby(projected, of_reference, GRAM_ERROR),
        subject=dual_cone_projection,
        control=trusting_the_matrix(dual_cone_projection),
        more=(
            *several(
                bounded_nearby(projected, of_reference, COARSE),
                dual_cone_projection,
                (
                    trusting_the_matrix(dual_cone_projection),
                    trusting_the_residual(dual_cone_projection),
                ),
                NEARBY,
            ),
            *several(sharp_enough, dual_cone_projection, (half_as_much_again,), NEARBY),
            *several(
                bounded_when_tasks_turn(turning_tasks.narrow),
                dual_cone_projection,
                (trusting_the_residual(dual_cone_projection),),
                TURNED,
            ),
            *several(
                bounded_when_tasks_turn(turning_tasks.released),
                dual_cone_projection,
                (four_fifths,),
                TURNED,
            ),
        ),
    ),
    Claim(
        name="dual-cone-direction-error-is-linear-for-independent-gradients",
        statement="where gradients are independent direction_error is the error of the matrix "
        "times what their condition and the weights explain, not its root",
        formula=r"\mathrm{error} \le 2 \sqrt{K\, \mathrm{tr}\, C^{-1}}\, "
        r"(E + (K + 8) \varepsilon) \textstyle\sum_k \lVert g_k\rVert "
        r"(\lvert w_k\rvert + \lvert r_k\rvert) / \lVert g_0\rVert",
        source=f"{OWN}; {GRAM}",
        kind=BOUND,
        how="seeded families, three references each",
        scope=f"27 gradient matrices of 3 families, K = 2, 3, 6; {ALL_ERRORS}",
        deep_scope=f"360 gradient matrices of 3 families, K = 2, 3, 6; {ALL_ERRORS}",
        check=linear,
        subject=dual_cone_projection,
        control=root_of_the_error,
    ),
    Claim(
        name="upgrad-direction-error-is-a-bound",
        statement="no direction of upgrad is farther from the sum of the exact projections than "
        "direction_error, for the gradients as given and for others within gram_error",
        formula=r"\Big\lVert G w - \sum_k r_k \Pi(g_k)\Big\rVert \le "
        r"\mathrm{error} \cdot \sum_k \lvert r_k\rvert \lVert g_k\rVert",
        source=f"{OWN}; {GRAM}",
        kind=BOUND,
        how=EXACT,
        scope=f"those of K = 2, 3 among {SCOPE}",
        deep_scope=f"those of K = 2, 3 among {DEEP_SCOPE}",
        check=bounded(projected_apart, of_all_terms, SMALL),
        subject=upgrad,
        control=trusting_the_residual(upgrad),
        more=tuple(
            several(
                bounded_nearby(projected_apart, of_all_terms, COARSE, SMALL),
                upgrad,
                (trusting_the_matrix(upgrad),),
                NEARBY,
            )
        ),
    ),
    Claim(
        name="dual-cone-from-gradients-always-decides",
        statement="dual_cone_from_gradients and upgrad_from_gradients have an answer where the "
        "Gram matrix has none, and its direction is within direction_error of the exact one",
        formula=r"\lVert d - \Pi(G r)\rVert \le \mathrm{error} \cdot \lVert G r\rVert,\quad "
        r"\mathrm{error} \le 10^{-6}",
        source=OWN,
        kind=BOUND,
        how=EXACT,
        scope=SCOPE,
        deep_scope=DEEP_SCOPE,
        check=decides(projected, of_reference),
        subject=dual_cone_from_gradients,
        control=from_matrix(dual_cone_projection),
        more=(
            *several(
                decides(projected, of_reference),
                dual_cone_from_gradients,
                (from_long_weights,),
                EXACT,
            ),
            *several(
                decides(projected_apart, of_all_terms, SMALL),
                upgrad_from_gradients,
                (from_matrix(upgrad),),
                EXACT,
            ),
        ),
    ),
)
