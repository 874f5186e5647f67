"""The ends of the families: alpha to 0 and infinity, small and large balls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fairopt import conflict_averse, dual_cone_projection, fairgrad, min_norm
from proofs.claim import COUNTEREXAMPLE, IDENTITY, LIMIT, OWN, Check, Claim
from proofs.gradients import wrong_solvers
from proofs.gradients.problems import (
    DEEP_DRAWS,
    DEEP_SCOPE,
    DRAWS,
    FAMILIES,
    SCOPE,
    SIZES,
    Array,
    Solver,
    distance,
    samples,
)

Path = Callable[[Solver, Array, float], Array]

HIGH = (20.0, 50.0, 100.0, 200.0)
LOW = (1e-1, 1e-2, 1e-3)
SMALL_BALLS = (1e-2, 1e-4, 1e-6)
LARGE_BALLS = (1e2, 1e4, 1e6)
RATE = 12.0
"""Times the step towards the limit (1/alpha, alpha, c, 1/c): bounds the distance between
directions on these families; it depends on the condition of the gradients, and 7.4 is the most
seen on 360 of them."""
AT_THE_END = 1e-8
"""Between the answer at the limit itself and the problem it becomes."""


def approaches(path: Path, end: Path, steps: Sequence[float], order: int) -> Check:
    """Check that a path of directions comes within RATE * step of its end."""

    def check(solver: Solver, deep: bool) -> str | None:
        for name, G in samples(deep, "plain", "conflicting", "dependent"):
            goal = end(solver, G, steps[-1])
            for step in steps:
                off, bound = distance(path(solver, G, step), goal), RATE * step**order
                if not off <= bound:
                    return f"{name}, at {step}: {off:.1e} from the limit, bound {bound:.1e}"
        return None

    return check


def unit(vector: Array) -> Array:
    """Of length one."""
    return np.asarray(vector / np.linalg.norm(vector))


def fair_direction(solver: Solver, G: Array, alpha: float) -> Array:
    """Direction of FairGrad."""
    return unit(solver(G @ G.T, alpha).weights @ G)


def max_min_direction(solver: Solver, G: Array, alpha: float) -> Array:
    """Direction of the shortest combination."""
    return unit(min_norm(G @ G.T).weights @ G)


def fair_vector(solver: Solver, G: Array, alpha: float) -> Array:
    """FairGrad with its length."""
    return np.asarray(solver(G @ G.T, alpha).weights @ G)


def projected_sum(solver: Solver, G: Array, alpha: float) -> Array:
    """The sum of the gradients on the dual cone."""
    return np.asarray(dual_cone_projection(G @ G.T, np.ones(len(G))).weights @ G)


def averse_vector(solver: Solver, G: Array, c: float) -> Array:
    """The conflict-averse direction with its length."""
    return np.asarray(solver(G @ G.T, c).weights @ G)


def averse_direction(solver: Solver, G: Array, c: float) -> Array:
    """The conflict-averse direction."""
    return unit(averse_vector(solver, G, c))


def mean_vector(solver: Solver, G: Array, c: float) -> Array:
    """The mean gradient."""
    return np.asarray(G.mean(axis=0))


def at_infinity(solver: Solver, deep: bool) -> str | None:
    """At alpha = inf exactly: the shortest combination over its squared length."""
    for name, G in samples(deep):
        d = min_norm(G @ G.T).weights @ G
        off = distance(fair_vector(solver, G, np.inf), d / (d @ d))
        if not off <= AT_THE_END:
            return f"{name}: off by {off:.1e}"
    return None


def not_linear(solver: Solver, deep: bool) -> str | None:
    """Gradients (1, 0) and (-2, 1): the sum harms the first task, alpha = 0 gives (0, 1)."""
    G = np.array([[1.0, 0.0], [-2.0, 1.0]])
    at_zero = fair_vector(solver, G, 0.0)
    if not np.allclose(at_zero, [0.0, 1.0], atol=AT_THE_END):
        return f"alpha = 0 gives {at_zero}"
    near = fair_vector(solver, G, 1e-3)
    off = distance(near, np.array([0.0, 1.0]))
    return None if off <= RATE * 1e-3 else f"alpha = 1e-3 gives {near}"


def limit(
    name: str, statement: str, formula: str, source: str, check: Check, subject: Any, broken: Any
) -> Claim:
    """A limit on three families of gradients."""
    few, many = (
        f"{draws * (len(FAMILIES) - 1) * len(SIZES)} gradient matrices of 3 families, K = 2, 3, 6"
        for draws in (DRAWS, DEEP_DRAWS)
    )
    how = f"distance at most {RATE:g} times the step"
    return Claim(name, statement, formula, source, LIMIT, how, few, many, check, subject, broken)


CLAIMS = (
    limit(
        "fairgrad-large-alpha-is-min-norm",
        "as alpha grows the direction tends to the shortest convex combination",
        r"\lim_{\alpha \to \infty} \frac{d_\alpha}{\lVert d_\alpha\rVert} = "
        r"\frac{d^*}{\lVert d^*\rVert},\quad d^* = \arg\min_{\mathrm{conv}} \lVert d\rVert",
        OWN,
        approaches(fair_direction, max_min_direction, HIGH, -1),
        fairgrad,
        wrong_solvers.capped_alpha,
    ),
    Claim(
        "fairgrad-at-infinity-is-max-min",
        "at alpha = inf the direction is the shortest convex combination over its squared length",
        r"d_\infty = d^* / \lVert d^* \rVert^2",
        OWN,
        IDENTITY,
        "seeded families, relative error 1e-8",
        SCOPE,
        DEEP_SCOPE,
        at_infinity,
        fairgrad,
        wrong_solvers.normalised,
    ),
    limit(
        "fairgrad-small-alpha-is-the-projected-sum",
        "as alpha vanishes the direction tends to the sum projected on the directions that "
        "conflict with nobody",
        r"\lim_{\alpha \to 0} d_\alpha = \Pi_{\{G^\top d \ge 0\}}\Big(\sum_k g_k\Big)",
        OWN,
        approaches(fair_vector, projected_sum, LOW, 1),
        fairgrad,
        wrong_solvers.linear_scalarisation,
    ),
    limit(
        "conflict-averse-small-ball-is-the-mean",
        "in a small ball the conflict-averse direction is the mean gradient",
        r"\lim_{c \to 0} d_c = g_0",
        "CAGrad as restated in FedHCA2, arXiv 2311.13250",
        approaches(averse_vector, mean_vector, SMALL_BALLS, 1),
        conflict_averse,
        lambda gram, c: conflict_averse(gram, max(c, 0.1)),
    ),
    limit(
        "conflict-averse-large-ball-is-min-norm",
        "in a large ball the conflict-averse direction is that of the shortest combination",
        r"\lim_{c \to \infty} \frac{d_c}{\lVert d_c\rVert} = \frac{d^*}{\lVert d^*\rVert}",
        OWN,
        approaches(averse_direction, max_min_direction, LARGE_BALLS, -1),
        conflict_averse,
        lambda gram, c: conflict_averse(gram, min(c, 1.0)),
    ),
    Claim(
        "fairgrad-at-alpha-zero-is-not-linear-scalarisation",
        "gradients (1, 0) and (-2, 1): their sum harms the first task, FairGrad at alpha = 0 and "
        "close to it goes along (0, 1)",
        r"d_0 = (0, 1) \ne g_1 + g_2 = (-1, 1)",
        f"{OWN}; the text says w = 1 at alpha = 0 (FairGrad, arXiv 2402.15638)",
        COUNTEREXAMPLE,
        "one worked instance, alpha = 0 and 1e-3",
        "two gradients",
        "two gradients",
        not_linear,
        fairgrad,
        wrong_solvers.linear_scalarisation,
    ),
)
