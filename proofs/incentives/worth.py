"""Rules for clients of unlike worth, for coverage, and for clients that arrive one by one."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms import (
    Mechanism,
    Outcome,
    clock_auction,
    coverage_share,
    leave_one_out_level,
    online_posted_price,
    quality_level,
    quality_pruning,
    quality_share,
)
from proofs.claim import IDENTITY, OWN, Claim
from proofs.incentives import wrong_rules
from proofs.incentives.honesty import honest, on_random_auctions
from proofs.incentives.instances import NO_BID, Bids
from proofs.incentives.quality import Objection, equals, on_samples

SINGER = f"Singer, arXiv 1002.2334; {OWN}"
GRAVIN = f"the ratio of Gravin, Jin, Lu, Zhang, arXiv 1902.04635; {OWN}"
GREEDY = f"Singer, arXiv 1002.2334, and Chen, Gravin, Lu, arXiv 1007.3801; {OWN}"
CLOCK = f"Balkanski et al., arXiv 2107.09239; {OWN}"
WEIGHTS = (6, 8, 8, 7, 6, 3, 1, 5)
"""Of the regions, one for each client of the largest auctions."""


def worth(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Values 1, 2, 3 and 7 in turn over clients, and shifted from task to task."""
    clients, tasks = np.indices(shape)
    return np.asarray(np.array([1, 7, 2, 3])[(clients + tasks) % 4], dtype=np.int64)


