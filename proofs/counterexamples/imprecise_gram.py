r"""Gradients that one Gram matrix cannot tell apart, and whose projections are far apart.

Where a convex combination of the gradients vanishes and the projection P is not zero, it is not
continuous: replace one of the combined gradients, g_j, by g_j - t P with t as small as you like.
Every non-conflicting d of the new set has 0 <= sum_k v_k <g_k, d> = -t v_j <P, d>, so its own
projection P' has <P, P'> <= 0 and |P' - P| >= |P|, whatever the reference. No solver can answer
both sets from a Gram matrix that is within its error of both: UNDECIDED says so, and gradients
decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from fairopt import Solution, dual_cone_from_gradients, dual_cone_projection
from fairopt.arrays import GRAM_ERROR, Array
from proofs.claim import BOUND, COUNTEREXAMPLE, OWN, Claim, Evidence
from proofs.exact_algebra import Matrix, Row, dot
from proofs.gradients import exact
from proofs.gradients.degenerate import exact_row, is_within
from proofs.gradients.direction_errors import (
    from_matrix,
    trusting_the_matrix,
    trusting_the_residual,
)
from proofs.gradients.problems import Solver, exact_gram, grid

OPPOSITE = np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 1.0]])
"""Two opposite tasks and a third: only (0, 1) and its multiples conflict with nobody."""
TURNED = np.array([[1.0, -(2.0**-51)], [-1.0, 0.0], [1.0, 1.0]])
"""The first task turned by half an ulp of the products: nothing but zero is left."""
THIRD = np.array([0.0, 0.0, 1.0])
APART = Fraction(1, 2)
"""|P - P'|^2 over |g0|^2 for the third task: (0, 1) against zero, of (1, 1)."""


def cannot_be_answered(solver: Solver, deep: bool) -> str | None:
    """Both sets are within the error of one matrix; an answer would be wrong for one of them."""
    for A in (OPPOSITE @ OPPOSITE.T, TURNED @ TURNED.T):
        assert is_within(exact_gram(OPPOSITE), A, GRAM_ERROR)
        assert is_within(exact_gram(TURNED), A, GRAM_ERROR)
        off = [x - y for x, y in zip(_projection(OPPOSITE), _projection(TURNED), strict=True)]
        assert dot(off, off) == APART * dot(exact_row(OPPOSITE[2]), exact_row(OPPOSITE[2]))
        found = solver(A, THIRD)
        if found.ok:
            return f"answers {found.weights @ OPPOSITE} with weights {found.weights}"
        if Fraction(min(float(found.direction_error), 1.0)) ** 2 < APART / 4:
            return f"claims an error of {found.direction_error:.1e}"
    return None


def tells_them_apart(solver: Callable[[Array, Array], Solution], deep: bool) -> str | None:
    """From the gradients both are answered, each with its own projection."""
    for G in (OPPOSITE, TURNED):
        found, true = solver(G, THIRD), [float(x) for x in _projection(G)]
        if not found.ok or found.direction is None:
            return f"gradients {G.tolist()}: {found.sentence}"
        if not np.abs(found.direction - true).max() <= found.direction_error * np.sqrt(2.0):
            return f"gradients {G.tolist()}: {found.direction}, not {true}"
    return None


def jumps(sign: int, deep: bool) -> str | None:
    """|P' - P| >= |P| for every stationary set, reference, and task of the combination."""
    for G in grid((-2, -1, 0, 1, 2) if deep else (-1, 0, 1), 3):
        A, rows = exact_gram(G), [exact_row(row) for row in G]
        if not G.any(axis=1).all() or not exact.stationary(A):
            continue
        v = exact.min_norm(A)
        for reference in (exact_row(row) for row in np.eye(3)):
            P = _combined(exact.projection(A, reference), rows)
            for j in (k for k in range(3) if v[k] > 0 and any(P)):
                moved = _moved(rows, j, P, sign)
                B = [[dot(a, b) for b in moved] for a in moved]
                assert is_within(B, G @ G.T, GRAM_ERROR)
                other = _combined(exact.projection(B, reference), moved)
                off = [x - y for x, y in zip(other, P, strict=True)]
                if dot(off, off) < dot(P, P):
                    return f"gradients {G.tolist()}, task {j}: {_words(P)} becomes {_words(other)}"
    return None


def _moved(rows: Matrix, j: int, P: Row, sign: int) -> Matrix:
    """The gradients with one of them moved along P or against it, by an eighth of the error."""
    share = exact.root_below(dot(rows[j], rows[j]) / dot(P, P)) * Fraction(GRAM_ERROR) / 8
    new = [x + sign * share * y for x, y in zip(rows[j], P, strict=True)]
    return [new if k == j else row for k, row in enumerate(rows)]


def _projection(G: Array) -> Row:
    """The exact projection of the third gradient."""
    return _combined(
        exact.projection(exact_gram(G), exact_row(THIRD)), [exact_row(row) for row in G]
    )


def _combined(weights: Row, rows: Matrix) -> Row:
    """The sum of weighted rows."""
    return [dot(weights, list(column)) for column in zip(*rows, strict=True)]


def _words(x: Row) -> str:
    """A vector in decimals."""
    return "(" + ", ".join(f"{float(each):.3g}" for each in x) + ")"


def _controls(check: Any, *controls: Any) -> Iterator[Evidence]:
    """The same check of the projection with more controls."""
    how = "exact projections, one pair of matrices"
    return (Evidence(how, check, dual_cone_projection, control) for control in controls)


ONE = "two sets of three gradients in the plane"
CLAIMS = (
    Claim(
        name="a-gram-matrix-does-not-determine-the-projection",
        statement="two opposite tasks and a third: a second set of gradients has the same Gram "
        "matrix to rounding and a projection 0.7 of the reference away, so UNDECIDED is the only "
        "right answer from the matrix, and the gradients decide",
        formula=r"\lvert A_{ij} - A'_{ij}\rvert \le 2^{-50}\ \text{and}\ "
        r"\lVert P - P'\rVert = \lVert g_0\rVert / \sqrt 2",
        source=OWN,
        kind=COUNTEREXAMPLE,
        how="exact projections, one pair of matrices",
        scope=ONE,
        deep_scope=ONE,
        check=cannot_be_answered,
        subject=dual_cone_projection,
        control=trusting_the_matrix(dual_cone_projection),
        more=(
            *_controls(cannot_be_answered, trusting_the_residual(dual_cone_projection)),
            Evidence(
                "exact projections, one pair of matrices",
                tells_them_apart,
                dual_cone_from_gradients,
                from_matrix(dual_cone_projection),
            ),
        ),
    ),
    Claim(
        name="projections-jump-at-stationary-points",
        statement="where a convex combination of the gradients vanishes and the projection does "
        "not, other gradients within the error of the matrix have one at least as far away as the "
        "projection is long",
        formula=r"\sum_k v_k g_k = 0,\ v_j > 0,\ g'_j = g_j - t P \Rightarrow "
        r"\lVert P' - P\rVert \ge \lVert P\rVert\quad \forall t > 0",
        source=f"{OWN}; the proof is in proofs/counterexamples/imprecise_gram.py",
        kind=BOUND,
        how="every instance of a grid, exact fractions",
        scope="all stationary sets of 3 gradients in the plane with entries -1..1, every reference",
        deep_scope="all stationary sets of 3 gradients in the plane with entries -2..2",
        check=jumps,
        subject=-1,
        control=1,
    ),
)
