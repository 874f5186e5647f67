"""Large auctions look at a stretch of the bids only, and decide exactly as if all were sorted."""

import numpy as np
import pytest

from mechanisms import budget_fair, exactly, leave_one_out_level, level_max_min, max_min_fair
from mechanisms.auctions.floats import order_statistics
from mechanisms.auctions.floats.order_statistics import everything, stretch

RULES = [budget_fair, level_max_min, leave_one_out_level, max_min_fair]
LAWS = {
    "uniform": lambda rng, shape: rng.random(shape),
    "rounded": lambda rng, shape: np.round(rng.lognormal(size=shape), 1),
    "two points": lambda rng, shape: (rng.random(shape) < 0.5) * 1.0,
    "sorted": lambda rng, shape: np.sort(rng.random(shape), axis=0),
    "few bidders": lambda rng, shape: np.where(rng.random(shape) < 0.02, rng.random(shape), np.inf),
    "unequal tasks": lambda rng, shape: rng.random(shape) * 10.0 ** np.arange(shape[1]),
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
