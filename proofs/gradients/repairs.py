r"""The lemma behind every `direction_error`: a feasible repair bounds the distance of a direction.

Let d = sum_k (r_k + x_k) g_k with x >= 0, and P the projection of g0 = sum_k r_k g_k on
{d: <g_k, d> >= 0 for all k}. For every e that makes d + e non-conflicting

.. math:: |d - P|^2 + |d + e - P|^2 \le 2 \sum_k x_k \langle g_k, d + e\rangle + |e|^2 .

Proof. d + e is feasible, so its distance from g0 is at least that of P, and by as much as its
distance from P: |d + e - g0|^2 >= |P - g0|^2 + |d + e - P|^2. As P is orthogonal to g0 - P and
<P, d - g0> = sum_k x_k <P, g_k> >= 0, |d|^2 >= |P|^2 + |d - P|^2. Add the two, with
|P|^2 + |P - g0|^2 = |g0|^2 and d - g0 = sum_k x_k g_k.

So a bound of the right-hand side that holds for all gradients with nearly the same Gram matrix
bounds |d - P| for all of them, whatever solver the weights came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from fairopt.arrays import Array
from proofs.claim import OWN, TIGHT, Claim, Evidence
from proofs.exact_algebra import Matrix, Row, dot, times
from proofs.gradients import exact
from proofs.gradients.degenerate import exact_row
from proofs.gradients.problems import SEED, exact_gram


class Factors(NamedTuple):
    """What the two terms on the right are multiplied by."""

    products: Fraction
    repair: Fraction


LEMMA = Factors(Fraction(2), Fraction(1))
HALF_THE_PRODUCTS = Factors(Fraction(1), Fraction(1))
"""As if the duality gap of d + e were the whole of the products' part."""
SHORTER_REPAIR = Factors(Fraction(2), Fraction(99, 100))


def bounds_the_distance(factors: Factors, deep: bool) -> str | None:
    """The inequality for every direction, multipliers and repair that are tried."""
    rng = np.random.default_rng(SEED)
    for G in _gradients(deep, rng):
        A, rows = exact_gram(G), [exact_row(row) for row in G]
        r = exact_row(rng.integers(-3, 4, size=len(G)))
        nearest = _combination(exact.projection(A, r), rows)
        for x in _multipliers(A, r, rng):
            d = _combination([a + b for a, b in zip(r, x, strict=True)], rows)
            for goal in _feasible(A, rows, nearest, rng):
                left = _square(_minus(d, nearest)) + _square(_minus(goal, nearest))
                products = factors.products * dot(x, times(rows, goal))
                if not left <= products + factors.repair * _square(_minus(goal, d)):
                    return (
                        f"gradients {G.tolist()}, r {_words(r)}, x {_words(x)}, to {_words(goal)}"
                    )
    return None


def is_sharp(factors: Factors, deep: bool) -> str | None:
    """Both sides are equal for d = g0 and the repair that leads to the projection."""
    rng = np.random.default_rng(SEED)
    for G in _gradients(deep, rng):
        A, rows = exact_gram(G), [exact_row(row) for row in G]
        r = exact_row(rng.integers(-3, 4, size=len(G)))
        off = _minus(_combination(exact.projection(A, r), rows), _combination(r, rows))
        if _square(off) != factors.repair * _square(off):
            return f"gradients {G.tolist()}, r {_words(r)}: the sides differ"
    return None


def _gradients(deep: bool, rng: np.random.Generator) -> Iterator[Array]:
    """Small whole-number gradients; opposite, equal, vanishing and dependent ones are frequent."""
    for _ in range(600 if deep else 60):
        K, D = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        G = rng.integers(-2, 3, size=(K, D)).astype(np.float64)
        G[-1] = G[0] * int(rng.integers(-2, 3)) if rng.random() < 0.3 else G[-1]
        yield G


def _multipliers(A: Matrix, r: Row, rng: np.random.Generator) -> Iterator[Row]:
    """The optimal ones, none, and any."""
    yield exact.multipliers(A, times(A, r))
    yield [Fraction(0)] * len(A)
    yield [Fraction(int(n), 3) for n in rng.integers(0, 7, size=len(A))]


def _feasible(A: Matrix, rows: Matrix, nearest: Row, rng: np.random.Generator) -> Iterator[Row]:
    """Non-conflicting directions: zero, the projection, and those of random points off the span."""
    D = len(rows[0])
    yield [Fraction(0)] * D
    yield nearest
    for _ in range(2):
        point = exact_row(rng.integers(-4, 5, size=D))
        u = exact.multipliers(A, times(rows, point))
        yield [a + b for a, b in zip(point, _combination(u, rows), strict=True)]


def _combination(weights: Row, rows: Matrix) -> Row:
    """The sum of weighted rows."""
    return [dot(weights, list(column)) for column in zip(*rows, strict=True)]


def _minus(x: Row, y: Row) -> Row:
    """The difference."""
    return [a - b for a, b in zip(x, y, strict=True)]


def _square(x: Row) -> Fraction:
    """The squared length."""
    return dot(x, x)


def _words(x: Row) -> str:
    """A row of fractions."""
    return "(" + ", ".join(map(str, x)) + ")"


HOW = "exact fractions, exact projections"
CLAIMS = (
    Claim(
        name="dual-cone-repairs-bound-the-distance",
        statement="a repair that makes a direction non-conflicting bounds its distance from the "
        "projection by the repair's length and products, and no smaller factor will do",
        formula=r"\lVert d - P\rVert^2 + \lVert d + e - P\rVert^2 \le "
        r"2 \textstyle\sum_k x_k \langle g_k, d + e\rangle + \lVert e\rVert^2",
        source=f"{OWN}; the proof is in proofs/gradients/repairs.py",
        kind=TIGHT,
        how=HOW,
        scope="60 whole-number gradient matrices, K to 4, D to 3, dependent ones too; 12 repairs",
        deep_scope="600 whole-number gradient matrices, K to 4, D to 3; 12 repairs",
        check=bounds_the_distance,
        subject=LEMMA,
        control=HALF_THE_PRODUCTS,
        more=(
            Evidence(HOW, bounds_the_distance, LEMMA, SHORTER_REPAIR),
            Evidence(HOW, is_sharp, LEMMA, Factors(Fraction(2), Fraction(101, 100))),
        ),
    ),
)