def cover(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(N, R): client i covers region i and, for i = 1 and 5, the next one."""
    clients, regions = np.indices((shape[0], len(WEIGHTS)))
    gap = (regions - clients) % len(WEIGHTS)
    return np.asarray((gap == 0) | ((gap == 1) & (clients % 4 == 1)))


def shared_value(bids: Bids, budget: Any) -> Outcome:
    """A proportional share of value."""
    return quality_share(bids, budget, worth(bids.shape))


def level_of_value(bids: Bids, budget: Any) -> Outcome:
    """The max-min rule of value."""
    return quality_level(bids, budget, worth(bids.shape))


def pruned(bids: Bids, budget: Any) -> Outcome:
    """Falling prices of value."""
    return quality_pruning(bids, budget, worth(bids.shape))


def covering(bids: Bids, budget: Any) -> Outcome:
    """Coverage at critical bids."""
    return coverage_share(bids, budget, cover(bids.shape), WEIGHTS)


def clock(bids: Bids, budget: Any) -> Outcome:
    """The clock for coverage."""
    return clock_auction(bids, budget, cover(bids.shape), WEIGHTS)


def online(bids: Bids, budget: Any) -> Outcome:
    """Prices learned in an order that is the same for every profile of one shape."""
    return online_posted_price(bids, budget, np.random.default_rng(wrong_rules.SAMPLE))


def level_at_equal_worth(bids: Bids, budget: Any) -> Outcome:
    """The max-min rule of value where all clients are worth the same."""
    return quality_level(bids, budget, np.full(len(bids), 3))


def paying_the_bids(rule: Mechanism) -> Mechanism:
    """The recruits of a rule, paid what they bid."""

    def paid(bids: Bids, budget: Any) -> Outcome:
        found = rule(bids, budget)
        payments = found.payments.copy()
        payments[found.winners] = bids[found.winners]
        return Outcome(found.winners, payments, found.level)

    return paid


def with_twice_the_money(rule: Mechanism) -> Mechanism:
    """A rule that takes its budget for twice as much."""
    return lambda bids, budget: rule(bids, 2 * budget)


def with_a_quarter_of_the_money(rule: Mechanism) -> Mechanism:
    """A rule that leaves most of its budget."""
    return lambda bids, budget: rule(bids, budget / 4)


def optimum_in_parts(column: Bids, money: Fraction, values: NDArray[np.int64]) -> Fraction:
    """Most value for a task's money at the bids, clients that it can afford alone in parts."""
    left, bought = money, Fraction(0)
    for unit, client in _by_unit_cost(column, values):
        if column[client] > money:
            continue
        part = min(Fraction(int(values[client])), left / unit) if unit else int(values[client])
        bought += part
        left -= part * unit
    return bought


def _by_unit_cost(column: Bids, values: NDArray[np.int64]) -> list[tuple[Fraction, int]]:
    """Bidders of one task, those whose value is cheapest first."""
    known = [(i, bid) for i, bid in enumerate(column) if bid != NO_BID]
    return sorted((bid / Fraction(int(values[i])), i) for i, bid in known)


def value_at_least(name: str, *, factor: int, loss: int) -> Objection:
    """A factor times the value plus a multiple of the largest worth reaches the optimum."""

    def objection(outcome: Outcome, bids: Bids, budget: Fraction) -> str | None:
        values = worth(bids.shape)
        for task, won in enumerate(outcome.winners.T):
            column = values[:, task]
            best = optimum_in_parts(bids[:, task], budget / bids.shape[1], column)
            got = int(column[won].sum())
            if factor * got + loss * int(column.max()) < best:
                return f"task {task} gets {got}, which is below {name} of {best}"
        return None

    return objection


def level_at_least(outcome: Outcome, bids: Bids, budget: Fraction) -> str | None:
    """Twice the smallest value of a task plus three times the largest worth is out of reach."""
    values = worth(bids.shape)
    least = min(int(values[won, s].sum()) for s, won in enumerate(outcome.winners.T))
    level = 2 * least + 3 * int(values.max())
    cost = Fraction(0)
    for task, column in enumerate(bids.T):
        left = Fraction(level)
        for unit, client in _by_unit_cost(column, values[:, task]):
            part = min(left, Fraction(int(values[client, task])))
            cost, left = cost + part * unit, left - part
        if left > 0:
            return None
    return f"value {least}, but {level} for every task costs {cost}" if cost < budget else None


CLAIMS: tuple[Claim, ...] = (
    *honest(
        "quality-share",
        shared_value,
        SINGER,
        paying_the_bids(shared_value),
        with_twice_the_money(shared_value),
    ),
    *honest(
        "quality-level",
        level_of_value,
        OWN,
        paying_the_bids(level_of_value),
        with_twice_the_money(level_of_value),
    ),
    *honest(
        "quality-pruning", pruned, GRAVIN, paying_the_bids(pruned), with_twice_the_money(pruned)
    ),
    *honest(
        "coverage-share",
        covering,
        GREEDY,
        paying_the_bids(covering),
        with_twice_the_money(with_twice_the_money(covering)),
    ),
    *honest("clock-auction", clock, CLOCK, paying_the_bids(clock), with_twice_the_money(clock)),
    *honest(
        "online-posted-price",
        online,
        OWN,
        paying_the_bids(online),
        with_twice_the_money(with_twice_the_money(online)),
    ),
    on_random_auctions(
        "quality-share-buys-half-less-one-client",
        "every task gets half of the value that its share of the budget could buy at the bids, "
        "clients in parts, less that of one client",
        r"2 v(W_s) + \max_i v_{is} \ge \mathrm{OPT}_s",
        on_samples(value_at_least("half less one client", factor=2, loss=1)),
        shared_value,
        with_a_quarter_of_the_money(shared_value),
        source=SINGER,
    ),
    on_random_auctions(
        "quality-pruning-buys-a-third",
        "every task gets a third of the value that its share of the budget could buy at the bids, "
        "clients in parts",
        r"3 v(W_s) \ge \mathrm{OPT}_s",
        on_samples(value_at_least("a third", factor=3, loss=0)),
        pruned,
        shared_value,
        source=GRAVIN,
    ),
    on_random_auctions(
        "quality-level-floor",
        "with X the value that the budget could buy for every task at the bids, clients in parts, "
        "and m the largest worth of a client, every task gets (X - 3 m) / 2",
        r"\min_s v(W_s) \ge (X - 3 m) / 2",
        on_samples(level_at_least),
        level_of_value,
        with_a_quarter_of_the_money(with_a_quarter_of_the_money(level_of_value)),
    ),
    on_random_auctions(
        "quality-level-at-equal-worth",
        "where all clients are worth the same, quality_level is leave_one_out_level",
        r"v_{is} = v \Rightarrow (x, p) = (x, p)^{+}",
        on_samples(equals(leave_one_out_level)),
        level_at_equal_worth,
        level_of_value,
        kind=IDENTITY,
    ),
)
