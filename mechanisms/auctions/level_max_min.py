"""The common-level auction: every task recruits the same number at its own next price."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mechanisms.auctions.exact.ranking import Ranking, exact_outcome, kth, largest, ranked
from mechanisms.auctions.floats.recruitment import around_common_level, recruit_cheapest
from mechanisms.bids import Auction, read_auction
from mechanisms.outcome import Outcome


def level_max_min(bids: ArrayLike, budget: Any, *, reserve: Any = None) -> Outcome:
    r"""Every task recruits the same number of clients at its own next price.

    Problem: with sorted bids b_s(1) <= b_s(2) <= ... (the reserve price after the last, `inf`
    without one), recruit the k cheapest of every task for

        k = max{k : k sum_s b_s(k+1) <= B},        each paid b_s(k+1).

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        reserve: Optional price (scalar or (S,)) of an inexhaustible outside seller; bids above it
            are ignored.

    Returns:
        `Outcome` whose `level` (S,) is k for every task (at most N). With a reserve a task with
        fewer than k bidders recruits all of them.

    Guarantee: budget feasible and individually rational always; truthful when every client bids on
    one task and cannot bid on another. **Not truthful for clients that can bid on several
    tasks**: a losing bid can be lowered to raise the common level, even for a task that the client
    cannot do (`proofs.counterexamples` has the instances). k is at least
    floor(k* / 2), k* being the level of `greedy_max_min`. Ties go to the lower client index.

    Raises:
        InvalidInput: A bid, the budget or the reserve does not meet its requirement.

    Source: reconstruction from first principles of the max-min auction of FedFairMMFL
    (arXiv 2404.13841), which names it and its objective.

    Example:
        >>> bids = [[1.0, 2.0], [2.0, 3.0], [4.0, 5.0], [7.0, 9.0]]
        >>> level_max_min(bids, 24.0).payments
        array([[4., 5.],
               [4., 5.],
               [0., 0.],
               [0., 0.]])
    """
    auction = read_auction(bids, budget, reserve)
    return _level_exact(auction) if auction.exact else _level_fast(auction)


def _level_exact(auction: Auction) -> Outcome:
    """The definition."""
    rankings = [ranked(column) for column in auction.bids.T]
    prices = {}
    level = largest(auction.num_clients, lambda k: k == 0 or _affordable(rankings, k, auction))
    for task, ranking in enumerate(rankings):
        price = kth(ranking, level + 1, auction.outside[task])
        prices.update({(client, task): price for _, client in ranking[:level]})
    return exact_outcome(prices, auction.bids.shape, [level] * auction.num_tasks)


def _affordable(rankings: list[Ranking], k: int, auction: Auction) -> bool:
    """Whether k recruits per task can be paid the next price."""
    pairs = zip(rankings, auction.outside, strict=True)
    return within_budget([kth(ranking, k + 1, outside) for ranking, outside in pairs], k, auction)


def within_budget(bids: list[Any], k: int, auction: Auction) -> bool:
    """Whether k times all these bids is within budget; a missing bid never is."""
    return max(bids) < math.inf and bool(k * sum(bids) <= auction.budget)


def _level_fast(auction: Auction) -> Outcome:
    """The same decisions on float64 bids."""
    level, stats = around_common_level(auction, reach=1)
    price = stats.window(level + 1, 1, auction.outside)[:, 0].copy()
    return recruit_cheapest(auction, stats, np.full(auction.num_tasks, level), price)
