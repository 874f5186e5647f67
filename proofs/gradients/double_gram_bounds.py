"""Bounds in twice the digits: for every matrix within the error, and for what is rounded to floats.

The kernels behind `*_from_gradients` are given errors so large that only the charges for them
count, and judged by other gradients within these errors; what is returned is judged as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from fairopt import (
    Solution,
    Status,
    conflict_averse_from_gradients,
    dual_cone_from_gradients,
)
from fairopt.arrays import EPS, GRAM_ERROR, Array
from fairopt.dual_cone_double_gram import dual_cone_from_double_gram
from fairopt.kernels.gram.double_double_level import double_double_level
from fairopt.kernels.gram.double_double_progress import double_double_progress_gap
from proofs.claim import BOUND, OWN, Check, Claim, Evidence
from proofs.exact_algebra import Row, dot
from proofs.gradients import exact
from proofs.gradients.best_progress import Ball, best_progress, real, root, shortfall
from proofs.gradients.degenerate import (
    COARSE,
    DEEP_SCOPE,
    NEIGHBOURS,
    SCOPE,
    exact_row,
    neighbours,
    problems,
)
from proofs.gradients.direction_errors import bounded_nearby, of_reference, projected
from proofs.gradients.problems import SEED, Solver, exact_gram

RADII = (0.4, 1.0, 1.5)
ERRORS = (1e-9, COARSE, 1e-5)
"""Of the matrix: only the terms of the error count."""
LARGEST = 3
"""Tasks of balls, whose optimum is found by trying every support."""
STEPS = 1000
ACCURACY = 1e-6
FINE = 1e-12
"""Accuracy that a Gram matrix in float64 rarely proves, so that later stages answer."""
ROUNDING = 1e-30
"""Of the optimum, which is known to 60 digits."""


def projection(gram: Array, reference: Array, gram_error: float) -> Solution:
    """The projection in twice the digits, of a matrix known to an error."""
    error = gram_error
    found = dual_cone_from_double_gram(
        gram, np.zeros_like(gram), error, reference, accuracy=max(1e-5, 8.0 * error**0.5)
    )
    return found if found.low is None else replace(found, weights=found.weights + found.low)


def ball(gram: Array, c: float, reference: Array, gram_error: float) -> Solution:
    """The best direction in a ball and its gap in twice the digits, from a matrix and its error."""
    low, b, known = np.zeros_like(gram), np.ones(len(gram)), (0.0, np.inf)
    same = (gram, low, gram_error, reference, b, c, known)
    with np.errstate(all="ignore"):
        v, v_low, x, x_low, _, _, _ = double_double_level(*same, np.zeros_like(b), STEPS)
        vertex = np.eye(len(b))[np.argmin(gram @ reference)]
        x, x_low = np.vstack([x, vertex]), np.vstack([x_low, 0.0 * vertex])
        gap, _ = double_double_progress_gap(*same, v, v_low, 0.0, x, x_low, np.inf, 1.0)
    return Solution(v, Status.OPTIMAL, float(gap), 0, gram_error=gram_error, low=v_low)


def gaps_hold_nearby(solver: Solver, deep: bool) -> str | None:
    """Check every gap, and that nothing is outside of its ball, for other gradients as well."""
    for name, G, r, c, error in _balls(deep):
        found = solver(G @ G.T, c, r, error)
        said = float(found.residual)
        said = said if said < 1.0 else np.inf  # relative to the bound of the best: nothing then
        others = neighbours(G, error, found.weights, r, name)
        for place, A in enumerate((exact_gram(G), *others)):
            gap, outside = shortfall(Ball(A, exact_row(r), Fraction(c)), _weights(found))
            if outside > ROUNDING or gap > said + ROUNDING:
                seen = f"{float(gap):.3e} and {float(outside):.3e} outside"
                return f"{name}, c {c}, gradients {place}: {seen}, said {said:.3e}"
    return None


def nothing_missed_beyond(solver: Solver, deep: bool) -> str | None:
    """Check the residual of what is returned, weights and direction, for the gradients as given."""
    for name, G, r, c, accuracy in _balls(deep, (ACCURACY, FINE)):
        found = solver(G, c, reference=r, accuracy=accuracy)
        if not found.ok:
            continue
        A, reference = exact_gram(G), exact_row(r)
        space = Ball(A, reference, Fraction(c))
        missed = {"weights": sum(shortfall(space, _weights(found)))}
        missed["direction"] = _missed(space, G, exact_row(found.direction))
        for what, size in missed.items():
            if size > float(found.residual) + ROUNDING:
                return f"{name}, c {c}: {what} miss {float(size):.3e}, said {found.residual:.3e}"
        if found.residual > accuracy:
            return f"{name}, c {c}: ok with a residual of {found.residual:.1e}"
    return None


def weights_are_as_near(solver: Solver, deep: bool) -> str | None:
    """Check that weights, with second floats where given, are within the accuracy of the exact."""
    for name, G, r in (*problems(deep, LARGEST), *_thin(deep)):
        found = solver(G, r, accuracy=ACCURACY)
        A, reference = exact_gram(G), exact_row(r)
        pairs = zip(_weights(found), projected(A, reference), strict=True)
        off = exact.square(A, [a - b for a, b in pairs])
        if found.ok and off > Fraction(ACCURACY) ** 2 * of_reference(A, reference):
            return f"{name}: the weights are farther than {ACCURACY:g} from the exact projection"
    return None


def _thin(deep: bool) -> Iterator[tuple[str, Array, Array]]:
    """Two tasks opposite but for a margin, and a third one: in doubled digits, and in integers."""
    for margin in (2.0**-36, 2.0**-44, 2.0**-60):
        for turn in range(20 if deep else 2):
            G = np.random.default_rng([SEED, turn]).normal(size=(3, 4))
            G[1] = -G[0]
            G[1, 3] += margin
            yield f"margin {margin:.0e} draw {turn}", G, np.array([0.0, 0.0, 1.0])


def _missed(space: Ball, G: Array, direction: Row) -> Any:
    """The gap of a direction plus what is outside of the ball, relative."""
    rows = [exact_row(row) for row in G]
    worst = min(dot(row, direction) for row in rows)
    columns = zip(direction, zip(*rows, strict=True), strict=True)
    off = [d - dot(space.r, list(row)) for d, row in columns]
    best, square = best_progress(space), real(space.square)
    gap = max(best - real(worst), 0)
    outside = max(root(dot(off, off)) - space.radius, 0)
    gap = gap / max(abs(best), square) if gap > 0 else gap
    return gap + (outside / root(space.square) if outside > 0 else outside)


def _weights(found: Solution) -> Row:
    """The weights with their second floats."""
    low = np.zeros_like(found.weights) if found.low is None else found.low
    pairs = zip(exact_row(found.weights), exact_row(low), strict=True)
    return [a + b for a, b in pairs]


def _balls(
    deep: bool, numbers: tuple[float, ...] = ERRORS
) -> Iterator[tuple[str, Array, Array, float, float]]:
    """(name, gradients, reference, radius, error or accuracy), radii in turn."""
    for place, (name, G, r) in enumerate(problems(deep, LARGEST)):
        for shift, number in enumerate(numbers):
            yield name, G, r, RADII[(place + place // 3 + shift) % len(RADII)], number


def of_the_matrix(gram: Array, c: float, reference: Array, gram_error: float) -> Solution:
    """The gap as if the matrix were known to the rounding of floats."""
    return ball(gram, c, reference, GRAM_ERROR)


def certain_projection(gram: Array, reference: Array, gram_error: float) -> Solution:
    """The bound as if the matrix were known to the rounding of floats."""
    return replace(projection(gram, reference, GRAM_ERROR), gram_error=gram_error)


def before_rounding(G: Array, c: float, **options: Any) -> Solution:
    """The residual of what is not returned: before it is rounded to floats."""
    found = conflict_averse_from_gradients(G, c, **options)
    return replace(found, residual=float(found.residual) * EPS)


def one_float(solver: Solver) -> Solver:
    """The weights without their second floats."""

    def solve(*args: Any, **options: Any) -> Solution:
        return replace(solver(*args, **options), low=None)

    return solve


OF_MATRIX = ", ".join(f"{error:g}" for error in ERRORS)
ASKED = "gaps where they are below 1"
NEARBY = f"exact projections of up to {NEIGHBOURS} neighbours each, in fractions"
OPTIMUM = "exact optimum by every support, 60 digits, its direction checked"
OTHERS = f"the gradients and up to {NEIGHBOURS} neighbours each"
SMALL = f"those of K = 2, 3 among {SCOPE}; c {', '.join(map(str, RADII))} in turn"
DEEP = SMALL.replace(SCOPE, DEEP_SCOPE)
COVERED: Check = bounded_nearby(projected, of_reference, COARSE)
CLAIMS = (
    Claim(
        name="dual-cone-from-gradients-weights-are-as-near",
        statement="weights of dual_cone_from_gradients, with their second floats where these are "
        "given, combine to within the accuracy of the exact projection",
        formula=r"\lVert G (w + w_{\mathrm{low}}) - \Pi(G r)\rVert \le 10^{-6} \lVert G r\rVert",
        source=OWN,
        kind=BOUND,
        how="exact projections, squares compared in fractions",
        scope=f"those of K = 2, 3 among {SCOPE}; 6 thin cones",
        deep_scope=f"those of K = 2, 3 among {DEEP_SCOPE}; 60 thin cones",
        check=weights_are_as_near,
        subject=dual_cone_from_gradients,
        control=one_float(dual_cone_from_gradients),
    ),
    Claim(
        name="dual-cone-bound-in-twice-the-digits-covers-its-error",
        statement="a projection in twice the digits is within direction_error for every set of "
        "gradients whose Gram matrix is within the error of the two floats",
        formula=r"\lVert G' w - \Pi'(G' r)\rVert \le \mathrm{error} \cdot \lVert G' r\rVert\quad "
        r"\forall G': \lvert\langle g'_i, g'_j\rangle - A_{ij}\rvert \le E \sqrt{A_{ii} A_{jj}}",
        source=f"{OWN}; fairopt.kernels.gram.double_double_bound",
        kind=BOUND,
        how=NEARBY,
        scope=f"{SCOPE}; error {COARSE:g}",
        deep_scope=f"{DEEP_SCOPE}; error {COARSE:g}",
        check=COVERED,
        subject=projection,
        control=certain_projection,
    ),
    Claim(
        name="conflict-averse-gap-in-twice-the-digits-covers-its-error",
        statement="a direction in twice the digits misses no more of the best worst progress than "
        "its gap says, and is inside of its ball, for every set of gradients whose Gram matrix is "
        "within the error",
        formula=r"\mu^* - \min_k \langle g_k, d\rangle \le \rho \max(\lvert\mu^*\rvert, "
        r"\lVert g_0\rVert^2),\quad \lVert d - g_0\rVert \le c\lVert g_0\rVert",
        source=f"{OWN}; fairopt.kernels.gram.double_double_progress",
        kind=BOUND,
        how=f"{OPTIMUM}; {OTHERS}",
        scope=f"{SMALL}; errors {OF_MATRIX}, {ASKED}",
        deep_scope=f"{DEEP}; errors {OF_MATRIX}, {ASKED}",
        check=gaps_hold_nearby,
        subject=ball,
        control=of_the_matrix,
    ),
    Claim(
        name="conflict-averse-from-gradients-misses-no-more-than-it-says",
        statement="the direction of conflict_averse_from_gradients, rounded as it is, and its "
        "weights as returned miss no more than the residual, and ok means at most the accuracy",
        formula=r"\frac{\mu^* - \min_k \langle g_k, d\rangle}{\max(\lvert\mu^*\rvert, "
        r"\lVert g_0\rVert^2)} + \frac{(\lVert d - g_0\rVert - c\lVert g_0\rVert)_+}"
        r"{\lVert g_0\rVert} \le \rho",
        source=OWN,
        kind=BOUND,
        how=OPTIMUM,
        scope=f"{SMALL}; accuracy 1e-6 and {FINE:g}",
        deep_scope=f"{DEEP}; accuracy 1e-6 and {FINE:g}",
        check=nothing_missed_beyond,
        subject=conflict_averse_from_gradients,
        control=before_rounding,
        more=(
            Evidence(
                OPTIMUM,
                nothing_missed_beyond,
                conflict_averse_from_gradients,
                one_float(conflict_averse_from_gradients),
            ),
        ),
    ),
)
