"""The audit finds every known flaw by itself, given only the rule and the worked bids."""

from fractions import Fraction

import pytest

from mechanisms import audit, greedy_max_min, level_max_min
from mechanisms.audits.response_curve import NEAR
from mechanisms.audits.violation import TRUTHFUL, WITHIN_BUDGET
from proofs.incentives import wrong_rules
from tests.mechanisms.profiles import table

LAST_ROUND = table((8, "-"), (4, "-"), (3, "-"), ("-", 1), ("-", 6), ("-", 3))
FLAWS = {
    "C1": (greedy_max_min, table((5,), (6,), (7,), (20,)), 20, TRUTHFUL, 2),
    "C2": (wrong_rules.next_price_per_rank, table((1,), (2,), (10,)), 13, TRUTHFUL, 8),
    "C3": (level_max_min, table((1, 5), (2, 1), (4, 3)), 15, TRUTHFUL, 2),
    "C4": (level_max_min, table((8, 1), (2, 4)), 8, TRUTHFUL, 3),
    "C5": (wrong_rules.capped_by_winners, table((1, 5), (2, 1), (4, 3)), 15, WITHIN_BUDGET, 3),
    "C6": (wrong_rules.roll_over, table((4, 1), (1, "-")), 12, TRUTHFUL, "1/2"),
    "C7": (wrong_rules.partial_last_round, LAST_ROUND, 20, TRUTHFUL, 3),
}


@pytest.mark.parametrize("name", FLAWS)
def test_the_audit_finds_it(name):
    rule, bids, budget, law, gain = FLAWS[name]
    report = audit(rule, bids, budget)
    found = [each for each in report.violations if each.law == law]
    assert report.laws[law] is False
    assert max(each.gain for each in found) >= Fraction(gain) * (1 - NEAR)
    assert all(each.replay(rule) > 0 for each in found)
