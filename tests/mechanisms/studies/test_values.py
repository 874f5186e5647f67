"""The study of values: no rule is above its optimum or below what is proved."""

import math

import numpy as np
import pytest
from hypothesis import given, settings

from fairopt import errors
from mechanisms.studies.values import (
    best_cover,
    best_level,
    best_values,
    compare_arrival,
    compare_coverage,
    compare_values,
)
from tests.mechanisms.auctions import by_value
from tests.mechanisms.auctions.by_value import covered_auctions, valued_auctions

SMALL = {"num_clients": 6, "draws": 3, "budgets": [0.2, 0.6]}
HALVES = [0.0, 0.5, 1.0, 2.0, 3.0]


@settings(max_examples=50)
@given(valued_auctions(max_clients=5, bids=HALVES))
def test_optima_are_those_of_fractions(auction):
    bids, budget, values = auction
    worth = values[:, 0].astype(float)
    table = np.repeat(values[:, :1], bids.shape[1], axis=1)
    best = best_values(bids, budget, worth)
    for task, found in enumerate(best):
        exact = by_value.fractional_optimum(bids[:, task], budget / bids.shape[1], table[:, task])
        assert found == pytest.approx(float(exact), abs=1e-9)
    level = best_level(bids, budget, worth)
    lower, higher = level * (1 - 1e-9) - 1e-12, level * (1 + 1e-9) + 1e-12
    rows = bids.tolist()
    assert level < 1e-9 or by_value.affords(rows, budget + 1e-9, table.tolist(), lower)
    assert not by_value.affords(rows, budget - 1e-9, table.tolist(), higher)


@settings(max_examples=50)
@given(covered_auctions(max_clients=6, bids=HALVES))
def test_best_cover_is_that_of_all_sets(auction):
    bids, budget, covers, weights = auction
    found = best_cover(bids[:, 0], budget, covers, np.array(weights, dtype=float))
    assert found == by_value.best_cover(bids[:, 0], budget, covers, weights)


def test_shares_are_between_floor_and_optimum():
    shares = [
        *compare_values(num_tasks=2, **SMALL),
        *compare_coverage(**SMALL),
        *compare_arrival(num_tasks=2, **SMALL),
    ]
    assert {share.goal for share in shares} == {"total", "least", "coverage", "recruits"}
    for share in shares:
        assert math.isnan(share.ratio.mean) or 0 <= share.ratio.mean <= 1 + 1e-9
        if (share.rule, share.goal) == ("quality_pruning", "total"):
            assert share.worst >= 1 / 3 - 1e-9
        if share.rule == "clock_auction" and share.goal != "least":
            assert share.worst >= 1 / 4.75 - 1e-9


def test_studies_repeat():
    assert compare_coverage(**SMALL) == compare_coverage(**SMALL)


@pytest.mark.parametrize("study", [compare_values, compare_coverage, compare_arrival])
@pytest.mark.parametrize(
    ("argument", "value"), [("num_clients", 0), ("draws", 0), ("seed", -1), ("budgets", [0.0])]
)
def test_bad_arguments(study, argument, value):
    with pytest.raises(errors.InvalidInput) as caught:
        study(**{argument: value})
    assert caught.value.argument == argument


def test_too_many_clients_for_all_sets():
    with pytest.raises(errors.InvalidInput, match="num_clients"):
        compare_coverage(num_clients=17)
