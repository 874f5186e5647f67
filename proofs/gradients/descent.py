"""What a training step guarantees on smooth losses, and where many steps end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fairopt import fairgrad, min_norm
from fairopt.arrays import Array
from proofs.claim import LIMIT, OWN, TIGHT, Claim, Evidence
from proofs.gradients.problems import SEED

Rule = Callable[[Array, float], Array]
"""From gradients (K, D) and the smoothness constant to a step that is subtracted."""

ALPHAS = (0.5, 1.0, 2.0)
STEPS = 400
ON_THE_FRONT = 1e-3
"""Distance to the Pareto set after the steps, relative to its size."""
ROUNDING = 1e-12
"""Of a loss, relative."""
SOLVED = 1e-9
"""Of the decrease, relative: weights solve the equation to 1e-10, the bound has their powers."""


@dataclass(frozen=True)
class Losses:
    """K smooth losses: values and gradients at a point, and a common smoothness constant.

    `round` losses have that curvature everywhere and in every direction.
    """

    value: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    smoothness: float
    round: bool = False


def fair_step(alpha: float) -> Rule:
    """The step of FairGrad's convergence theorem: nothing at a stationary point."""

    def rule(G: Array, smoothness: float) -> Array:
        found = fairgrad(G @ G.T, alpha)
        if not found.weights.any():
            return np.zeros(G.shape[1])
        w = found.weights
        progress, square = _sums(w, alpha)
        return np.asarray(progress / (smoothness * len(w) * square) * (w @ G))

    return rule


def longer_step(alpha: float) -> Rule:
    """The theorem without the smoothness in its denominator, times three."""
    return lambda G, smoothness: 3.0 * smoothness * fair_step(alpha)(G, 1.0)


def tenth_longer_step(alpha: float) -> Rule:
    """The theorem's step and a tenth: a hundredth of the promised decrease is lost."""
    return lambda G, smoothness: 1.1 * fair_step(alpha)(G, smoothness)


def constant_step(alpha: float) -> Rule:
    """Steps of a fixed rate: the direction does not shrink near the front."""

    def rule(G: Array, smoothness: float) -> Array:
        return np.asarray(0.5 * fairgrad(G @ G.T, alpha).weights @ G / smoothness)

    return rule


def decreases(rule_at: Callable[[float], Rule], deep: bool) -> str | None:
    """The average loss falls by at least (sum s)^2 / (2 L K^2 ||d||^2) in one step.

    Where every loss has the same curvature L in every direction it falls by exactly that.
    """
    for name, losses, x in _problems(deep):
        G = losses.gradient(x)
        for alpha in ALPHAS:
            w = fairgrad(G @ G.T, alpha).weights
            if not w.any():
                continue
            progress, square = _sums(w, alpha)
            bound = progress**2 / (2.0 * losses.smoothness * len(G) ** 2 * square)
            before = losses.value(x).mean()
            drop = before - losses.value(x - rule_at(alpha)(G, losses.smoothness)).mean()
            slack = ROUNDING * max(abs(before), 1.0) + SOLVED * bound
            if not (drop >= bound - slack and (drop <= bound + slack or not losses.round)):
                return f"{name}, alpha {alpha}: the mean falls by {drop:.3e}, not {bound:.3e}"
    return None


def reaches_the_front(rule_at: Callable[[float], Rule], deep: bool) -> str | None:
    """On distances to K points the mean never rises and the walk ends in their convex hull."""
    rng = np.random.default_rng(SEED)
    for draw in range(20 if deep else 4):
        points = rng.normal(size=(3, 3))
        losses, start = _distances(points), points.mean(axis=0) + 3.0 * rng.normal(size=3)
        for alpha in ALPHAS:
            x, rule, last = start, rule_at(alpha), losses.value(start).mean()
            for _ in range(STEPS):
                x = x - rule(losses.gradient(x), losses.smoothness)
                mean = losses.value(x).mean()
                if not mean <= last + ROUNDING * max(last, 1.0):
                    return f"draw {draw}, alpha {alpha}: the mean loss rises to {mean:.6f}"
                last = mean
            off = _to_hull(points, x) / float(np.ptp(points))
            if not off <= ON_THE_FRONT:
                return f"draw {draw}, alpha {alpha}: ends at {off:.1e} from the Pareto set"
    return None


def _sums(w: Array, alpha: float) -> tuple[float, float]:
    """Progress summed over the tasks, and the squared length of the direction."""
    return float((w ** (-1 / alpha)).sum()), float((w ** (1 - 1 / alpha)).sum())


