"""Proportional share of value: clients whose work is worth differently much, bought by the unit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from numpy.typing import ArrayLike

from mechanisms.auctions.exact.by_value import Column, by_cost_per_value, per_task
from mechanisms.auctions.exact.ranking import Prices
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import checked_values, read_auction
from mechanisms.outcome import Outcome


def quality_share(bids: ArrayLike, budget: Any, values: ArrayLike) -> Outcome:
    r"""Split the budget equally over the tasks; each buys value by a proportional share.

    Problem: client i is worth v_is > 0 to task s. With the clients of the task in the order of
    c_i = b_is / v_is, its cost of a unit of value, and V(k) = v_1 + ... + v_k, recruit the first k
    for

        k = max{k : c_k V(k) <= B / S},    client i at the pay v_is min(B / (S V(k)), c_{k+1}).

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        values: v, (N,) or (N, S), finite and > 0. Public or measured: a client that can move its
            own value is outside the guarantee.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Guarantee: truthful against joint misreports of costs that add up over tasks, individually
    rational, budget feasible. The value of a task is at least half of: its optimum with money
    B / S, fractions of clients allowed, less the value of one client. There is no ratio without
    that loss: one client that is worth almost everything can be left out. All values equal, it is
    `budget_fair`. Ties go to the lower client index; float payments are rounded down.

    *Proof.* c_k V(k) grows with k. A recruit that bids more than c_{k+1} per value comes after
    client k + 1, at a higher cost and a larger V, so its test fails as that of client k + 1 does.
    One that bids at most c_{k+1} is k-th at worst, and passes iff its cost per value is at most
    B / (S V(k)): the pay is the highest bid that wins, whatever the recruit bids. Payments sum to
    at most V(k) B / (S V(k)). Clients after the k-th cost at least c_{k+1} per value, so the
    optimum is at most V(k) + (B / S) / c_{k+1} < V(k) + V(k + 1) = 2 V(k) + v_{k+1}.

    Raises:
        InvalidInput: A bid, the budget or a value does not meet its requirement.

    Source: Singer, "Budget feasible mechanisms", FOCS 2010 (arXiv 1002.2334), proportional share;
    the rule for unequal values and the proof are derived here from first principles.

    Example:
        >>> outcome = quality_share([[4.0], [6.0], [3.0]], 15.0, [4, 3, 1])
        >>> outcome.payments.ravel().round(3)
        array([8.571, 6.429, 0.   ])
    """
    auction = read_auction(bids, budget)
    worth = checked_values(values, auction.bids.shape)
    prices: Prices = {}
    for task, column, share in per_task(auction):
        prices.update(
            {(i, task): pay for i, pay in share_by_value(column, share, worth[:, task]).items()}
        )
    return outcome_of(auction, prices)


def share_by_value(bids: Column, budget: Any, values: Column) -> dict[int, Any]:
    """Recruits of one task and their pay, in exact numbers.

    Example:
        >>> share_by_value([4, 6, 3], Fraction(15), [4, 3, 1])
        {0: Fraction(60, 7), 1: Fraction(45, 7)}
    """
    order = by_cost_per_value(bids, values)
    recruits: list[int] = []
    bought = 0
    price: Any = Fraction(0)
    for unit_cost, client in order:
        if unit_cost * (bought + values[client]) > budget:
            price = min(price, unit_cost)
            break
        recruits.append(client)
        bought += values[client]
        price = budget / bought
    return {client: values[client] * price for client in recruits}
