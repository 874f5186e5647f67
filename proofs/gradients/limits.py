"""The ends of the families: alpha to 0 and infinity, small and large balls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fairopt import conflict_averse, dual_cone_projection, fairgrad, min_norm
from fairopt.arrays import Array
from proofs.claim import COUNTEREXAMPLE, IDENTITY, LIMIT, OWN, Check, Claim
from proofs.gradients import wrong_solvers
from proofs.gradients.problems import (
    DEEP_DRAWS,
    DEEP_SCOPE,
    DRAWS,
    FAMILIES,
    SCOPE,
    SIZES,
    Solver,
    distance,
    samples,
    unit,
)

Path = Callable[[Solver, Array, float], Array]
"""From a solver, gradients and a parameter to a direction."""
End = Callable[[Array], Array]
"""From gradients to the limit of a path."""

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


def approaches(path: Path, end: End, steps: Sequence[float], order: int) -> Check:
    """Check that a path of directions comes within RATE * step of its end."""

    def check(solver: Solver, deep: bool) -> str | None:
        for name, G in samples(deep, "plain", "conflicting", "dependent"):
            goal = end(G)
            for step in steps:
                off, bound = distance(path(solver, G, step), goal), RATE * step**order
                if not off <= bound:
                    return f"{name}, at {step}: {off:.1e} from the limit, bound {bound:.1e}"
        return None

    return check


def combined(solver: Solver, G: Array, parameter: float) -> Array:
    """The combination of a solver's weights."""
    return np.asarray(solver(G @ G.T, parameter).weights @ G)


def direction(solver: Solver, G: Array, parameter: float) -> Array:
    """The same, of length one."""
    return unit(combined(solver, G, parameter))


def min_norm_direction(G: Array) -> Array:
    """Direction of the min-norm point."""
    return unit(min_norm(G @ G.T).weights @ G)


def projected_sum(G: Array) -> Array:
    """The sum of the gradients on the dual cone."""
    return np.asarray(dual_cone_projection(G @ G.T, np.ones(len(G))).weights @ G)


def mean(G: Array) -> Array:
    """The mean gradient."""
    return np.asarray(G.mean(axis=0))


def at_infinity(solver: Solver, deep: bool) -> str | None:
    """At alpha = inf exactly: the min-norm point over its squared length."""
    for name, G in samples(deep):
        d = min_norm(G @ G.T).weights @ G
        off = distance(combined(solver, G, np.inf), d / (d @ d))
        if not off <= AT_THE_END:
            return f"{name}: off by {off:.1e}"
    return None


def not_linear(solver: Solver, deep: bool) -> str | None:
    """Gradients (1, 0) and (-2, 1): the sum conflicts with task 1, alpha = 0 gives (0, 1)."""
    G = np.array([[1.0, 0.0], [-2.0, 1.0]])
    at_zero = combined(solver, G, 0.0)
    if not np.allclose(at_zero, [0.0, 1.0], atol=AT_THE_END):
        return f"alpha = 0 gives {at_zero}"
    near = combined(solver, G, 1e-3)
    off = distance(near, np.array([0.0, 1.0]))
    return None if off <= RATE * 1e-3 else f"alpha = 1e-3 gives {near}"


def limit(
    name: str, statement: str, formula: str, source: str, check: Check, subject: Any, control: Any
) -> Claim:
    """A limit on three families of gradients."""
    few, many = (
        f"{draws * (len(FAMILIES) - 1) * len(SIZES)} gradient matrices of 3 families, K = 2, 3, 6"
        for draws in (DRAWS, DEEP_DRAWS)
    )
    how = f"distance at most {RATE:g} times the step"
    return Claim(name, statement, formula, source, LIMIT, how, few, many, check, subject, control)


CLAIMS = (
    limit(
        "fairgrad-large-alpha-is-min-norm",
        "as alpha grows the direction tends to that of the min-norm point",
        r"\lim_{\alpha \to \infty} \frac{d_\alpha}{\lVert d_\alpha\rVert} = "
        r"\frac{d^*}{\lVert d^*\rVert},\quad d^* = \arg\min_{\mathrm{conv}} \lVert d\rVert",
        OWN,
        approaches(direction, min_norm_direction, HIGH, -1),
        fairgrad,
        wrong_solvers.capped_alpha,
    ),
    Claim(
        "fairgrad-at-infinity-is-max-min",
        "at alpha = inf the direction is the min-norm point over its squared length",
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
        "as alpha vanishes the direction tends to the sum projected on the non-conflicting "
        "directions",
        r"\lim_{\alpha \to 0} d_\alpha = \Pi_{\{G^\top d \ge 0\}}\Big(\sum_k g_k\Big)",
        OWN,
        approaches(combined, projected_sum, LOW, 1),
        fairgrad,
        wrong_solvers.linear_scalarisation,
    ),
    limit(
        "conflict-averse-small-ball-is-the-mean",
        "in a small ball the conflict-averse direction is the mean gradient",
        r"\lim_{c \to 0} d_c = g_0",
        "CAGrad as restated in FedHCA2, arXiv 2311.13250",
        approaches(combined, mean, SMALL_BALLS, 1),
        conflict_averse,
        lambda gram, c: conflict_averse(gram, max(c, 0.1)),
    ),
    limit(
        "conflict-averse-large-ball-is-min-norm",
        "in a large ball the conflict-averse direction is that of the min-norm point",
        r"\lim_{c \to \infty} \frac{d_c}{\lVert d_c\rVert} = \frac{d^*}{\lVert d^*\rVert}",
        OWN,
        approaches(direction, min_norm_direction, LARGE_BALLS, -1),
        conflict_averse,
        lambda gram, c: conflict_averse(gram, min(c, 1.0)),
    ),
    Claim(
        "fairgrad-at-alpha-zero-is-not-linear-scalarisation",
        "gradients (1, 0) and (-2, 1): their sum conflicts with the first task, FairGrad at "
        "alpha = 0 and close to it goes along (0, 1)",
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
