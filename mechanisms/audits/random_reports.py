"""Random misreports for searches: near the places where an auction's decisions change."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray


def random_reports(
    bids: NDArray[Any], client: int, count: int, joint: bool, rng: np.random.Generator
) -> list[tuple[Any, ...]]:
    """Misreports near the places where decisions change: others' bids, and multiples of the truth.

    Each varied bid is another client's bid for the task, a hair below or above it, or the truth
    times a random factor. Tasks that the client does not bid on stay so.
    """
    truth = bids[client]
    tasks = np.flatnonzero(np.asarray(truth < math.inf, dtype=bool))
    reports = []
    for _ in range(count if len(tasks) else 0):
        report = list(truth)
        varied = tasks[rng.random(len(tasks)) < (0.6 if joint else 0.0)]
        for task in varied if len(varied) else [rng.choice(tasks)]:
            report[task] = _random_bid(bids[:, task], truth[task], rng)
        reports.append(tuple(report))
    return reports


def _random_bid(column: NDArray[Any], truth: Any, rng: np.random.Generator) -> Any:
    """One random bid of the same number type as the truth."""
    number = Fraction if isinstance(truth, Fraction) else float
    other = column[rng.integers(len(column))]
    if rng.random() < 0.5 and other < math.inf:
        nudge = 1 + int(rng.integers(-1, 2)) * Fraction(1, 1024)
        return other * (nudge if number is Fraction else float(nudge))
    return truth * number(Fraction(float(rng.uniform(0.0, 3.0))).limit_denominator(1024))