def _to_hull(points: Array, x: Array) -> float:
    """Distance of x to the convex hull of the points."""
    G = x - points
    return float(np.linalg.norm(min_norm(G @ G.T).weights @ G))


def _problems(deep: bool) -> Iterator[tuple[str, Losses, Array]]:
    """Quadratics, log-cosh losses and squared distances at random points."""
    rng = np.random.default_rng(SEED)
    for draw in range(300 if deep else 30):
        K, D = int(rng.integers(2, 5)), int(rng.integers(2, 6))
        targets, maps = rng.normal(size=(K, D)), rng.normal(size=(K, D, D))
        yield f"quadratic {draw}", _quadratics(maps, targets), rng.normal(size=D)
        yield f"log-cosh {draw}", _log_cosh(maps, targets), rng.normal(size=D)
        yield f"distances {draw}", _distances(targets), rng.normal(size=D)


def _distances(points: Array) -> Losses:
    """Half the squared distance to every point; the Pareto set is their convex hull."""
    return Losses(
        lambda x: 0.5 * ((x - points) ** 2).sum(axis=1),
        lambda x: np.asarray(x - points),
        1.0,
        round=True,
    )


def _quadratics(maps: Array, targets: Array) -> Losses:
    """||M_k (x - t_k)||^2 / 2."""
    residuals, top = _linear(maps, targets)
    return Losses(
        lambda x: 0.5 * (residuals(x) ** 2).sum(axis=1),
        lambda x: np.asarray(np.einsum("kij,ki->kj", maps, residuals(x))),
        top,
    )


def _log_cosh(maps: Array, targets: Array) -> Losses:
    """Sum log cosh M_k (x - t_k), whose curvature is at most that of the quadratic."""
    residuals, top = _linear(maps, targets)

    def value(x: Array) -> Array:
        r = np.abs(residuals(x))
        return np.asarray((r + np.log1p(np.exp(-2.0 * r)) - np.log(2.0)).sum(axis=1))

    return Losses(
        value, lambda x: np.asarray(np.einsum("kij,ki->kj", maps, np.tanh(residuals(x)))), top
    )


def _linear(maps: Array, targets: Array) -> tuple[Callable[[Array], Array], float]:
    """The residuals M_k (x - t_k) as a function of x, and the largest ||M_k||^2."""

    def residuals(x: Array) -> Array:
        return np.asarray(np.einsum("kij,kj->ki", maps, x - targets))

    return residuals, max(float(np.linalg.norm(m, 2)) ** 2 for m in maps)


THEOREM = "FairGrad, arXiv 2402.15638, convergence theorem; step size and constant re-derived"
CLAIMS: tuple[Claim, ...] = (
    Claim(
        "fairgrad-step-decreases-the-mean-loss",
        "with the theorem's step size one step lowers the average of K smooth losses by at least "
        "the stated amount, and by exactly that for squared distances",
        r"\bar L(x) - \bar L(x - \eta d) \ge \frac{(\sum_k w_k^{-1/\alpha})^2}"
        r"{2 L K^2 \sum_k w_k^{1-1/\alpha}},\quad "
        r"\eta = \frac{\sum_k w_k^{-1/\alpha}}{L K \sum_k w_k^{1-1/\alpha}}",
        f"{THEOREM}; {OWN}",
        TIGHT,
        "one step on quadratics, log-cosh losses and squared distances",
        "90 problems, K 2..4, alpha 1/2, 1, 2",
        "900 problems, K 2..4, alpha 1/2, 1, 2",
        decreases,
        fair_step,
        tenth_longer_step,
    ),
    Claim(
        "fairgrad-steps-end-on-the-front",
        "on distances to three points the mean loss never rises and the steps end in the Pareto "
        "set, their convex hull",
        r"\bar L(x_{t+1}) \le \bar L(x_t),\quad "
        r"\mathrm{dist}(x_t, \mathrm{conv}\{a_1, \dots, a_K\}) \to 0",
        THEOREM,
        LIMIT,
        f"{STEPS} steps, known Pareto set",
        "4 problems, alpha 1/2, 1, 2; distance 1e-3 of the size of the set",
        "20 problems, alpha 1/2, 1, 2",
        reaches_the_front,
        fair_step,
        constant_step,
        (Evidence("known Pareto set", reaches_the_front, fair_step, longer_step),),
    ),
)
