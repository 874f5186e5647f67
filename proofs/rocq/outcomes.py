"""What a rule does with one auction, as plain rows, whoever computed it: Python, OCaml or Rocq."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mechanisms import Outcome, budget_fair, capacity_max_min, max_min_fair
from mechanisms.auctions.exact.offers import Offer
from mechanisms.auctions.exact.ranking import of_others, ranked
from mechanisms.auctions.max_min_fair import exact_offer
from mechanisms.bids import read_auction
from proofs.incentives.instances import exact_table
from proofs.rocq.auctions import ExactAuction

Rows = tuple[tuple[Any, ...], ...]
"""The pay of every client and task, None where it is not recruited."""
Rule = Callable[..., Outcome]
"""A mechanism; with a reserve it also takes `reserve=`."""


@dataclass(frozen=True)
class Outcomes:
    """All that is compared on one auction.

    Args:
        max_min_fair: Of the default auction.
        budget_fair: Of budget-fair, which knows no reserve.
        capacities: Of the default auction with a capacity for every client.
        clearing_levels: Of CLW, the rule for clients that do at most one task.
        offers: (level, price) that every client meets at every task; the price is None at level 0.
    """

    max_min_fair: Rows
    budget_fair: Rows
    capacities: Rows
    clearing_levels: Rows
    offers: Rows


def of_code(auction: ExactAuction) -> Outcomes:
    """What the Python code does."""
    return Outcomes(
        default_outcome(max_min_fair, auction),
        share_outcome(budget_fair, auction),
        capacity_outcome(best_margins, auction),
        share_outcome(capacity_max_min, auction),
        offered(exact_offer, auction),
    )


def default_outcome(rule: Rule, auction: ExactAuction) -> Rows:
    """What a rule that knows reserve prices does."""
    bids = exact_table(auction.bids)
    if auction.reserve is None:
        return paid(rule(bids, auction.budget))
    return paid(rule(bids, auction.budget, reserve=exact_table([auction.reserve])[0]))


def share_outcome(rule: Rule, auction: ExactAuction) -> Rows:
    """What a rule without reserve prices does."""
    return paid(rule(exact_table(auction.bids), auction.budget))


def capacity_outcome(
    choose: Callable[[int, list[Any]], Iterable[int]], auction: ExactAuction
) -> Rows:
    """The default auction, of which every client keeps the tasks that `choose` picks.

    Args:
        choose: From a capacity and the margins (pay minus bid) of the tasks that the client could
            have, None for the others, to the tasks that it gets.
        auction: With capacities.
    """
    pays = default_outcome(max_min_fair, auction)
    kept = []
    for pay, bids, capacity in zip(pays, auction.bids, auction.capacities, strict=True):
        margins = [None if p is None else p - bid for p, bid in zip(pay, bids, strict=True)]
        taken = set(choose(capacity, margins))
        kept.append(tuple(p if task in taken else None for task, p in enumerate(pay)))
    return tuple(kept)


def best_margins(capacity: int, margins: Sequence[Any]) -> list[int]:
    """The tasks of largest positive margin, at most as many as the capacity.

    Of two equal margins the earlier task is taken, as in `Capacity.v`.

    Example:
        >>> best_margins(2, [3, None, 1, 2, 0])
        [0, 3]
    """
    gains = [task for task, margin in enumerate(margins) if margin is not None and margin > 0]
    return sorted(gains, key=lambda task: (-margins[task], task))[:capacity]


def offered(offer: Offer, auction: ExactAuction) -> Rows:
    """Level and price of every client and task, accepted or not."""
    reserve = None if auction.reserve is None else exact_table([auction.reserve])[0]
    read = read_auction(exact_table(auction.bids), auction.budget, reserve)
    rankings = [ranked(column) for column in read.bids.T]
    found = []
    for client, bids in enumerate(read.bids):
        others = of_others(rankings, client, bids)
        made = [offer(others, task, read) for task in range(read.num_tasks)]
        found.append(tuple((level, price if level else None) for level, price in made))
    return tuple(found)


def paid(outcome: Outcome) -> Rows:
    """Pay of the recruits."""
    return tuple(
        tuple(pay if won else None for won, pay in zip(winners, pays, strict=True))
        for winners, pays in zip(outcome.winners, outcome.payments, strict=True)
    )
