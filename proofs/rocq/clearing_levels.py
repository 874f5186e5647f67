"""Rule CLW from its definition, in exact numbers: slow, and written without the proofs.

For clients that do at most one task. The proved rule (`ClearingLevels.v`) enumerates the prices at
which something changes; here an outsiders' price is searched with infinitesimals instead, so that
two mistakes are unlikely to agree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms import Outcome

Quota = tuple[int, ...]
"""How many clients every task wants."""
Germ = tuple[Any, Any]
"""A number and a multiple of an infinitesimal: a function's value and slope to one side."""
Row = list[tuple[int, Germ]]
"""Tasks that a client does, and (bid, number that breaks ties)."""


def clearing_levels(bids: Any, budget: Any) -> Outcome:
    """Recruit for every task at the level and the prices that the other clients' bids give.

    Client i, from the bids of the others only: at level k every task wants k clients, outsiders do
    any task at a price, and the cap is the largest price at which k clients at the marginal prices,
    and what unequal counts cost beyond, are within the budget. A level is open if at its cap the
    others fill all places but one without outsiders. At the largest open level client i may take a
    task s at what the places cost the others, less what they cost without one place of s.

    Args:
        bids: (N, S) fractions, inf = does not bid.
        budget: B, a fraction.

    Returns:
        Outcome; `level` is the largest level of any client.

    Example:
        >>> everybody_free = np.full((4, 2), Fraction(0), dtype=object)
        >>> outcome = clearing_levels(everybody_free, Fraction(4))
        >>> outcome.winners.sum(axis=0), str(outcome.spend)
        (array([2, 2]), '4')
    """
    return recruit(Market, bids, budget)


