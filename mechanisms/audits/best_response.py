"""The best joint misreport of one client, exactly, for rules whose structure is known.

For a leave-one-out rule a client faces a list of prices that its own bids do not enter, so the
best it can ever get is the sum of its gains at these prices. For the common level a client wants
the highest level that its bids can bring about, which is found directly. In both cases all joint
misreports of all its bids are covered at the cost of about one auction.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms.auctions.budget_fair import budget_fair
from mechanisms.auctions.capacity_max_min import capacity_max_min
from mechanisms.auctions.exact.ranking import Ranking, kth, largest, of_others, ranked
from mechanisms.auctions.leave_one_out_level import exact_level_offer, leave_one_out_level
from mechanisms.auctions.level_max_min import level_max_min
from mechanisms.auctions.max_min_fair import exact_offer, max_min_fair
from mechanisms.bids import Auction
from mechanisms.integers import checked_capacity
from mechanisms.outcome import Mechanism

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Response:
    """What a client can get at most, and a report that gets it.

    Args:
        utility: Supremum over all joint reports; attained by `report`.
        report: (S,) bids.
        menu: (S,) prices that the client faces whatever it bids, for rules that have such.
    """

    utility: Any
    report: Row
    menu: Row | None = None

    def explains(self, won: Row, paid: Row) -> bool:
        """Whether a truthful client's outcome is its choice from the menu."""
        rows = zip(won, paid, self.report, self.menu or (), strict=True)
        return all(
            (pay == price and bid <= price) if wins else bid >= price
            for wins, pay, bid, price in rows
        )


BestResponse = Callable[[Auction, list[Ranking], int], Response]


def known_rule(mechanism: Mechanism) -> tuple[Mechanism, Mapping[str, Any]]:
    """The rule behind a mechanism and its reserve and unit, seen through `functools.partial`.

    Example:
        >>> known_rule(functools.partial(max_min_fair, unit=1))[1]
        {'unit': 1}
    """
    if not isinstance(mechanism, functools.partial):
        return mechanism, {}
    simple = not mechanism.args and set(mechanism.keywords) <= {"reserve", "unit"}
    return (mechanism.func, mechanism.keywords) if simple else (mechanism, {})


def best_response_of(mechanism: Mechanism) -> BestResponse | None:
    """The exact joint best response for a rule, or None where none is known."""
    if gives_single_parts(mechanism):
        return functools.partial(choose_part, mechanism)
    rule, _ = known_rule(mechanism)
    return _KNOWN.get(rule)


def gives_single_parts(mechanism: Mechanism) -> bool:
    """Whether it is `capacity_max_min`, with whatever options."""
    rule = mechanism.func if isinstance(mechanism, functools.partial) else mechanism
    return rule is capacity_max_min


def stays_within(mechanism: Mechanism, capacity: Sequence[int], tasks: int) -> bool:
    """Whether it is `capacity_max_min` with capacities of its own that are no larger."""
    if not gives_single_parts(mechanism):
        return False
    own = _own_capacities(mechanism, (len(capacity), tasks))
    return all(mine <= most for mine, most in zip(own, capacity, strict=True))


def choose_part(
    mechanism: Mechanism, auction: Auction, rankings: list[Ranking], client: int
) -> Response:
    """Best response to `capacity_max_min`, where a client gets one set of tasks from a menu.

    Its own bids do not enter the menu, so that it can have any set on it by asking nothing for the
    set and not bidding on the rest: each is tried, by running the auction.
    """
    truth = tuple(auction.bids[client])
    tasks = [task for task, cost in enumerate(truth) if cost < math.inf]
    most = _own_capacities(mechanism, auction.bids.shape)[client]
    best = Response(Fraction(0), (math.inf,) * len(truth))
    profile = auction.bids.copy()
    for size in range(1, min(most, len(tasks)) + 1):
        for part in itertools.combinations(tasks, size):
            profile[client] = [0 if task in part else math.inf for task in range(len(truth))]
            outcome = mechanism(profile.copy(), auction.budget)
            won = np.flatnonzero(outcome.winners[client])
            gain = sum((outcome.payments[client, s] - truth[s] for s in won), Fraction(0))
            if gain > best.utility:
                best = Response(gain, tuple(profile[client]))
    return best


