"""The best max-min recruitment when costs are known: the benchmark, not a truthful auction."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from mechanisms.auctions.exact.clearing_levels import cheapest_affordable
from mechanisms.auctions.exact.ranking import exact_outcome, kth, ranked
from mechanisms.auctions.floats.recruitment import buy_cheapest
from mechanisms.auctions.wide.markets import in_words
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import Auction, in_fractions, read_auction
from mechanisms.integers import checked_capacity
from mechanisms.outcome import Outcome


def greedy_max_min(
    bids: ArrayLike, budget: Any, *, capacity: int | ArrayLike | None = None
) -> Outcome:
    r"""Round r adds the r-th cheapest client of every task at its bid, while money lasts.

    Problem: maximise min_s (recruits of s) over all recruitments whose bids sum to at most B.
    The optimum is

        k* = max{k : sum_s sum_{j <= k} b_s(j) <= B},

    because k recruits in every task cost at least that sum. With a capacity it is
    k* = max{k : C(k, ..., k) <= B}, C being the least cost of an assignment in which no client
    does more tasks than it can.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        capacity: Most tasks that a client does, 1..S; or (N,) one for each client. None: all.

    Returns:
        `Outcome` whose `level` (S,) is k* for every task; recruits are paid their bids.

    Guarantee: optimal on the bids as reported, budget feasible, individually rational. **Not
    truthful**: bidding more than one's cost pays. Use it as the full-information benchmark.

    Raises:
        InvalidInput: A bid, the budget or a capacity does not meet its requirement.

    Source: reconstruction from first principles of the greedy max-min auction of FedFairMMFL
    (arXiv 2404.13841).

    Example:
        >>> greedy_max_min([[5.0], [6.0], [7.0], [20.0]], 20.0).payments.ravel()
        array([5., 6., 7., 0.])
        >>> greedy_max_min([[1.0, 1.0], [2.0, 9.0]], 20.0, capacity=1).payments
        array([[0., 1.],
               [2., 0.]])
    """
    auction = read_auction(bids, budget)
    if capacity is not None:
        limits = checked_capacity(capacity, auction.bids.shape)
        if min(limits) < auction.num_tasks:
            return _assigned(auction, limits)
    if auction.exact:
        return _exact(auction)
    return buy_cheapest(auction.bids, auction.budget, together=False)


def _assigned(auction: Auction, limits: list[int]) -> Outcome:
    """Level by level, with the cheapest assignment of each."""
    market = in_words(auction, limits, sum(limits) + auction.num_tasks)
    if market is None:
        return outcome_of(auction, cheapest_affordable(in_fractions(auction), limits))
    return outcome_of(auction, market.pay_bids())


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
