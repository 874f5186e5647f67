"""Worked auctions with a profitable misreport, and its gain to the last fraction.

The claim is that the rule can be gamed by exactly this amount; its negative control is a truthful
rule, which the check must refuse to call gameable.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from mechanisms import (
    Mechanism,
    budget_fair,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
)
from mechanisms.audits.properties import find_profitable_report
from proofs.claim import COUNTEREXAMPLE, OWN, Check, Claim
from proofs.incentives import wrong_rules
from proofs.incentives.instances import Row, exact_table


def gains(rows: list[Row], budget: int, client: int, report: Row, gain: Any) -> Check:
    """Check that one client gains exactly so much by one report."""
    bids = exact_table(rows)
    misreport = tuple(exact_table([report])[0])

    def check(mechanism: Mechanism, deep: bool) -> str | None:
        found = find_profitable_report(
            mechanism, bids, Fraction(budget), client=client, reports=[misreport]
        )
        seen = 0 if found is None else found.gain
        return None if seen == Fraction(gain) else f"client {client} gains {seen}, not {gain}"

    return check


def gamed(
    name: str,
    statement: str,
    example: tuple[list[Row], int, int, Row, Any],
    rule: Mechanism,
    control: Mechanism,
) -> Claim:
    """A counter-example claim."""
    scope = "one worked auction"
    how = "one misreport, exact"
    _, _, i, _, gain = example
    formula = rf"u_{i}(b', b_{{-{i}}}) - u_{i}(c, b_{{-{i}}}) = {gain} > 0"
    check = gains(*example)
    kind = COUNTEREXAMPLE
    return Claim(name, statement, formula, OWN, kind, how, scope, scope, check, rule, control)


CLAIMS = (
    gamed(
        "c1-paying-what-is-asked",
        "greedy max-min that pays bids: a client bids more and is paid more",
        ([(5,), (6,), (7,), (20,)], 20, 0, (7,), 2),
        greedy_max_min,
        max_min_fair,
    ),
    gamed(
        "c2-next-price-per-rank",
        "paying the j-th cheapest the (j+1)-th bid: a client takes a worse rank for more pay",
        ([(1,), (2,), (10,)], 13, 0, (3,), 8),
        wrong_rules.next_price_per_rank,
        budget_fair,
    ),
    gamed(
        "c3-a-losing-ask-raises-the-level",
        "level_max_min: a client of two tasks lowers a bid that loses, and the level rises",
        ([(1, 5), (2, 1), (4, 3)], 15, 0, (1, "16/5"), 2),
        level_max_min,
        leave_one_out_level,
    ),
    gamed(
        "c4-losing-on-purpose",
        "level_max_min: a client gives a task away to be recruited for another one",
        ([(8, 1), (2, 4)], 8, 0, (3, 1), 3),
        level_max_min,
        max_min_fair,
    ),
    gamed(
        "c6-rolling-money-over",
        "budget-fair with leftovers passed on: a losing bid lowers the price of another task",
        ([(4, 1), (1, "-")], 12, 0, ("7/2", 1), "1/2"),
        wrong_rules.roll_over,
        budget_fair,
    ),
    gamed(
        "c7-partial-last-round",
        "the common level with a partial last round: bidding more moves the extra recruit",
        ([(8, "-"), (4, "-"), (3, "-"), ("-", 1), ("-", 6), ("-", 3)], 20, 3, ("-", 5), 3),
        wrong_rules.partial_last_round,
        level_max_min,
    ),
    gamed(
        "common-level-and-feigned-asks",
        "level_max_min: a client with one task bids on another that it cannot do, and loses there",
        (
            [(0, "-"), ("-", "3/2"), (0, "-"), ("-", 0), ("5/2", "-"), ("-", 0)],
            7,
            0,
            (0, "1/2"),
            "5/2",
        ),
        level_max_min,
        max_min_fair,
    ),
)
