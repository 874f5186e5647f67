"""The best max-min recruitment when costs are known: the benchmark, not a truthful auction."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from mechanisms.auctions.exact.ranking import exact_outcome, kth, ranked
from mechanisms.auctions.floats.recruitment import buy_cheapest
from mechanisms.bids import Auction, read_auction
from mechanisms.outcome import Outcome


def greedy_max_min(bids: ArrayLike, budget: Any) -> Outcome:
    r"""Round r adds the r-th cheapest client of every task at its bid, while money lasts.

    Problem: maximise min_s (recruits of s) over all recruitments whose bids sum to at most B.
    The optimum is

        k* = max{k : sum_s sum_{j <= k} b_s(j) <= B},

    because k recruits in every task cost at least that sum.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.

    Returns:
        `Outcome` whose `level` (S,) is k* for every task; recruits are paid their bids.

    Guarantee: optimal on the bids as reported, budget feasible, individually rational. **Not
    truthful**: bidding more than one's cost pays. Use it as the full-information benchmark.

    Raises:
        InvalidInput: A bid or the budget does not meet its requirement.

    Source: reconstruction from first principles of the greedy max-min auction of FedFairMMFL
    (arXiv 2404.13841).

    Example:
        >>> greedy_max_min([[5.0], [6.0], [7.0], [20.0]], 20.0).payments.ravel()
        array([5., 6., 7., 0.])
    """
    auction = read_auction(bids, budget)
    if auction.exact:
        return _exact(auction)
    return buy_cheapest(auction.bids, auction.budget, together=False)


def _exact(auction: Auction) -> Outcome:
    """Round by round."""
    rankings = [ranked(column) for column in auction.bids.T]
    left, level = auction.budget, 0
    while level < min(map(len, rankings)):
        round_cost = sum(kth(ranking, level + 1) for ranking in rankings)
        if round_cost > left:
            break
        left, level = left - round_cost, level + 1
    prices = {(i, s): bid for s, ranking in enumerate(rankings) for bid, i in ranking[:level]}
    return exact_outcome(prices, auction.bids.shape, [level] * len(rankings))
