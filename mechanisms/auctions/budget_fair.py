"""Budget-fair: every task gets the same money and runs its own proportional share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.auctions.exact.ranking import exact_outcome, kth, largest, ranked
from mechanisms.auctions.floats.order_statistics import OrderStatistics, everything, stretch
from mechanisms.auctions.floats.recruitment import recruit_cheapest
from mechanisms.auctions.rounded_prices import at_rounded_prices
from mechanisms.bids import Auction, read_auction
from mechanisms.outcome import Outcome


def budget_fair(bids: ArrayLike, budget: Any, *, unit: Any = None) -> Outcome:
    r"""Split the budget equally over the tasks; each runs a proportional share.

    Problem: with sorted bids b_s(1) <= b_s(2) <= ... of task s, recruit the k_s cheapest for

        k_s = max{k : k b_s(k) <= B / S},    each paid min(B / (S k_s), b_s(k_s + 1)).

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        unit: Payments are multiples of it, as in `max_min_fair`.

    Returns:
        `Outcome` whose `level` (S,) is k_s, the number of recruits of each task.

    Guarantee: tasks do not interact, so with costs that add up over tasks the rule is truthful
    against joint misreports, individually rational and budget feasible, and k_s >= ceil(k*_s / 2)
    against the task's own optimum. Its minimum over tasks can be S times below the max-min
    optimum, because money left over by a cheap task is not passed on. Ties go to the lower client
    index. Exact bids give exact payments; float payments are rounded down. With a unit the floor
    is lost, as recruits that bid more than the rounded price leave, and the rest holds.

    Raises:
        InvalidInput: A bid, the budget or the unit does not meet its requirement.

    Source: reconstruction from first principles of the budget-fair auction that FedFairMMFL
    (arXiv 2404.13841) names; one proportional share (arXiv 1002.2334) per task.

    Example:
        >>> budget_fair([[2.0, 9.0], [3.0, 4.0], [5.0, 1.0], [8.0, 6.0]], 24.0).payments
        array([[5., 0.],
               [5., 6.],
               [0., 6.],
               [0., 0.]])
    """
    auction = read_auction(bids, budget, unit=unit)
    return at_rounded_prices(_exact(auction) if auction.exact else _fast(auction), auction)


def _exact(auction: Auction) -> Outcome:
    """The definition, task by task."""
    prices, level = {}, []
    for task in range(auction.num_tasks):
        recruits, price = exact_share(auction.bids[:, task], auction.budget / auction.num_tasks)
        prices.update({(client, task): price for client in recruits})
        level.append(len(recruits))
    return exact_outcome(prices, auction.bids.shape, level)


def _fast(auction: Auction) -> Outcome:
    """The same decisions on float64 bids."""
    from mechanisms.auctions.kernels.shares import share_price

    def guess(sample: NDArray[np.float64], ratio: float) -> NDArray[np.int64]:
        ranks = ratio * auction.num_tasks * np.arange(1, sample.shape[1] + 1)
        return np.asarray((ranks * sample <= auction.budget).sum(axis=1, dtype=np.int64))

    stats = stretch(auction.bids, guess)
    level = None if stats is None else _levels(auction, stats)
    if stats is None or level is None:
        stats = everything(auction.bids)
        level = _levels(auction, stats)
        assert level is not None
    following = stats.window(level + 1, 1, auction.outside)[:, 0]
    tasks, budget = auction.num_tasks, auction.budget
    price = [share_price(b, k, tasks, budget) for b, k in zip(following, level, strict=True)]
    return recruit_cheapest(auction, stats, level, np.array(price))


def _levels(auction: Auction, stats: OrderStatistics) -> NDArray[np.int64] | None:
    """(S,) recruits of every task, or None where they lie outside the order statistics."""
    from mechanisms.auctions.kernels.shares import share_level

    of = zip(stats.rows, stats.below, stats.size, stats.complete, strict=True)
    found = [share_level(*row, auction.num_tasks, auction.budget) for row in of]
    return np.array(found, dtype=np.int64) if min(found) >= 0 else None


def exact_share(bids: Sequence[Any] | NDArray[Any], budget: Any) -> tuple[list[int], Any]:
    """Recruits of one task and the pay of each, in exact numbers.

    Example:
        >>> from fractions import Fraction
        >>> exact_share([2, 3, 5, 8], Fraction(12))
        ([0, 1], 5)
    """
    ranking = ranked(bids)
    k = largest(len(ranking), lambda k: k * kth(ranking, k) <= budget)
    price = min(budget / k, kth(ranking, k + 1)) if k else None
    return [client for _, client in ranking[:k]], price
