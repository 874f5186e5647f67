"""Rules that are one step away from a right one: the negative controls of the claims.

All take exact bids and an exact budget, like any mechanism. None is meant for use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms import Mechanism, Outcome, posted_price, sampled_posted_price
from mechanisms.auctions.budget_fair import exact_share
from mechanisms.auctions.exact.ranking import (
    Prices,
    Ranking,
    among_cheapest,
    exact_outcome,
    kth,
    largest,
    of_others,
    ranked,
    water_level,
)
from mechanisms.bids import exact_number
from proofs.incentives.instances import Bids

SAMPLE = 10
"""Seed of a generator that puts clients 1, 3, 5 of eight into the sample: some on either side."""


def unlimited(bids: Bids, budget: Any) -> Outcome:
    """Every bidder is recruited at its own bid, whatever the budget."""
    prices = {cell: bid for cell, bid in _cells(bids) if bid < math.inf}
    return _outcome(prices, bids)


def underpaying(bids: Bids, budget: Any) -> Outcome:
    """Every bidder is recruited for nothing."""
    return _outcome({cell: Fraction(0) for cell, bid in _cells(bids) if bid < math.inf}, bids)


def a_rank_too_low(rule: Mechanism) -> Mechanism:
    """The recruits of a rule, paid the bid of the last but one of their task."""

    def paid(bids: Bids, budget: Any) -> Outcome:
        prices: Prices = {}
        for task, won in enumerate(rule(bids, budget).winners.T):
            winning = sorted(bids[won, task])
            prices.update(
                {(int(i), task): winning[max(len(winning) - 2, 0)] for i in np.flatnonzero(won)}
            )
        return _outcome(prices, bids)

    return paid


def next_bid(bids: Bids, budget: Any) -> Outcome:
    """Budget-fair, but recruits are paid the next bid even where it is above their share."""
    prices: Prices = {}
    for task, column in enumerate(bids.T):
        recruits, price = exact_share(column, exact_number(budget) / bids.shape[1])
        following = kth(ranked(column), len(recruits) + 1)
        price = price if following == math.inf else following
        prices.update({(client, task): price for client in recruits})
    return _outcome(prices, bids)


def checked_too_late(bids: Bids, budget: Any) -> Outcome:
    """The cheapest bids of all tasks are bought while any money is left, not while they fit."""
    left, prices = exact_number(budget), dict[tuple[int, int], Any]()
    for cell, bid in sorted(_cells(bids), key=lambda each: each[1]):
        if left > 0 and bid < math.inf:
            prices[cell] = bid
            left -= bid
    return _outcome(prices, bids)


def offered_too_late(bids: Bids, budget: Any) -> Outcome:
    """Prices of 1 are offered while any money is left, not while the whole list fits."""
    tasks = bids.shape[1]
    return posted_price(bids, np.ones(tasks), exact_number(budget) + tasks - Fraction(1, 2))


def without_quota(bids: Bids, budget: Any) -> Outcome:
    """Prices from a sample, for all clients outside of it that accept, however many."""
    learned = sampled_posted_price(bids, budget, np.random.default_rng(SAMPLE))
    sample = np.random.default_rng(SAMPLE).random(len(bids)) < 0.5
    top = [max(column) for column in learned.payments.T]
    prices = {(i, s): top[s] for (i, s), bid in _cells(bids) if bid <= top[s] and not sample[i]}
    return _outcome(prices, bids)


def roll_over(bids: Bids, budget: Any) -> Outcome:
    """Budget-fair, but money that a task leaves is given to the next one."""
    share = exact_number(budget) / bids.shape[1]
    left, prices = Fraction(0), {}
    for task, column in enumerate(bids.T):
        recruits, price = exact_share(column, share + left)
        left += share - len(recruits) * (price or 0)
        prices.update({(client, task): price for client in recruits})
    return _outcome(prices, bids)


def without_other_tests(bids: Bids, budget: Any) -> Outcome:
    """The default rule without its tests on the other tasks."""
    return _leave_one_out(bids, budget, test_others=False, early=0)


def optimistic_others(bids: Bids, budget: Any) -> Outcome:
    """The default rule, as if the client were among the other tasks' winners too."""
    return _leave_one_out(bids, budget, test_others=True, early=1)


def next_price_per_rank(bids: Bids, budget: Any) -> Outcome:
    """The j-th cheapest client of a task is paid the next bid, while the task's share lasts."""
    prices: Prices = {}
    for task, column in enumerate(bids.T):
        ranking, left = ranked(column), exact_number(budget) / bids.shape[1]
        for place, (_, client) in enumerate(ranking):
            price = kth(ranking, place + 2)
            if price > left:
                break
            prices[client, task] = price
            left -= price
    return _outcome(prices, bids)


def capped_by_winners(bids: Bids, budget: Any) -> Outcome:
    """A common level whose caps look at the winning bids of the other tasks."""
    rankings = [ranked(column) for column in bids.T]
    level = _common_level(rankings, len(bids), budget, next_price=False)
    if level == 0:
        return _outcome({}, bids)
    last = [kth(ranking, level) for ranking in rankings]
    prices: Prices = {}
    for task, ranking in enumerate(rankings):
        cap = exact_number(budget) / level - (sum(last) - last[task])
        price = min(kth(ranking, level + 1), cap)
        prices.update({(client, task): price for _, client in ranking[:level]})
    return _outcome(prices, bids)


