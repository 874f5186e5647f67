"""Truthful against joint misreports, individually rational, ex-post budget feasible."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechanisms import (
    Mechanism,
    Outcome,
    budget_fair,
    cheapest_first,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
    random_recruitment,
)
from proofs.claim import BOUND, OWN, Check, Claim
from proofs.incentives import laws, wrong_rules
from proofs.incentives.instances import Bids

SINGER = "Singer, arXiv 1002.2334, applied per task"
FEDFAIRMMFL = f"FedFairMMFL, arXiv 2404.13841, random recruitment; {OWN}"


def truthful(name: str, rule: Mechanism, source: str, control: Mechanism) -> Claim:
    """No client gains by any misreport of all its costs together."""
    return Claim(
        name=f"{name}-truthful",
        statement="no client gains by misreporting all its costs at once",
        formula=laws.TRUTHFUL,
        source=source,
        kind=BOUND,
        how="every profile and joint misreport of grids, exact",
        scope=laws.GRID_SCOPE,
        deep_scope=laws.DEEP_GRID_SCOPE,
        check=laws.truthful,
        subject=rule,
        control=control,
    )


def on_random_auctions(
    name: str,
    statement: str,
    formula: str,
    check: Check,
    rule: Mechanism,
    control: Mechanism,
    *,
    source: str = OWN,
    kind: str = BOUND,
) -> Claim:
    """A theorem that random exact auctions check."""
    scopes = (laws.SAMPLE_SCOPE, laws.DEEP_SAMPLE_SCOPE)
    how = "random auctions with ties, exact"
    return Claim(name, statement, formula, source, kind, how, *scopes, check, rule, control)


def solvent(
    name: str, rule: Mechanism, source: str, overspending: Mechanism
) -> tuple[Claim, Claim]:
    """Budget and rationality of one rule, with the negative control of the budget."""
    statements = (
        "ex-post budget feasible: on every profile payments sum to at most the budget",
        "every recruit is paid at least what it bids",
    )
    return (
        on_random_auctions(
            f"{name}-within-budget",
            statements[0],
            laws.WITHIN_BUDGET,
            laws.within_budget,
            rule,
            overspending,
            source=source,
        ),
        on_random_auctions(
            f"{name}-individually-rational",
            statements[1],
            laws.RATIONAL,
            laws.rational,
            rule,
            wrong_rules.a_rank_too_low(rule),
            source=source,
        ),
    )


def honest(
    name: str, rule: Mechanism, source: str, untruthful: Mechanism, overspending: Mechanism
) -> tuple[Claim, ...]:
    """The three laws of one rule, with the negative controls of the first and the second."""
    return (
        truthful(name, rule, source, untruthful),
        *solvent(name, rule, source, overspending),
    )


def in_one_order(bids: Bids, budget: Any) -> Outcome:
    """Random recruitment in an order that is the same for every profile of one shape."""
    return random_recruitment(bids, budget, np.random.default_rng(7))


CLAIMS = (
    *honest("budget-fair", budget_fair, SINGER, wrong_rules.roll_over, wrong_rules.next_bid),
    *honest("max-min-fair", max_min_fair, OWN, level_max_min, wrong_rules.without_other_tests),
    *honest(
        "leave-one-out-level",
        leave_one_out_level,
        OWN,
        level_max_min,
        wrong_rules.optimistic_others,
    ),
    *solvent("level-max-min", level_max_min, OWN, wrong_rules.capped_by_winners),
    *solvent("greedy-max-min", greedy_max_min, OWN, wrong_rules.checked_too_late),
    *solvent("cheapest-first", cheapest_first, OWN, wrong_rules.checked_too_late),
    *solvent("random-recruitment", in_one_order, FEDFAIRMMFL, wrong_rules.checked_too_late),
)
