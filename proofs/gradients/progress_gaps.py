"""The certified gap of conflict-averse directions against the exact optimum, inside the ball."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from fairopt import Solution, Status, conflict_averse
from fairopt.arrays import EPS, GRAM_ERROR, Array
from proofs.claim import BOUND, IDENTITY, OWN, Check, Claim, Evidence
from proofs.exact_algebra import Matrix, Row
from proofs.gradients import degenerate, exact
from proofs.gradients.best_progress import Ball, shortfall
from proofs.gradients.degenerate import NEIGHBOURS, exact_row, neighbours, problems
from proofs.gradients.problems import SEED, Solver, exact_gram, grid

RADII = (0.4, 1.0, 1.5)
ERRORS = (GRAM_ERROR, 1e-9)
"""The default, and one at which only the terms of the error itself count."""
LARGEST = 3
"""Tasks of most instances; the optimum is found by trying every support."""
APART = 25.0
"""Length of near copies over half their distance; its square multiplies the error of |g0|^2."""
DRAWS = 2
DEEP_DRAWS = 40
GAP = 1e-6
"""Largest certified gap of an answer."""
ROUNDING = 1e-12
"""Room that a control has, so that it is not refused for its rounding."""
VANISHES = Fraction(1, 10**12)
"""v'Av of a certificate relative to the largest diagonal entry: lengths up to 1e-6."""

Objection = Callable[[Matrix, Row, float, Solution], "str | None"]


def everywhere(objection: Objection) -> Check:
    """Check every answer for the gradients as given, and for others within the error assumed."""

    def check(solver: Solver, deep: bool) -> str | None:
        for name, G, r, c, error in _instances(deep):
            found = solver(G @ G.T, c, reference=r, gram_error=error)
            if not (found.ok or found.status == Status.PARETO_STATIONARY):
                continue
            others = neighbours(G, error, found.weights, r, name)
            for place, A in enumerate((exact_gram(G), *others)):
                words = objection(A, exact_row(r), c, found)
                if words is not None:
                    return f"{name}, c {c}, gradients {place}: {words}"
        return None

    return check


def beyond_its_gap(A: Matrix, r: Row, c: float, found: Solution) -> str | None:
    """More worst progress is lost than the residual says, or than an answer may."""
    gap, _ = shortfall(Ball(A, r, Fraction(c)), exact_row(found.weights))
    residual = float(found.residual)
    if gap > residual:
        return f"the gap is {float(gap):.3e}, the residual says {residual:.3e}"
    return f"ok with a gap of {residual:.1e}" if found.ok and residual > GAP else None


def outside(A: Matrix, r: Row, c: float, found: Solution) -> str | None:
    """The direction is outside the ball, by however little."""
    off = [w - x for w, x in zip(exact_row(found.weights), r, strict=True)]
    distance, square = exact.square(A, off), exact.square(A, r)
    if distance <= Fraction(c) ** 2 * square:
        return None
    return f"outside by {float(distance / square) ** 0.5 - c:.1e} of the reference"


def says_where_nothing_helps(solver: Solver, deep: bool) -> str | None:
    """For c >= 1 zero weights and a certificate exactly at stationary points; else an answer."""
    for G in _grids(deep):
        A = exact_gram(G)
        for c in (0.5, 1.0, 2.0):
            found = solver(G @ G.T, c)
            words = _misjudged(A, c, found)
            if words is not None:
                return f"gradients {G.tolist()}, c {c}: {words}"
    return None


def _misjudged(A: Matrix, c: float, found: Solution) -> str | None:
    """What is wrong with a status or its certificate."""
    said = found.status == Status.PARETO_STATIONARY
    if not exact.stationary(A):
        return None if found.ok else f"the status is {found.status}"
    if found.certificate is None:
        return "a combination vanishes, and there is no certificate"
    v, largest = exact_row(found.certificate), max(A[k][k] for k in range(len(A)))
    if exact.square(A, v) > VANISHES * largest:
        return f"the certificate has square {float(exact.square(A, v)):.1e}"
    if said != (c >= 1.0) or (said and found.weights.any()):
        return f"the status is {found.status}, the weights {found.weights}"
    return None


