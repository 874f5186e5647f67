"""Reference implementations and wrong twins for rules in which clients are worth something.

They share no code with the package: every definition is tried as it reads, every optimum by brute
force.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from mechanisms import Outcome, clock_auction, quality_share
from tests.mechanisms.profiles import float_auctions

WORTH = st.sampled_from([1, 1, 2, 3, 7, 0.5, 0.1, Fraction(1, 3)])
"""Values of clients: equal, unequal, and not whole."""


@st.composite
def valued_auctions(draw, max_clients=6, max_tasks=3, bids=None):
    """(bids, budget, values (N, S)) with ties and missing bids."""
    table, budget = draw(float_auctions(max_clients, max_tasks, bids))
    cells = draw(st.lists(WORTH, min_size=table.size, max_size=table.size))
    values = np.array(cells, dtype=object).reshape(table.shape)
    return table, budget, values


@st.composite
def covered_auctions(draw, max_clients=6, bids=None):
    """(bids (N, 1), budget, covers (N, R), weights (R,)); some clients cover nothing."""
    table, budget = draw(float_auctions(max_clients, 1, bids))
    regions = draw(st.integers(1, 5))
    cell = st.lists(st.booleans(), min_size=regions, max_size=regions)
    covers = np.array(draw(st.lists(cell, min_size=len(table), max_size=len(table))), dtype=bool)
    weights = draw(st.lists(st.sampled_from([1, 2, 5]), min_size=regions, max_size=regions))
    return table, budget, covers, weights


def unit_costs(bids, values):
    """Bidders of a task as (cost per value, client), cheapest first."""
    known = [(i, b) for i, b in enumerate(bids) if b != math.inf]
    return sorted((unit_cost(bid, values[i]), i) for i, bid in known)


def unit_cost(bid, value):
    """Exact, and also of a bid that an audit traces."""
    value = value.item() if isinstance(value, np.generic) else value
    return (Fraction(bid) if isinstance(bid, float) else bid) * (1 / Fraction(value))


def share(bids, budget, values):
    """{client: pay} of a proportional share of value: every k is tried."""
    order = unit_costs(bids, values)
    worth = [Fraction(values[i]) for _, i in order]
    fits = [k for k in range(1, len(order) + 1) if order[k - 1][0] * sum(worth[:k]) <= budget]
    if not fits:
        return {}
    k = max(fits)
    price = budget / sum(worth[:k])
    if k < len(order):
        price = min(price, order[k][0])
    return {i: price * Fraction(values[i]) for _, i in order[:k]}


def level(bids, budget, values):
    """{(client, task): pay} of the leave-one-out level of value: every level is tried."""
    clients, tasks = range(len(bids)), range(len(bids[0]))
    found = {}
    for i, s in itertools.product(clients, tasks):
        if bids[i][s] == math.inf:
            continue
        others = [
            [pair for pair in unit_costs([r[t] for r in bids], [r[t] for r in values])
             if pair[1] != i]
            for t in tasks
        ]  # fmt: skip
        best, before = None, Fraction(0)
        for cost, owner in others[s]:
            x = Fraction(values[i][s]) + before
            costs = [_beyond(others[t], [r[t] for r in values], x) for t in tasks if t != s]
            if None not in costs and x * (cost + sum(costs)) <= budget:
                best = cost, owner
            before += Fraction(values[owner][s])
        own = unit_cost(bids[i][s], values[i][s])
        if best is not None and (own, i) < best:
            found[i, s] = best[0] * Fraction(values[i][s])
    return found


def _beyond(order, values, x):
    """Cost per value of the first client with whom value exceeds x."""
    total = Fraction(0)
    for cost, client in order:
        total += Fraction(values[client])
        if total > x:
            return cost
    return None


def fractional_optimum(bids, budget, values):
    """Largest value that money buys at reported costs, clients in parts; none above the budget."""
    able = [b if b <= budget else math.inf for b in bids]
    left, bought = Fraction(budget), Fraction(0)
    for _, client in unit_costs(able, values):
        part = min(Fraction(1), left / Fraction(bids[client])) if bids[client] else Fraction(1)
        bought += part * Fraction(values[client])
        left -= part * Fraction(bids[client])
    return bought


def affords(bids, budget, values, x):
    """Whether money buys value x for every task at reported costs, clients in parts."""
    spent = Fraction(0)
    for task in range(len(bids[0])):
        column = [row[task] for row in values]
        left = Fraction(x)
        for cost, client in unit_costs([row[task] for row in bids], column):
            taken = min(left, Fraction(column[client]))
            spent += cost * taken
            left -= taken
        if left > 0:
            return False
    return spent <= budget


def covered(clients, covers, weights):
    """Value of a set of clients."""
    return sum(w for region, w in enumerate(weights) if any(covers[i][region] for i in clients))


def best_cover(bids, budget, covers, weights):
    """The optimum over all sets of clients."""
    clients = range(len(bids))
    sets = itertools.chain.from_iterable(
        itertools.combinations(clients, n) for n in range(len(bids) + 1)
    )
    affordable = (c for c in sets if sum(bids[i] for i in c) <= budget)
    return max(covered(c, covers, weights) for c in affordable)


def outcome(prices, shape):
    """An exact outcome from {(client, task): pay}."""
    winners, payments = np.zeros(shape, dtype=bool), np.full(shape, Fraction(0), dtype=object)
    for cell, pay in prices.items():
        winners[cell], payments[cell] = True, pay
    return Outcome(winners, payments, winners.sum(axis=0))


def share_in_proportion(bids, budget, values):
    """Wrong: the budget is divided among the recruits in proportion to value, uncapped."""
    honest = quality_share(bids, budget, values)
    won = [int(i) for i in np.flatnonzero(honest.winners[:, 0])]
    total = sum(int(values[i]) for i in won)
    return outcome({(i, 0): budget * Fraction(int(values[i]), total) for i in won}, bids.shape)


def level_of_all(bids, budget, values):
    """Wrong: one level of value for all tasks, from everybody's bids, as in `level_max_min`."""
    shape = bids.shape
    orders = [unit_costs(bids[:, s], values[:, s]) for s in range(shape[1])]
    best = {}
    for x in sorted({int(v) for v in np.cumsum(np.sort(values.ravel()))} | set(range(1, 30))):
        costs = [_beyond(order, values[:, s], x) for s, order in enumerate(orders)]
        if None in costs or x * sum(costs) > budget:
            break
        best = {}
        for s, order in enumerate(orders):
            total = 0
            for cost, client in order:
                total += int(values[client, s])
                if total <= x and cost <= costs[s]:
                    best[client, s] = costs[s] * int(values[client, s])
    return outcome(best, shape)


