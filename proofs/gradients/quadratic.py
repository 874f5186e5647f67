"""The quadratic problems against the exact reference that tries every support in fractions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from fairopt import (
    Solution,
    Status,
    dual_cone_projection,
    fairgrad,
    min_norm,
    min_norm_from_gradients,
    upgrad,
)
from fairopt.arrays import Array
from proofs.claim import BOUND, IDENTITY, OWN, Claim, Evidence
from proofs.gradients import exact, wrong_solvers
from proofs.gradients.problems import (
    DEEP_SCOPE,
    SCOPE,
    SEED,
    Solver,
    distance,
    exact_gram,
    progress,
    samples,
)

DIGITS = 1e-9
"""Of a direction, relative: solver tolerances of 1e-12 times the condition of small integers."""
CONFLICT = Fraction(1, 10**12)
"""Slope below zero, relative to the lengths, that rounding explains."""


def integer_gradients(deep: bool) -> Iterator[Array]:
    """Random small integer gradients, dependent and stationary ones among them."""
    rng = np.random.default_rng(SEED)
    for _ in range(2000 if deep else 200):
        shape = (int(rng.integers(1, 6)), int(rng.integers(1, 5)))
        yield rng.integers(-3, 4, size=shape).astype(np.float64)


def is_min_norm_point(solve: Callable[[Array], Solution], deep: bool) -> str | None:
    """The same min-norm point as the exact reference, from the gradients."""
    for G in integer_gradients(deep):
        A = exact_gram(G)
        v = exact.min_norm(A)
        found = solve(G)
        seen, true = found.weights @ G, np.array([float(x) for x in v]) @ G
        size = np.linalg.norm(G, axis=1).max() or 1.0
        if not np.linalg.norm(seen - true) <= DIGITS * size or found.status != Status.OPTIMAL:
            return f"gradients {G.tolist()}: {seen} is not the min-norm point {true}"
        if (found.certificate is not None) != (exact.square(A, v) == 0):
            return f"gradients {G.tolist()}: the certificate is {found.certificate}"
    return None


def by_gram(solver: Solver) -> Callable[[Array], Solution]:
    """A solver that sees the Gram matrix only."""
    return lambda G: solver(G @ G.T)


def common_progress(solver: Solver, deep: bool) -> str | None:
    """<g_k, d> >= ||d||^2, with equality where v_k > 0."""
    for name, G in samples(deep):
        v = solver(G @ G.T).weights
        d = v @ G
        slopes = (G @ d) / (d @ d)
        level = np.abs(slopes[v > 0.0] - 1.0).max()
        if not (slopes.min() >= 1.0 - DIGITS and level <= DIGITS):
            return f"{name}: progress over squared length is {slopes}"
    return None


def nearest_non_conflicting(solver: Solver, deep: bool) -> str | None:
    """The same projection as the exact reference."""
    rng = np.random.default_rng(SEED)
    for G in integer_gradients(deep):
        r = rng.integers(-1, 4, size=len(G))
        w = exact.dual_cone(exact_gram(G), [Fraction(int(x)) for x in r])
        seen = solver(G @ G.T, r.astype(np.float64)).weights @ G
        true = np.array([float(x) for x in w]) @ G
        size = np.abs(r) @ np.linalg.norm(G, axis=1) or 1.0
        if not np.linalg.norm(seen - true) <= DIGITS * size:
            return f"gradients {G.tolist()}, reference {r}: {seen} is not the projection {true}"
    return None


def mean_of_projections(solver: Solver, deep: bool) -> str | None:
    """The mean of the exact projections of every gradient."""
    for G in integer_gradients(deep):
        units = np.eye(len(G)).astype(int)
        rows = [exact.dual_cone(exact_gram(G), [Fraction(int(x)) for x in unit]) for unit in units]
        true = np.mean([[float(x) for x in row] for row in rows], axis=0) @ G
        seen = solver(G @ G.T).weights @ G
        if np.linalg.norm(seen - true) > DIGITS * (np.linalg.norm(G, axis=1).max() or 1.0):
            return f"gradients {G.tolist()}: {seen} is not {true}"
    return None


def is_non_conflicting(solver: Solver, deep: bool) -> str | None:
    """<g_k, d> >= 0 up to rounding, in fractions."""
    for name, G in samples(deep):
        found = solver(G @ G.T).weights
        size = Fraction(float(np.abs(found) @ np.linalg.norm(G, axis=1)))
        for slope, g in zip(progress(G, found), G, strict=True):
            if not slope >= -CONFLICT * size * Fraction(float(np.linalg.norm(g))):
                return f"{name}: progress {float(slope):.1e} on a task"
    return None


def alpha_zero_is_projection(solver: Solver, deep: bool) -> str | None:
    """FairGrad at alpha = 0 is the exact projection of the weighted sum on the dual cone."""
    rng = np.random.default_rng(SEED)
    for G in integer_gradients(deep):
        p = rng.integers(1, 4, size=len(G))
        w = exact.dual_cone(exact_gram(G), [Fraction(int(x)) for x in p])
        true = np.array([float(x) for x in w]) @ G
        found = solver(G @ G.T, 0.0, priority=p)
        if found.status == Status.PARETO_STATIONARY and exact.stationary(exact_gram(G)):
            continue
        if np.linalg.norm(true) > 0 and not distance(found.weights @ G, true) <= DIGITS:
            return f"gradients {G.tolist()}, priorities {p}: {found.weights @ G}, not {true}"
    return None


def one_conflict_each(gram: Array) -> Solution:
    """The mean of gradients that were each cleared of their worst conflict only."""
    rows = [wrong_solvers.dropped_multipliers(gram, unit).weights for unit in np.eye(len(gram))]
    return wrong_solvers.claimed(np.mean(rows, axis=0))


def shared_reference(gram: Array) -> Solution:
    """The projection of the mean, not the mean of the projections."""
    return dual_cone_projection(gram, np.full(len(gram), 1.0 / len(gram)))


INTEGERS = "200 random integer gradient matrices, K to 5, D to 4, dependent and stationary ones too"
CLAIMS = (
    Claim(
        "min-norm-is-the-shortest-combination",
        "min_norm and min_norm_from_gradients find the min-norm point of the convex hull, and say "
        "where it vanishes",
        r"v \in \arg\min_{v \in \Delta} v^\top A v",
        "MGDA's min-norm problem; the enumeration is ours",
        IDENTITY,
        "exact reference: every support, in fractions",
        INTEGERS,
        INTEGERS.replace("200", "2,000"),
        is_min_norm_point,
        by_gram(min_norm),
        by_gram(wrong_solvers.frank_wolfe),
        (
            Evidence(
                "the same from gradients",
                is_min_norm_point,
                min_norm_from_gradients,
                by_gram(wrong_solvers.frank_wolfe),
            ),
        ),
    ),
    Claim(
        "min-norm-progress-is-common",
        "the min-norm point makes equal progress on the tasks that it weighs, more on others",
        r"\langle g_k, d\rangle \ge \lVert d\rVert^2,\quad "
        r"v_k > 0 \Rightarrow \langle g_k, d\rangle = \lVert d\rVert^2",
        "MGDA's optimality conditions",
        BOUND,
        "seeded families, relative error 1e-9",
        SCOPE,
        DEEP_SCOPE,
        common_progress,
        min_norm,
        wrong_solvers.frank_wolfe,
    ),
    Claim(
        "dual-cone-projection-is-nearest",
        "dual_cone_projection finds the nearest non-conflicting direction",
        r"d = \arg\min \{\lVert d - G r \rVert : G^\top d \ge 0\}",
        "DualProj and UPGrad's sub-problem; the enumeration is ours",
        IDENTITY,
        "exact reference: every support, in fractions",
        INTEGERS,
        INTEGERS.replace("200", "2,000"),
        nearest_non_conflicting,
        dual_cone_projection,
        wrong_solvers.dropped_multipliers,
    ),
    Claim(
        "upgrad-is-the-mean-of-the-projections",
        "upgrad is the mean of the projections of every single gradient",
        r"d = \tfrac1K \sum_k \Pi(g_k)",
        "UPGrad of Jacobian descent; the enumeration is ours",
        IDENTITY,
        "exact reference: every support, in fractions",
        INTEGERS,
        INTEGERS.replace("200", "2,000"),
        mean_of_projections,
        upgrad,
        shared_reference,
    ),
    Claim(
        "upgrad-conflicts-with-nobody",
        "the mean of the projections is non-conflicting",
        r"\langle g_k, d\rangle \ge 0 \quad \forall k",
        "UPGrad of Jacobian descent",
        BOUND,
        "exact inner products, rounding of 1e-12 of the lengths",
        SCOPE,
        DEEP_SCOPE,
        is_non_conflicting,
        upgrad,
        one_conflict_each,
    ),
    Claim(
        "fairgrad-at-alpha-zero-is-the-projected-sum",
        "unless a convex combination vanishes, FairGrad at alpha = 0 is the weighted sum projected "
        "on the non-conflicting directions",
        r"d(0) = \Pi_{\{G^\top d \ge 0\}}\Big(\sum_k p_k g_k\Big)",
        OWN,
        IDENTITY,
        "exact reference: every support, in fractions",
        INTEGERS,
        INTEGERS.replace("200", "2,000"),
        alpha_zero_is_projection,
        fairgrad,
        wrong_solvers.linear_scalarisation,
    ),
)
