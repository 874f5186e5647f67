"""Exact auctions on which the claims are checked: complete grids and seeded random ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms import Outcome

NO_BID = math.inf
Bids = NDArray[Any]
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Grid:
    """All profiles of a few clients whose bids come from a few values.

    Args:
        clients: N.
        tasks: S.
        values: Bids; `NO_BID` among them lets clients abstain.
        budget: B.
    """

    clients: int
    tasks: int
    values: tuple[Any, ...]
    budget: int

    def rows(self) -> list[Row]:
        """Every row of bids of one client."""
        return list(itertools.product(self.values, repeat=self.tasks))

    def profiles(self) -> Iterator[tuple[Row, ...]]:
        """Every profile, a row per client."""
        return itertools.product(self.rows(), repeat=self.clients)


GRIDS = (
    Grid(3, 2, (0, 1, 3), 5),
    Grid(2, 2, (0, 1, 2, NO_BID), 3),
    Grid(2, 3, (0, 1, NO_BID), 4),
)
"""1,714 profiles: seconds."""
DEEP_GRIDS = (
    *GRIDS,
    Grid(3, 2, (0, 1, 2, NO_BID), 2),
    Grid(3, 2, (0, 1, 2, NO_BID), 5),
    Grid(4, 2, (0, 1, 2), 4),
    Grid(4, 1, (0, 1, 2, 5, NO_BID), 6),
    Grid(3, 3, (0, 2), 3),
)
"""17,604 profiles: minutes."""


def size(grids: Iterable[Grid]) -> int:
    """Number of profiles.

    Example:
        >>> size(GRIDS), size(DEEP_GRIDS)
        (1714, 17604)
    """
    return sum(len(grid.rows()) ** grid.clients for grid in grids)


def exact_table(rows: Iterable[Iterable[Any]]) -> Bids:
    """A table of exact bids from numbers, fractions in words, and `NO_BID` or "-"."""
    cells = [[_cell(value) for value in row] for row in rows]
    table = np.empty((len(cells), len(cells[0])), dtype=object)
    for i, row in enumerate(cells):
        table[i] = row
    return table


def _cell(value: Any) -> Any:
    """One exact bid."""
    return math.inf if value in ("-", math.inf) else Fraction(value)


def remembered(mechanism: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """The same function of exact bids, budget and reserve, run once for each: grids repeat them.

    Example:
        >>> from mechanisms import budget_fair
        >>> bids = exact_table([(0,), (1,)])
        >>> once = remembered(budget_fair)
        >>> once(bids, 3) is once(bids.copy(), 3)
        True
    """

    @cache
    def run(rows: tuple[Row, ...], budget: Any, reserve: Row | None) -> Outcome:
        table = exact_table(rows)
        if reserve is None:
            return mechanism(table, budget)
        return mechanism(table, budget, reserve=exact_table([reserve])[0])

    def rule(bids: Bids, budget: Any, reserve: Any = None) -> Outcome:
        prices = None if reserve is None else tuple(reserve)
        return run(tuple(map(tuple, bids.tolist())), budget, prices)

    return rule


def random_auctions(
    count: int, seed: int, *, single_task: bool = False, least_tasks: int = 1
) -> Iterator[tuple[Bids, Fraction]]:
    """Seeded random auctions: up to 8 clients and 4 tasks, frequent ties, missing bids.

    Args:
        count: How many.
        seed: Of the generator.
        single_task: Let every client bid on one task only.
        least_tasks: Smallest number of tasks, up to 4.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        clients, tasks = int(rng.integers(1, 9)), int(rng.integers(least_tasks, 5))
        costs = rng.integers(0, rng.integers(2, 12), size=(clients, tasks))
        away = rng.random((clients, tasks)) < rng.choice([0.0, 0.0, 0.2])
        if single_task:
            away = rng.integers(tasks, size=(clients, 1)) != np.arange(tasks)
        scale = int(rng.integers(1, 4))
        table = exact_table(
            [NO_BID if gone else Fraction(int(a), scale) for a, gone in zip(*row, strict=True)]
            for row in zip(costs, away, strict=True)
        )
        budget = Fraction(int(rng.integers(1, 4 * clients * tasks + 2)), int(rng.integers(1, 3)))
        yield table, budget
