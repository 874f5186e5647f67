"""The laws of a truthful auction that `proofs.conformance.check_auction` knows."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms import Mechanism
from mechanisms.audits.properties import (
    find_irrational_payment,
    find_overspend,
    find_profitable_misreport,
    find_profitable_report,
)
from mechanisms.audits.random_reports import random_reports
from mechanisms.audits.run_rule import run_mechanism
from proofs.conformance_law import CodeFailed, Law

AUCTIONS = 40
"""Random auctions per law."""
MISREPORTS = 25
"""Joint misreports per client."""
TRACED = 6
"""Bids of an auction up to which every single one is traced, where the rule can be."""
UNTRACEABLE = (
    CodeFailed,
    InvalidInput,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    LookupError,
)
"""Errors by which a rule shows that it takes floats alone."""
ROUNDING = Fraction(1, 10**9)
"""Relative to the budget: smaller gains and excesses are the rounding of a float mechanism."""

Floats = NDArray[np.float64]
Auction = tuple[Floats, float]


def auctions(seed: int) -> Iterator[tuple[str, Auction]]:
    """Random small auctions."""
    rng = np.random.default_rng(seed)
    for _ in range(AUCTIONS):
        shape = (int(rng.integers(1, 7)), int(rng.integers(1, 4)))
        bids = rng.integers(0, 9, size=shape).astype(np.float64)
        bids[rng.random(shape) < rng.choice([0.0, 0.2])] = np.inf
        budget = float(rng.integers(1, 6 * shape[1] * shape[0] + 1))
        yield f"bids {bids.tolist()}, budget {budget}", (bids, budget)


def _overspend(mechanism: Mechanism, auction: Auction, rng: np.random.Generator) -> str | None:
    """Payments above the budget."""
    bids, budget = auction
    found = find_overspend(run_mechanism(mechanism, bids, budget), budget)
    return found.sentence if found and found.gain > ROUNDING * Fraction(budget) else None


def _underpay(mechanism: Mechanism, auction: Auction, rng: np.random.Generator) -> str | None:
    """A recruit paid below its bid."""
    bids, budget = auction
    found = find_irrational_payment(run_mechanism(mechanism, bids, budget), bids)
    return found.sentence if found and found.gain > ROUNDING * Fraction(budget) else None


def _uninvited(mechanism: Mechanism, auction: Auction, rng: np.random.Generator) -> str | None:
    """A recruit that did not bid."""
    bids, budget = auction
    outcome = run_mechanism(mechanism, bids, budget)
    cells = np.argwhere(outcome.winners & np.isinf(bids))
    return f"client {cells[0][0]} does not bid for task {cells[0][1]}" if len(cells) else None


def _misreport(mechanism: Mechanism, auction: Auction, rng: np.random.Generator) -> str | None:
    """A profitable misreport: every single bid where they can be traced, and sampled joint ones.

    The sampled ones are near others' bids and the prices that were paid, and common multiples of
    the truth. A witness that tracing finds counts if it gains on the given floats as well.
    """
    bids, budget = auction
    prices = sorted(set(run_mechanism(mechanism, bids, budget).payments.flat))
    slack = ROUNDING * Fraction(budget)
    for client, truth in enumerate(bids):
        if np.isinf(truth).all():
            continue
        rows = random_reports(bids, client, MISREPORTS, True, rng, prices)
        if bids.size <= TRACED:
            rows += _traced(mechanism, auction, client)
        found = find_profitable_report(mechanism, bids, budget, client=client, reports=rows)
        if found and found.gain > slack:
            return found.sentence
    return None


def _traced(mechanism: Mechanism, auction: Auction, client: int) -> list[tuple[float, ...]]:
    """The best single bid that tracing finds, in floats; none where the rule cannot be traced."""
    try:
        found = find_profitable_misreport(mechanism, *auction, client=client)
    except UNTRACEABLE:  # it decides on floats alone, which is what the law is about
        return []
    return [] if found is None or found.report is None else [tuple(map(float, found.report))]


def _forgetful(mechanism: Mechanism, auction: Auction, rng: np.random.Generator) -> str | None:
    """Another outcome when the same auction is held again."""
    bids, budget = auction
    first, second = (run_mechanism(mechanism, bids, budget) for _ in range(2))
    return None if first == second else "held twice, it recruits or pays differently"


_LAWS = (
    Law("within budget", "payments sum to at most the budget", auctions, _overspend),
    Law("individually rational", "no recruit is paid below its bid", auctions, _underpay),
    Law("recruits only bidders", "only clients that bid are recruited", auctions, _uninvited),
    Law("truthful", "no client gains by a joint misreport of its costs", auctions, _misreport),
    Law("same bids, same outcome", "an auction held again ends the same", auctions, _forgetful),
)
AUCTION_LAWS = MappingProxyType({law.name: law for law in _LAWS})
"""Laws that `check_auction` knows, by name."""
