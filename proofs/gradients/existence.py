"""When FairGrad weights exist, that there is one set of them, and that they help every task."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from fairopt import Solution, Status, fairgrad
from proofs.certificates import enclose_fairgrad
from proofs.claim import BOUND, IDENTITY, OWN, Claim, Evidence
from proofs.gradients import exact, wrong_solvers
from proofs.gradients.problems import (
    ALPHAS,
    DEEP_SCOPE,
    PROVED,
    SCOPE,
    SEED,
    Solver,
    distance,
    exact_gram,
    grid,
    progress,
    samples_at,
)

Map = Callable[[Fraction, int], Fraction]

FAIRGRAD = "FairGrad, arXiv 2402.15638, equation A w = w^(-1/alpha)"
VANISHES = Fraction(1, 10**12)
"""v'Av of a certificate relative to the largest diagonal entry: lengths up to 1e-6."""
SAME = 1e-6
"""Weights from different starts, relative: residuals of 1e-10 at condition numbers up to 1e4."""
STARTS = 5
INDEPENDENT = ("plain", "conflicting", "mixed")
"""Families whose weights are compared: those of dependent gradients hang on rounding more."""


def exists_unless_stationary(solver: Solver, deep: bool) -> str | None:
    """Status and proof on the Gram matrix, exact in floats, of small integer gradients."""
    values = (-2, -1, 0, 1, 2) if deep else (-1, 0, 1)
    for tasks, alpha in itertools.product((2, 3), (0.5, 2.0)):
        for gradients in grid(values, tasks):
            found = solver(gradients @ gradients.T, alpha)
            objection = _objection(gradients, alpha, found)
            if objection is not None:
                return f"gradients {gradients.tolist()}, alpha {alpha}: {objection}"
    return None


def _objection(gradients: Any, alpha: float, found: Solution) -> str | None:
    """What is wrong with a status or its proof."""
    A = exact_gram(gradients)
    if exact.stationary(A):
        if found.status != Status.PARETO_STATIONARY or found.certificate is None:
            return f"a convex combination vanishes, but the status is {found.status}"
        v = [Fraction(float(x)) for x in found.certificate]
        gap = exact.square(A, v)
        scale = max(A[k][k] for k in range(len(A)))
        return None if gap <= VANISHES * scale else f"the certificate has square {float(gap):.1e}"
    if found.status != Status.OPTIMAL:
        return f"weights exist, but the status is {found.status}"
    proved = enclose_fairgrad(A, alpha, found.weights)
    return None if proved.at_most(PROVED) else f"the residual is up to {proved.high:.1e}"


def strictly_monotone(power: Map, deep: bool) -> str | None:
    """(w - v)'(F(w) - F(v)) > 0 for F(w) = A w - power(w), exactly, for alpha = 1, 1/2, 1/3."""
    rng = np.random.default_rng(SEED)
    for _ in range(2000 if deep else 200):
        K = int(rng.integers(1, 5))
        G = rng.integers(-3, 4, size=(K, 2)).astype(float)
        w, v = ([Fraction(int(x), 7) for x in rng.integers(1, 60, size=K)] for _ in "wv")
        if w == v:
            continue
        off = [x - y for x, y in zip(w, v, strict=True)]
        for inverse_alpha in (1, 2, 3):
            curve = sum(
                x * (power(b, inverse_alpha) - power(a, inverse_alpha))
                for x, a, b in zip(off, w, v, strict=True)
            )
            if exact.square(exact_gram(G), off) + curve <= 0:
                return f"gradients {G.tolist()}, w {w}, v {v}, alpha 1/{inverse_alpha}"
    return None


def inverse_power(w: Fraction, inverse_alpha: int) -> Fraction:
    """w^(-1/alpha)."""
    return w**-inverse_alpha


def growing_power(w: Fraction, inverse_alpha: int) -> Fraction:
    """w^(+1/alpha), a sign slip."""
    return w**inverse_alpha


def forgets_its_start(solver: Solver, deep: bool) -> str | None:
    """The same weights from every start."""
    rng = np.random.default_rng(SEED)
    for name, G, alpha in samples_at(ALPHAS, deep, *INDEPENDENT):
        cold = solver(G @ G.T, alpha).weights
        for _ in range(STARTS):
            start = cold * 10.0 ** rng.uniform(-3, 3, size=len(G))
            off = np.abs(solver(G @ G.T, alpha, start=start).weights / cold - 1.0).max()
            if not off <= SAME:
                return f"{name}: weights differ by {off:.1e}"
    return None


