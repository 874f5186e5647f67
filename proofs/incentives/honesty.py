"""An honest rule is truthful against joint misreports, individually rational, within budget."""

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
from proofs.claim import BOUND, OWN, TIGHT, Check, Claim
from proofs.incentives import laws, wrong_rules
from proofs.incentives.instances import Bids

SINGER = "Singer, arXiv 1002.2334, applied per task"
FEDFAIRMMFL = f"FedFairMMFL, arXiv 2404.13841, random recruitment; {OWN}"


def truthful(name: str, rule: Mechanism, source: str, broken: Mechanism) -> Claim:
    """No client gains by any misreport of all its asks together."""
    return Claim(
        name=f"{name}-truthful",
        statement="no client gains by misreporting all its costs at once",
        formula=laws.TRUTHFUL,
        source=source,
        kind=TIGHT,
        how="every profile and joint misreport of grids, exact",
        scope=laws.GRID_SCOPE,
        deep_scope=laws.DEEP_GRID_SCOPE,
        check=laws.truthful,
        subject=rule,
        broken=broken,
    )


def sampled(
    name: str,
    statement: str,
    formula: str,
    source: str,
    check: Check,
    rule: Mechanism,
    broken: Mechanism,
) -> Claim:
    """A law that random exact auctions check."""
    scopes = (laws.SAMPLE_SCOPE, laws.DEEP_SAMPLE_SCOPE)
    how = "random auctions with ties, exact"
    return Claim(name, statement, formula, source, BOUND, how, *scopes, check, rule, broken)


def solvent(name: str, rule: Mechanism, source: str, spender: Mechanism) -> tuple[Claim, Claim]:
    """Budget and rationality of one rule, with the broken twin of the budget."""
    statements = (
        "payments sum to at most the budget on every profile",
        "every recruit is paid at least what it asks",
    )
    return (
        sampled(
            f"{name}-within-budget",
            statements[0],
            laws.WITHIN_BUDGET,
            source,
            laws.within_budget,
            rule,
            spender,
        ),
        sampled(
            f"{name}-individually-rational",
            statements[1],
            laws.RATIONAL,
            source,
            laws.rational,
            rule,
            wrong_rules.a_rank_too_low(rule),
        ),
    )


def honest(
    name: str, rule: Mechanism, source: str, liar: Mechanism, spender: Mechanism
) -> tuple[Claim, ...]:
    """The three laws of one rule, with the broken twins of the first and the second."""
    return truthful(name, rule, source, liar), *solvent(name, rule, source, spender)


def in_one_order(bids: Bids, budget: Any) -> Outcome:
    """Random recruitment in an order that is the same for every profile of one shape."""
    return random_recruitment(bids, budget, np.random.default_rng(7))


CLAIMS = (
    *honest("budget-fair", budget_fair, SINGER, wrong_rules.roll_over, wrong_rules.next_ask),
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