def larger_of_two(bids, budget, values):
    """Wrong: the proportional share or the client that is worth most, whichever is worth more."""
    honest = share(list(bids[:, 0]), Fraction(budget), list(values))
    able = [i for i, bid in enumerate(bids[:, 0]) if bid <= budget]
    most = max(able, key=lambda i: values[i], default=None)
    if most is None or sum(int(values[i]) for i in honest) >= values[most]:
        return outcome({(i, 0): pay for i, pay in honest.items()}, bids.shape)
    return outcome({(most, 0): Fraction(budget)}, bids.shape)


def cover_in_proportion(bids, budget, covers):
    """Wrong: recruits as the greedy choice has them, paid in proportion to what they add."""
    chosen, done = [], frozenset()
    regions = [frozenset(np.flatnonzero(row).tolist()) for row in covers]
    while True:
        rated = [
            (bids[i, 0] * Fraction(1, len(regions[i] - done)), i)
            for i in range(len(bids))
            if bids[i, 0] < math.inf and regions[i] - done
        ]
        if not rated:
            break
        _, client = min(rated)
        gain, after = len(regions[client] - done), done | regions[client]
        if not bids[client, 0] <= budget * Fraction(gain, 2 * len(after)):
            break
        chosen.append((client, gain))
        done = after
    pay = {(i, 0): budget * Fraction(gain, len(done)) for i, gain in chosen}
    return outcome(pay, bids.shape)


def clock_for_bids(bids, budget, covers):
    """Wrong: a clock that stops for each client where it says that it would leave."""
    honest = clock_auction(bids, budget, covers)
    won = {(int(i), 0): bids[i, 0] for i in np.flatnonzero(honest.winners[:, 0])}
    return outcome(won, bids.shape)


def online_with_hindsight(bids, budget):
    """Wrong: the price that would use up the budget on these bids, the buyers' own included."""
    order = sorted((bid, i) for i, bid in enumerate(bids[:, 0]) if bid < math.inf)
    k = max((k for k in range(1, len(order) + 1) if k * order[k - 1][0] <= budget), default=0)
    return outcome({(i, 0): order[k - 1][0] for _, i in order[:k]}, bids.shape)