def helps_every_task(solver: Solver, deep: bool) -> str | None:
    """<g_k, d> > 0, in fractions."""
    for name, G, alpha in samples_at(ALPHAS, deep):
        worst = min(progress(G, solver(G @ G.T, alpha).weights))
        if worst <= 0:
            return f"{name}: progress {float(worst):.1e} on some task"
    return None


def renumbering_and_duplicating(solver: Solver, deep: bool) -> str | None:
    """Renumbered tasks have renumbered weights; a task that appears twice has one weight twice."""
    for name, G, alpha in samples_at(ALPHAS, deep, *INDEPENDENT):
        K = len(G)
        order = np.roll(np.arange(K)[::-1], 1)
        w = solver(G @ G.T, alpha).weights
        turned = solver(G[order] @ G[order].T, alpha).weights
        if not distance(turned, w[order]) <= SAME:
            return f"{name}: renumbering changes the weights"
        twice = np.concatenate([G, G])
        both = solver(twice @ twice.T, alpha).weights
        if not distance(both[:K], both[K:]) <= SAME:
            return f"{name}: copies of a task have different weights"
    return None


def first_counts_twice(gram: Any, alpha: float, **_: Any) -> Solution:
    """FairGrad with a priority for the first task."""
    return fairgrad(gram, alpha, priority=[2.0] + [1.0] * (len(gram) - 1))


GRID_SCOPE = (
    "the Gram matrices of all 2 or 3 integer gradients in the plane, entries -1..1, alpha 1/2 and 2"
)
CLAIMS = (
    Claim(
        name="fairgrad-exists-unless-pareto-stationary",
        statement="FairGrad weights of a Gram matrix exist if and only if it maps no convex "
        "combination to zero; of a matrix that floats hold exactly the solver tells which, with a "
        "proof either way. Of gradients behind a rounded matrix nothing is said",
        formula=r"\exists w > 0: A w = w^{-1/\alpha} \iff "
        r"\nexists v \ge 0, v \ne 0: v^\top A v = 0",
        source=f"{OWN}; {FAIRGRAD}",
        kind=IDENTITY,
        how="every instance of a grid, exact certificates of either side",
        scope=GRID_SCOPE,
        deep_scope=GRID_SCOPE.replace("-1..1", "-2..2"),
        check=exists_unless_stationary,
        subject=fairgrad,
        control=wrong_solvers.ridge,
        more=(
            Evidence(
                "every instance of a grid, exact certificates of either side",
                exists_unless_stationary,
                fairgrad,
                wrong_solvers.never_stationary,
            ),
        ),
    ),
    Claim(
        name="fairgrad-weights-are-unique",
        statement="there is at most one set of FairGrad weights, whatever the rank of the matrix",
        formula=r"(w - v)^\top (F(w) - F(v)) > 0,\quad F(w) = A w - w^{-1/\alpha}",
        source=OWN,
        kind=IDENTITY,
        how="strict monotonicity in fractions; solves from other starts",
        scope=f"200 random pairs, alpha 1, 1/2, 1/3; 27 gradient matrices, {STARTS} starts each",
        deep_scope=f"2,000 random pairs; 360 gradient matrices, {STARTS} starts each",
        check=strictly_monotone,
        subject=inverse_power,
        control=growing_power,
        more=(
            Evidence(
                "solves from other starts", forgets_its_start, fairgrad, wrong_solvers.impatient
            ),
        ),
    ),
    Claim(
        name="fairgrad-helps-every-task",
        statement="a FairGrad direction makes progress on every task",
        formula=r"\langle g_k, d \rangle > 0 \quad \forall k",
        source=FAIRGRAD,
        kind=BOUND,
        how="exact inner products with the returned weights",
        scope=SCOPE,
        deep_scope=DEEP_SCOPE,
        check=helps_every_task,
        subject=fairgrad,
        control=wrong_solvers.linear_scalarisation,
    ),
    Claim(
        name="fairgrad-treats-tasks-alike",
        statement="renumbering the tasks renumbers the weights, and copies of a task share equally",
        formula=r"w(P A P^\top) = P w(A),\qquad g_j = g_k \Rightarrow w_j = w_k",
        source=OWN,
        kind=IDENTITY,
        how="pairs of solves",
        scope="27 gradient matrices, 4 powers",
        deep_scope="360 gradient matrices, 4 powers",
        check=renumbering_and_duplicating,
        subject=fairgrad,
        control=first_counts_twice,
    ),
)
