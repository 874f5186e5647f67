"""Clients that arrive one by one: prices learned from those who came before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.auctions.exact.ranking import Prices, Ranking, kth, largest, ranked
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import (
    Auction,
    checked_generator,
    checked_quotas,
    checked_share,
    in_fractions,
    read_auction,
)
from mechanisms.outcome import Outcome

SAMPLE = 0.125
"""Clients that only inform, as a share: few, since prices are learned anew as clients arrive."""


def online_posted_price(
    bids: ArrayLike,
    budget: Any,
    rng: np.random.Generator,
    *,
    sample: Any = SAMPLE,
    quotas: ArrayLike | None = None,
) -> Outcome:
    r"""Meet clients in random order; offer each a list of prices that those before it set.

    Problem: of N clients the first ceil(sample N) are asked and not recruited. Prices are then set,
    and anew whenever the number of clients that have come has doubled. With n clients come, r
    still to come, money M left, quotas left q_s and b_s(k) the k-th cheapest bid of the n, the
    prices are b_s(k_s) with k_s = min(k, bids seen for s, ceil(q_s n / r)) for the largest k with

        sum_s min(k_s r / n, q_s) b_s(k_s) <= M:

    what the clients to come are expected to take fits into the money left. A client is offered
    the tasks whose quotas are not filled, those with the fewest recruits first; a task is passed
    over where its price and those offered before do not fit into the money left together. The
    client takes what it bids at most the price for.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        rng: Source of the order of arrival, which does not look at bids.
        sample: Share of the clients that only inform, above 0 and below 1.
        quotas: (S,) most recruits of each task, integers >= 1; None for no limit.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Guarantee: for every order, truthful against joint misreports of costs that add up over tasks,
    individually rational, within the budget and the quotas. *Proof.* What a client is offered
    depends on the bids of those before it alone, it gets every offered task whose price is at
    least its bid, and the money for the whole offer is there. This is about clients that cannot
    choose when to arrive: one that can would not come among the first. Nothing is proved about
    the number of recruits; docs/auctions-values.md has measurements.

    Raises:
        InvalidInput: A bid, the budget, the generator, the sample or a quota does not meet its
            requirement.

    Source: sampled posted prices in stages of doubled length, after Singer and Mittal, "Pricing
    mechanisms for crowdsourcing markets", WWW 2013, and others; reconstructed for several tasks.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> bids = np.linspace(0.0, 1.0, 200).reshape(100, 2)
        >>> online_posted_price(bids, 10.0, rng).take_up
        array([15, 15])
        >>> online_posted_price(bids, 10.0, rng, quotas=[5, 8]).take_up
        array([5, 8])
    """
    checked_generator(rng)
    auction = read_auction(bids, budget)
    share = checked_share("sample", sample)
    limits = checked_quotas(quotas, auction.num_tasks)
    order = rng.permutation(auction.num_clients)
    exact = in_fractions(auction)
    market = _Market(exact.budget, limits, [0] * auction.num_tasks, {})
    learned = math.ceil(share * auction.num_clients)
    prices = _learned(exact, order[:learned], market)
    for come in range(learned, auction.num_clients):
        if come == 2 * learned:
            learned = come
            prices = _learned(exact, order[:come], market)
        _offer(exact, int(order[come]), prices, market)
    return outcome_of(auction, market.paid)


@dataclass
class _Market:
    """What is left of money and quotas, and what was bought.

    Attributes:
        money: Left.
        quotas: (S,) left, `inf` for no limit.
        recruits: (S,) so far.
        paid: Price of each recruit.
    """

    money: Any
    quotas: list[float]
    recruits: list[int]
    paid: Prices


def _learned(auction: Auction, come: NDArray[np.int64], market: _Market) -> list[Any]:
    """(S,) prices that clients to come, if they are like those who came, would use up."""
    rankings = [ranked(column[come]) for column in auction.bids.T]
    growth = Fraction(auction.num_clients - len(come), len(come))

    def places(k: int) -> list[int]:
        return [_place(k, *pair, growth) for pair in zip(rankings, market.quotas, strict=True)]

    def fits(k: int) -> bool:
        expected = Fraction(0)
        for ranking, place, quota in zip(rankings, places(k), market.quotas, strict=True):
            number = place * growth if quota == math.inf else min(place * growth, int(quota))
            expected = expected + number * kth(ranking, place)
        return bool(expected <= market.money)

    level = largest(len(come), fits)
    return [kth(*each) for each in zip(rankings, places(level), strict=True)]


def _place(k: int, ranking: Ranking, quota: float, growth: Fraction) -> int:
    """Place of a task's price among the bids seen, at a common level k."""
    place = min(k, len(ranking))
    if quota == math.inf or growth == 0:
        return place
    return min(place, math.ceil(int(quota) / growth))


def _offer(auction: Auction, client: int, prices: list[Any], market: _Market) -> None:
    """Offer one client what can be paid, the tasks with the fewest recruits first."""
    room = market.money
    for task in sorted(range(len(prices)), key=lambda s: (market.recruits[s], s)):
        price = prices[task]
        if market.quotas[task] == 0 or price > room:
            continue
        room = room - price
        if auction.bids[client, task] <= price:
            market.paid[client, task] = price
            market.money = market.money - price
            market.quotas[task] -= 1
            market.recruits[task] += 1
