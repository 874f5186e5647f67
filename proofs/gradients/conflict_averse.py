"""The conflict-averse direction: its ball, its worst task, its mean, its dual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fairopt import Solution, conflict_averse
from fairopt.arrays import Array
from proofs.certificates import enclose_conflict_averse
from proofs.claim import BOUND, IDENTITY, Check, Claim, Evidence
from proofs.gradients import wrong_solvers
from proofs.gradients.problems import DEEP_SCOPE, SCOPE, SEED, Solver, samples

CAGRAD = "CAGrad as restated in FedHCA2, arXiv 2311.13250"
DIGITS = 1e-9
"""Relative to the squared length of the mean: a residual of 1e-10 and its rounding."""
RADII = (0.1, 0.4, 0.9, 1.5)
RIVALS = 40


def stays_in_the_ball(solver: Solver, deep: bool) -> str | None:
    """||d - g0|| = c ||g0||: the ball is used up, as some task always gains from more of it."""
    for name, _, c, d, g0 in _solved(solver, deep):
        radius = float(np.linalg.norm(d - g0)) / float(np.linalg.norm(g0))
        if not abs(radius - c) <= 1e-7 * max(c, 1.0):
            return f"{name}, c {c}: the direction lies at radius {radius:.9f}"
    return None


def best_worst_task(solver: Solver, deep: bool) -> str | None:
    """No other direction of the ball has a better worst task."""
    rng = np.random.default_rng(SEED)
    for name, G, c, d, g0 in _solved(solver, deep):
        pushes = np.concatenate([rng.normal(size=(RIVALS, G.shape[1])), G])
        for rival in _within(g0, c * float(np.linalg.norm(g0)), d, pushes):
            if not (G @ rival).min() <= (G @ d).min() + DIGITS * (g0 @ g0):
                return f"{name}, c {c}: {(G @ rival).min()} > {(G @ d).min()}"
    return None


def _within(centre: Array, reach: float, d: Array, pushes: Array) -> Iterator[Array]:
    """The direction d pushed far and a little, then brought back into the ball."""
    for push in pushes:
        for size in (0.3, 0.003):
            off = d + size * reach * push / np.linalg.norm(push) - centre
            yield centre + off * min(1.0, reach / float(np.linalg.norm(off)))


def mean_descends(solver: Solver, deep: bool) -> str | None:
    """<g0, d> >= (1 - c) ||g0||^2 for c <= 1."""
    for name, _, c, d, g0 in _solved(solver, deep):
        if c <= 1.0 and not g0 @ d >= (1.0 - c - DIGITS) * (g0 @ g0):
            return f"{name}, c {c}: progress on the mean is {g0 @ d / (g0 @ g0)} of ||g0||^2"
    return None


def dual_equals_primal(solver: Solver, deep: bool) -> str | None:
    """The dual value is proved to bound the worst progress, and to be met."""
    for name, G in samples(deep):
        r = np.full(len(G), 1.0 / len(G))
        for c in RADII:
            found = solver(G @ G.T, c)
            gap = enclose_conflict_averse(G @ G.T, c, found.weights, found.dual, r)
            if not gap.at_most(1e-10):
                return f"{name}, c {c}: the gap is up to {gap.high:.1e}"
    return None


def _solved(solver: Solver, deep: bool) -> Any:
    """(name, gradients, c, direction, mean) of every instance."""
    for name, G in samples(deep):
        for c in RADII:
            yield name, G, c, np.asarray(solver(G @ G.T, c).weights @ G), G.mean(axis=0)


def around_the_second(gram: Array, c: float) -> Solution:
    """A ball around the second task's gradient, not around the mean."""
    return conflict_averse(gram, c, reference=np.eye(len(gram))[1])


def about(
    name: str, statement: str, formula: str, kind: str, how: str, check: Check, *controls: Solver
) -> Claim:
    """A claim about `fairopt.conflict_averse`, with one negative control or more."""
    more = tuple(Evidence(how, check, conflict_averse, control) for control in controls[1:])
    return Claim(
        name,
        statement,
        formula,
        CAGRAD,
        kind,
        how,
        f"{SCOPE}; c {', '.join(map(str, RADII))}",
        f"{DEEP_SCOPE}; c {', '.join(map(str, RADII))}",
        check,
        conflict_averse,
        controls[0],
        more,
    )


CLAIMS = (
    about(
        "conflict-averse-uses-up-its-ball",
        "away from stationary points the direction lies on the sphere of radius c times the mean's "
        "length",
        r"\lVert d - g_0 \rVert = c \lVert g_0 \rVert",
        IDENTITY,
        "seeded families, relative error 1e-7",
        stays_in_the_ball,
        wrong_solvers.half_radius,
        wrong_solvers.rescaled,
    ),
    about(
        "conflict-averse-has-the-best-worst-task",
        "no direction of the ball has more progress on its worst task",
        r"\min_k \langle g_k, e\rangle \le \min_k \langle g_k, d\rangle\quad "
        r"\forall \lVert e - g_0\rVert \le c \lVert g_0\rVert",
        BOUND,
        f"{RIVALS} random rivals and one per task, far and near",
        best_worst_task,
        wrong_solvers.half_radius,
        wrong_solvers.smoothed_dual,
    ),
    about(
        "conflict-averse-still-descends-on-the-mean",
        "for c at most 1 the progress on the mean is at least 1 - c of that of the mean itself",
        r"\langle g_0, d\rangle \ge (1 - c) \lVert g_0\rVert^2",
        BOUND,
        "seeded families",
        mean_descends,
        around_the_second,
    ),
    about(
        "conflict-averse-dual-equals-primal",
        "the worst progress of the direction equals the dual value, to a proved 1e-10",
        r"\max_{d} \min_k \langle g_k, d\rangle = \min_{v \in \Delta} \langle G v, g_0\rangle + "
        r"c \lVert g_0\rVert \lVert G v\rVert",
        IDENTITY,
        "exact fractions and outward-rounded intervals",
        dual_equals_primal,
        wrong_solvers.half_radius,
        wrong_solvers.rescaled,
    ),
)
