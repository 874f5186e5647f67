"""Whose clients, and how much fairness: what progress and the suggested alpha promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from fairopt import client_task_probabilities, learning_progress, suggest_alpha
from fairopt.arrays import Array
from proofs.claim import BOUND, IDENTITY, LIMIT, OWN, Claim

SEED = 20240413
DIGITS = 1e-12
"""Relative rounding of means of a few dozen numbers."""
ROOT = 1e-9
"""Of a share: what rounding of alpha leaves at ratios of losses up to 1e6."""
LONG = 4_000
"""Trainings after which the means over quarters are those of the limit, to one in a thousand."""
LIMIT_ERROR = 3e-3
LEAST = Fraction(1, 1000)

Progress = Callable[[Array], float]
Suggest = Callable[..., float]


def is_its_definition(progress: Progress, deep: bool) -> str | None:
    """The largest of the fall between quarters, its standard error, a thousandth of the last."""
    rng = np.random.default_rng(SEED)
    for _ in range(2000 if deep else 200):
        counts = rng.integers(0, 65, size=int(rng.integers(4, 30)))
        curve = [Fraction(int(x), 64) for x in counts]
        n = len(curve)
        second, last = curve[n // 4 : n // 2], curve[3 * n // 4 :]
        fall = sum(second) / len(second) - sum(last) / len(last)
        steps = [(b - a) ** 2 for a, b in zip(curve[n // 4 : -1], curve[n // 4 + 1 :], strict=True)]
        square = sum(steps) / (2 * len(steps)) * (Fraction(1, len(second)) + Fraction(1, len(last)))
        claimed = max(float(fall), float(square) ** 0.5, float(LEAST * curve[-1]))
        seen = progress(counts / 64.0)
        if not abs(seen - claimed) <= DIGITS:
            return f"errors {counts.tolist()} of 64: {seen}, not {claimed}"
    return None


def is_the_excess(progress: Progress, deep: bool) -> str | None:
    """Ratios of what is left of power laws, whatever their floors and numbers of trainings."""
    rng = np.random.default_rng(SEED)
    for _ in range(100 if deep else 10):
        b = rng.uniform(0.2, 1.0)
        c, floor = rng.uniform(0.3, 1.0, 2), rng.uniform(0.0, 0.05, 2)
        n = np.array([LONG, int(rng.integers(LONG, 4 * LONG))])
        seen = [
            progress(f + a * np.arange(1.0, m + 1.0) ** -b)
            for a, f, m in zip(c, floor, n, strict=True)
        ]
        left = c * n**-b
        if not abs(seen[0] / seen[1] * left[1] / left[0] - 1.0) <= LIMIT_ERROR:
            return f"exponent {b:.2f}, floors {floor.round(3)}: ratio {seen[0] / seen[1]:.3f}"
    return None


def latest_error(errors: Array) -> float:
    """What FedFairMMFL goes by."""
    return float(errors[-1])


def halves(errors: Array) -> float:
    """The fall between halves, without a standard error."""
    n = len(errors)
    return float(errors[: n // 2].mean() - errors[n // 2 :].mean())


def gives_the_share(suggest: Suggest, deep: bool) -> str | None:
    """The wanted share of the hardest task strictly inside, less at the top, more at 1."""
    for losses, priority, share, largest in instances(deep):
        alpha = suggest(losses, share=share, largest=largest, priority=priority)
        p = client_task_probabilities(losses, alpha, priority=priority)
        seen = max(p[losses == losses.max()])
        low = alpha <= 1.0 or seen <= share + ROOT
        high = alpha >= largest or seen >= share - ROOT
        if not (1.0 <= alpha <= largest and low and high):
            return f"losses {losses}, share {share}: alpha {alpha} gives {seen}"
    return None


def instances(deep: bool) -> Iterator[tuple[Array, Array, float, float]]:
    """Losses over six decades, some alike; priorities; shares; ends."""
    rng = np.random.default_rng(SEED)
    for _ in range(3000 if deep else 300):
        S = int(rng.integers(1, 8))
        losses = 10.0 ** rng.integers(-3, 4, S) * rng.choice([1.0, 1.1], S)
        yield losses, rng.uniform(0.2, 5.0, S), rng.uniform(0.05, 0.95), rng.uniform(1.0, 12.0)


def without_priority(losses: Any, **options: Any) -> float:
    """Priorities forgotten."""
    return suggest_alpha(losses, share=options["share"], largest=options["largest"])


CLAIMS = (
    Claim(
        "learning-progress-is-its-definition",
        "learning progress is the fall of the error between the second and the last quarter of a "
        "task's trainings, but at least its standard error and a thousandth of the latest error",
        r"g = \max\big(\bar e_2 - \bar e_4, \sigma \sqrt{1/n_2 + 1/n_4}, 10^{-3} e_n\big)",
        OWN,
        IDENTITY,
        "the definition in fractions",
        "200 curves of 4 to 29 errors in 64ths",
        "2,000 curves of 4 to 29 errors in 64ths",
        is_its_definition,
        learning_progress,
        halves,
    ),
    Claim(
        "learning-progress-does-not-see-the-floor",
        "where errors fall by power laws with one exponent, ratios of progress tend to those of "
        "the error above the floors: a task that cannot be learnt further draws no clients for "
        "being bad",
        r"e_j = \phi_s + c_s j^{-b} \Rightarrow \frac{g_s}{g_t} \to "
        r"\frac{c_s n_s^{-b}}{c_t n_t^{-b}}",
        OWN,
        LIMIT,
        "pairs of power laws, relative error 3e-3",
        "10 pairs of 4,000 to 16,000 trainings, exponents 0.2 to 1, floors to 0.05",
        "100 pairs of 4,000 to 16,000 trainings, exponents 0.2 to 1, floors to 0.05",
        is_the_excess,
        learning_progress,
        latest_error,
    ),
    Claim(
        "suggested-alpha-gives-the-share",
        "with the suggested alpha the hardest task gets the wanted share of the clients; less only "
        "where alpha is the largest allowed, more only where alpha is 1",
        r"1 < \alpha < \bar\alpha \Rightarrow p_h(\alpha) = \sigma",
        OWN,
        BOUND,
        "the allocation itself, shares to 1e-9",
        "300 vectors of up to 7 losses over six decades, with priorities",
        "3,000 vectors of up to 7 losses over six decades, with priorities",
        gives_the_share,
        suggest_alpha,
        without_priority,
    ),
)
