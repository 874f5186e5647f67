"""Random misreports for searches: near the places where an auction's decisions change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALED = 0.25
"""Share of joint reports that scale all bids alike."""


def random_reports(
    bids: NDArray[Any],
    client: int,
    count: int,
    joint: bool,
    rng: np.random.Generator,
    prices: Sequence[Any] = (),
) -> list[tuple[Any, ...]]:
    """Misreports near the places where decisions change.

    Each varied bid is another client's bid for the task, a price that was paid, a hair below or
    above one of these, nothing, not bidding, or the truth times a random factor. One joint report
    in four moves all bids by the same factor. Tasks that the client does not bid on stay so.

    Args:
        bids: (N, S) profile.
        client: Whose reports.
        count: How many.
        joint: Vary several bids together.
        rng: Draws them.
        prices: Amounts that were paid on the profile.
    """
    truth = bids[client]
    tasks = np.flatnonzero(np.asarray(truth < math.inf, dtype=bool))
    reports = []
    for _ in range(count if len(tasks) else 0):
        report = list(truth)
        varied = tasks[rng.random(len(tasks)) < (0.6 if joint else 0.0)]
        if joint and rng.random() < SCALED:
            factor = _random_factor(truth[tasks[0]], rng)
            for task in tasks:
                report[task] = truth[task] * factor
        else:
            for task in varied if len(varied) else [rng.choice(tasks)]:
                report[task] = _random_bid([*bids[:, task], *prices], truth[task], rng)
        reports.append(tuple(report))
    return reports


def _random_bid(near: Sequence[Any], truth: Any, rng: np.random.Generator) -> Any:
    """One random bid of the same number type as the truth."""
    number = Fraction if isinstance(truth, Fraction) else float
    other, kind = near[int(rng.integers(len(near)))], rng.random()
    if kind < 0.05:
        return number(0) if kind < 0.025 else math.inf
    if kind < 0.55 and other < math.inf:
        nudge = 1 + int(rng.integers(-1, 2)) * Fraction(1, 1024)
        return number(other) * (nudge if number is Fraction else float(nudge))
    return truth * _random_factor(truth, rng)


def _random_factor(truth: Any, rng: np.random.Generator) -> Any:
    """Between 0 and 3, of the same number type as the truth."""
    number = Fraction if isinstance(truth, Fraction) else float
    return number(Fraction(float(rng.uniform(0.0, 3.0))).limit_denominator(1024))
