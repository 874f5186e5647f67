"""Auctions of all kinds, honest and not, with the verdict that an audit must reach.

Dishonest ones are mistakes that people make, and traps: rules that are honest wherever an audit is
likely to look.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms import (
    Mechanism,
    Outcome,
    budget_fair,
    cheapest_first,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
    participation_fee,
    posted_price,
)

Table = Any

ONE = [[3.0], [5.0], [4.0], [9.0], [6.0]]
"""One task: whoever misreports moves one ask."""

TWO = [[3.0, 6.0], [5.0, 2.0], [4.0, 4.0], [9.0, 7.0]]
"""Two tasks: clients may move both asks together."""

BETWEEN = [[3.0], [5.2], [4.0], [9.0], [5.5]]
"""One task, with an ask between a price and the multiple of two above it, at a budget of 17."""


@dataclass(frozen=True)
class Kept:
    """A rule of the zoo.

    Attributes:
        rule: The rule.
        bids: A profile on which its fault shows, if it has one.
        budget: Money available.
        truthful: The verdict: True, False, or None where nothing can be found nor proved.
        laws: Names of other laws that are broken.
        refusals: Errors by which the rule refuses auctions.
    """

    rule: Mechanism
    bids: Table
    budget: float
    truthful: bool | None
    laws: tuple[str, ...] = ()
    refusals: tuple[type[Exception], ...] = ()


def outcome(winners: Table, payments: Table) -> Outcome:
    """The outcome with as many recruits as its level."""
    return Outcome(winners, payments, winners.sum(axis=0))


def nobody(bids: Table) -> tuple[Table, Table]:
    """Empty tables."""
    return np.zeros(bids.shape, dtype=bool), np.zeros(bids.shape, dtype=object)


def by_task(choose: Callable[[list[Any], Any, int], dict[int, Any]]) -> Mechanism:
    """A rule that treats tasks alone, each with an equal share of the budget.

    Args:
        choose: From the asks of a task, its money and its number to pay by recruited client.
    """

    @functools.wraps(choose)
    def rule(bids: Table, budget: Any) -> Outcome:
        winners, payments = nobody(bids)
        for task in range(bids.shape[1]):
            for client, pay in choose(list(bids[:, task]), budget / bids.shape[1], task).items():
                winners[client, task], payments[client, task] = True, pay
        return outcome(winners, payments)

    return rule


def order(asks: list[Any]) -> list[int]:
    """Clients that bid, cheapest first."""
    return sorted((i for i in range(len(asks)) if asks[i] < math.inf), key=lambda i: asks[i])


# honest


@by_task
def nothing(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    return {}


@by_task
def fixed_price(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    count = len(asks)
    return {i: money / count for i in range(count) if asks[i] <= money / count}


@by_task
def second_price(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    ranked = order(asks)
    if len(ranked) < 2 or asks[ranked[1]] > money:
        return {}
    return {ranked[0]: asks[ranked[1]]}


@by_task
def third_price_for_two(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    ranked = order(asks)
    if len(ranked) < 3 or 2 * asks[ranked[2]] > money:
        return {}
    return dict.fromkeys(ranked[:2], asks[ranked[2]])


@by_task
def price_of_others(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    """Everybody is offered the mean of the others' asks, up to a share of the money."""
    found = {}
    for i, ask in enumerate(asks):
        others = [x for k, x in enumerate(asks) if k != i and x < math.inf]
        if others:
            offer = min(sum(others, Fraction(0)) / len(others), money / len(asks))
            if ask <= offer:
                found[i] = offer
    return found


