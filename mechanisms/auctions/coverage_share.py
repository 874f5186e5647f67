"""Coverage by greedy choice and thresholds: pay for what a client adds to the others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from numpy.typing import ArrayLike

from mechanisms.auctions.exact.by_value import Column, per_task
from mechanisms.auctions.exact.coverage import Coverage, coverage
from mechanisms.auctions.exact.ranking import Prices
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import checked_cover, read_auction
from mechanisms.outcome import Outcome

Step = tuple[frozenset[int], int | None, Any]
"""(what is covered, client chosen next, its cost per added value); no client at the end."""


def coverage_share(
    bids: ArrayLike, budget: Any, covers: ArrayLike, weights: ArrayLike | None = None
) -> Outcome:
    r"""Split the budget equally over the tasks; each buys coverage greedily, at critical bids.

    Problem: client i covers a set of regions (classes, languages, sites), and V(C) is the weight
    of what the clients C cover together. With m_i(C) = V(C + i) - V(C), choose one client after
    the other, always the one of least b_i / m_i(C), as long as

        b_i <= m_i(C) (B / S) / (2 V(C + i)).

    A recruit is paid the highest bid with which it would still be chosen: the maximum over the
    steps of the greedy choice without it, C being chosen there before j, of the smaller of
    m_i(C) b_j / m_j(C) and the bound above.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        covers: (N, R) bool, the regions that each client covers, or (S, N, R) for every task.
            Public or measured: what a client says about its own data is outside the guarantee.
        weights: (R,) worth of each region, finite and > 0; all equal by default.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Guarantee: truthful against joint misreports of costs that add up over tasks, individually
    rational, budget feasible. With OPT the best coverage of a task for B / S at reported costs and
    m the largest coverage of a client, V >= (OPT - 2 m) / 3; there is no ratio without that loss.
    Ties go to the lower client index; float payments are rounded down.

    *Proof.* A client with a lower bid is met no later, where it adds no less to no larger a V: it
    is chosen again, so critical payments make the rule truthful. Budget, with B_s = B / S: let W
    be chosen, and let i of W be chosen with a higher bid b too, after T. All that came before i
    in W are in T, so m_i(T) is at most what i added to W. The ratios b_j / m_j grow along W, so
    the test of the last says b(W) <= B_s / 2. Since i came before them, b / m_i(T) is at most
    b_j / m_j(T) for j in W outside T, and V(W) - V(T) <= (m_i(T) / b) B_s / 2; the test of i says
    V(T) <= (m_i(T) / b) B_s / 2. So b <= m_i(T) B_s / V(W), and these sum to at most B_s. Value:
    with j the first that fails, whoever is left costs at least as much per added value, more than
    B_s / (2 V(W + j)), so OPT <= V(W) + 2 V(W + j) <= 3 V(W) + 2 m.

    Raises:
        InvalidInput: A bid, the budget, the table or a weight does not meet its requirement.

    Source: thresholds of Singer, "Budget feasible mechanisms", FOCS 2010 (arXiv 1002.2334), with
    the test of Chen, Gravin and Lu, "On the approximability of budget feasible mechanisms", SODA
    2011 (arXiv 1007.3801); reconstructed, with proofs of our own.

    Example:
        >>> covers = [[True, True, False], [False, True, True], [False, False, True]]
        >>> coverage_share([[1.0], [1.0], [2.0]], 9.0, covers).payments.ravel()
        array([1.5, 1.5, 0. ])
    """
    auction = read_auction(bids, budget)
    table, worth = checked_cover(covers, weights, auction.bids.shape)
    prices: Prices = {}
    for task, column, share in per_task(auction):
        value = coverage(table[task], worth)
        recruits = [client for *_, client in _chosen(column, share, value)]
        prices.update({(i, task): _critical_bid(i, column, share, value) for i in recruits})
    return outcome_of(auction, prices)


def _steps(bids: Column, value: Coverage, left_out: int | None = None) -> Iterator[Step]:
    """The greedy choice, whoever passes, until nobody adds anything."""
    covered: frozenset[int] = frozenset()
    clients = [i for i, bid in enumerate(bids) if bid < math.inf and i != left_out]
    while True:
        gains = {client: value.gain(client, covered) for client in clients}
        rated = [(bids[i] * Fraction(1, gain), i) for i, gain in gains.items() if gain]
        if not rated:
            yield covered, None, None
            return
        cost, client = min(rated)
        yield covered, client, cost
        covered = covered | value.regions[client]


def _bound(client: int, covered: frozenset[int], budget: Any, value: Coverage) -> Any:
    """Highest bid at which a client passes after what is covered; 0 where it adds nothing."""
    gain = value.gain(client, covered)
    total = sum(value.weights[region] for region in covered) + gain
    return budget * Fraction(gain, 2 * total) if gain else Fraction(0)


def _chosen(bids: Column, budget: Any, value: Coverage) -> Iterator[tuple[frozenset[int], int]]:
    """(what was covered before, client) for everybody who is recruited."""
    for covered, client, _ in _steps(bids, value):
        if client is None or not bids[client] <= _bound(client, covered, budget, value):
            return
        yield covered, client


def _critical_bid(client: int, bids: Column, budget: Any, value: Coverage) -> Any:
    """Highest bid with which a client is recruited beside these others."""
    best: Any = Fraction(0)
    for covered, following, cost in _steps(bids, value, client):
        bound = _bound(client, covered, budget, value)
        if following is None:
            return max(best, bound)
        best = max(best, min(bound, cost * value.gain(client, covered)))
        if not bids[following] <= _bound(following, covered, budget, value):
            return best
    raise AssertionError("the greedy choice ends")
