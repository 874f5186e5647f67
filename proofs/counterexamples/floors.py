"""Floors on the recruits per task that do not hold, on the smallest auctions we know."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from mechanisms import Mechanism, greedy_max_min, level_max_min, max_min_fair
from proofs.claim import COUNTEREXAMPLE, OWN, Check, Claim
from proofs.incentives import wrong_rules
from proofs.incentives.instances import Row, exact_table


def below_half(rows: list[Row], budget: Any, optimum: int, minimum: int) -> Check:
    """Check that a rule recruits below floor(k* / 2), with the numbers."""
    bids, money = exact_table(rows), Fraction(budget)

    def check(mechanism: Mechanism, deep: bool) -> str | None:
        best = int(greedy_max_min(bids, money).level[0])
        seen = mechanism(bids, money).min_take_up
        asserted = (best, seen) == (optimum, minimum) and seen < best // 2
        return None if asserted else f"k* = {best}, minimum {seen}"

    return check


def short(
    name: str,
    statement: str,
    example: tuple[list[Row], Any, int, int],
    rule: Mechanism,
    control: Mechanism,
) -> Claim:
    """A counter-example; the negative control is a rule that reaches half of the optimum there."""
    scope = "one worked auction"
    how = "one outcome, exact"
    formula = rf"\min_s \sum_i x_{{is}} = {example[3]} < \lfloor k^*/2 \rfloor,\ k^* = {example[2]}"
    check = below_half(*example)
    kind = COUNTEREXAMPLE
    return Claim(name, statement, formula, OWN, kind, how, scope, scope, check, rule, control)


CLAIMS = (
    short(
        "half-of-an-even-optimum-with-three-tasks",
        "max_min_fair can recruit floor(k* / 2) - 1 with three tasks and an even optimum",
        ([(0, 0, 0), (0, 0, 2), (2, 2, 2)], 3, 2, 0),
        max_min_fair,
        level_max_min,
    ),
    short(
        "half-of-the-optimum-with-one-level-per-client",
        "one level per client can recruit no client at k* = 2, already with two tasks",
        ([(1, 2), (0, 1), (2, 0)], "7/2", 2, 0),
        wrong_rules.one_level_per_client,
        max_min_fair,
    ),
)
