"""Equalities that every exact FairGrad solution obeys: lengths, progress, scales, bargaining."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt import fairgrad
from fairopt.arrays import Array
from proofs.claim import BOUND, IDENTITY, OWN, Claim
from proofs.gradients import wrong_solvers
from proofs.gradients.existence import FAIRGRAD
from proofs.gradients.problems import (
    ALPHAS,
    DEEP_SCOPE,
    SCOPE,
    SEED,
    Solver,
    distance,
    samples,
    samples_at,
)

DIGITS = 1e-8
"""Relative: a residual of 1e-10 times the condition of the identity (alpha up to 10, K up to 6)."""
RIVALS = 20
"""Other directions of the same length that are compared, per instance."""
NASH = "Nash bargaining as in Nash-MTL; FairGrad, arXiv 2402.15638, alpha = 1"


def progress_and_length(solver: Solver, deep: bool) -> str | None:
    """<g_k, d> = (p_k / w_k)^(1/alpha), and its sum against w is the squared length."""
    rng = np.random.default_rng(SEED)
    for name, G, alpha in samples_at(ALPHAS, deep):
        p = rng.uniform(0.2, 5.0, size=len(G))
        w = solver(G @ G.T, alpha, priority=p).weights
        d = w @ G
        claimed = (p / w) ** (1.0 / alpha)
        off = max(_off(G @ d, claimed), _off(d @ d, w @ claimed))
        if not off <= DIGITS:
            return f"{name}: off by {off:.1e}"
    return None


def length_of_bargaining(solver: Solver, deep: bool) -> str | None:
    """||d||^2 = K at alpha = 1."""
    for name, G in samples(deep):
        d = solver(G @ G.T, 1.0).weights @ G
        if not _off(d @ d, float(len(G))) <= DIGITS:
            return f"{name}: the squared length is {d @ d}"
    return None


def scaling_law(solver: Solver, deep: bool) -> str | None:
    """Gradients times s multiply d by s^((1 - alpha) / (1 + alpha))."""
    for name, G, alpha in samples_at(ALPHAS, deep):
        for s in (1e-6, 3.0, 1e6):
            d, far = (solver(H @ H.T, alpha).weights @ H for H in (G, s * G))
            off = distance(far, d * s ** ((1.0 - alpha) / (1.0 + alpha)))
            if not off <= DIGITS:
                return f"{name}, scale {s}: off by {off:.1e}"
    return None


def ignores_loss_scales(solver: Solver, deep: bool) -> str | None:
    """At alpha = 1 the direction does not change when single losses are rescaled."""
    rng = np.random.default_rng(SEED)
    for name, G in samples(deep):
        H = G * 10.0 ** rng.uniform(-3, 3, size=(len(G), 1))
        off = distance(solver(H @ H.T, 1.0).weights @ H, solver(G @ G.T, 1.0).weights @ G)
        if not off <= DIGITS:
            return f"{name}: rescaled losses move the direction by {off:.1e}"
    return None


def bargaining_product(solver: Solver, deep: bool) -> str | None:
    """A w = 1 / w, and no direction of the same length has relative gains above 1 on average."""
    for name, G in samples(deep):
        w = solver(G @ G.T, 1.0).weights
        d = w @ G
        off = _off((G @ d) * w, np.ones(len(w)))
        if not off <= DIGITS:
            return f"{name}: w A w differs from one by {off:.1e}"
        gain = max(float(np.mean((G @ e) / (G @ d))) for e in _rivals(G, d))
        if not gain <= 1.0 + DIGITS:
            return f"{name}: another direction gains {gain} on average"
    return None


def fair_inequality(solver: Solver, deep: bool) -> str | None:
    """No direction as long gains at d's marginal utilities, nor in alpha-fair utility."""
    for name, G, alpha in samples_at(ALPHAS, deep):
        d = solver(G @ G.T, alpha).weights @ G
        s = G @ d
        if s.min() <= 0.0:
            return f"{name}: no utility, a task loses"
        price = (s / s.min()) ** -alpha
        excess = max(float(price @ (G @ e - s)) for e in _rivals(G, d)) / float(price @ s)
        if not excess <= DIGITS:
            return f"{name}: another direction is better by {excess:.1e}"
        gain = max((_utility_gain(G @ e / s, price * s, alpha) for e in _rivals(G, d)), default=0.0)
        if not gain <= DIGITS:
            return f"{name}: another direction has a utility larger by {gain:.1e}"
    return None


