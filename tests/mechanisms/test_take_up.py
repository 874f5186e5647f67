"""Floors of the minimum take-up on many random instances, against counts taken in bulk.

The reference counts are whole-array NumPy on integer asks, where floats are exact; only the rules
under test run one auction at a time.
"""

import numpy as np
import pytest

from mechanisms import budget_fair, greedy_max_min, leave_one_out_level, level_max_min, max_min_fair

FEW, MANY = 5_000, 100_000
BATCH = 2_500
"""Auctions of one shape; shapes change from batch to batch."""


def batches(total, seed):
    """(bids (M, N, S), budgets (M,)) with integer asks, frequent ties, and missing bids."""
    rng = np.random.default_rng(seed)
    for _ in range(total // BATCH):
        clients, tasks = int(rng.integers(1, 13)), int(rng.integers(1, 5))
        top = int(rng.integers(1, 13))
        bids = rng.integers(0, top + 1, (BATCH, clients, tasks)).astype(float)
        bids[rng.random(bids.shape) < rng.choice([0.0, 0.0, 0.25])] = np.inf
        budgets = rng.integers(1, top * clients * tasks + 2, BATCH).astype(float)
        yield bids, budgets


def level(costs, budgets):
    """(M,) number of levels k = 1, 2, ... whose cost (M, N) is within budget; costs rise."""
    return (costs <= budgets[:, np.newaxis]).sum(axis=1)


def reference(bids, budgets):
    """(k*, common level, minimum of budget-fair), each (M,)."""
    ranked = np.sort(bids, axis=1)
    _, clients, tasks = ranked.shape
    k = np.arange(1, clients + 1)
    optimum = level(np.cumsum(ranked, axis=1).sum(axis=2), budgets)
    following = np.concatenate([ranked[:, 1:], np.full_like(ranked[:, :1], np.inf)], axis=1)
    common = level(k * following.sum(axis=2), budgets)
    shares = tasks * k[:, np.newaxis] * ranked <= budgets[:, np.newaxis, np.newaxis]
    return optimum, common, shares.sum(axis=1).min(axis=1)


def floors(optimum, common, shared, tasks):
    """Least minimum take-up of each rule."""
    of_default = np.maximum((optimum - 1) // 2, np.maximum(common, shared) - 1)
    return {
        max_min_fair: np.maximum(of_default, optimum // 2) if tasks <= 2 else of_default,
        leave_one_out_level: np.maximum((optimum - 1) // 2, common - 1),
        level_max_min: optimum // 2,
        budget_fair: (optimum + 1) // (tasks + 1),
        greedy_max_min: optimum,
    }


def short_falls(rule, total, seed):
    """Auctions in which a rule recruits below its floor or above the optimum."""
    count = 0
    for bids, budgets in batches(total, seed):
        optimum, common, shared = reference(bids, budgets)
        least = floors(optimum, common, shared, bids.shape[2])[rule]
        seen = [rule(b, m).min_take_up for b, m in zip(bids, budgets, strict=True)]
        count += int(((seen < least) | (seen > optimum)).sum())
    return count


@pytest.mark.parametrize(
    "rule", [max_min_fair, leave_one_out_level, level_max_min, budget_fair, greedy_max_min]
)
def test_floors_hold(rule):
    assert short_falls(rule, FEW, seed=7) == 0


@pytest.mark.slow
def test_floors_of_the_default_hold_on_many_auctions():
    assert short_falls(max_min_fair, MANY, seed=8) == 0


def test_the_check_can_fail(monkeypatch):
    monkeypatch.setitem(globals(), "floors", lambda *counts: {max_min_fair: counts[0]})
    assert short_falls(max_min_fair, FEW, seed=7) > 0


def test_bulk_counts_are_those_of_the_rules():
    for bids, budgets in batches(BATCH, seed=9):
        counts = reference(bids[:300], budgets[:300])
        for i, (b, m) in enumerate(zip(bids[:300], budgets[:300], strict=True)):
            rules = (greedy_max_min(b, m), level_max_min(b, m), budget_fair(b, m))
            assert [each.min_take_up for each in rules] == [int(count[i]) for count in counts]
