"""Take-it-or-leave-it prices: truthful because nobody's own bid moves its prices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.auctions.exact.favourites import favourites, largest_sum
from mechanisms.auctions.exact.ranking import exact_outcome, kth, largest, ranked
from mechanisms.auctions.floats.recruitment import empty_tables
from mechanisms.auctions.rounded_prices import as_paid, rounded
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import (
    Auction,
    checked_generator,
    checked_prices,
    exact_number,
    exactly,
    read_auction,
)
from mechanisms.integers import checked_capacity
from mechanisms.outcome import Outcome, counting_recruits


def posted_price(
    bids: ArrayLike,
    prices: ArrayLike,
    budget: Any,
    *,
    unit: Any = None,
    capacity: int | ArrayLike | None = None,
) -> Outcome:
    """Offer every client a list of prices, in the order of their index, while money lasts.

    A client gets all tasks whose price is at least its bid. It is offered its whole list or, if
    the sum of the list is more than what is left, passed over; so it never pays to refuse one
    task in order to keep money for another. A client that can do few tasks takes those of largest
    gain, and the sum is that of the dearest so many.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        prices: (S,) one list for all clients, or (N, S) a list each; finite, >= 0, and chosen
            without looking at the bids.
        budget: B, money available, finite and > 0.
        unit: The prices are rounded down to multiples of it first, as in `max_min_fair`.
        capacity: Most tasks that a client does, 1..S; or (N,) one for each client. None: all.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Guarantee: truthful against joint misreports, individually rational, budget feasible. Nothing
    is promised about the number of recruits, which hangs on the prices.

    Raises:
        InvalidInput: A bid, a price, the budget, the unit or a capacity does not meet its
            requirement.

    Example:
        >>> posted_price([[1.0, 9.0], [2.0, 3.0], [0.0, 0.0]], [2.0, 4.0], 11.0).payments
        array([[2., 0.],
               [2., 4.],
               [0., 0.]])
        >>> posted_price([[1.0, 9.0], [2.0, 3.0]], [3.0, 5.0], 8.0, capacity=1).payments
        array([[3., 0.],
               [0., 5.]])
    """
    auction = read_auction(bids, budget, unit=unit)
    table = rounded(checked_prices(prices, auction), auction)
    limits = None if capacity is None else checked_capacity(capacity, auction.bids.shape)
    if limits is not None and min(limits) < auction.num_tasks:
        outcome = _to_few(auction, table, limits)
    else:
        outcome = (_posted_exactly if auction.exact else _posted_fast)(auction, table)
    return as_paid(outcome, auction.unit)


def _to_few(auction: Auction, prices: NDArray[Any], limits: list[int]) -> Outcome:
    """Clients with a capacity: their best tasks, in exact numbers."""
    table, menus = exactly(auction.bids), exactly(prices)
    left, paid = exact_number(auction.budget), dict[tuple[int, int], Any]()
    for client, (menu, most) in enumerate(zip(menus, limits, strict=True)):
        if largest_sum(menu, most) <= left:
            taken = favourites(table[client], menu, most)
            paid.update({(client, task): menu[task] for task in taken})
            left = left - sum(menu[task] for task in taken)
    return outcome_of(auction, paid)


def _posted_exactly(auction: Auction, prices: NDArray[Any]) -> Outcome:
    """The definition."""
    accepted = np.asarray(auction.bids <= prices, dtype=bool)
    winners = accepted & _offered_exactly(auction, prices, accepted)[:, np.newaxis]
    return counting_recruits(winners, np.where(winners, prices, auction.budget * 0))


def _offered_exactly(
    auction: Auction, prices: NDArray[Any], accepted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(N,) who is met with an offer."""
    offered = np.zeros(auction.num_clients, dtype=bool)
    left = auction.budget
    for client, menu in enumerate(prices):
        offered[client] = menu.sum() <= left
        if offered[client]:
            left = left - sum(menu[accepted[client]])
    return offered


def _posted_fast(auction: Auction, prices: NDArray[np.float64]) -> Outcome:
    """The same in one pass, with the money left kept without rounding."""
    from mechanisms.auctions.kernels.spending import offer_in_order

    one_list = prices.strides[0] == 0
    rows = np.require(prices[:1] if one_list else prices, np.float64, ["C", "A", "W"])
    outcome = (*empty_tables(auction.bids.shape), np.zeros(auction.num_tasks, dtype=np.int64))
    offer_in_order(auction.bids, rows, auction.budget, *outcome)
    return Outcome(*outcome)


def sampled_posted_price(
    bids: ArrayLike, budget: Any, rng: np.random.Generator, *, unit: Any = None
) -> Outcome:
    r"""Learn prices from a random half of the clients and offer them to the other half.

    Problem: with b_s(k) the k-th cheapest bid of task s in the sample, the level
    q = max{k : k sum_s b_s(k) <= B} is what the sample itself could fill. The other clients, in
    random order, may take each task at the price b_s(q) until it has q recruits.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        rng: Source of the sample and of the order, neither of which looks at bids.
        unit: The learned prices are rounded down to multiples of it first, as in `max_min_fair`.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Guarantee: truthful against joint misreports for every draw of the generator, individually
    rational, ex-post budget feasible. About half of the clients cannot win.

    Raises:
        InvalidInput: A bid, the budget, the generator or the unit does not meet its requirement.

    Source: the standard sampling construction of posted prices, reconstructed.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> bids = np.linspace(0.0, 1.0, 200).reshape(100, 2)
        >>> sampled_posted_price(bids, 10.0, rng).take_up
        array([14, 14])
    """
    checked_generator(rng)
    auction = read_auction(bids, budget, unit=unit)
    sample = rng.random(auction.num_clients) < 0.5
    order = rng.permutation(np.flatnonzero(~sample))
    level = _sample_level(auction.bids[sample], auction)
    learned = [kth(ranked(column), level) for column in auction.bids[sample].T]
    prices = {}
    for task, price in enumerate(rounded(np.array(learned, dtype=object), auction)):
        column = auction.bids[:, task]
        willing = order[np.asarray(column[order] <= price, dtype=bool)][:level]
        prices.update({(int(client), task): price for client in willing})
    return _as_outcome(prices, auction)


def _sample_level(bids: NDArray[Any], auction: Auction) -> int:
    """Level that the sample could fill at its own last bid."""
    rankings = [ranked(column) for column in bids.T]

    def fits(k: int) -> bool:
        total = sum(exact_number(kth(ranking, k)) for ranking in rankings)
        return bool(k * total <= exact_number(auction.budget))

    return largest(min(map(len, rankings)), fits)


def _as_outcome(prices: dict[tuple[int, int], Any], auction: Auction) -> Outcome:
    """Outcome in the number type of the auction."""
    outcome = exact_outcome(prices, auction.bids.shape)
    payments = outcome.payments if auction.exact else outcome.payments.astype(np.float64)
    return as_paid(Outcome(outcome.winners, payments, outcome.level), auction.unit)
