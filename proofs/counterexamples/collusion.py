"""Truthful is neither collusion-proof (pairs with side payments) nor false-name-proof.

The smallest auctions we know, found by trying every profile of a small grid. The negative control
of each is a rule under which the same coalition does not gain.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms import Mechanism, Outcome, budget_fair, cheapest_first, max_min_fair, posted_price
from mechanisms.audits.collusion import (
    JointViolation,
    all_pairs,
    find_profitable_collusion,
    find_profitable_false_name,
)
from proofs.claim import BOUND, COUNTEREXAMPLE, OWN, Check, Claim
from proofs.incentives.instances import NO_BID, Bids, Row, exact_table, remembered

VALUES = (Fraction(0), Fraction(1), Fraction(2), NO_BID)
"""Bids of the grids on which all joint misreports are tried."""
SHAPES = ((1, 1), (2, 1), (3, 1), (1, 2))
DEEP_SHAPES = (*SHAPES, (4, 1), (2, 2))
BUDGETS = (1, 3)

Find = Callable[[Mechanism, Bids, Any], "JointViolation | None"]


def posted_for_all(bids: Bids, budget: Any) -> Outcome:
    """A fixed price for every client and task, with money for all of them."""
    return posted_price(bids, np.ones(bids.shape[1]), Fraction(bids.size))


def pairs(mechanism: Mechanism, bids: Bids, budget: Any) -> JointViolation | None:
    """Any joint misreport of any two clients."""
    for clients in itertools.combinations(range(len(bids)), 2):
        reports = all_pairs(VALUES, bids.shape[1])
        found = find_profitable_collusion(mechanism, bids, budget, clients=clients, reports=reports)
        if found is not None:
            return found
    return None


def two_names(mechanism: Mechanism, bids: Bids, budget: Any) -> JointViolation | None:
    """Any two rows of bids of any client that appears twice, but does no task twice."""
    for client in range(len(bids)):
        rows = all_pairs(VALUES, bids.shape[1])
        found = find_profitable_false_name(
            mechanism, bids, budget, client=client, identities=rows, twice=False
        )
        if found is not None:
            return found
    return None


def nowhere(find: Find) -> Check:
    """Check that no coalition gains on any profile of the grids."""

    def check(mechanism: Mechanism, deep: bool) -> str | None:
        rule = remembered(mechanism)
        for clients, tasks in DEEP_SHAPES if deep else SHAPES:
            for cells in itertools.product(VALUES, repeat=clients * tasks):
                bids = exact_table(cells[i : i + tasks] for i in range(0, len(cells), tasks))
                for budget in BUDGETS:
                    found = find(rule, bids, Fraction(budget))
                    if found is not None:
                        return f"bids {bids.tolist()}, budget {budget}: {found.sentence}"
        return None

    return check


def pays(
    rows: list[Row], budget: Any, clients: tuple[int, ...], reports: list[Row], gain: Any
) -> Check:
    """Check that a coalition gains exactly so much."""
    bids, joint = exact_table(rows), tuple(map(tuple, exact_table(reports)))

    def check(mechanism: Mechanism, deep: bool) -> str | None:
        sentence = "a worked coalition"
        worked = JointViolation("", sentence, gain, bids, Fraction(budget), clients, joint)
        seen = worked.replay(mechanism)
        return None if seen == Fraction(gain) else f"they gain {seen}, not {gain}"

    return check


def gamed(name: str, statement: str, check: Check, rule: Mechanism, control: Mechanism) -> Claim:
    """A counter-example claim."""
    scope, how = "one worked auction", "one coalition, exact"
    formula = r"\sum_{i \in C} u_i(b_C', b_{-C}) > \sum_{i \in C} u_i(c_C, b_{-C})"
    kind = COUNTEREXAMPLE
    return Claim(name, statement, formula, OWN, kind, how, scope, scope, check, rule, control)


def safe(name: str, statement: str, find: Find, rule: Mechanism, control: Mechanism) -> Claim:
    """A theorem on complete grids."""
    how = "every profile and every coalition of a grid, exact"
    scopes = (f"grids {SHAPES} of (clients, tasks)", f"grids {DEEP_SHAPES} of (clients, tasks)")
    formula = r"\sum_{i \in C} u_i(b_C', b_{-C}) \le \sum_{i \in C} u_i(c_C, b_{-C})"
    check = nowhere(find)
    return Claim(name, statement, formula, OWN, BOUND, how, *scopes, check, rule, control)


PAIR = pays([(0,), (1,)], 2, (0, 1), [(0,), (2,)], 1)
DOUBLE = pays([(0,), (0,)], 1, (0,), [(0,), (0,)], "1/6")

CLAIMS = (
    *(
        gamed(
            f"{name}-is-not-proof-against-pairs",
            f"{name}: the costlier of two clients bids more and loses, the other is paid 2, not 1",
            PAIR,
            rule,
            posted_for_all,
        )
        for name, rule in (("max-min-fair", max_min_fair), ("budget-fair", budget_fair))
    ),
    *(
        gamed(
            f"{name}-is-not-proof-against-false-names",
            f"{name}: a client that works twice under two names gets 2/3 of the money, not 1/2",
            DOUBLE,
            rule,
            cheapest_first,
        )
        for name, rule in (("max-min-fair", max_min_fair), ("budget-fair", budget_fair))
    ),
    gamed(
        "max-min-fair-rewards-splitting-tasks-between-names",
        "max_min_fair: the only client of two tasks has no rival to set its price and is not "
        "recruited; under a name for each task it is paid the whole budget",
        pays([(0, 0)], 1, (0,), [(0, "-"), ("-", 0)], 1),
        max_min_fair,
        budget_fair,
    ),
    safe(
        "budget-fair-is-proof-against-false-names-that-share-the-work",
        "budget_fair is false-name-proof for two names that never win the same task",
        two_names,
        budget_fair,
        max_min_fair,
    ),
    safe(
        "posted-prices-are-proof-against-false-names-that-share-the-work",
        "fixed prices with money for all clients are false-name-proof in the same sense",
        two_names,
        posted_for_all,
        max_min_fair,
    ),
    safe(
        "posted-prices-are-proof-against-pairs",
        "fixed prices with money for all clients are collusion-proof for pairs",
        pairs,
        posted_for_all,
        budget_fair,
    ),
)
