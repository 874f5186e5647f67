"""Baselines that pay each recruit its bid: simple, budget feasible, and not truthful."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.auctions.exact.ranking import exact_outcome
from mechanisms.auctions.floats.recruitment import buy_cheapest
from mechanisms.bids import Auction, checked_generator, read_auction
from mechanisms.outcome import Outcome, counting_recruits


def cheapest_first(bids: ArrayLike, budget: Any) -> Outcome:
    """Buy the cheapest bids of all tasks together until the next one does not fit.

    Problem: maximise the total number of recruits, whatever the task. Costly tasks may get nobody.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task; each is paid its bid.

    Guarantee: the largest total number of recruits on the bids as reported, budget feasible. Not
    truthful. Ties go to the lower client index, then to the lower task index.

    Raises:
        InvalidInput: A bid or the budget does not meet its requirement.

    Example:
        >>> cheapest_first([[1.0, 5.0], [2.0, 6.0]], 9.0).take_up
        array([2, 1])
    """
    auction = read_auction(bids, budget)
    if not auction.exact:
        return buy_cheapest(auction.bids, auction.budget, together=True)
    order = np.argsort(auction.bids, axis=None, kind="stable")
    return _buy_exactly(auction, order, skip=False)


def random_recruitment(bids: ArrayLike, budget: Any, rng: np.random.Generator) -> Outcome:
    """Go through all (client, task) pairs in random order and buy each bid that still fits.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        rng: Source of the order; the only randomness.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task; each is paid its bid.

    Guarantee: ex-post budget feasible, individually rational. Not truthful.

    Raises:
        InvalidInput: A bid, the budget or the generator does not meet its requirement.

    Source: the random recruitment that FedFairMMFL (arXiv 2404.13841) compares with, as
    reconstructed here.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> float(random_recruitment([[1.0, 5.0], [2.0, 6.0]], 9.0, rng).spend) <= 9
        True
    """
    checked_generator(rng)
    auction = read_auction(bids, budget)
    order = rng.permutation(auction.bids.size)
    return _buy_exactly(auction, order, skip=True) if auction.exact else _buy_fast(auction, order)


def _buy_exactly(auction: Auction, order: NDArray[np.intp], *, skip: bool) -> Outcome:
    """Buy bids in an order while they fit; the first that does not ends it, or is passed over."""
    prices: dict[tuple[int, int], Any] = {}
    left = auction.budget
    for cell in order:
        client, task = divmod(int(cell), auction.num_tasks)
        bid = auction.bids[client, task]
        if bid <= left:
            prices[client, task] = bid
            left = left - bid
        elif not skip:
            break
    return exact_outcome(prices, auction.bids.shape)


def _buy_fast(auction: Auction, order: NDArray[np.intp]) -> Outcome:
    """Pass over what does not fit, on float64 bids, with the money left kept without rounding."""
    from mechanisms.auctions.kernels.spending import spend_in_order

    chosen = np.zeros(auction.bids.size, dtype=np.bool_)
    spend_in_order(auction.bids.ravel(), order.astype(np.int64), auction.budget, chosen)
    winners = chosen.reshape(auction.bids.shape)
    return counting_recruits(winners, np.where(winners, auction.bids, 0.0))
