"""Misreports at thresholds: where what a client wins changes as its bids move along a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = tuple[Any, ...]

PARTS = 4
"""Pieces of a line whose ends are compared."""
HALVINGS = 16
"""Of a piece on which something changes."""
POLISHING = 22
"""Halvings of the way that one bid goes."""


def threshold_reports(
    wins: Callable[[Row], Any], bids: NDArray[Any], budget: Any, client: int, joint: bool, runs: int
) -> tuple[list[Row], int]:
    """Reports on both sides of every change that is found, and how many runs it took.

    From the truth, every bid goes down to nothing and up to twice the largest amount there is, one
    at a time, and all together if asked; where the tasks that the client wins differ at two points,
    their middle is looked at, and so on. A payment for which a client would rather bid otherwise
    gains most just there, and a search that draws at random rarely comes as near.

    Args:
        wins: What the client wins with a report, comparable by ==.
        bids: (N, S) true costs.
        budget: Money available.
        client: Whose reports.
        joint: Also move all bids together.
        runs: At most so many calls of `wins`.

    Example:
        >>> bids = np.array([[1.0], [3.0]])
        >>> reports, spent = threshold_reports(lambda row: row[0] < 3.0, bids, 4.0, 0, False, 100)
        >>> [f"{row[0]:.3f}" for row in reports], spent
        (['3.000', '3.000'], 25)
    """
    seen: dict[Row, Any] = {}

    def looked_up(row: Row) -> Any:
        if row not in seen:
            seen[row] = wins(row)
        return seen[row]

    truth = tuple(bids[client])
    found: list[Row] = []
    for end in _ends(bids, budget, truth, joint):
        points = [_between(truth, end, Fraction(k, PARTS)) for k in range(PARTS + 1)]
        for pair in pairwise(points):
            if len(seen) + HALVINGS + 2 > runs:
                return found, len(seen)
            found.extend(_change(looked_up, *pair))
    return found, len(seen)


def polished(
    gains: Callable[[Row], tuple[Any, Any]], bids: NDArray[Any], budget: Any, report: Row, runs: int
) -> tuple[Row, Any, int]:
    """A report that gains at least as much as a given one, its gain, and how many runs it took.

    Each bid in turn goes up and down as far as the client still wins the same tasks, by bisection;
    what gains most is kept. For a rule that pays what is bid this ends just below the threshold.

    Args:
        gains: What the client wins with a report, comparable by ==, and its gain over the truth.
        bids: (N, S) true costs.
        budget: Money available.
        report: Where to start.
        runs: At most so many calls of `gains`, and one more.

    Example:
        >>> bids = np.array([[1.0], [3.0]])
        >>> rule = lambda row: (row[0] < 3.0, row[0] - 1.0 if row[0] < 3.0 else 0.0)
        >>> report, gain, spent = polished(rule, bids, 4.0, (1.5,), 100)
        >>> f"{report[0]:.4f} {gain:.4f}", spent
        ('3.0000 2.0000', 45)
    """
    won, best = gains(report)
    spent = 1
    for task, bid in enumerate(report):
        for end in _limits(bids, budget) if bid < math.inf else ():
            if spent + POLISHING > runs:
                return report, best, spent
            low = report
            high = tuple(end if place == task else each for place, each in enumerate(report))
            for _ in range(POLISHING):
                middle = _between(low, high, Fraction(1, 2))
                wins, gain = gains(middle)
                spent += 1
                low, high = (middle, high) if wins == won else (low, middle)
                if wins == won and gain > best:
                    report, best = middle, gain
                if low == high:
                    break
    return report, best, spent


def _limits(bids: NDArray[Any], budget: Any) -> tuple[Any, Any]:
    """Nothing, and twice the largest amount there is, in the arithmetic of the bids."""
    number = Fraction if isinstance(budget, int | Fraction) and bids.dtype == object else float
    far = 2 * max([number(budget), *(number(x) for x in bids.flat if x < math.inf)])
    return far, number(0)


def _ends(bids: NDArray[Any], budget: Any, truth: Row, joint: bool) -> Iterator[Row]:
    """Ends of the lines that start at the truth."""
    far, nothing = _limits(bids, budget)
    tasks = [task for task, bid in enumerate(truth) if bid < math.inf]
    groups = [[task] for task in tasks] + ([tasks] if joint and len(tasks) > 1 else [])
    for group in groups:
        for end in (nothing, far):
            yield tuple(end if task in group else bid for task, bid in enumerate(truth))


def _between(low: Row, high: Row, part: Fraction) -> Row:
    """The point of a line; what does not move stays as it is."""
    return tuple(
        a if a == b else a + (b - a) * _like(a, part) for a, b in zip(low, high, strict=True)
    )


def _like(value: Any, part: Fraction) -> Any:
    """A fraction in the arithmetic of a bid."""
    return float(part) if isinstance(value, float | np.floating) else part


def _change(wins: Callable[[Row], Any], low: Row, high: Row) -> list[Row]:
    """Two neighbours of a change between two points, or none."""
    before = wins(low)
    if before == wins(high):
        return []
    for _ in range(HALVINGS):
        middle = _between(low, high, Fraction(1, 2))
        if wins(middle) == before:
            low = middle
        else:
            high = middle
    return [low, high]
