"""Laws of the auctions for all real bids of small auctions, proved by an SMT solver."""

from __future__ import annotations

from functools import partial

from mechanisms import (
    Mechanism,
    budget_fair,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
)
from mechanisms.audits.smt.encodings import Offers, capped_offers, plain_offers
from mechanisms.audits.smt.prove import prove_truthful, prove_within_budget
from proofs.claim import BOUND, OWN, TIGHT, Claim
from proofs.incentives import laws, wrong_rules

SHAPES = ((3, 2), (4, 2))
DEEP_SHAPES = (*SHAPES, (6, 2), (10, 2), (8, 3), (4, 6))
BUDGET_SHAPES = ((2, 2), (3, 1), (3, 2))
DEEP_BUDGET_SHAPES = (*BUDGET_SHAPES, (4, 1), (3, 3), (4, 2))


def truthful(rule_and_joint: tuple[Mechanism, bool], deep: bool) -> str | None:
    """No client gains by a misreport of all its costs, or of its only one."""
    rule, joint = rule_and_joint
    for shape in DEEP_SHAPES if deep else SHAPES:
        proof = prove_truthful(rule, shape, joint=joint)
        if proof.violation is not None:
            return f"{_words(shape)}: {proof.violation.sentence}"
    return None


def within_budget(encoded: tuple[Mechanism, Offers], deep: bool) -> str | None:
    """No auction overspends."""
    for shape in DEEP_BUDGET_SHAPES if deep else BUDGET_SHAPES:
        proof = prove_within_budget(*encoded, shape)
        if proof.violation is not None:
            return f"{_words(shape)}: {proof.violation.sentence}"
    return None


def _words(shape: tuple[int, int]) -> str:
    """A shape in words."""
    return f"{shape[0]} clients, {shape[1]} tasks"


def _scope(shapes: tuple[tuple[int, int], ...]) -> str:
    """Shapes in words."""
    return "all real bids, (clients, tasks) = " + ", ".join(map(str, shapes))


def honest(name: str, rule: Mechanism, *, joint: bool = True) -> Claim:
    """Truthful for all real bids; the negative control is the common level with several tasks."""
    kind = "joint misreport" if joint else "misreport of its only task's cost"
    return Claim(
        name=f"{name}-truthful-for-all-real-bids",
        statement=f"no client gains by any {kind}, whatever the real bids",
        formula=laws.TRUTHFUL,
        source=OWN,
        kind=TIGHT,
        how="SMT, linear real arithmetic",
        scope=_scope(SHAPES),
        deep_scope=_scope(DEEP_SHAPES),
        check=truthful,
        subject=(rule, joint),
        control=(level_max_min, True),
    )


def solvent(name: str, rule: Mechanism, offers: Offers) -> Claim:
    """Budget for all real bids; the negative control lacks the tests on the other tasks."""
    return Claim(
        name=f"{name}-within-budget-for-all-real-bids",
        statement="payments sum to at most the budget, whatever the real bids",
        formula=laws.WITHIN_BUDGET,
        source=OWN,
        kind=BOUND,
        how="SMT, every client and order explicit",
        scope=_scope(BUDGET_SHAPES),
        deep_scope=_scope(DEEP_BUDGET_SHAPES),
        check=within_budget,
        subject=(rule, offers),
        control=(wrong_rules.without_other_tests, partial(capped_offers, test_others=False)),
    )


CLAIMS = (
    honest("budget-fair", budget_fair),
    honest("max-min-fair", max_min_fair),
    honest("leave-one-out-level", leave_one_out_level),
    honest("level-max-min-with-one-task-per-client", level_max_min, joint=False),
    solvent("max-min-fair", max_min_fair, capped_offers),
    solvent("leave-one-out-level", leave_one_out_level, plain_offers),
)
