"""The capacity auction word for word: every client's menu from the others' bids, by brute force.

Slow and evident, for clients that do at most one task. Assignments are found by a table over all
quotas, client by client, and the cap by bisection, so nothing is shared with the code under test
but `spend_bound`, which has a test of its own.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from mechanisms.auctions.exact.perturbed import Perturbed
from mechanisms.auctions.exact.spend_bound import spend_bound

Quotas = tuple[int, ...]
Cost = tuple[Any, int]
"""A cost, and what breaks its ties."""
MISSING = (math.inf, 0)
CLOSE = Fraction(1, 10**6)
"""Width at which a bisection of small numbers has left one linear piece."""


def least_costs(bids: Sequence[Sequence[Any]], absent: int) -> Callable[[Quotas], Cost]:
    """C_-i(q), by adding one client after the other."""
    tasks = len(bids[0])

    @functools.cache
    def cost(quotas: Quotas, clients: int) -> Cost:
        if min(quotas) < 0:
            return MISSING
        if clients == 0:
            return (0, 0) if not any(quotas) else MISSING
        client = clients - 1
        found = cost(quotas, client)
        if client == absent:
            return found
        for task, bid in enumerate(bids[client]):
            if quotas[task] and bid < math.inf:
                rest = cost(_less(quotas, task), client)
                if rest[0] < math.inf:
                    found = min(found, (rest[0] + bid, rest[1] + 2 ** (client * tasks + task)))
        return found

    return lambda quotas: cost(quotas, len(bids))


def with_outsiders(cost: Callable[[Quotas], Cost], cap: Any) -> Callable[[Quotas], Any]:
    """C^lam_-i(q) = min over v of C_-i(q - v) + lam |v|."""

    @functools.cache
    def capped(quotas: Quotas) -> Any:
        if min(quotas) < 0:
            return math.inf
        places = itertools.product(*(range(q + 1) for q in quotas))
        return min(
            cost(tuple(q - v for q, v in zip(quotas, moved, strict=True)))[0] + cap * sum(moved)
            for moved in places
        )

    return capped


def menu_choice(
    bids: Sequence[Sequence[Any]], budget: Any, client: int, weights: Sequence[int]
) -> tuple[int, Any] | None:
    """(task, pay) of one client; None where it gets nothing."""
    tasks = range(len(weights))
    cost = least_costs(bids, client)
    for level in range(len(bids), 0, -1):
        quotas = tuple(level * w for w in weights)
        empty = [_less(quotas, task) for task in tasks]
        if any(cost(each)[0] == math.inf for each in empty):
            continue
        cap = largest_cap(cost, quotas, level, weights, budget)
        if cap is None:
            continue
        if cap == math.inf:
            full, shortened = cost(quotas)[0], [cost(each)[0] for each in empty]
        else:
            capped = with_outsiders(cost, cap)
            full, shortened = capped(quotas), [capped(each) for each in empty]
        if [cost(each)[0] for each in empty] != shortened:
            continue
        return _choose(bids[client], client, cost, quotas, full)
    return None


def _choose(
    row: Sequence[Any], client: int, cost: Callable[[Quotas], Cost], quotas: Quotas, full: Any
) -> tuple[int, Any] | None:
    """The task of largest surplus in the perturbed order, if that is not negative."""
    totals = [
        (rest[0] + bid, rest[1] + 2 ** (client * len(row) + task))
        for task, bid in enumerate(row)
        for rest in [cost(_less(quotas, task))]
    ]
    task = min(range(len(row)), key=lambda s: totals[s])
    alone = cost(quotas)
    wins = totals[task] < alone if alone[0] == full else totals[task][0] <= full
    return (task, full - cost(_less(quotas, task))[0]) if wins else None


def largest_cap(
    cost: Callable[[Quotas], Cost],
    quotas: Quotas,
    level: int,
    weights: Sequence[int],
    budget: Any,
) -> Any:
    """Largest cap at which g_k(P^lam, mu^lam) <= B; None if there is none."""

    def spending(cap: Any) -> Any:
        value = with_outsiders(cost, cap)
        here = value(quotas)
        more = [value(_more(quotas, task)) - here for task in range(len(quotas))]
        less = [here - value(_less(quotas, task)) for task in range(len(quotas))]
        prices, marginals = ([Perturbed(x) for x in row] for row in (more, less))
        return spend_bound(level, weights, prices, marginals).value

    if all(cost(_more(quotas, task))[0] < math.inf for task in range(len(quotas))):
        highest = cost(tuple(q + 1 for q in quotas))[0]
        beyond = Fraction(10**6) if highest == math.inf else Fraction(highest + 1)
        if spending(beyond) <= budget:
            return math.inf
    low, high = Fraction(0), Fraction(budget) + 1 + sum(quotas)
    while spending(high) <= budget:
        high *= 2
    if spending(low) > budget:
        return None
    while high - low > CLOSE:
        middle = (low + high) / 2
        low, high = (middle, high) if spending(middle) <= budget else (low, middle)
    return _on_line(spending, low, high, budget)


def _on_line(spending: Callable[[Any], Any], low: Any, high: Any, budget: Any) -> Any:
    """Where a line through two points near the root meets the budget."""
    width = high - low
    for start, end in ((low - width, low), (high, high + width), (low, high)):
        slope = (spending(end) - spending(start)) / (end - start)
        if slope == 0:
            continue
        root = start + (budget - spending(start)) / slope
        if low <= root <= high and spending(root) == budget:
            above = root + (high - root) / 2 if root < high else root + width
            if spending(above) > budget:
                return root
    # the spending jumps over the budget nowhere, so the last point that fits is a bend
    raise AssertionError("no root of the spending found")


def _less(quotas: Quotas, task: int) -> Quotas:
    """Quotas with one place less for a task."""
    return tuple(q - (t == task) for t, q in enumerate(quotas))


def _more(quotas: Quotas, task: int) -> Quotas:
    """Quotas with one place more for a task."""
    return tuple(q + (t == task) for t, q in enumerate(quotas))


def capacity_one_by_definition(
    bids: Sequence[Sequence[Any]], budget: Any, weights: Sequence[int] | None = None
) -> dict[tuple[int, int], Any]:
    """(client, task) -> pay."""
    places = [1] * len(bids[0]) if weights is None else weights
    chosen = {i: menu_choice(bids, budget, i, places) for i in range(len(bids))}
    return {(i, each[0]): each[1] for i, each in chosen.items() if each is not None}
