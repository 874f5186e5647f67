"""Reference implementations: rules as their definitions read, with every level tried.

They share no code with the package. Two negative controls, relatives of the default rule, are here
too; each drops one of its tests and must be caught.
"""

from __future__ import annotations

import math
from fractions import Fraction


def others(bids, client, task):
    """Sorted bids of the other clients as (bid, client)."""
    column = [(row[task], i) for i, row in enumerate(bids) if i != client]
    return sorted(pair for pair in column if pair[0] != math.inf)


def bid(pairs, k):
    """a(k): 0 at k = 0 and inf after the end."""
    if k == 0:
        return Fraction(0)
    return pairs[k - 1][0] if k <= len(pairs) else math.inf


def water_level(x, r):
    """Root of sum_t min(x_t, level) = r by trying every number of capped tasks."""
    finite = sorted(v for v in x if v != math.inf)
    if len(finite) == len(x) and sum(finite) <= r:
        return math.inf
    for uncapped in range(len(finite) + 1):
        capped = len(x) - uncapped
        if capped == 0:
            continue
        level = Fraction(r - sum(finite[:uncapped])) / capped
        fits_below = uncapped == 0 or finite[uncapped - 1] <= level
        fits_above = uncapped == len(finite) or finite[uncapped] >= level
        if fits_below and fits_above:
            return level
    raise AssertionError("a continuous increasing function has a root")


def offers(bids, budget, client, task, *, test_others=True, optimistic=False):
    """(level, price, owner of the price) at every open level; the owner of a cap is inf.

    Negative controls on request: without the tests on the other tasks, or optimistic, with the
    ranks that the other tasks would have if the client were among their winners too.
    """
    tasks = range(len(bids[0]))
    pairs = [others(bids, client, t) for t in tasks]
    found = []
    for k in range(1, len(bids) + 1):
        early = 1 if optimistic else 0
        x = [bid(pairs[t], k if t == task else k + 1 - early) for t in tasks]
        cap = water_level(x, Fraction(budget) / k)
        rest = [bid(pairs[t], k - early) for t in tasks if t != task]
        tested = rest if test_others else []
        if bid(pairs[task], k - 1) <= cap and all(v <= cap and v != math.inf for v in tested):
            price = bid(pairs[task], k)
            owner = pairs[task][k - 1][1] if price != math.inf else math.inf
            found.append((k, price, owner) if price <= cap else (k, cap, math.inf))
    return found


def max_min_fair(bids, budget, **broken):
    """{(client, task): price} of the leave-one-out auction, maximising over every open level."""
    recruits = {}
    for client, row in enumerate(bids):
        for task, own in enumerate(row):
            for _, price, owner in offers(bids, budget, client, task, **broken):
                if own != math.inf and (own, client) < (price, owner):
                    best = max(price, recruits.get((client, task), 0))
                    recruits[client, task] = best
    return recruits


def leave_client_out(bids, budget):
    """{(client, task): price} of the simpler rule with one level per client (Design M)."""
    recruits = {}
    for client, row in enumerate(bids):
        pairs = [others(bids, client, t) for t in range(len(row))]
        levels = [
            k
            for k in range(1, len(bids) + 1)
            if math.inf not in (x := [bid(p, k + 1) for p in pairs]) and k * sum(x) <= budget
        ]
        if levels:
            k = max(levels)
            for task, own in enumerate(row):
                if own != math.inf and (own, client) < pairs[task][k - 1]:
                    recruits[client, task] = bid(pairs[task], k)
    return recruits


def leave_one_out_level(bids, budget):
    """{(client, task): price} of the rule with one level per client and task (M+)."""
    recruits = {}
    for client, row in enumerate(bids):
        pairs = [others(bids, client, t) for t in range(len(row))]
        for task, own in enumerate(row):
            for k in range(1, len(bids) + 1):
                x = [bid(p, k if t == task else k + 1) for t, p in enumerate(pairs)]
                if math.inf in x or k * sum(x) > budget:
                    continue
                if own != math.inf and (own, client) < pairs[task][k - 1]:
                    recruits[client, task] = x[task]
    return recruits


def level_max_min(bids, budget):
    """(level, {(client, task): price}) of the common-level rule (Design A)."""
    columns = [others(bids, None, t) for t in range(len(bids[0]))]
    levels = [0]
    for k in range(1, len(bids) + 1):
        x = [bid(column, k + 1) for column in columns]
        if math.inf not in x and k * sum(x) <= budget:
            levels.append(k)
    k = max(levels)
    return k, {(i, t): bid(c, k + 1) for t, c in enumerate(columns) for _, i in c[:k]}


def proportional_share(bids, budget):
    """{client: price} for one task: the longest affordable prefix, paid its critical bid."""
    ranking = sorted((a, i) for i, a in enumerate(bids) if a != math.inf)
    k = 0
    while k < len(ranking) and (k + 1) * ranking[k][0] <= budget:
        k += 1
    price = min(Fraction(budget) / k, bid(ranking, k + 1)) if k else None
    return {i: price for _, i in ranking[:k]}
