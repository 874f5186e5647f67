"""The rules as terms of the solver Z3, seen by one client with the others' bids sorted.

The client has the last index and so loses ties. The budget is 1, since the rules scale with money.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mechanisms.auctions.budget_fair import budget_fair
from mechanisms.auctions.leave_one_out_level import leave_one_out_level
from mechanisms.auctions.level_max_min import level_max_min
from mechanisms.auctions.max_min_fair import max_min_fair

BUDGET = Fraction(1)

Term = Any
Bids = list[list[Term]]
Utility = Callable[["Market", Sequence[Term], Sequence[Term]], Term]
Offers = Callable[["Market", int], Iterator["Offer"]]


@dataclass(frozen=True)
class Market:
    """What one client sees.

    Args:
        others: For every task the others' bids, sorted; S lists of terms.
        bidding: Tasks on which the client bids.
        facts: Where encodings put the definitions of their own variables.
        name: Tells these variables from those of other clients' markets.
    """

    others: Bids
    bidding: tuple[int, ...]
    facts: list[Term]
    name: str = ""

    def a(self, task: int, k: int) -> Term:
        """k-th bid of the others; 0 at k = 0, None after the last."""
        if k == 0:
            return 0
        return self.others[task][k - 1] if k <= len(self.others[task]) else None

    def b(self, task: int, k: int, own: Term) -> Term:
        """k-th bid of all, None after the last."""
        if task not in self.bidding:
            return self.a(task, k)
        below, above = self.a(task, k - 1), self.a(task, k)
        if above is None:
            return None if below is None else _max(below, own)
        return _max(below, _min(own, above))


@dataclass(frozen=True)
class Offer:
    """What a client is offered for a task at one level.

    Args:
        k: The level.
        is_open: Whether the level is open.
        price: What the client would be paid.
        is_cap: Whether the price is the water level, at which the client wins ties.
    """

    k: int
    is_open: Term
    price: Term
    is_cap: Term


def new_market(clients: int, tasks: int, joint: bool) -> Market:
    """Others' bids as variables: one fewer where the client bids."""
    import z3

    bidding = tuple(range(tasks)) if joint else (0,)
    counts = [clients - 1 if s in bidding else clients for s in range(tasks)]
    others = [[z3.Real(f"a{s}_{k}") for k in range(1, n + 1)] for s, n in enumerate(counts)]
    return Market(others, bidding, [])


def ordered(others: Bids) -> list[Term]:
    """0 <= a(1) <= a(2) <= ..."""
    return [low <= high for bids in others for low, high in zip([0, *bids], bids, strict=False)]


def _budget_fair(market: Market, report: Sequence[Term], costs: Sequence[Term]) -> Term:
    """Utility under budget-fair: the level of each task depends on its own bids."""
    import z3

    total: Term = z3.RealVal(0)
    share = BUDGET / len(market.others)
    for s in market.bidding:
        gain: Term = z3.RealVal(0)
        for k in range(1, len(market.others[s]) + 2):
            price = market.a(s, k)
            pay = share / k if price is None else _min(price, share / k)
            among = z3.BoolVal(True) if price is None else report[s] < price
            won = z3.If(among, pay - costs[s], 0)
            gain = z3.If(k * market.b(s, k, report[s]) <= share, won, gain)
        total = total + gain
    return total


def _level_max_min(market: Market, report: Sequence[Term], costs: Sequence[Term]) -> Term:
    """Utility under the common level, which looks at all bids."""
    import z3

    total: Term = z3.RealVal(0)
    tasks = range(len(market.others))
    for k in range(1, max(map(len, market.others)) + 1):
        bids = [market.b(s, k + 1, report[s]) for s in tasks]
        if _missing(bids):
            break
        prices = {s: market.a(s, k) for s in market.bidding}
        total = z3.If(k * sum(bids) <= BUDGET, _menu_utility(prices, report, costs), total)
    return total


def sorted_terms(terms: Sequence[Term]) -> list[Term]:
    """Terms in rising order, by a sorting network."""
    out = list(terms)
    for done in range(len(out)):
        for j in range(len(out) - 1 - done):
            out[j], out[j + 1] = _min(out[j], out[j + 1]), _max(out[j], out[j + 1])
    return out


