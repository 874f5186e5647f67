"""The default auction: as many recruits as possible for the task that gets fewest, truthfully."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import ArrayLike

from mechanisms.auctions.exact.offers import recruit_by_offers
from mechanisms.auctions.exact.ranking import Ranking, kth, largest, water_level
from mechanisms.auctions.floats.recruitment import leave_one_out
from mechanisms.auctions.rounded_prices import at_rounded_prices
from mechanisms.bids import Auction, read_auction
from mechanisms.outcome import Outcome


def max_min_fair(bids: ArrayLike, budget: Any, *, reserve: Any = None, unit: Any = None) -> Outcome:
    r"""Leave-one-out auction with water-filling caps.

    Problem: maximise the smallest number of recruits over S tasks within a budget, although every
    client may misreport all its costs together. Let a_t(k) be the k-th cheapest bid of task t
    among the *other* clients (0 at k = 0, `inf` or the reserve price after the last), and let
    lambda(x, r) solve sum_t min(x_t, lambda) = r (`inf` where sum_t x_t <= r). For client i,
    task s and level k put

        x = (a_s(k); a_t(k+1) for t != s),        lambda_k = lambda(x, B / k).

    Level k is open iff a_s(k-1) <= lambda_k and, for every t != s, a_t(k) <= lambda_k and is
    finite. Openness ends for good at some level K; the price of (i, s) is
    min(a_s(K), lambda_K), the largest over all open levels. Client i wins task s iff it is among
    the K cheapest of s and bids at most lambda_K.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        reserve: Optional price (scalar or (S,)) at which an outside seller offers any amount of
            each task; bids above it are ignored. It lets a task with few bidders be priced.
        unit: Prices are rounded down to multiples of it, such as 0.01, before they are offered, and
            recruits that bid more than that leave. > 0 and at most the budget.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Method: exact bids are treated by the definition, with bisection over k. For floats only the
    levels k_A - 1, k_A, k_A + 1 matter, where k_A is the level of `level_max_min`, so one pass
    over the order statistics next to k_A decides everybody. Ties are decided exactly.

    Guarantee: a price depends on the bids of others only and utility adds up over tasks, so the
    rule is truthful against joint misreports and individually rational; it is ex-post budget
    feasible. With one task it is `proportional_share`. Every task recruits between
    k_A - 1 and k_A + 1 clients, and at least floor((k* - 1) / 2), k* being the level of
    `greedy_max_min`. Unit-demand or capacity-limited clients are outside the theorem, and the
    rule is neither collusion-proof nor false-name-proof. Float payments are rounded down.

    Units: a rounded price is lower and still depends on the bids of others only, so the rule stays
    truthful, individually rational and within budget (`mechanisms.auctions.rounded_prices` has the
    proof); the numbers of recruits can be smaller than said above. A float means its shortest
    decimal text, and payments are then the floats nearest to its multiples: none above the price
    nor below the bid, and the multiples that they stand for add up to at most the budget, both in
    decimals (a budget just below a multiple, by at most 2^-51 of it, is read as that). Payments
    are `Decimal` iff the unit is one and the bids are exact numbers (an array of objects, such as
    fractions and decimals).

    Raises:
        InvalidInput: A bid, the budget, the reserve or the unit does not meet its requirement.

    Source: own design; FedFairMMFL (arXiv 2404.13841) names a max-min auction, this is a
    reconstruction of its aim, not of its steps. At one task: Singer, arXiv 1002.2334.

    Example:
        >>> from decimal import Decimal
        >>> max_min_fair([[2.0, 9.0], [3.0, 4.0], [5.0, 1.0], [8.0, 6.0]], 24.0).payments
        array([[5., 0.],
               [5., 6.],
               [0., 6.],
               [0., 0.]])
        >>> bids = [[Decimal("0.50")], [Decimal("0.55")], [Decimal("0.90")]]
        >>> max_min_fair(bids, Decimal("1.25"), unit=Decimal("0.10")).payments.ravel().tolist()
        [Decimal('0.60'), Decimal('0.60'), Decimal('0.00')]
    """
    auction = read_auction(bids, budget, reserve, unit)
    if auction.exact:
        return at_rounded_prices(recruit_by_offers(auction, exact_offer), auction)
    return at_rounded_prices(leave_one_out(auction, caps=True), auction)


def exact_offer(others: list[Ranking], task: int, auction: Auction) -> tuple[int, Any]:
    """Largest open level of one client and task, and its price; (0, 0) where none is open."""

    def bid(t: int, k: int) -> Any:
        return kth(others[t], k, auction.outside[t])

    def losers(k: int) -> list[Any]:
        return [bid(t, k if t == task else k + 1) for t in range(len(others))]

    def is_open(k: int) -> bool:
        winners = [bid(t, k - 1 if t == task else k) for t in range(len(others))]
        return max(winners) < math.inf and within_level(max(winners), losers(k), k, auction.budget)

    level = largest(auction.num_clients, lambda k: k == 0 or is_open(k))
    if level == 0:
        return 0, 0
    return level, min(bid(task, level), water_level(losers(level), auction.budget / level))


def within_level(cap: Any, losers: list[Any], k: int, budget: Any) -> bool:
    """Whether cap <= lambda(losers, budget / k): the capped sum fits, since it grows with cap."""
    return bool(k * sum(min(bid, cap) for bid in losers) <= budget)
