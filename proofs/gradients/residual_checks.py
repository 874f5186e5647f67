"""The residual functions and the certificate of stationarity: are they themselves right?"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fairopt
from fairopt import (
    Verdict,
    conflict_averse_residual,
    dual_cone_residual,
    fairgrad_residual,
    min_norm_residual,
    pareto_certificate,
    pareto_certificate_from_gradients,
)
from fairopt.arrays import EPS, GRAM_ERROR, Array
from proofs.certificates import (
    Enclosure,
    enclose_conflict_averse,
    enclose_dual_cone,
    enclose_fairgrad,
    enclose_min_norm,
)
from proofs.claim import BOUND, IDENTITY, OWN, Check, Claim, Evidence
from proofs.gradients import exact
from proofs.gradients.degenerate import COARSE
from proofs.gradients.problems import (
    SEED,
    conflicting,
    exact_gram,
    grid,
    mixed_scales,
    plain,
)

Residual = Callable[..., Any]
Case = tuple[str, Enclosure, tuple[Any, ...]]
"""(name, proved interval, arguments of the residual)."""

SLACK = 1e-11
"""Rounding of a residual of unit size at K <= 4 away from stationary points, relative."""
ROUNDINGS = 4.0
"""Times (K + 2) eps: the sums of the residual, once in the bound and once in evaluating it."""
MOVES = (0.0, 1e-6, 0.1, 2.0)
"""Relative perturbations of a solution, so that residuals of every size are compared."""


def agrees(cases: Callable[[bool], Iterator[Case]]) -> Check:
    """Check that a float residual lies in the proved interval, up to its own rounding."""

    def check(residual: Residual, deep: bool) -> str | None:
        for name, proved, problem in cases(deep):
            seen = float(residual(*problem))
            if not proved.contains(seen, SLACK * (1.0 + seen)):
                return f"{name}: {seen:.6e}, proved within [{proved.low:.6e}, {proved.high:.6e}]"
        return None

    return check


def fairgrad_cases(deep: bool) -> Iterator[Case]:
    """With priorities, moved weights, and the two limits by their own problems."""
    for name, A, rng in _matrices(deep):
        p = rng.uniform(0.5, 2.0, size=len(A))
        for alpha in (0.5, 1.0, 3.0, 40.0):
            exact_weights = fairopt.fairgrad(A, alpha, priority=p).weights
            for move in MOVES:
                w = exact_weights * (1.0 + move * rng.uniform(0.0, 1.0, size=len(A)))
                proved = enclose_fairgrad(A, alpha, w, p)
                yield f"{name}, alpha {alpha}, moved {move}", proved, (A, alpha, w, p)
        w = rng.uniform(0.1, 2.0, size=len(A))
        yield f"{name}, alpha 0", enclose_dual_cone(A, p, w), (A, 0.0, w, p)


def min_norm_cases(deep: bool) -> Iterator[Case]:
    """Points of the simplex."""
    for name, A, rng in _matrices(deep):
        best = fairopt.min_norm(A).weights
        for move in MOVES[:3]:
            v = (1.0 - move) * best + move * rng.dirichlet(np.ones(len(A)))
            yield f"{name}, moved {move}", enclose_min_norm(A, v), (A, v)


def dual_cone_cases(deep: bool) -> Iterator[Case]:
    """Projections of random references, moved."""
    for name, A, rng in _matrices(deep):
        r = rng.normal(size=len(A))
        best = fairopt.dual_cone_projection(A, r).weights
        for move in MOVES:
            w = best + move * rng.uniform(-1.0, 1.0, size=len(A))
            yield f"{name}, moved {move}", enclose_dual_cone(A, r, w), (A, r, w)


def certifies_the_gap(residual: Residual, deep: bool) -> str | None:
    """Between what an error of the matrix does exactly, and what a few roundings more would do.

    So it is at least the exact gap for every matrix within the error, and above it by no more than
    the error explains.
    """
    for name, A, rng in _matrices(deep):
        r = rng.uniform(0.5, 2.0, size=len(A))
        for c, error in itertools.product((0.0, 0.4, 1.5), (GRAM_ERROR, COARSE)):
            found = fairopt.conflict_averse(A, c, reference=r, gram_error=error)
            for move in MOVES:
                w = found.weights + move * rng.uniform(-1.0, 1.0, size=len(A))
                seen = float(residual(A, c, w, r, found.dual, error))
                words = _outside(seen, error, (A, c, w, found.dual, r))
                if words is not None:
                    return f"{name}, c {c}, gram_error {error:.1e}, moved {move}: {words}"
    return None


def _outside(
    seen: float, error: float, problem: tuple[Array, float, Array, Any, Array]
) -> str | None:
    """What is wrong with a certified gap, or None."""
    most = error + ROUNDINGS * (len(problem[0]) + 2.0) * EPS
    low = enclose_conflict_averse(*problem, gram_error=error).low
    high = enclose_conflict_averse(*problem, gram_error=most).high
    if low <= seen <= high * (1.0 + SLACK):
        return None
    return f"{seen:.6e}, proved within [{low:.6e}, {high:.6e}]"


def default_reference(residual: Residual, deep: bool) -> str | None:
    """Without a reference the mean is meant; without multipliers those that the weights imply."""
    for name, A, _ in _matrices(deep):
        K = len(A)
        found = fairopt.conflict_averse(A, 0.4)
        seen = float(residual(A, 0.4, found.weights))
        if not seen <= 1e-8:
            return f"{name}: {seen:.1e} at the optimum around the mean"
        mean = np.full(K, 1.0 / K)
        problem = (A, 0.4, mean, np.eye(K)[np.argmin(A @ mean)], mean)
        words = _outside(float(residual(A, 0.4, mean)), GRAM_ERROR, problem)
        if words is not None:
            return f"{name}, the mean: {words}"
    return None


def decides_stationarity(
    certificate: Callable[[Array], fairopt.ParetoCertificate], deep: bool
) -> str | None:
    """Stationary if and only if a convex combination vanishes exactly; weights that show it."""
    for tasks in (1, 2, 3):
        for G in grid((-2, -1, 0, 1, 2) if deep else (-1, 0, 1), tasks):
            found = certificate(G)
            expected = Verdict.NOT_STATIONARY
            if exact.stationary(exact_gram(G)):
                expected = Verdict.STATIONARY
            if found.verdict != expected:
                return f"gradients {G.tolist()}: {Verdict(int(found.verdict)).name}"
            size = float(np.linalg.norm(found.weights @ G))
            if expected is Verdict.STATIONARY and not size <= 1e-7:
                return f"gradients {G.tolist()}: the combination has length {size:.1e}"
            if not (abs(found.weights.sum() - 1.0) <= 1e-12 and found.weights.min() >= 0.0):
                return f"gradients {G.tolist()}: weights {found.weights} are not convex"
            unit = np.where(G.any(axis=1), np.linalg.norm(G, axis=1), 1.0)
            v = found.weights * unit / (found.weights @ unit)
            norm = float(np.linalg.norm(v @ (G / unit[:, None])))
            if G.any(axis=1).all() and not abs(norm - float(found.norm)) <= 1e-7:
                return f"gradients {G.tolist()}: norm {found.norm}, not {norm}"
    return None


def from_gram(G: Array) -> fairopt.ParetoCertificate:
    """The certificate of the Gram matrix."""
    return pareto_certificate(G @ G.T)


def padded(G: Array) -> fairopt.ParetoCertificate:
    """The certificate of a matrix that was made regular first."""
    return pareto_certificate(G @ G.T + 1e-6 * np.eye(len(G)))


def absolute(gram: Array, alpha: float, weights: Array, priority: Array) -> float:
    """The gap in the units of the problem."""
    if alpha == 0.0:
        return fairgrad_residual(gram, alpha, weights, priority)  # type: ignore[return-value]
    return float(np.abs(gram @ weights - (priority / weights) ** (1.0 / alpha)).max())


def first_order(gram: Array, weights: Array) -> float:
    """The Frank-Wolfe gap without its unit."""
    s = gram @ weights
    return float(max(weights @ s - s.min(), 0.0))


def infeasibility(gram: Array, reference: Array, weights: Array) -> float:
    """Conflicts only: any non-conflicting direction passes."""
    return float(np.maximum(-(gram @ weights), 0.0).max() / np.trace(gram))


def gap_of_the_matrix(
    gram: Array, c: float, w: Array, r: Any = None, dual: Any = None, error: float = 0.0
) -> float:
    """The certified gap as if the matrix were exact, to rounding."""
    return float(conflict_averse_residual(gram, c, w, r, dual, 0.0))


def gap_without_the_ball(
    gram: Array, c: float, w: Array, r: Any = None, dual: Any = None, error: float = 0.0
) -> float:
    """The duality gap of a direction that may leave the ball."""
    K = len(gram)
    r = np.full(K, 1.0 / K) if r is None else r
    dual = np.eye(K)[np.argmin(gram @ r)] if dual is None else dual
    square = r @ gram @ r
    value = dual @ gram @ r + c * np.sqrt(square * (dual @ gram @ dual))
    return float(max(value - (gram @ w).min(), 0.0) / max(abs(value), square))


def around_the_first(gram: Array, c: float, w: Array) -> float:
    """The residual for a ball around the first task's gradient where no reference is given."""
    return float(conflict_averse_residual(gram, c, w, np.eye(len(gram))[0]))


