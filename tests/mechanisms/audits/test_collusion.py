"""Beyond truthfulness: coalitions with side payments and false names, found and replayed."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from fairopt import errors
from mechanisms import budget_fair, exactly, greedy_max_min, max_min_fair
from mechanisms.audits.collusion import COLLUSION_PROOF, FALSE_NAME_PROOF, all_pairs, splits
from mechanisms.audits.collusion_search import find_limits
from mechanisms.properties import find_profitable_collusion, find_profitable_false_name
from tests.mechanisms.profiles import HALVES, float_auctions, table


def test_a_misreport_alone_is_a_pair_with_a_truthful_partner():
    bids = table((5,), (6,), (7,), (20,))
    alone = [((Fraction(7),), (Fraction(6),))]
    found = find_profitable_collusion(greedy_max_min, bids, 20, clients=(0, 1), reports=alone)
    assert (found.law, found.gain, found.replay(greedy_max_min)) == (COLLUSION_PROOF, 2, 2)
    assert found.sentence == "clients 0 and 1 together gain 2 by bidding (7) and (6)"


def test_identities_stand_below_and_bear_the_costs():
    bids = table((0, 0), (0, 0))
    found = find_profitable_false_name(max_min_fair, bids, 1, client=0)
    assert found.law == FALSE_NAME_PROOF
    assert tuple(map(tuple, found.reported()[[0, 2]])) in list(splits(tuple(bids[0])))
    assert found.reported()[1].tolist() == [0, 0]
    assert found.gain == Fraction(1, 2)
    assert found.replay(max_min_fair) == found.gain > 0


def test_working_twice_is_a_choice():
    bids, twice = table((0,), (0,)), [((Fraction(0),), (Fraction(0),))]
    found = find_profitable_false_name(budget_fair, bids, 1, client=0, identities=twice)
    assert found.gain == Fraction(1, 6)
    assert (
        find_profitable_false_name(budget_fair, bids, 1, client=0, identities=twice, twice=False)
        is None
    )


def test_rows_and_splits():
    assert list(splits((math.inf, 3))) == []
    assert len(list(splits((1, 2, 3)))) == 6
    assert len(list(all_pairs([0, 1], 1))) == 4


@settings(max_examples=20)
@given(float_auctions(4, 2, HALVES))
def test_found_limits_replay_and_repeat(auction):
    for bids, budget in (auction, (exactly(auction[0]), Fraction(auction[1]))):
        found = find_limits(max_min_fair, bids, budget, samples=60)
        for each in (found.collusion, found.false_name):
            assert each is None or each.replay(max_min_fair) == each.gain > 0
        again = find_limits(max_min_fair, bids, budget, samples=60)
        tried = "60 sampled joint misreports of two clients and 60 sampled uses of two names"
        assert again.scope == found.scope == f"{tried}, lower bounds"
        gains = [
            [each and each.gain for each in (limits.collusion, limits.false_name)]
            for limits in (found, again)
        ]
        assert gains[0] == gains[1]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (
            lambda b: find_profitable_collusion(max_min_fair, b, 1, clients=(0, 0), reports=[]),
            "clients",
        ),
        (
            lambda b: find_profitable_collusion(max_min_fair, b, 1, clients=(0, 2), reports=[]),
            "clients",
        ),
        (lambda b: find_profitable_false_name(max_min_fair, b, 1, client=2), "client"),
        (lambda b: find_profitable_false_name(max_min_fair, b, 0, client=1), "budget"),
        (lambda b: find_limits(max_min_fair, b, 1, samples=0), "samples"),
        (lambda b: find_limits(max_min_fair, b, 1, jobs=0), "jobs"),
    ],
)
def test_bad_input(call, named):
    with pytest.raises(errors.InvalidInput) as caught:
        call(np.array([[1.0], [2.0]]))
    assert caught.value.argument == named
