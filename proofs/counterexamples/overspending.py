"""Worked auctions in which a plausible rule pays more than the budget, to the last fraction."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from mechanisms import Mechanism, max_min_fair
from proofs.claim import COUNTEREXAMPLE, OWN, Check, Claim
from proofs.incentives import wrong_rules
from proofs.incentives.instances import Row, exact_table


def spends(rows: list[Row], budget: int, total: Any) -> Check:
    """Check that a rule spends exactly this much more than the budget allows."""

    def check(mechanism: Mechanism, deep: bool) -> str | None:
        spend = mechanism(exact_table(rows), Fraction(budget)).spend
        asserted = spend == Fraction(total) and spend > budget
        return None if asserted else f"{spend} is spent of {budget}, not {total}"

    return check


def overspent(
    name: str, statement: str, rows: list[Row], budget: int, total: Any, rule: Mechanism
) -> Claim:
    """A counter-example; the negative control is the default rule, which stays within budget."""
    scope = "one worked auction"
    how = "one outcome, exact"
    formula = rf"\sum_{{i,s}} p_{{is}}(b) = {total} > B = {budget}"
    check = spends(rows, budget, total)
    return Claim(
        name,
        statement,
        formula,
        OWN,
        COUNTEREXAMPLE,
        how,
        scope,
        scope,
        check,
        rule,
        max_min_fair,
    )


CLAIMS = (
    overspent(
        "c5-caps-from-winning-asks",
        "a common level with caps from the winning bids of other tasks pays 18 out of 15",
        [(1, 5), (2, 1), (4, 3)],
        15,
        18,
        wrong_rules.capped_by_winners,
    ),
    overspent(
        "c5-two-monopolists",
        "the same rule pays 18 out of 10 when each task has one bidder",
        [(1, "-"), ("-", 1)],
        10,
        18,
        wrong_rules.capped_by_winners,
    ),
    overspent(
        "the-other-task-tests-are-needed",
        "the default rule without its tests on the other tasks pays 15/2 out of 5",
        [("-", 0), (0, 0), ("-", 0)],
        5,
        "15/2",
        wrong_rules.without_other_tests,
    ),
    overspent(
        "the-other-tasks-losers-set-the-caps",
        "the default rule with the ranks of a client that wins everywhere pays 5/4 out of 1",
        [(0, 0), (1, 0)],
        1,
        "5/4",
        wrong_rules.optimistic_others,
    ),
)