def _matrices(deep: bool) -> Iterator[tuple[str, Array, np.random.Generator]]:
    """Gram matrices of well-posed families."""
    for place, family in enumerate((plain, conflicting, mixed_scales)):
        for K in (1, 2, 4):
            for draw in range(20 if deep else 2):
                rng = np.random.default_rng([SEED, 7, place, K, draw])
                G = family(K, rng)
                yield f"{family.__name__} K={K} draw {draw}", np.asarray(G @ G.T), rng


def residual_claim(
    name: str, formula: str, cases: Any, residual: Residual, control: Residual
) -> Claim:
    """The claim about one residual function."""
    return Claim(
        name=name,
        statement=f"the float residual of {residual.__name__} lies within the interval that exact "
        "arithmetic proves, at solutions and away from them",
        formula=formula,
        source=OWN,
        kind=IDENTITY,
        how=INTERVALS,
        scope=FEW,
        deep_scope=MANY,
        check=agrees(cases),
        subject=residual,
        control=control,
    )


INTERVALS = "exact fractions and outward-rounded intervals"
FEW = "18 Gram matrices of 3 families, K = 1, 2, 4, weights moved by 0 to 2"
MANY = FEW.replace("18", "180")
CLAIMS = (
    residual_claim(
        "fairgrad-residual-is-true",
        r"\rho = \max_k \lvert s_k (w_k/p_k)^{1/\alpha} - 1\rvert",
        fairgrad_cases,
        fairgrad_residual,
        absolute,
    ),
    residual_claim(
        "min-norm-residual-is-true",
        r"\rho = \max_k (v^\top A v - (A v)_k)_+ / (S \max(\lVert g_k\rVert, S))",
        min_norm_cases,
        min_norm_residual,
        first_order,
    ),
    residual_claim(
        "dual-cone-residual-is-true",
        r"\rho = \max_k \lvert\min(\lVert g_k\rVert u_k, (A w)_k/\lVert g_k\rVert)\rvert / "
        r"\textstyle\sum_k \lVert g_k\rVert \max(\lvert w_k\rvert, \lvert r_k\rvert)",
        dual_cone_cases,
        dual_cone_residual,
        infeasibility,
    ),
    Claim(
        "conflict-averse-residual-is-certified",
        "the float residual of conflict_averse_residual is at least the exact gap for every Gram "
        "matrix within gram_error, and above that of the given one by no more than the error and "
        "rounding explain",
        r"\rho(A) \le \rho_{\mathrm{float}} \le \rho_{E'}(A),\quad \rho = "
        r"\frac{(\mathrm{dual} - \min_k (A w)_k)_+}{\max(\lvert\mathrm{dual}\rvert, "
        r"\lVert g_0\rVert^2)} + \frac{(\lVert d - g_0\rVert - c\lVert g_0\rVert)_+}"
        r"{\lVert g_0\rVert},\quad E' = E + 4 (K + 2) \varepsilon",
        OWN,
        BOUND,
        INTERVALS,
        f"{FEW}; gram_error 16 eps and {COARSE:g}",
        f"{MANY}; gram_error 16 eps and {COARSE:g}",
        certifies_the_gap,
        conflict_averse_residual,
        gap_without_the_ball,
        (
            Evidence(INTERVALS, certifies_the_gap, conflict_averse_residual, gap_of_the_matrix),
            Evidence("defaults", default_reference, conflict_averse_residual, around_the_first),
        ),
    ),
    Claim(
        "pareto-certificate-decides-exactly",
        "on small whole-number gradients the certificate says stationary if and only if a "
        "convex combination vanishes, and the weights show it",
        r"\mathrm{verdict} = \mathrm{stationary} \iff 0 \in \mathrm{conv}\{g_1, \dots, g_K\}",
        OWN,
        IDENTITY,
        "every instance of a grid, exact fractions",
        "all sets of 1 to 3 gradients in the plane with entries -1..1",
        "all sets of 1 to 3 gradients in the plane with entries -2..2",
        decides_stationarity,
        from_gram,
        padded,
        (
            Evidence(
                "every instance of a grid, exact fractions",
                decides_stationarity,
                pareto_certificate_from_gradients,
                padded,
            ),
        ),
    ),
)