def _instances(deep: bool) -> Iterator[tuple[str, Array, Array, float, float]]:
    """(name, gradients, reference, radius, error), each parameter in turn."""
    for place, (name, G, r) in enumerate(problems(deep, LARGEST)):
        for shift, error in enumerate(ERRORS):
            yield name, G, r, RADII[(place + place // 3 + shift) % len(RADII)], error
    yield from _between_copies(deep)


def _between_copies(deep: bool) -> Iterator[tuple[str, Array, Array, float, float]]:
    """A reference along the difference of near copies, as long as it makes progress count as much.

    Its length is known much worse than any product of the copies, so a gap is nearly all its error,
    and a matrix within the error has that gap. Here the best progress is |g0|^2, or nearly.
    """
    for c in RADII:
        for draw in range(DEEP_DRAWS if deep else DRAWS):
            rng = np.random.default_rng([SEED, draw])
            frame, _ = np.linalg.qr(rng.normal(size=(4, 4)))
            G = np.array([frame[0] + frame[1] / APART, frame[0] - frame[1] / APART])
            r = 0.5 * c * APART * np.array([1.0, -1.0])
            yield f"between copies draw {draw}", G, r, c, ERRORS[1]


def _grids(deep: bool) -> Iterator[Array]:
    """Sets of one to three gradients."""
    for tasks in (1, 2, 3):
        yield from grid((-2, -1, 0, 1, 2) if deep and tasks < 3 else (-1, 0, 1), tasks)


def without_unresolved_lengths(gram: Array, c: float, **options: Any) -> Solution:
    """The gap that counts |G v| as zero where its square is below rounding, as it once was."""
    found = conflict_averse(gram, c, **options)
    r, v = options["reference"], found.dual
    if v is None:
        return found
    length = np.sqrt(np.diagonal(gram))
    square, quad = float(r @ gram @ r), float(v @ gram @ v)
    resolved = quad > (len(r) + 2.0) * EPS * float(length @ v) ** 2
    value = float(v @ gram @ r) + c * np.sqrt(max(square, 0.0) * (quad if resolved else 0.0))
    gap = max(value - float((gram @ found.weights).min()), 0.0)
    relative = ROUNDING + (gap / max(abs(value), square) if gap > 0.0 else 0.0)
    return replace(
        found, status=Status.OPTIMAL if relative <= GAP else found.status, residual=relative
    )


def for_the_matrix(gram: Array, c: float, **options: Any) -> Solution:
    """The solver with the error of the matrix left out."""
    return conflict_averse(gram, c, **{**options, "gram_error": 0.0})


def on_the_sphere(gram: Array, c: float, **options: Any) -> Solution:
    """The direction moved to the sphere as floats know it, not inside it."""
    found = conflict_averse(gram, c, **options)
    r = options["reference"]
    off = found.weights - r
    distance, square = float(off @ gram @ off), float(r @ gram @ r)
    share = c * np.sqrt(square / distance) if min(distance, square) > 0.0 else 0.0
    return replace(found, weights=r + share * off) if found.ok else found


def never_for_large_balls(gram: Array, c: float) -> Solution:
    """The solver with a radius that stays below the reference's length."""
    return conflict_averse(gram, min(c, 0.999))


def zero_wherever_stationary(gram: Array, c: float) -> Solution:
    """Zero weights at every stationary point, in the ball or not."""
    return conflict_averse(gram, max(c, 1.0))


OPTIMUM = "exact optimum by every support, 60 digits, its direction checked"
OTHERS = f"the gradients and up to {NEIGHBOURS} neighbours each"
OF = f"c {', '.join(map(str, RADII))} in turn; gram_error 16 eps and {ERRORS[1]:g}"
MORE = "{} with a reference between near copies"
SCOPE = f"those of K = 2, 3 among {degenerate.SCOPE}; {OF}; {MORE.format(len(RADII) * DRAWS)}"
DEEP_SCOPE = (
    f"those of K = 2, 3 among {degenerate.DEEP_SCOPE}; {OF}; {MORE.format(len(RADII) * DEEP_DRAWS)}"
)
CLAIMS = (
    Claim(
        name="conflict-averse-gap-is-certified",
        statement="no answer of conflict_averse loses more worst progress than its residual "
        "says, for any gradients whose Gram matrix is within gram_error; ok means at most the "
        "larger of 1e-6 and 8 sqrt(gram_error), and at most 1e-6 on all instances here",
        formula=r"\mu^* - \min_k \langle g_k, d\rangle \le "
        r"\rho \max(\lvert\mu^*\rvert, \lVert g_0\rVert^2),\quad "
        r"\mu^* = \max_{\lVert e - g_0\rVert \le c \lVert g_0\rVert} \min_k \langle g_k, e\rangle",
        source=f"{OWN}; fairopt.kernels.gram.progress_gap",
        kind=BOUND,
        how=f"{OPTIMUM}; {OTHERS}",
        scope=SCOPE,
        deep_scope=DEEP_SCOPE,
        check=everywhere(beyond_its_gap),
        subject=conflict_averse,
        control=without_unresolved_lengths,
        more=(
            Evidence(
                f"{OPTIMUM}; {OTHERS}",
                everywhere(beyond_its_gap),
                conflict_averse,
                for_the_matrix,
            ),
        ),
    ),
    Claim(
        name="conflict-averse-never-leaves-its-ball",
        statement="an answer of conflict_averse lies in its ball, not up to rounding but for "
        "every set of gradients whose Gram matrix is within gram_error",
        formula=r"\lVert d - g_0 \rVert \le c \lVert g_0 \rVert",
        source=OWN,
        kind=BOUND,
        how=f"squares compared in fractions; {OTHERS}",
        scope=SCOPE,
        deep_scope=DEEP_SCOPE,
        check=everywhere(outside),
        subject=conflict_averse,
        control=on_the_sphere,
        more=(
            Evidence(
                f"squares compared in fractions; {OTHERS}",
                everywhere(outside),
                conflict_averse,
                for_the_matrix,
            ),
        ),
    ),
    Claim(
        name="conflict-averse-says-where-nothing-helps",
        statement="with c at least 1 conflict_averse ends at PARETO_STATIONARY, with zero weights "
        "and the combination that vanishes, if and only if one does; a smaller ball never does",
        formula=r"\mathrm{status} = \mathrm{stationary} \iff c \ge 1 \wedge "
        r"0 \in \mathrm{conv}\{g_1, \dots, g_K\}",
        source=OWN,
        kind=IDENTITY,
        how="every instance of a grid, exact fractions",
        scope="all sets of 1 to 3 gradients in the plane with entries -1..1; c 0.5, 1, 2",
        deep_scope="the same, and sets of 1 and 2 with entries -2..2; c 0.5, 1, 2",
        check=says_where_nothing_helps,
        subject=conflict_averse,
        control=never_for_large_balls,
        more=(
            Evidence(
                "every instance of a grid, exact fractions",
                says_where_nothing_helps,
                conflict_averse,
                zero_wherever_stationary,
            ),
        ),
    ),
)
