"""Max-min of value: every task is to get work that is worth the same, whoever does it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

from numpy.typing import ArrayLike, NDArray

from mechanisms.auctions.exact.by_value import (
    Ranked,
    by_cost_per_value,
)
from mechanisms.auctions.exact.ranking import Prices, largest
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import Auction, checked_values, in_fractions, read_auction
from mechanisms.outcome import Outcome


def quality_level(bids: ArrayLike, budget: Any, values: ArrayLike) -> Outcome:
    r"""Buy about the same value for every task, at prices that no client's own bids enter.

    Problem: client i is worth v_is > 0 to task s and costs c_is = b_is / v_is per unit of value.
    With client i left out, a_t(k) is the k-th lowest cost per value of task t, V_t(k) the value of
    the k cheapest, and G_t(x) the first a_t(k) with V_t(k) > x. Client i wins task s iff it is
    among the K cheapest of s for

        K = max{k : x (a_s(k) + sum_{t != s} G_t(x)) <= B,  x = v_is + V_s(k - 1)},

    and is paid v_is a_s(K). x is the value that task s gets when the client joins the k - 1
    cheapest of the others: a level of value instead of a number of recruits.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        values: v, (N,) or (N, S), finite and > 0. Public or measured: a client that can move its
            own value is outside the guarantee.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Guarantee: truthful against joint misreports of costs that add up over tasks, individually
    rational, budget feasible. With m the largest value of a client and X the largest value that
    the budget could buy for every task at reported costs, fractions of clients allowed, every
    task gets value of at least (X - 3 m) / 2. All values equal, it is `leave_one_out_level`. Ties
    go to the lower client index; float payments are rounded down.

    *Proof.* Prices are functions of the others' bids and utility is additive: truthful,
    individually rational. Budget: the left side grows with k, so levels x up to some point pass.
    If i wins s at x then it comes before the others' client at a_s(K), so a_s(K) is G_s(x) with
    everybody in, and the other G_t(x) can only be lower with everybody in: x passes the test
    x sum_t G_t(x) <= B of the full profile. Let y be the largest x at which anybody wins. The
    dearest recruit of a task and the recruits before it are worth at most its x <= y, and are paid
    at most G_t(y) per value: all together y sum_t G_t(y) <= B. Floor: with everybody in, let x
    pass x sum_t G_t(x + m) <= B. Leaving out a client moves G_t(x) to at most G_t(x + m), so the
    cheapest clients of every task with value up to x are recruited: more than x - m. And every
    x <= (X - m) / 2 passes, since x G_t(x + m) is at most what the units of value from x + m to
    2 x + m cost.

    Raises:
        InvalidInput: A bid, the budget or a value does not meet its requirement.

    Source: own design: `leave_one_out_level` with units of value for recruits.

    Example:
        >>> bids = [[2.0, 9.0], [3.0, 4.0], [5.0, 1.0], [8.0, 6.0]]
        >>> quality_level(bids, 40.0, [1, 2, 2, 4]).payments
        array([[2.5, 0. ],
               [4. , 0. ],
               [0. , 4. ],
               [0. , 0. ]])
    """
    auction = read_auction(bids, budget)
    worth = checked_values(values, auction.bids.shape)
    exact = in_fractions(auction)
    supplies = [_supply(exact.bids[:, s], worth[:, s]) for s in range(auction.num_tasks)]
    prices: Prices = {}
    for client in range(auction.num_clients):
        others = [supply.without(client) for supply in supplies]
        for task, supply in enumerate(supplies):
            if client in supply.place:
                price = _accepted_price(others, task, worth[client, task], exact)
                if price is not None:
                    prices[client, task] = worth[client, task] * price
    return outcome_of(auction, prices)


@dataclass(frozen=True, eq=False)
class Supply:
    """One task's bidders, cheapest per value first.

    Args:
        order: (cost per value, client).
        total: Value of the first 1, 2, ... of them.
        place: Place of each bidding client.
    """

    order: Ranked
    total: list[int]
    place: dict[int, int]

    def without(self, client: int) -> Others:
        """The same without a client, who may not bid at all."""
        place = self.place.get(client, len(self.order))
        before = self.total[place - 1] if place else 0
        here = self.total[place] if place < len(self.order) else before
        return Others(self, place, here - before)


@dataclass(frozen=True, eq=False)
class Others:
    """A supply in which one client is skipped.

    Args:
        supply: Of everybody.
        place: Where the client stands; at the end if it does not bid.
        worth: Its value; 0 if it does not bid.
    """

    supply: Supply
    place: int
    worth: int

    def __len__(self) -> int:
        return len(self.supply.order) - (self.place < len(self.supply.order))

    def index(self, k: int) -> int:
        """Place of the k-th cheapest other in the supply of everybody."""
        return k - 1 if k - 1 < self.place else k

    def value(self, k: int) -> int:
        """Value of the k cheapest others."""
        if k == 0:
            return 0
        index = self.index(k)
        return self.supply.total[index] - (self.worth if index > self.place else 0)

    def cost(self, k: int) -> Any:
        """Cost per value of the k-th cheapest other."""
        return self.supply.order[self.index(k)][0]

    def cost_beyond(self, level: int) -> Any:
        """Cost per value of the first other with whom the others' value exceeds a level.

        None where all others together do not exceed it.
        """
        index = bisect_right(self.supply.total, level)
        if index >= self.place:
            index = bisect_right(self.supply.total, level + self.worth)
        return self.supply.order[index][0] if index < len(self.supply.order) else None


def _supply(bids: NDArray[Any], values: NDArray[Any]) -> Supply:
    """Bidders of one task."""
    order = by_cost_per_value(bids, values)
    total = list(accumulate(values[client] for _, client in order))
    return Supply(order, total, {client: place for place, (_, client) in enumerate(order)})


def _accepted_price(others: list[Others], task: int, worth: int, auction: Auction) -> Any:
    """What a bidder of a task is paid per value; None where it loses.

    It wins iff it is among the K cheapest, that is iff the level at its own place passes.
    """
    own = others[task]

    def passes(k: int) -> bool:
        level = worth + own.value(k - 1)
        costs = [o.cost_beyond(level) if t != task else own.cost(k) for t, o in enumerate(others)]
        if any(cost is None for cost in costs):
            return False
        return bool(level * sum(costs, Fraction(0)) <= auction.budget)

    first = own.place + 1
    if first > len(own) or not passes(first):
        return None
    more = largest(len(own) - first, lambda j: passes(first + j))
    return own.cost(first + more)