def recruit(market: Callable[[list[Row], int, int], Market], bids: Any, budget: Any) -> Outcome:
    """The same, given what makes a market of the other clients."""
    num_clients, num_tasks = bids.shape
    rows = [_row(i, bids[i]) for i in range(num_clients)]
    winners = np.zeros(bids.shape, dtype=bool)
    payments = np.full(bids.shape, Fraction(0), dtype=object)
    largest = 0
    for i, own in enumerate(rows):
        others = market(rows[:i] + rows[i + 1 :], num_tasks, num_clients // num_tasks)
        level, cap = others.clearing(budget)
        largest = max(largest, level)
        found = others.served(own, level, cap) if level else None
        if found is not None:
            winners[i, found[0]], payments[i, found[0]] = True, found[1]
    return Outcome(winners, payments, np.full(num_tasks, largest))


def _row(client: int, bids: Any) -> Row:
    """What a client does, with powers of two that make every sum of bids different."""
    power = client * len(bids)
    return [(s, (bid, 2 ** (power + s))) for s, bid in enumerate(bids) if bid != math.inf]


def _sum(a: Germ, b: Germ) -> Germ:
    return (a[0] + b[0], a[1] + b[1])


def _less(a: Germ, b: Germ) -> Germ:
    return (a[0] - b[0], a[1] - b[1])


def _times(n: Any, a: Germ) -> Germ:
    return (n * a[0], n * a[1])


def _least(amounts: Iterable[Germ]) -> Germ | None:
    return min(amounts, default=None)


class Market:
    """What quotas cost some clients, each of whom does at most one task.

    Args:
        rows: What they do.
        num_tasks: S.
        top: Largest level that is asked about.
        slack: Whether the spend bound allows for unequal counts.
    """

    def __init__(self, rows: list[Row], num_tasks: int, top: int, *, slack: bool = True) -> None:
        self.num_tasks, self.top, self.slack = num_tasks, top, slack
        self.cost: dict[Quota, Germ] = {(0,) * num_tasks: (Fraction(0), 0)}
        for row in rows:
            self.cost = self._with(row)
        self.by_price: dict[Quota, list[tuple[int, Any]]] = {}

    def _with(self, row: Row) -> dict[Quota, Germ]:
        """The costs with one more client, of quotas up to one above the top."""
        found = dict(self.cost)
        for quota, cost in self.cost.items():
            for task, bid in row:
                wanted = _change(quota, task, 1)
                if quota[task] <= self.top:
                    total = _sum(cost, bid)
                    found[wanted] = min(found.get(wanted, total), total)
        return found

    def level(self, k: int) -> Quota:
        """The same quota for every task."""
        return (k,) * self.num_tasks

    def around(self, k: int, step: int) -> list[Quota]:
        """A level with one place of one task more or less."""
        return [_change(self.level(k), s, step) for s in range(self.num_tasks)]

    def at(self, quota: Quota, price: Germ | None) -> Germ | None:
        """The cost in money with outsiders at a price; None is no outsiders, or infinite."""
        if price is None:
            return (self.cost[quota][0], 0) if quota in self.cost else None
        return _least(_sum((cost, 0), _times(j, price)) for j, cost in self._lines(quota))

    def _lines(self, quota: Quota) -> list[tuple[int, Any]]:
        """How many places outsiders may take, and the least cost of the others."""
        if quota not in self.by_price:
            least: dict[int, Any] = {}
            for kept in itertools.product(*(range(q + 1) for q in quota)):
                if kept in self.cost:
                    j, cost = sum(quota) - sum(kept), self.cost[kept][0]
                    least[j] = min(least.get(j, cost), cost)
            self.by_price[quota] = list(least.items())
        return self.by_price[quota]

    def spend(self, k: int, price: Germ | None) -> Germ | None:
        """The spend bound of a level at a price of outsiders."""
        here = self.at(self.level(k), price)
        above = [cost for q in self.around(k, 1) if (cost := self.at(q, price)) is not None]
        under = [cost for q in self.around(k, -1) if (cost := self.at(q, price)) is not None]
        if here is None or len(above) < self.num_tasks:
            return None
        prices = sorted(_less(cost, here) for cost in above)
        marginals = sorted((_less(here, cost) for cost in under), reverse=True)
        return _bound(k, prices, marginals if self.slack else [])

    def cap(self, k: int, budget: Any) -> Any:
        """The largest price of outsiders at which the bound is in the budget; None: no limit."""
        free = self.spend(k, None)
        if free is not None and free[0] <= budget:
            return None
        return _last_within(lambda price: self.spend(k, price), budget)

    def clearing(self, budget: Any) -> tuple[int, Any]:
        """The largest open level and its cap; (0, None) if none is open."""
        for k in range(self.top, 0, -1):
            short = self.around(k, -1)
            if all(q in self.cost for q in short):
                cap = self.cap(k, budget)
                price = None if cap is None else (cap, 0)
                if all(self.at(q, price) == (self.cost[q][0], 0) for q in short):
                    return k, cap
        return 0, None

    def served(self, own: Row, k: int, cap: Any) -> tuple[int, Any] | None:
        """The task that a client takes and its price, or None."""
        worth = self.at(self.level(k), None if cap is None else (cap, 0))
        short = self.around(k, -1)
        best = _least((_sum(self.cost[short[s]], bid), s) for s, bid in own)
        if best is None or worth is None:
            return None
        (total, s), alone = best, self.cost.get(self.level(k))
        insiders = alone is not None and alone[0] == worth[0]
        taken = total < alone if insiders else total[0] <= worth[0]
        return (s, worth[0] - self.cost[short[s]][0]) if taken else None


def _change(quota: Quota, task: int, step: int) -> Quota:
    """A quota with some places of one task more."""
    return (*quota[:task], quota[task] + step, *quota[task + 1 :])


def _bound(k: int, prices: list[Germ], marginals: list[Germ]) -> Germ:
    """All places at their prices, and the dearest marginals for the cheapest prices."""
    size = len(prices)
    total = (Fraction(0), Fraction(0))
    for price in prices:
        total = _sum(total, _times(k, price))
    dear = (m for m in marginals for _ in range(size - 1))
    cheap = (p for p in prices for _ in range(min(k, size)))
    for gain, loss in itertools.islice(zip(dear, cheap, strict=False), size * (size // 2)):
        total = _sum(total, max((0, 0), _less(gain, loss)))
    return total


def _last_within(spend: Callable[[Germ], Any], budget: Any) -> Any:
    """The largest price at which a growing, continuous function made of lines is in the budget."""
    low, high = Fraction(0), Fraction(1)
    while spend((high, 1)) <= (budget, 0):
        low, high = high, 2 * high
    while True:
        for found in _guesses(spend, low, high, budget):
            if found is not None and low <= found <= high:
                value, slope = spend((found, 1))
                if value == budget and slope > 0:
                    return found
        middle = (low + high) / 2
        low, high = (middle, high) if spend((middle, 1)) <= (budget, 0) else (low, middle)


def _guesses(spend: Callable[[Germ], Any], low: Any, high: Any, budget: Any) -> Iterator[Any]:
    """Where the lines at the two ends of an interval meet the budget."""
    for end, side in ((low, 1), (high, -1)):
        value, change = spend((end, side))
        yield end + side * (budget - value) / change if change else None
