"""Many flows over few paths are solved as one flow per path."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.problems import networks
from fairopt import allocation_residual, alpha_fair_allocation
from fairopt.allocation.presolve import identical_routes
from fairopt.allocation.presolve.scaling import scale
from fairopt.allocation.problem import read
from fairopt.kernels.network import equal_rows


def crowded(seed, *, capped):
    """Flows over a dozen paths of a grid, some of them measured in another unit, some capped."""
    rng = np.random.default_rng(seed)
    R, c, _ = networks.problem("grid", flows=12, seed=seed)
    who = rng.integers(12, size=60)
    unit = rng.choice([1.0, 3.0], size=60)
    cap = np.where(rng.random(60) < 0.3, rng.uniform(0.01, 0.3, 60), np.inf)
    priority = np.exp(rng.normal(0.0, 1.0, 60))
    return R[:, who] * unit, c, priority, cap if capped else np.full(60, np.inf)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0, 2.0, 5.0, 50.0])
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), capped=st.booleans())
def test_merging_changes_nothing(alpha, seed, capped):
    R, c, w, cap = crowded(seed, capped=capped)
    single = alpha_fair_allocation(R, c, alpha, priority=w, upper=cap).require()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identical_routes, "CROWDED", 0)
        patch.setattr(identical_routes, "FEW", 1.0)
        merged = alpha_fair_allocation(R, c, alpha, priority=w, upper=cap).require()
    np.testing.assert_allclose(merged.rates, single.rates, rtol=1e-7)
    found = (merged.rates, merged.prices, merged.upper_prices)
    assert allocation_residual(R, c, alpha, *found, priority=w, upper=cap) <= 1e-9


@pytest.mark.parametrize("alpha", [0.5, 1.0, 5.0])
def test_as_many_groups_as_paths(alpha, monkeypatch):
    """Flows of one path share in proportion to priority^(1 / alpha); bounded flows stay alone."""
    monkeypatch.setattr(identical_routes, "CROWDED", 0)
    R, c, w, cap = crowded(3, capped=True)
    scaling = scale(read(R, c, alpha, w))
    scaled, merged = (
        scaling.scaled,
        identical_routes.merge(scaling.scaled, scaling.layout.identical),
    )
    columns = np.unique(np.round(scaled.by_link.toarray(), 9), axis=1).shape[1]
    assert merged.scaled.flows == columns < scaled.flows
    np.testing.assert_allclose(np.bincount(merged.group, merged.part), 1.0, rtol=1e-12)
    capped = scale(read(R, c, alpha, w, cap))
    bounded, layout = capped.scaled.bounded, capped.layout
    first, group, _ = identical_routes.alone(layout.indptr, layout.identical, bounded)
    assert (np.bincount(group)[group[bounded]] == 1).all()
    np.testing.assert_array_equal(group[first], np.arange(len(first)))


def test_one_fingerprint_for_all_paths_is_detected(monkeypatch):
    """A negative control of the fingerprint: the collision is found, and nothing is merged."""
    R, c, w, _ = crowded(5, capped=False)
    right = alpha_fair_allocation(R, c, 1.0, priority=w).require().rates
    monkeypatch.setattr(identical_routes, "CROWDED", 0)
    monkeypatch.setattr(identical_routes, "FEW", 1.0)
    one = np.zeros(R.shape[1], dtype=np.uint64)
    monkeypatch.setattr(equal_rows, "fingerprint", lambda *rows: one)
    found = alpha_fair_allocation(R, c, 1.0, priority=w).require()
    np.testing.assert_allclose(found.rates, right, rtol=1e-9)


def test_networks_of_few_flows_are_left_alone():
    assert scale(read(*networks.problem("karate")[:2], 1.0)).layout.identical is None
