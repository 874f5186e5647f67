"""Max-min recruitment of clients that do a limited number of tasks, truthfully."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt.errors import InvalidInput
from mechanisms.auctions.exact.clearing_levels import prices_by_levels
from mechanisms.auctions.exact.offers import recruit_by_offers
from mechanisms.auctions.exact.ranking import Prices, Ranking, kth, largest
from mechanisms.auctions.max_min_fair import max_min_fair
from mechanisms.auctions.wide.markets import in_words
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import Auction, in_fractions, read_auction
from mechanisms.integers import checked_capacity, whole_numbers
from mechanisms.outcome import Outcome


def capacity_max_min(
    bids: ArrayLike,
    budget: Any,
    *,
    capacity: int | ArrayLike = 1,
    weights: ArrayLike | None = None,
) -> Outcome:
    r"""Clearing levels with one client left out, for clients that do at most m tasks.

    Problem: maximise the smallest number of recruits over S tasks within a budget, where client i
    does at most m_i tasks and may misreport all its costs together. With w places of each task per
    level let C(q) be the least cost of giving every task s exactly q_s clients, q_k = k w,
    p_s(q) = C(q + e_s) - C(q), m_s(q) = C(q) - C(q - e_s), and the same with index -i without
    client i. g_k is what k w places cost at prices p, with a slack for clients that a level leaves
    behind (`mechanisms.auctions.exact.spend_bound`).

    One task (m = 1): imaginary outsiders do any task at a price lambda. Level k is open for client
    i iff the others fill q_k - e_s for every s without outsiders at

        lambda_i(k) = sup {lambda : g_k(p_-i, m_-i) <= B at q_k, outsiders allowed}.

    At its largest open level client i is offered task s at C_-i(q_k) - C_-i(q_k - e_s), with
    outsiders at lambda_i(k), and takes the task of largest surplus, if that is not negative.

    Several tasks (1 < m): K_i = max {k : g_k(m_-i(q_{k+1}), m_-i(q_k)) <= B}; client i gets its
    tasks T of the cheapest assignment at q = q_{K_i} and is paid C_-i(q) - C_-i(q - 1_T).

    All tasks (m = S): `max_min_fair`; with weights the level of client i and task s is the largest
    t with q_s a_s(q_s) + sum_{u != s} q_u a_u(q_u + 1) <= B, q_s = ceil(w_s t), a_u(j) the j-th bid
    of the others, and the price a_s(q_s).

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        capacity: m, most tasks that a client does, 1..S; or (N,) one for each client. Public: the
            theorem does not cover clients that misreport it.
        weights: (S,) w, places of each task per level: integers in 1..N, together no more than the
            capacities; ones by default. Public.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task. With several tasks the
        pay of a client is split over its tasks in their order, no part below the bid.

    Method: assignments are minimum-cost flows on S + 1 nodes, and only two levels, K and K - 1,
    can occur, so that a few shortest paths decide on each recruit. All numbers are integers of 120
    bits, hence every decision is exact; bids that differ by more than some 15 decades are computed
    in Python's integers, which takes some hundred times as long. Ties are broken by 2^(iS + s) per
    cell: of equal assignments the one is cheaper whose highest cell is lower.

    Guarantee: truthful against joint misreports for clients whose capacity is as given,
    individually rational, within the budget on every profile. With w = 1 and k* the level of
    `greedy_max_min(..., capacity=m)` every task recruits at least floor((k* - 3S + 1) / 2) clients
    for m = 1, floor((k* - 3S) / 2) for 1 < m < S, where the counts lie in K - S ... K + S - 1. At
    S = 1 it is `proportional_share`. Nothing is guaranteed where everybody is needed. Neither
    collusion-proof nor false-name-proof. Capacities that differ change nothing in the proofs of
    the case 1 < m: they speak of flows, whose arc into client i may carry any m_i.

    Float payments are rounded down.

    Raises:
        InvalidInput: A bid, the budget, a capacity or a weight does not meet its requirement.

    Source: own design and proofs. At S = 1: Singer, arXiv 1002.2334. Prices of a client's part of
    an optimum: Vickrey 1961, Clarke 1971, Groves 1973.

    Example:
        Client 1 is the cheapest for both tasks, but does one of them.

        >>> bids = [[1.0, 4.0], [2.0, 3.0], [4.0, 1.0], [3.0, 2.0], [5.0, 5.0], [6.0, 4.0]]
        >>> capacity_max_min(bids, 20.0).payments
        array([[5., 0.],
               [5., 0.],
               [0., 4.],
               [0., 4.],
               [0., 0.],
               [0., 0.]])
    """
    auction = read_auction(bids, budget)
    limits = checked_capacity(capacity, auction.bids.shape)
    places = _checked_weights(weights, limits, auction.num_tasks)
    if min(limits) == auction.num_tasks:
        return max_min_fair(bids, budget) if weights is None else _weighted(auction, places)
    market = in_words(auction, limits, sum(limits) + sum(places))
    if market is None:
        return outcome_of(auction, prices_by_levels(in_fractions(auction), places, limits))
    rule = market.single_task_prices if max(limits) == 1 else market.bundle_prices
    return outcome_of(auction, rule(np.array(places, dtype=np.int64)))


def _checked_weights(weights: ArrayLike | None, limits: list[int], tasks: int) -> list[int]:
    """(S,) places per level, which the clients must suffice for at least once."""
    if weights is None:
        return [1] * tasks
    most = len(limits)
    requirement = f"{tasks} integers in 1..{most}, one per task: that many clients there are"
    places = whole_numbers("weights", weights, (tasks,), most, requirement)
    if sum(places) > sum(limits) and set(places) != {1}:
        requirement = f"of sum at most {sum(limits)}, as many places as the clients can fill"
        raise InvalidInput("weights", weights, requirement)
    return places


def _weighted(auction: Auction, places: Sequence[int]) -> Outcome:
    """Clients that do every task: leave-one-out levels whose quotas are ceil(w t)."""
    exact = in_fractions(auction)
    steps = sorted({Fraction(j, w) for w in places for j in range(1, exact.num_clients + 1)})
    quotas = [[math.ceil(w * t) for w in places] for t in steps]

    def offer(others: list[Ranking], task: int, auction: Auction) -> tuple[int, Any]:
        def next_bids(t: int) -> list[Any]:
            ranks = [q if u == task else q + 1 for u, q in enumerate(quotas[t])]
            return [kth(others[u], rank) for u, rank in enumerate(ranks)]

        def fits(t: int) -> bool:
            bids = next_bids(t - 1)
            if max(bids) == math.inf:
                return False
            pairs = zip(quotas[t - 1], bids, strict=True)
            return bool(sum(q * bid for q, bid in pairs) <= auction.budget)

        found = largest(len(steps), lambda t: t == 0 or fits(t))
        if found == 0:
            return 0, 0
        return quotas[found - 1][task], next_bids(found - 1)[task]

    outcome = recruit_by_offers(exact, offer)
    prices: Prices = {
        (int(i), int(s)): outcome.payments[i, s] for i, s in np.argwhere(outcome.winners)
    }
    return outcome_of(auction, prices)
