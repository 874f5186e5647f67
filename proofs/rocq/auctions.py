"""Exact auctions on which the proved rule and the code are compared."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from proofs.incentives.instances import NO_BID, Row

KINDS = ("whole", "thirds", "decimals", "steps")
"""How the bids of an auction are drawn: few values, so that ties are common."""


@dataclass(frozen=True)
class ExactAuction:
    """One auction, with a reserve price and capacities for the rules that know them.

    Args:
        bids: A row per client of fractions, `NO_BID` where it does not bid.
        budget: B.
        reserve: A price per task, `NO_BID` for none; or None.
        capacities: Tasks that every client can serve.
    """

    bids: tuple[Row, ...]
    budget: Fraction
    reserve: Row | None
    capacities: tuple[int, ...]

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.bids[0])

    def __str__(self) -> str:
        rows = " ".join("(" + ", ".join(map(_word, row)) + ")" for row in self.bids)
        reserve = "" if self.reserve is None else f", reserve {', '.join(map(_word, self.reserve))}"
        return f"bids {rows}, budget {self.budget}{reserve}"


def draw_auction(rng: random.Random) -> ExactAuction:
    """Up to 7 clients and 4 tasks; ties, missing bids, single-task clients and reserves common.

    Example:
        >>> auction = draw_auction(random.Random(0))
        >>> len(auction.bids) == len(auction.capacities) and auction.budget > 0
        True
    """
    clients, tasks = rng.randint(1, 7), rng.choice([1, 1, 2, 2, 3, 4])
    kind, away = rng.choice(KINDS), rng.choice([0.0, 0.0, 0.2, 0.5])
    bids = [[_draw(rng, kind, away) for _ in range(tasks)] for _ in range(clients)]
    if rng.random() < 0.15:
        bids = [_one_task(rng, row) for row in bids]
    total = sum((bid for row in bids for bid in row if bid != NO_BID), Fraction(0))
    share = Fraction(rng.randint(1, 16), rng.choice([8, 12, 16]))
    budget = max(Fraction(1, 7), total * share)
    if rng.random() < 0.5:
        budget = Fraction(math.ceil(budget))
    reserve = tuple(_draw(rng, kind, 0.3) for _ in range(tasks)) if rng.random() < 0.25 else None
    capacities = tuple(rng.randint(0, tasks) for _ in range(clients))
    return ExactAuction(tuple(map(tuple, bids)), budget, reserve, capacities)


def _draw(rng: random.Random, kind: str, away: float) -> Any:
    """One bid."""
    if rng.random() < away:
        return NO_BID
    if kind == "whole":
        return Fraction(rng.randint(0, 3))
    if kind == "thirds":
        return Fraction(rng.randint(0, 12), rng.choice([1, 2, 3]))
    if kind == "decimals":
        return Fraction(rng.random()).limit_denominator(97)
    return Fraction(rng.choice([0, 0, 1, 5, 5, 7]), rng.choice([1, 1, 2]))


def _one_task(rng: random.Random, row: list[Any]) -> list[Any]:
    """A row with all bids but one taken away."""
    keep = rng.randrange(len(row))
    return [bid if task == keep else NO_BID for task, bid in enumerate(row)]


def _word(amount: Any) -> str:
    """An amount, or a dash."""
    return "-" if amount == NO_BID else str(amount)