def partial_last_round(bids: Bids, budget: Any) -> Outcome:
    """The common level, then one more recruit for each task in turn while money lasts."""
    rankings = [ranked(column) for column in bids.T]
    level = _common_level(rankings, len(bids), budget)
    left = budget - level * sum(kth(ranking, level + 1) for ranking in rankings)
    prices: Prices = {}
    for task, ranking in enumerate(rankings):
        k = level
        extra = (k + 1) * kth(ranking, k + 2) - k * kth(ranking, k + 1)
        if extra <= left:
            k, left = k + 1, left - extra
        prices.update({(client, task): kth(ranking, k + 1) for _, client in ranking[:k]})
    return _outcome(prices, bids)


def _common_level(
    rankings: list[Ranking], top: int, budget: Any, *, next_price: bool = True
) -> int:
    """Level of the common-level rule; without the next price, recruits are paid the last bid."""

    def fits(k: int) -> bool:
        prices = [kth(ranking, k + next_price) for ranking in rankings]
        return max(prices) < math.inf and bool(k * sum(prices) <= budget)

    return largest(top, lambda k: k == 0 or fits(k))


def _leave_one_out(bids: Bids, budget: Any, *, test_others: bool, early: int) -> Outcome:
    """Relatives of the default rule: best price over its open levels, all tried."""
    prices: Prices = {}
    rankings = [ranked(column) for column in bids.T]
    for client, row in enumerate(bids):
        others = of_others(rankings, client, row)
        for task, own in enumerate(row):
            for k in range(1, len(bids) + 1):
                losers = [kth(r, k if t == task else k + 1 - early) for t, r in enumerate(others)]
                cap = water_level(losers, exact_number(budget) / k)
                tested = [kth(r, k - early) for t, r in enumerate(others) if t != task]
                tested = [kth(others[task], k - 1), *(tested if test_others else [])]
                if max(tested) == math.inf or max(tested) > cap:
                    continue
                if among_cheapest(others[task], k, own, client) and own <= cap:
                    prices[client, task] = min(losers[task], cap)
    return _outcome(prices, bids)


def _cells(bids: Bids) -> list[tuple[tuple[int, int], Any]]:
    """All ((client, task), bid)."""
    return [((i, s), bid) for i, row in enumerate(bids) for s, bid in enumerate(row)]


def _outcome(prices: Prices, bids: Bids) -> Outcome:
    """Outcome whose level is the number of recruits per task."""
    outcome = exact_outcome(prices, bids.shape, [0] * bids.shape[1])
    return Outcome(outcome.winners, outcome.payments, outcome.take_up)


def one_level_per_client(bids: Bids, budget: Any) -> Outcome:
    """A truthful but weaker rule: one leave-one-out level for all tasks of a client."""
    rankings = [ranked(column) for column in bids.T]
    prices: Prices = {}
    for client, row in enumerate(bids):
        others = of_others(rankings, client, row)
        level = _common_level(others, len(bids), budget)
        for task, bid in enumerate(row):
            if among_cheapest(others[task], level, bid, client):
                prices[client, task] = kth(others[task], level)
    return _outcome(prices, bids)


def common_fee_scale(bids: Bids, budget: Any) -> Outcome:
    """The fee menu at the largest scale at which the choices of all clients are within budget."""
    return _fee_menu(bids, budget, lambda client: range(len(bids)))


def fee_without_room(bids: Bids, budget: Any) -> Outcome:
    """The fee menu at the largest scale that the others leave money for, none for oneself."""
    return _fee_menu(bids, budget, lambda client: (j for j in range(len(bids)) if j != client))


def _fee_menu(bids: Bids, budget: Any, counted: Callable[[int], Any]) -> Outcome:
    """The fee menu at the largest scale at which the clients that are counted can be paid."""
    tasks = bids.shape[1]
    fee = Fraction(tasks, 4)

    def choice(row: Any, scale: Fraction) -> list[int]:
        wanted = [s for s, bid in enumerate(row) if bid <= scale]
        return wanted if wanted and sum(scale - row[s] for s in wanted) >= scale * fee else []

    def spend(scale: Fraction, client: int) -> Any:
        sets = [choice(bids[j], scale) for j in counted(client)]
        return sum(scale * (len(chosen) - fee) for chosen in sets if chosen)

    scales = [exact_number(budget) / (k * (tasks - fee)) for k in range(1, len(bids) + 1)]
    prices: Prices = {}
    for client, row in enumerate(bids):
        scale = next((t for t in scales if spend(t, client) <= budget), Fraction(0))
        due = scale * fee
        for task in choice(row, scale):
            part = min(due, scale - row[task])
            prices[client, task], due = scale - part, due - part
    return _outcome(prices, bids)


def price_by_price(bids: Bids, budget: Any) -> Outcome:
    """A price of 1, 2, ... for the tasks, offered one by one while the money lasts."""
    left, prices = exact_number(budget), dict[tuple[int, int], Any]()
    for (client, task), bid in _cells(bids):
        if bid <= task + 1 <= left:
            prices[client, task] = Fraction(task + 1)
            left -= task + 1
    return _outcome(prices, bids)


def own_sample(bids: Bids, budget: Any) -> Outcome:
    """Prices from all bids, offered to all clients: the last recruit sets its own price."""
    rankings = [ranked(column) for column in bids.T]
    level = _common_level(rankings, len(bids), budget, next_price=False)
    prices = {
        (client, task): kth(ranking, level)
        for task, ranking in enumerate(rankings)
        for _, client in ranking[:level]
    }
    return _outcome(prices, bids)
