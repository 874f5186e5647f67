"""The laws of a truthful auction as checks of claims: a witness in words, or None."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache, partial
from typing import Any

from mechanisms import Mechanism
from mechanisms.audits.properties import find_irrational_payment, find_overspend
from proofs.incentives.instances import (
    DEEP_GRIDS,
    GRIDS,
    NO_BID,
    Bids,
    Grid,
    Row,
    exact_table,
    random_auctions,
    size,
)

TRUTHFUL = r"u_i(b_i', b_{-i}; c_i) \le u_i(c_i, b_{-i}; c_i)"
WITHIN_BUDGET = r"\sum_{i,s} p_{is}(b) \le B"
RATIONAL = r"x_{is}(b) = 1 \Rightarrow p_{is}(b) \ge b_{is}"
SAMPLES = 600
DEEP_SAMPLES = 20_000
SEED = 20240413
GRID_SCOPE = f"{size(GRIDS):,} profiles of {len(GRIDS)} complete grids, all joint misreports"
DEEP_GRID_SCOPE = (
    f"{size(DEEP_GRIDS):,} profiles of {len(DEEP_GRIDS)} complete grids, all joint misreports"
)
SAMPLE_SCOPE = f"{SAMPLES:,} random auctions, up to 8 clients and 4 tasks"
DEEP_SAMPLE_SCOPE = f"{DEEP_SAMPLES:,} random auctions, up to 8 clients and 4 tasks"
SMALLEST = (
    (exact_table([("-", 0), (0, 0), ("-", 0)]), Fraction(5)),
    (exact_table([(0, 0), (1, 0)]), Fraction(1)),
)
"""Smallest auctions known on which relatives of the default rule overspend."""


def samples(
    deep: bool, *, single_task: bool = False, least_tasks: int = 1
) -> Iterator[tuple[Bids, Fraction]]:
    """The random auctions of a claim, after the two smallest delicate ones."""
    if deep:
        drawn = random_auctions(
            DEEP_SAMPLES, SEED, single_task=single_task, least_tasks=least_tasks
        )
    else:
        drawn = iter(_few(single_task, least_tasks))
    return drawn if single_task else itertools.chain(SMALLEST, drawn)


@cache
def _few(single_task: bool, least_tasks: int) -> tuple[tuple[Bids, Fraction], ...]:
    """The same for dozens of claims, so drawn once, and read-only."""
    auctions = tuple(
        random_auctions(SAMPLES, SEED, single_task=single_task, least_tasks=least_tasks)
    )
    for bids, _ in auctions:
        bids.flags.writeable = False
    return auctions


def truthful(mechanism: Mechanism, deep: bool) -> str | None:
    """No client gains by any joint misreport on the grid, whatever the others bid."""
    grids = DEEP_GRIDS if deep else GRIDS
    return next((found for grid in grids if (found := _misreport_on(grid, mechanism))), None)


def within_budget(mechanism: Mechanism, deep: bool) -> str | None:
    """Payments never sum to more than the budget."""
    return _on_samples(deep, lambda bids, budget: find_overspend(mechanism(bids, budget), budget))


def rational(mechanism: Mechanism, deep: bool) -> str | None:
    """No recruit is paid below its bid."""
    return _on_samples(
        deep, lambda bids, budget: find_irrational_payment(mechanism(bids, budget), bids)
    )


def _on_samples(deep: bool, find: Callable[[Bids, Fraction], Any]) -> str | None:
    """First violation on the random auctions."""
    for bids, budget in samples(deep):
        found = find(bids, budget)
        if found is not None:
            return f"bids {shown(bids)}, budget {budget}: {found.sentence}"
    return None


def _misreport_on(grid: Grid, mechanism: Mechanism) -> str | None:
    """A profitable joint misreport on a complete grid."""
    offers = cache(partial(_offers, mechanism, grid.budget))
    for profile in grid.profiles():
        for client, truth in enumerate(profile):
            truthful_utility = _utility(offers(profile)[client], truth)
            for report in grid.rows():
                other = (*profile[:client], report, *profile[client + 1 :])
                gain = _utility(offers(other)[client], truth) - truthful_utility
                if gain > 0:
                    return (
                        f"bids {profile}, budget {grid.budget}: client {client} gains {gain} by "
                        f"bidding {report}"
                    )
    return None


def _offers(mechanism: Mechanism, budget: int, profile: tuple[Row, ...]) -> list[Row]:
    """For every client its payments, None where it does not win."""
    outcome = mechanism(exact_table(profile), Fraction(budget))
    return [
        tuple(pay if won else None for won, pay in zip(*row, strict=True))
        for row in zip(outcome.winners, outcome.payments, strict=True)
    ]


def _utility(paid: Row, costs: Row) -> Any:
    """Utility of a client; winning a task that it cannot do is worth -infinity."""
    won = [(pay, cost) for pay, cost in zip(paid, costs, strict=True) if pay is not None]
    if any(cost == NO_BID for _, cost in won):
        return -NO_BID
    return sum(pay - cost for pay, cost in won)


def shown(bids: Bids) -> str:
    """A table of bids on one line."""
    rows = ("(" + ", ".join("-" if x == NO_BID else str(x) for x in row) + ")" for row in bids)
    return " ".join(rows)
