"""Value for money with a ratio: prices fall until the rest can be paid, and no client is too big.

Unlike a proportional share it keeps a third of the optimum also where one client is worth most.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from numpy.typing import ArrayLike

from mechanisms.auctions.exact.by_value import (
    Column,
    Ranked,
    by_cost_per_value,
    per_task,
)
from mechanisms.auctions.exact.ranking import Prices
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import checked_values, read_auction
from mechanisms.outcome import Outcome


def quality_pruning(bids: ArrayLike, budget: Any, values: ArrayLike) -> Outcome:
    r"""Split the budget equally over the tasks; each buys a third of the best value at least.

    Problem: client i is worth v_is > 0 to task s, which has the money B_s = B / S. Clients with
    bids above B_s are out. The price of a unit of value starts at q = B_s / max v and falls; who
    costs more per value than q leaves, one at a time. Let R be who remains, t the one that is
    worth most, and T = R without t. The fall ends as soon as q v(T) <= B_s. Then

    * q v(R) <= B_s: all of R are recruited at q v_i;
    * else, v(T) >= v_t: T is recruited at q v_i, and t is offered what is left, B_s - q v(T);
    * else t is recruited at q v_t, and everybody in T is offered v_i (B_s - q v_t) / v(T).

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        values: v, (N,) or (N, S), finite and > 0. Public or measured: a client that can move its
            own value is outside the guarantee.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Guarantee: truthful against joint misreports of costs that add up over tasks, individually
    rational, budget feasible, deterministic. The value of each task is at least a third of its
    optimum with money B / S, fractions of clients that bid at most B / S allowed. Ties go to the
    lower client index; float payments are rounded down.

    *Proof.* The bid of a client that stays moves neither q nor R nor an offer, no offer exceeds
    q v_i, and who left asks for at least that: truthful, individually rational. Each case pays at
    most B_s. Ratio: outside R a unit of value costs at least q, so the optimum is at most
    v(R) + (B_s - c(R)) / q. Moreover B_s / q <= v(R): at the start it is v_t; where the fall ends
    between two bids it is v(T); and before the last client left, q times the value of the others
    without the largest, which is at most v(R), was above B_s. First case: the optimum is at most
    2 v(R). Second case: if t accepts, the same; if it refuses, c(R) > B_s - q v(T), so the optimum
    is below v(R) + v(T) <= 3 v(T). Third case: let x = B_s / q - v_t, in [0, v(T)), and A accept.
    Then c(R) >= x q v(T - A) / v(T), and the optimum is at most
    2 v_t + v(T) + x v(A) / v(T) <= 3 v_t + v(A).

    Raises:
        InvalidInput: A bid, the budget or a value does not meet its requirement.

    Source: the ratio is the one of the deterministic mechanism of Gravin, Jin, Lu and Zhang,
    "Optimal budget-feasible mechanisms for additive valuations", EC 2019 (arXiv 1902.04635), who
    call it tight against this optimum. Steps and proof are an own reconstruction, which need not
    be theirs.

    Example:
        One client is worth 10 of the 12; a proportional share would recruit the two small ones.

        >>> quality_pruning([[9.0], [0.5], [0.5]], 10.0, [10, 1, 1]).payments.ravel()
        array([10.,  0.,  0.])
    """
    auction = read_auction(bids, budget)
    worth = checked_values(values, auction.bids.shape)
    prices: Prices = {}
    for task, column, share in per_task(auction):
        recruits = prune_and_offer(column, share, worth[:, task])
        prices.update({(client, task): pay for client, pay in recruits.items()})
    return outcome_of(auction, prices)


def prune_and_offer(bids: Column, budget: Any, values: Column) -> dict[int, Any]:
    """Recruits of one task and their pay, in exact numbers.

    Example:
        >>> prune_and_offer([1, 2, 3], Fraction(6), [1, 1, 1])
        {1: Fraction(3, 1), 2: Fraction(3, 1)}
    """
    able = [pair for pair in by_cost_per_value(bids, values) if bids[pair[1]] <= budget]
    if not able:
        return {}
    price = budget * Fraction(1, max(values[client] for _, client in able))
    order = [pair for pair in able if pair[0] <= price]
    price, remaining = _pruned(order, price, budget, values)
    most = _worth_most(remaining, values)
    rest = [client for client in remaining if client != most]
    total = sum(values[client] for client in rest)
    if price * (total + values[most]) <= budget:
        return {client: price * values[client] for client in remaining}
    if total >= values[most]:
        offered, left = rest, {most: budget - price * total}
    else:
        unit = (budget - price * values[most]) * Fraction(1, total)
        offered, left = [most], {client: unit * values[client] for client in rest}
    paid = {client: price * values[client] for client in offered}
    return paid | {client: pay for client, pay in left.items() if bids[client] <= pay}


def _pruned(order: Ranked, price: Any, budget: Any, values: Column) -> tuple[Any, list[int]]:
    """Price per value at which the fall from a first one ends, and who remains."""
    remaining = [client for _, client in order]
    total = sum(values[client] for client in remaining)
    while True:
        rest = total - values[_worth_most(remaining, values)]
        if price * rest <= budget:
            return price, remaining
        dearest = order[len(remaining) - 1][0]
        if dearest * rest <= budget:
            return budget * Fraction(1, rest), remaining
        price = dearest
        total -= values[remaining.pop()]


def _worth_most(clients: Sequence[int], values: Column) -> int:
    """The client that is worth most, the lower index among equals."""
    return max(clients, key=lambda client: (values[client], -client))