@by_task
def lowest_of_others(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    found = {}
    for i, ask in enumerate(asks):
        offer = min([x for k, x in enumerate(asks) if k != i] + [money / len(asks)])
        if ask < offer:
            found[i] = offer
    return found


def dictator(bids: Table, budget: Any) -> Outcome:
    """The first client may have the budget for the first task, at a price that is fixed."""
    winners, payments = nobody(bids)
    if bids[0, 0] <= budget / 2:
        winners[0, 0], payments[0, 0] = True, budget / 2
    return outcome(winners, payments)


def bundle(bids: Table, budget: Any) -> Outcome:
    """Every client is offered a price for all tasks at once."""
    winners, payments = nobody(bids)
    price = budget / bids.shape[0]
    for i, row in enumerate(bids):
        if sum(row) <= price:
            winners[i], payments[i] = True, [x + (price - sum(row)) / len(row) for x in row]
    return outcome(winners, payments)


def capped(bids: Table, budget: Any) -> Outcome:
    """Second price, of asks up to 20."""
    if any(20 < x < math.inf for x in bids.flat):
        raise ValueError("asks go up to 20")
    return second_price(bids, budget)


def posted(bids: Table, budget: Any) -> Outcome:
    """Five for the first task, four for the second."""
    return posted_price(bids, [Fraction(5), Fraction(4)][: bids.shape[1]], budget)


def with_fee(bids: Table, budget: Any) -> Outcome:
    """Equal prices less a fee for taking part."""
    return participation_fee(bids, budget, [1] * bids.shape[1], Fraction(1))


# dishonest


@by_task
def first_price(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    return {i: asks[i] for i in order(asks)[:1] if asks[i] <= money}


@by_task
def pay_as_bid(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    found, left = {}, money
    for i in order(asks):
        if asks[i] <= left:
            found[i], left = asks[i], left - asks[i]
    return found


@by_task
def half_the_gap(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    ranked = order(asks)
    if len(ranked) < 2 or asks[ranked[1]] > money:
        return {}
    return {ranked[0]: (asks[ranked[0]] + asks[ranked[1]]) / 2}


@by_task
def second_price_for_two(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    ranked = order(asks)
    if len(ranked) < 3 or 2 * asks[ranked[1]] > money:
        return {}
    return dict.fromkeys(ranked[:2], asks[ranked[1]])


@by_task
def mean_of_all(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    known = [x for x in asks if x < math.inf]
    if not known:
        return {}
    mean = sum(known, Fraction(0)) / len(known)
    return {i: mean for i in order(asks) if asks[i] <= mean and mean * len(asks) <= money}


@by_task
def dearest(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    """The dearest that can be paid wins."""
    affordable = [i for i in order(asks) if asks[i] <= money]
    return {affordable[-1]: money} if affordable else {}


@by_task
def tip(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    """Second price, and a hundredth of the own ask on top."""
    ranked = order(asks)
    if len(ranked) < 2 or 2 * asks[ranked[1]] > money:
        return {}
    return {ranked[0]: asks[ranked[1]] + asks[ranked[0]] / 100}


@by_task
def refund(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    """The price falls with the own ask."""
    return {i: money / len(asks) - asks[i] / 10 for i in order(asks) if 2 * asks[i] <= money / 9}


@by_task
def narrow_window(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    """A fixed price, but twice as much for asks in a window that is a hundredth wide."""
    price = money / (2 * len(asks))
    special = {i for i in range(len(asks)) if price < 100 * asks[i] < 2 * price}
    return {i: price * (2 if i in special else 1) for i in order(asks) if asks[i] <= price}


def greedy_tasks(bids: Table, budget: Any) -> Outcome:
    """Second price task by task, while there is money: a client can burn it early."""
    winners, payments = nobody(bids)
    left = budget
    for task, column in enumerate(bids.T):
        ranked = order(list(column))
        if len(ranked) > 1 and column[ranked[1]] <= left:
            winners[ranked[0], task], payments[ranked[0], task] = True, column[ranked[1]]
            left = left - column[ranked[1]]
    return outcome(winners, payments)


def both_low(bids: Table, budget: Any) -> Outcome:
    """Five for each task to whoever asks at most one for all: a lie about both asks at once."""
    winners, payments = nobody(bids)
    for i, row in enumerate(bids):
        if all(x <= 1 for x in row):
            winners[i], payments[i] = True, 5
    return outcome(winners, payments)


def equal_asks(bids: Table, budget: Any) -> Outcome:
    """A fixed price, doubled for clients that scale down all their asks."""
    winners, payments = nobody(bids)
    for i, row in enumerate(bids):
        price = budget / (2 * bids.size) * (2 if 2 * sum(row) <= 5 else 1)
        for task, ask in enumerate(row):
            if ask <= price:
                winners[i, task], payments[i, task] = True, price
    return outcome(winners, payments)


# traps


def swallowed(bids: Table, budget: Any) -> Outcome:
    """Pays what was asked, and takes what is no float for no ask."""
    winners, payments = nobody(bids)
    for client, task in np.ndindex(*bids.shape):
        try:
            ask = float(bids[client, task])
        except (TypeError, ValueError):
            ask = math.inf
        if ask <= float(budget) / bids.size:
            winners[client, task], payments[client, task] = True, bids[client, task]
    return outcome(winners, payments)


def typed(bids: Table, budget: Any) -> Outcome:
    """Pays what was asked, of asks that are plain numbers."""
    winners, payments = nobody(bids)
    for client, task in np.ndindex(*bids.shape):
        ask = bids[client, task]
        if isinstance(ask, int | float | Fraction) and ask <= budget / bids.size:
            winners[client, task], payments[client, task] = True, ask
    return outcome(winners, payments)


def second_price_of_plain(bids: Table, budget: Any) -> Outcome:
    """First price, but second price for asks that are no plain numbers."""
    plain = all(isinstance(x, int | float | Fraction) for x in bids.flat)
    return first_price(bids, budget) if plain else second_price(bids, budget)


def floats_pay_as_bid(bids: Table, budget: Any) -> Outcome:
    """Honest on fractions alone."""
    return budget_fair(bids, budget) if bids.dtype == object else pay_as_bid(bids, budget)


def floats_pay_more(bids: Table, budget: Any) -> Outcome:
    """The payments of floats are half as much again, which is more than there is."""
    found = budget_fair(bids, budget)
    return (
        found if bids.dtype == object else Outcome(found.winners, found.payments * 1.5, found.level)
    )


def floats_pay_less(bids: Table, budget: Any) -> Outcome:
    """The payments of floats are half of what was asked."""
    found = second_price(bids, budget)
    return (
        found
        if bids.dtype == object
        else Outcome(found.winners, np.where(found.winners, bids / 2, 0.0), found.level)
    )


def rounds_asks(bids: Table, budget: Any) -> Outcome:
    """Second price of asks that are rounded to whole numbers first."""
    whole = np.array([[x if x == math.inf else float(round(float(x))) for x in r] for r in bids])
    return second_price(whole, float(budget))


@by_task
def squares(asks: list[Any], money: Any, task: int) -> dict[int, Any]:
    """A price that is a product of asks."""
    ranked = order(asks)
    if len(ranked) < 2:
        return {}
    pay = asks[ranked[0]] * asks[ranked[1]] / 2
    return {ranked[0]: pay} if asks[ranked[0]] <= pay <= money else {}


def rounding(nearest: Callable[[Any], int]) -> Mechanism:
    """The default rule with prices that are rounded otherwise than down, to multiples of two."""

    def rule(bids: Table, budget: Any) -> Outcome:
        found = max_min_fair(bids, budget)
        winners, payments = nobody(bids)
        for cell in zip(*np.nonzero(found.winners), strict=True):
            price = 2 * nearest(found.payments[cell] / 2)
            if bids[cell] <= price:
                winners[cell], payments[cell] = True, price
        return outcome(winners, payments)

    return rule


def overspends(bids: Table, budget: Any) -> Outcome:
    """A fixed price of all the money to everybody."""
    winners = np.asarray(bids <= budget, dtype=bool)
    return outcome(winners, np.where(winners, budget, 0))


def underpays(bids: Table, budget: Any) -> Outcome:
    """Everybody works, for a fixed price below some asks."""
    winners = np.asarray(bids < math.inf, dtype=bool)
    return outcome(winners, np.where(winners, Fraction(1, 2), 0))


class Moody:
    """Recruits the cheapest at every call, and the dearest at every third."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, bids: Table, budget: Any) -> Outcome:
        self.calls += 1
        return (dearest if self.calls % 3 == 0 else second_price)(bids, budget)


class Learning:
    """Offers what the auction before this one was about."""

    def __init__(self) -> None:
        self.last: Any = None

    def __call__(self, bids: Table, budget: Any) -> Outcome:
        price, self.last = self.last, min(bids.flat)
        if price is None or price == self.last:
            return fixed_price(bids, budget)
        return fixed_price(bids, budget / 2)


def writes(bids: Table, budget: Any) -> Outcome:
    """Second price, in the caller's own table."""
    found = second_price(bids.copy(), budget)
    bids[:] = 0
    return found


ZOO: dict[str, Kept] = {
    "budget fair": Kept(budget_fair, TWO, 20, True),
    "max-min fair": Kept(max_min_fair, TWO, 20, True),
    "leave-one-out level": Kept(leave_one_out_level, TWO, 20, True),
    "budget fair, one task": Kept(budget_fair, ONE, 20, True),
    "max-min fair with a reserve": Kept(functools.partial(max_min_fair, reserve=6), TWO, 20, True),
    "max-min fair in twos": Kept(functools.partial(max_min_fair, unit=2), BETWEEN, 17, True),
    "budget fair in tenths": Kept(functools.partial(budget_fair, unit=0.1), TWO, 20, True),
    "nothing": Kept(nothing, ONE, 20, True),
    "nothing, two tasks": Kept(nothing, TWO, 20, None),
    "fixed price": Kept(fixed_price, ONE, 25, True),
    "fixed price, two tasks": Kept(fixed_price, TWO, 40, None),
    "posted price": Kept(posted, ONE, 20, True),
    "posted prices": Kept(posted, TWO, 20, None),
    "participation fee": Kept(with_fee, TWO, 40, None),
    "second price": Kept(second_price, ONE, 20, True),
    "second price, two tasks": Kept(second_price, TWO, 20, None),
    "third price for two": Kept(third_price_for_two, ONE, 20, True),
    "price of others": Kept(price_of_others, ONE, 20, True),
    "lowest of others": Kept(lowest_of_others, ONE, 30, True),
    "dictator": Kept(dictator, ONE, 20, True),
    "bundle": Kept(bundle, TWO, 44, None),
    "capped": Kept(capped, ONE, 20, True, refusals=(ValueError,)),
    "writes": Kept(writes, ONE, 20, True),
    "first price": Kept(first_price, ONE, 20, False),
    "pay as bid": Kept(pay_as_bid, ONE, 20, False),
    "pay as bid, two tasks": Kept(pay_as_bid, TWO, 20, False),
    "half the gap": Kept(half_the_gap, ONE, 20, False),
    "second price for two": Kept(second_price_for_two, ONE, 20, False),
    "mean of all": Kept(mean_of_all, ONE, 40, False),
    "dearest": Kept(dearest, ONE, 20, False),
    "tip": Kept(tip, ONE, 20, False),
    "refund": Kept(refund, ONE, 90, False),
    "narrow window": Kept(narrow_window, ONE, 100, False),
    "greedy tasks": Kept(greedy_tasks, [[6.0, 1.0], [3.0, 5.0], [9.0, 7.0]], 10, False),
    "both low": Kept(both_low, [[3.0, 3.0], [4.0, 4.0]], 100, False),
    "equal asks": Kept(equal_asks, [[3.0, 3.0], [4.0, 4.0]], 50, False),
    "cheapest first": Kept(cheapest_first, ONE, 20, False),
    "greedy max-min": Kept(greedy_max_min, ONE, 20, False),
    "common level": Kept(level_max_min, [[1.0, 5.0], [2.0, 1.0], [4.0, 3.0]], 15, False),
    "swallowed": Kept(swallowed, [[0.01], [0.02], [0.03]], 1, False),
    "swallowed, two tasks": Kept(swallowed, TWO, 40, False),
    "typed": Kept(typed, [[0.01], [0.02], [0.03]], 1, False),
    "second price of plain numbers": Kept(second_price_of_plain, ONE, 20, False),
    "floats pay as bid": Kept(floats_pay_as_bid, TWO, 20, False),
    "floats pay more": Kept(floats_pay_more, TWO, 10, False, ("within budget",)),
    "floats pay less": Kept(floats_pay_less, ONE, 20, False, ("individually rational",)),
    "rounds asks": Kept(rounds_asks, [[3.4], [3.2], [5.0]], 20, False),
    "squares": Kept(squares, ONE, 20, False),
    "rounds prices up": Kept(rounding(math.ceil), BETWEEN, 17, False, ("within budget",)),
    "rounds prices": Kept(rounding(round), BETWEEN, 17, False, ("within budget",)),
    "overspends": Kept(overspends, ONE, 20, True, ("within budget",)),
    "underpays": Kept(underpays, ONE, 20, False, ("individually rational",)),
}
"""All of them but those that draw or remember, which are refused."""
