"""Large auctions look at a stretch of the bids only, and decide exactly as if all were sorted."""

from fractions import Fraction

import numpy as np
import pytest

from mechanisms import (
    budget_fair,
    cheapest_first,
    exactly,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
    participation_fee,
    posted_price,
)
from mechanisms.auctions.floats import order_statistics
from mechanisms.auctions.floats.order_statistics import everything, stretch, stretch_of_all

RULES = [
    budget_fair,
    level_max_min,
    leave_one_out_level,
    max_min_fair,
    cheapest_first,
    greedy_max_min,
]
LAWS = {
    "uniform": lambda rng, shape: rng.random(shape),
    "rounded": lambda rng, shape: np.round(rng.lognormal(size=shape), 1),
    "two points": lambda rng, shape: (rng.random(shape) < 0.5) * 1.0,
    "sorted": lambda rng, shape: np.sort(rng.random(shape), axis=0),
    "few bidders": lambda rng, shape: np.where(rng.random(shape) < 0.02, rng.random(shape), np.inf),
    "unequal tasks": lambda rng, shape: rng.random(shape) * 10.0 ** np.arange(shape[1]),
    "whole rows": lambda rng, shape: rng.random((shape[0], 1)) * np.ones(shape),
    "heavy tails": lambda rng, shape: rng.pareto(0.7, shape),
    "periodic": lambda rng, shape: np.resize([0.0, 9.0, 1.0, 9.0, 9.0, 9.0, 2.0], shape),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("share", [1e-3, 0.05, 0.3, 3.0])
def test_a_stretch_decides_as_everything_does(monkeypatch, rule, law, share):
    bids = LAWS[law](np.random.default_rng(7), (3000, 3))
    budget = share * float(np.where(np.isinf(bids), 0.0, bids).sum())
    monkeypatch.setattr(order_statistics, "SMALL", 10**9)
    whole = rule(bids, budget)
    monkeypatch.setattr(order_statistics, "SMALL", 100)
    assert rule(bids, budget) == whole


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(6))
def test_a_stretch_decides_as_the_definition_does(monkeypatch, rule, seed):
    rng = np.random.default_rng(seed)
    bids = np.round(rng.lognormal(size=(120, 3)), 1 + seed % 2)
    budget = float(np.round(rng.uniform(0.02, 0.6) * bids.sum(), 2))
    monkeypatch.setattr(order_statistics, "SMALL", 20)
    monkeypatch.setattr(order_statistics, "SPREAD", 1.0)
    exact = rule(exactly(bids), budget)
    floats = rule(bids, budget)
    assert np.array_equal(floats.winners, exact.winners)
    assert np.array_equal(floats.level, exact.level)


def test_a_stretch_is_used_where_it_can_be(monkeypatch):
    bids = np.random.default_rng(0).random((50_000, 2))
    part = stretch(bids, lambda sample, ratio: np.array([300, 700]))
    assert part is not None
    assert part.rows.size < bids.size / 2
    whole = everything(bids)
    outside = np.full(2, np.inf)
    first = part.below + 5
    assert np.array_equal(part.window(first, 6, outside), whole.window(first, 6, outside))
    values = part.window(first, 6, outside)
    assert np.array_equal(part.count_below(values), whole.count_below(values))
    assert not part.covers(1, 2)
    assert whole.covers(1, 50_001)


def test_more_tasks_than_a_pattern_can_hold():
    rng = np.random.default_rng(2)
    bids = rng.random((16, 66))
    budget = 0.2 * float(bids.sum())
    exact = max_min_fair(exactly(bids), budget)
    assert np.array_equal(max_min_fair(bids, budget).winners, exact.winners)


@pytest.mark.parametrize("tasks", [1, 2, 6, 15])
def test_the_stretch_of_all_tasks_knows_every_task(tasks):
    bids = np.random.default_rng(1).random((60_000 // tasks, tasks)) * np.arange(1, tasks + 1)
    part = stretch_of_all(bids, lambda sample, ratio: np.array([sample.shape[1] // 3]))
    assert part is not None
    cells = np.sort(bids, axis=None)
    below, size = int(part.below[0]), int(part.size[0])
    assert np.array_equal(part.rows[0, :size], cells[below : below + size])
    assert below < cells.size // 3 < below + size


TIES = {
    "halves": lambda rng, shape: rng.integers(0, 4_000, shape) / 2,
    "thirds": lambda rng, shape: rng.integers(0, 3_000, shape) / 3,
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
}


@pytest.mark.slow
@pytest.mark.parametrize("law", TIES)
@pytest.mark.parametrize("rule", [cheapest_first, greedy_max_min])
def test_rules_that_pay_bids_are_exact_beyond_the_size_that_is_sorted(rule, law):
    """More than 8,192 clients, at budgets that are sums of bids to the last bit, and just less."""
    bids = TIES[law](np.random.default_rng(3), (9_000, 2))
    asks = np.sort(bids, axis=0)
    total = float(sum(map(Fraction, asks[:2_500].ravel()), Fraction(0)))
    for budget in (total, np.nextafter(total, 0.0)):
        exact, floats = rule(exactly(bids), float(budget)), rule(bids, float(budget))
        assert np.array_equal(floats.winners, exact.winners)
        assert np.array_equal(floats.level, exact.level)
        assert np.array_equal(floats.payments, exact.payments)


@pytest.mark.slow
@pytest.mark.parametrize("law", TIES)
def test_rules_with_prices_are_exact_on_large_auctions(law):
    bids = TIES[law](np.random.default_rng(4), (9_000, 2))
    prices = np.median(bids, axis=0)
    for each in (prices, np.roll(bids, 1, axis=0)):
        budget = float(0.2 * bids.sum())
        exact, floats = posted_price(exactly(bids), each, budget), posted_price(bids, each, budget)
        assert np.array_equal(floats.payments, exact.payments)
        assert np.array_equal(floats.winners, exact.winners)


@pytest.mark.parametrize("ratio", [0, Fraction(1, 4), Fraction(1, 3)])
@pytest.mark.parametrize("law", TIES)
def test_a_fee_is_exact_where_every_client_is_at_a_tie(law, ratio):
    """Prices that are bids: scales 2^-k of the budget, so that surplus and fee are often equal."""
    rng = np.random.default_rng(5)
    bids = np.concatenate([TIES[law](rng, (60, 3)), 64.0 * rng.integers(0, 5, (140, 3))])
    direction = np.array([1, Fraction(1, 2), 2 - ratio], dtype=object)
    for budget in (2.0**12, 2.0**14, 40_000.0):
        fee = ratio * sum(direction)
        exact = participation_fee(exactly(bids), budget, direction, fee)
        floats = participation_fee(bids, budget, direction, fee)
        assert np.array_equal(floats.winners, exact.winners)
        gaps = [
            right - Fraction(pay)
            for pay, right in zip(floats.payments.flat, exact.payments.flat, strict=True)
        ]
        assert all(0 <= gap <= Fraction(budget) / 10**12 for gap in gaps)
