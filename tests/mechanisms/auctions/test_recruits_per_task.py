"""Floors of the recruits per task: the reference counts are right, and each floor is tight.

That the floors hold, on many auctions, are claims of `proofs.incentives.take_up`.
"""

import pytest

from mechanisms import (
    budget_fair,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
)
from proofs.incentives import take_up
from proofs.incentives.take_up import batches, reference


def test_bulk_counts_are_those_of_the_rules():
    for bids, budgets in batches(2_500, seed=9):
        counts = reference(bids[:60], budgets[:60])
        for i, (b, m) in enumerate(zip(bids[:60], budgets[:60], strict=True)):
            rules = (greedy_max_min(b, m), level_max_min(b, m), budget_fair(b, m))
            assert [each.min_take_up for each in rules] == [int(count[i]) for count in counts]


@pytest.mark.parametrize("claim", take_up.CLAIMS, ids=lambda claim: claim.name)
def test_a_floor_that_is_one_higher_is_refused(claim):
    def raised(optimum, common, shared, tasks):
        return FLOORS[claim.name](optimum, common, shared, tasks) + 1

    assert take_up.holds(raised)(claim.subject, False) is not None


FLOORS = {
    "max-min-fair-take-up": take_up.of_default,
    "leave-one-out-level-take-up": take_up.of_one_level,
    "level-max-min-take-up": take_up.half,
    "budget-fair-take-up": take_up.share,
    "greedy-max-min-take-up": take_up.all_of_it,
}


def below_the_floor(rule, count, seed):
    """Which of so many auctions is the first with a task below the floor of the default."""
    auctions = 0
    for bids, budgets in batches(count, seed):
        counts = reference(bids, budgets)
        floors = take_up.of_default(*counts, bids.shape[2])
        for one, money, least, best in zip(bids, budgets, floors, counts[0], strict=True):
            if not least <= rule(one, float(money)).min_take_up <= best:
                return auctions
            auctions += 1
    return None


@pytest.mark.slow
def test_the_floor_of_the_default_holds_on_many_auctions():
    """Others than those of the claim, whose thorough check has 100,000."""
    assert below_the_floor(max_min_fair, 20_000, seed=1) is None


@pytest.mark.parametrize("seed", range(8))
def test_a_weaker_rule_is_soon_below_it(seed):
    assert below_the_floor(leave_one_out_level, 20_000, seed) < 1_000