def _utility_gain(ratio: Array, share: Array, alpha: float) -> float:
    """Sum of u_alpha at progress ratio * s less that at s, in units of the marginal utilities.

    Infinitely bad where a task makes no progress.
    """
    if ratio.min() <= 0.0:
        return -np.inf
    change = np.log(ratio) if alpha == 1.0 else (ratio ** (1.0 - alpha) - 1.0) / (1.0 - alpha)
    return float(share @ change / share.sum())


def _rivals(G: Array, d: Array) -> list[Array]:
    """Directions as long as d: random ones, near ones, and those that favour one task."""
    rng = np.random.default_rng(SEED)
    near = d + 0.3 * np.linalg.norm(d) * rng.normal(size=(RIVALS, d.size)) / np.sqrt(d.size)
    pulled = d + np.linalg.norm(d) * G / np.linalg.norm(G, axis=1, keepdims=True)
    tries = np.concatenate([rng.normal(size=(RIVALS, d.size)), near, pulled])
    return [e * np.linalg.norm(d) / np.linalg.norm(e) for e in tries]


def _off(seen: Any, claimed: Any) -> float:
    """Largest relative difference."""
    return float(np.max(np.abs(np.asarray(seen) / np.asarray(claimed) - 1.0)))


def identity(
    name: str, statement: str, formula: str, source: str, check: Any, control: Any, kind: str
) -> Claim:
    """A claim about `fairopt.fairgrad` on the seeded families."""
    how = "seeded families, relative error 1e-8"
    return Claim(
        name, statement, formula, source, kind, how, SCOPE, DEEP_SCOPE, check, fairgrad, control
    )


CLAIMS = (
    identity(
        "fairgrad-progress-and-length",
        "progress on a task is (priority / weight)^(1/alpha), and weights times progress add up to "
        "the squared length",
        r"\langle g_k, d\rangle = (p_k/w_k)^{1/\alpha},\quad "
        r"\lVert d\rVert^2 = \sum_k p_k^{1/\alpha} w_k^{1-1/\alpha}",
        FAIRGRAD,
        progress_and_length,
        wrong_solvers.normalised,
        IDENTITY,
    ),
    identity(
        "fairgrad-length-at-alpha-one",
        "at alpha = 1 the direction has length sqrt(K), whatever the gradients",
        r"\alpha = 1 \Rightarrow \lVert d \rVert^2 = K",
        OWN,
        length_of_bargaining,
        wrong_solvers.other_alpha,
        IDENTITY,
    ),
    identity(
        "fairgrad-scaling-law",
        "gradients times s multiply the direction by s^((1-alpha)/(1+alpha)): it grows as "
        "gradients shrink for alpha > 1",
        r"d(sG) = s^{(1-\alpha)/(1+\alpha)} d(G)",
        OWN,
        scaling_law,
        wrong_solvers.normalised,
        IDENTITY,
    ),
    identity(
        "fairgrad-at-alpha-one-ignores-loss-scales",
        "at alpha = 1 rescaling single losses leaves the direction alone",
        r"d(D G) = d(G),\quad D = \mathrm{diag}(c) > 0,\ \alpha = 1",
        OWN,
        ignores_loss_scales,
        wrong_solvers.other_alpha,
        IDENTITY,
    ),
    identity(
        "fairgrad-at-alpha-one-is-nash-bargaining",
        "at alpha = 1 the weights solve A w = 1/w, the Nash bargaining solution: against any other "
        "direction that is at most as long, progress relative to d's is at most 1 on average",
        r"\frac1K \sum_k \frac{\langle g_k, e\rangle}{\langle g_k, d\rangle} \le 1"
        r"\quad \forall \lVert e\rVert \le \lVert d\rVert",
        NASH,
        bargaining_product,
        wrong_solvers.other_alpha,
        IDENTITY,
    ),
    identity(
        "fairgrad-is-alpha-fair",
        "no direction that is at most as long makes more progress when every task's is weighted by "
        "its marginal utility at d, so none has a larger alpha-fair utility",
        r"\sum_k s_k^{-\alpha}(\langle g_k, e\rangle - s_k) \le 0"
        r"\quad \forall \lVert e\rVert \le \lVert d\rVert",
        FAIRGRAD,
        fair_inequality,
        wrong_solvers.other_alpha,
        BOUND,
    ),
)
