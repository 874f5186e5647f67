"""Floors of the minimum take-up: the reference counts are right, and each floor is tight.

That the floors hold, on many auctions, are claims of `proofs.incentives.take_up`.
"""

import pytest

from mechanisms import budget_fair, greedy_max_min, level_max_min
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


@pytest.mark.slow
def test_the_floor_of_the_default_holds_on_many_auctions():
    assert take_up.CLAIMS[0].check(take_up.CLAIMS[0].subject, True) is None
