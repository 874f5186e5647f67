"""The leave-one-out repair of the common level: truthful for clients that bid on several tasks."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from mechanisms.auctions.exact.offers import recruit_by_offers
from mechanisms.auctions.exact.ranking import Ranking, kth, largest
from mechanisms.auctions.floats.recruitment import leave_one_out
from mechanisms.auctions.level_max_min import within_budget
from mechanisms.auctions.rounded_prices import at_rounded_prices
from mechanisms.bids import Auction, read_auction
from mechanisms.outcome import Outcome


def leave_one_out_level(
    bids: ArrayLike, budget: Any, *, reserve: Any = None, unit: Any = None
) -> Outcome:
    r"""The common level of `level_max_min`, found without looking at the client's own bids.

    Problem: with a_t(k) the k-th cheapest bid of task t among the other clients, client i wins
    task s iff it is among the K cheapest of s for

        K = max{k : k (a_s(k) + sum_{t != s} a_t(k+1)) <= B},        and is paid a_s(K).

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        reserve: Optional price (scalar or (S,)) of an inexhaustible outside seller; bids above it
            are ignored.
        unit: Payments are multiples of it, as in `max_min_fair`.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Guarantee: truthful against joint misreports with costs that add up over tasks, individually
    rational, budget feasible. For clients that bid on one task each it is `level_max_min`. Every
    recruit is also one of `max_min_fair`, at a price at least as high there. Every task recruits
    k_A - 1 or k_A clients, k_A being the level of `level_max_min`; with a unit possibly fewer, and
    the rest holds.

    Raises:
        InvalidInput: A bid, the budget, the reserve or the unit does not meet its requirement.

    Source: own design, a repair of the common-level auction.

    Example:
        >>> leave_one_out_level([[1.0, 5.0], [2.0, 1.0], [4.0, 3.0]], 15.0).payments
        array([[2., 0.],
               [0., 3.],
               [0., 0.]])
    """
    auction = read_auction(bids, budget, reserve, unit)
    if auction.exact:
        return at_rounded_prices(recruit_by_offers(auction, exact_level_offer), auction)
    return at_rounded_prices(leave_one_out(auction, caps=False), auction)


def exact_level_offer(others: list[Ranking], task: int, auction: Auction) -> tuple[int, Any]:
    """Largest affordable level of one client and task, and its price."""

    def next_bids(k: int) -> list[Any]:
        ranks = [k if t == task else k + 1 for t in range(len(others))]
        return [kth(*each) for each in zip(others, ranks, auction.outside, strict=True)]

    level = largest(
        auction.num_clients, lambda k: k == 0 or within_budget(next_bids(k), k, auction)
    )
    return level, next_bids(level)[task]