def _own_capacities(mechanism: Mechanism, shape: tuple[int, ...]) -> list[int]:
    """Most tasks of each client, from the options of `capacity_max_min`."""
    options = mechanism.keywords if isinstance(mechanism, functools.partial) else {}
    return checked_capacity(options.get("capacity", 1), shape)


def rankings_of(auction: Auction) -> list[Ranking]:
    """Ranked bidders of every task."""
    return [ranked(column) for column in auction.bids.T]


def from_menu(price_of: Callable[[list[Ranking], int, Auction], Any]) -> BestResponse:
    """Best response to prices that the client's bids do not enter: take what pays.

    Where the auction has a unit, the prices are rounded down before they are offered.
    """

    def respond(auction: Auction, rankings: list[Ranking], client: int) -> Response:
        others = of_others(rankings, client, auction.bids[client])
        truth = tuple(auction.bids[client])
        exact = [price_of(others, task, auction) for task in range(len(truth))]
        menu = tuple(exact if auction.unit is None else map(auction.unit.round_down, exact))
        gains = [price - cost for price, cost in zip(menu, truth, strict=True) if cost < price]
        return Response(sum(gains, Fraction(0)), truth, menu)

    return respond


def share_price(others: list[Ranking], task: int, auction: Auction) -> Any:
    """Highest bid that still wins a task of budget-fair: max_k min(a(k), B / (S k)).

    Bids rise and shares fall with k, so the maximum is next to where they cross.
    """
    share, ranking = auction.budget / auction.num_tasks, others[task]
    k = largest(len(ranking), lambda k: k * kth(ranking, k) <= share)
    return max(kth(ranking, k), share / (k + 1))


def capped_price(others: list[Ranking], task: int, auction: Auction) -> Any:
    """Price of a task under `max_min_fair`."""
    return exact_offer(others, task, auction)[1]


def level_price(others: list[Ranking], task: int, auction: Auction) -> Any:
    """Price of a task under `leave_one_out_level`."""
    return exact_level_offer(others, task, auction)[1]


def raise_common_level(auction: Auction, rankings: list[Ranking], client: int) -> Response:
    """Best response to `level_max_min`, or one that is no better than the truth.

    At level k a client is paid a_s(k), the k-th bid of the others, for each task where it is among
    the k cheapest. That grows with k, so it wants the highest level it can bring about: the
    largest k with k sum_s a_s(k) <= B, where a task that it stays out of counts a_s(k+1). It makes
    that level cheap by bidding just above a_s(k) where it does not want to win. Only if the budget
    is then spent to the last fraction can a tie force it to win a task at a loss; if that costs
    too much, truthful bids bring the level below.
    """
    others = of_others(rankings, client, auction.bids[client])
    truth = tuple(auction.bids[client])

    def cheapest(k: int) -> list[Any]:
        ranks = [k if cost < math.inf else k + 1 for cost in truth]
        return [kth(*each) for each in zip(others, ranks, auction.outside, strict=True)]

    def attainable(k: int) -> bool:
        bids = cheapest(k)
        return max(bids) < math.inf and bool(k * sum(bids) <= auction.budget)

    k = largest(auction.num_clients, lambda k: k == 0 or attainable(k))
    if k == 0:
        return Response(Fraction(0), truth)
    bids = cheapest(k)
    step = (auction.budget - k * sum(bids)) / (k * len(bids))
    moves = [
        _move(others[task], auction.outside[task], k, client, cost, step)
        for task, cost in enumerate(truth)
    ]
    return Response(sum((gain for gain, _ in moves), Fraction(0)), tuple(bid for _, bid in moves))


def _move(
    others: Ranking, outside: Any, k: int, client: int, cost: Any, step: Any
) -> tuple[Any, Any]:
    """(gain, bid) for one task of a client that aims at level k with `step` to spare per task."""
    price, following = kth(others, k, outside), kth(others, k + 1, outside)
    if cost == math.inf or following == price:
        return max(price - cost, Fraction(0)), cost
    if cost <= price:
        return price - cost, cost
    if step > 0:
        return Fraction(0), min(cost, price + step)
    loses_tie = k > len(others) or others[k - 1] < (price, client)
    return (Fraction(0) if loses_tie else price - cost), price


_KNOWN: dict[Any, BestResponse] = {
    budget_fair: from_menu(share_price),
    max_min_fair: from_menu(capped_price),
    leave_one_out_level: from_menu(level_price),
    level_max_min: raise_common_level,
}