def plain_offers(market: Market, s: int) -> Iterator[Offer]:
    """Offers of `leave_one_out_level` for one task, level by level."""
    import z3

    for k in range(1, len(market.others[s]) + 1):
        x = [market.a(t, k if t == s else k + 1) for t in range(len(market.others))]
        if _missing(x):
            return
        yield Offer(k, k * sum(x) <= BUDGET, x[s], z3.BoolVal(False))


def capped_offers(market: Market, s: int, *, test_others: bool = True) -> Iterator[Offer]:
    """Offers of `max_min_fair` for one task; every cap is a variable with its own equation.

    Without the tests on the other tasks the rule is wrong, which proofs must be able to see.
    """
    tasks = range(len(market.others))
    for k in range(1, len(market.others[s]) + 2):
        tested = tasks if test_others else (s,)
        lowest = [market.a(t, k - 1 if t == s else k) for t in tested]
        if _missing(lowest):
            return
        x = [market.a(t, k if t == s else k + 1) for t in tasks]
        is_open = k * _capped_sum(x, _max(*lowest)) <= BUDGET
        yield Offer(k, is_open, *_capped(market, x, k, s))


def _from_offers(offers: Offers) -> Utility:
    """Utility of a client that faces the offer of the highest open level of every task."""

    def utility(market: Market, report: Sequence[Term], costs: Sequence[Term]) -> Term:
        import z3

        prices, ties = {}, {}
        for s in market.bidding:
            price, tie = z3.RealVal(0), z3.BoolVal(False)
            for offer in offers(market, s):
                price = z3.If(offer.is_open, offer.price, price)
                tie = z3.If(offer.is_open, offer.is_cap, tie)
            prices[s], ties[s] = price, tie
        return _menu_utility(prices, report, costs, ties)

    return utility


def _capped(market: Market, x: list[Term], k: int, s: int) -> tuple[Term, Term]:
    """min(x_s, water level of x at B / k), and whether the level is the smaller one."""
    import z3

    level = z3.Real(f"level{market.name}_{s}_{k}")
    fill = k * _capped_sum(x, level) == BUDGET
    if _missing(x):
        market.facts.append(fill)
        is_cap = z3.BoolVal(True) if x[s] is None else level < x[s]
    else:
        fits = k * sum(x) <= BUDGET
        market.facts.append(z3.Or(fits, fill))
        is_cap = z3.And(z3.Not(fits), level < x[s])
    return (level if x[s] is None else z3.If(is_cap, level, x[s])), is_cap


def _capped_sum(x: list[Term], cap: Term) -> Term:
    """sum_t min(x_t, cap), a missing bid being infinite."""
    return sum(cap if term is None else _min(term, cap) for term in x)


def _menu_utility(
    prices: dict[int, Term],
    report: Sequence[Term],
    costs: Sequence[Term],
    ties: dict[int, Term] | None = None,
) -> Term:
    """The client gets every task priced above its bid, and those where it wins ties."""
    import z3

    gains = []
    for s, price in prices.items():
        won = report[s] < price
        if ties is not None:
            won = z3.Or(won, z3.And(ties[s], report[s] == price))
        gains.append(z3.If(won, price - costs[s], 0))
    return sum(gains)


def _missing(bids: list[Term]) -> bool:
    """Whether one of some bids does not exist (`in` would query the solver)."""
    return any(bid is None for bid in bids)


def _min(x: Term, y: Term) -> Term:
    """Smaller of two terms."""
    import z3

    return z3.If(x <= y, x, y)


def _max(*terms: Term) -> Term:
    """Largest of some terms."""
    import z3

    top = terms[0]
    for term in terms[1:]:
        top = z3.If(top >= term, top, term)
    return top


UTILITIES: dict[Any, Utility] = {
    budget_fair: _budget_fair,
    max_min_fair: _from_offers(capped_offers),
    leave_one_out_level: _from_offers(plain_offers),
    level_max_min: _level_max_min,
}
